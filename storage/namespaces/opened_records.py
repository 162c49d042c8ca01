"""Open the rows of namespaces as a service sees them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KeyDestroyed, KeyWithdrawn, KmsTimeout
from strongroom.storage.sealing import UNAVAILABLE, UNREADABLE

from .namespace_record import NamespaceRecord, open_data, unreadable_record
from .rows import check_name, check_region_of, open_details

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Row


LIST_SECONDS = 10.0
"""Timeout for the keys of all namespaces of a list, in seconds. A KMS that is silent must not make the list fail for the others."""


class OpenedRecords:
    """Opens rows of namespaces.

    Args:
        keyring: The keys of the namespaces.
        check: Refuses an opened row that is older than before; see `NamespaceRows.check`.
        list_seconds: See `LIST_SECONDS`.
    """

    def __init__(
        self,
        keyring: Keyring,
        check: Callable[[Row, int], Awaitable[None]],
        *,
        list_seconds: float = LIST_SECONDS,
    ) -> None:
        self._keyring = keyring
        self._check = check
        self._list_seconds = list_seconds

    async def open(
        self, row: Row, name: str | None = None, *, before: int, unavailable: bool = False
    ) -> NamespaceRecord:
        """Open a row.

        Args:
            row: The row, which is not that of a shredded namespace.
            name: The name that the row was found by; None if it was found in another way.
            before: The value of `moment` before the row was read.
            unavailable: Whether a row whose keys are not available is returned with the error. One whose keys are destroyed is not.

        Raises:
            KmsError: The namespace's keys are not available.
            IntegrityError: The row was changed outside of the stores, or has another name.
            DataLoss: An older row was put back.
        """
        try:
            record = await self._open(row, before)
        except UNAVAILABLE as error:
            if not unavailable or isinstance(error, KeyDestroyed | KeyWithdrawn):
                raise
            return unreadable_record(row, error)
        if name is not None:
            check_name(record.name, name)
        return record

    async def open_all(self, rows: Sequence[Row], *, before: int) -> tuple[NamespaceRecord, ...]:
        """Open rows at the same time. A row that can't be opened, or whose keys do not come in time, is returned with the error."""
        if not rows:
            return ()
        opening = [asyncio.create_task(self._listed(row, before)) for row in rows]
        try:
            await asyncio.wait(opening, timeout=self._list_seconds)
            return tuple(
                each.result() if each.done() else unreadable_record(row, self._too_late())
                for each, row in zip(opening, rows, strict=True)
            )
        finally:
            for each in opening:
                each.cancel()
            await asyncio.gather(*opening, return_exceptions=True)

    def _too_late(self) -> KmsTimeout:
        return KmsTimeout(f"the namespace's keys were not available within {self._list_seconds:g} s")

    async def _listed(self, row: Row, before: int) -> NamespaceRecord:
        try:
            return await self._open(row, before)
        except UNREADABLE as error:
            return unreadable_record(row, error)

    async def _open(self, row: Row, before: int) -> NamespaceRecord:
        namespace_id = UUID(bytes=row["namespace_id"].bytes)
        details, data = await self._keyring.with_keys(
            namespace_id, lambda keys: (open_details(keys, row), open_data(keys, row))
        )
        check_region_of(details, self._keyring.region)
        await self._check(row, before)
        return NamespaceRecord(namespace_id, details.name, data, row["is_global"], row["notification_version"])
