"""Open the rows of namespaces as a service sees them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.sealing import UNREADABLE

from .namespace_record import NamespaceRecord, open_data, unreadable_record
from .rows import check_name, check_region_of, open_details

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Row


class OpenedRecords:
    """Opens rows of namespaces.

    Args:
        keyring: The keys of the namespaces.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def open(self, row: Row, name: str | None = None) -> NamespaceRecord:
        """Open a row.

        Args:
            row: The row, which is not that of a shredded namespace.
            name: The name that the row was found by; None if it was found in another way.

        Raises:
            KmsError: The namespace's keys are not available.
            IntegrityError: The row was changed outside of the stores, or has another name.
        """
        record = await self._open(row)
        if name is not None:
            check_name(record.name, name)
        return record

    async def open_all(self, rows: Sequence[Row]) -> tuple[NamespaceRecord, ...]:
        """Open rows at the same time. A row that can't be opened is returned with the error."""
        return tuple(await asyncio.gather(*(self._listed(row) for row in rows)))

    async def _listed(self, row: Row) -> NamespaceRecord:
        try:
            return await self._open(row)
        except UNREADABLE as error:
            return unreadable_record(row, error)

    async def _open(self, row: Row) -> NamespaceRecord:
        namespace_id = UUID(bytes=row["namespace_id"].bytes)
        details, data = await self._keyring.with_keys(
            namespace_id, lambda keys: (open_details(keys, row), open_data(keys, row))
        )
        check_region_of(details, self._keyring.region)
        return NamespaceRecord(namespace_id, details.name, data, row["is_global"], row["notification_version"])
