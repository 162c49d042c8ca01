"""The newest versions of rows of small tables that this process has seen. An older row that was put back is refused when it is read.

Statements run at the same time, so a row is compared only with what was known before its statement was sent. After a restore on
purpose, older versions are right. Its acceptance raises the number of the cell's sums (`sums.ACCEPTANCE`). That number is used only
if the sums open, because an administrator of the database can edit it.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import KmsError
from strongroom.storage.engine.database import Database
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.engine.transaction_ends import Outcome, at_end
from strongroom.storage.errors import DataLoss
from strongroom.storage.shared_lookups import SharedLookups

from .images import CELL
from .reading import opened
from .sums import ACCEPTANCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row

_SQL = load_queries("journal/journal")
Place: TypeAlias = "Database | Connection"
MOST_ROWS = 10_000
"""The most rows of a table that are remembered. If there are more, the rows that were seen first are forgotten."""


@dataclass(slots=True)
class _Newest:
    """The newest versions of a row, and the moment at which they were seen."""

    versions: tuple[int, ...]
    moment: int


class NewestRows:
    """Remembers the newest versions of rows, and refuses older ones.

    Attributes:
        moment: The number of changes of what is remembered. Read it before sending a statement that reads rows.

    Args:
        keyring: The unwrapped keys.
        sums: The highest number of each shard's sums that this process or an anchor has seen.
    """

    def __init__(self, keyring: Keyring, sums: Mapping[int, int]) -> None:
        self.moment = 0
        self._keyring, self._sums = keyring, sums
        self._tables: dict[str, OrderedDict[object, _Newest]] = {}
        self._forgotten_at = 0
        self._acceptances: int | None = None
        self._shared = SharedLookups(self._counted)

    async def check(
        self,
        place: Place,
        table: str,
        key: object,
        versions: tuple[int, ...],
        before: int,
        *,
        authentic: tuple[int, ...] | None = None,
    ) -> None:
        """Refuse a row that is older than this process has seen it, and remember it otherwise.

        Args:
            place: The database, or in a transaction its connection.
            table: The table.
            key: The row's key.
            versions: Its versions, each of which only rises.
            before: The value of `moment` before the row was read.
            authentic: The versions to remember, with 0 in place of a version that nothing authenticates; None for all versions. An
                edited version is then not remembered, so the row is accepted again after the version is set back.

        Raises:
            DataLoss: One of the versions is lower than before.
            KmsError, StorageError: The row seems older, and the number of acceptances can't be read.
        """
        if self._acceptances is None:
            await self._read_first_count(place)
        rows = self._tables.get(table)
        newest = None if rows is None else rows.get(key)
        if newest is not None and newest.moment <= before and _is_older(versions, newest.versions):
            accepted = await self._accepted(place)
            if before < self._forgotten_at:
                return  # another check found the acceptance meanwhile, or this process accepted the rows
            if accepted is None or self._acceptances is None or accepted <= self._acceptances:
                raise _older_row(table, versions, newest.versions)
            self.forget()
            self._acceptances = accepted
            before = self.moment
        self.remember(table, key, versions if authentic is None else authentic, before)

    def written(self, connection: Connection, table: str, key: object, versions: tuple[int, ...]) -> None:
        """Remember a row that the transaction of a connection writes, if it is committed. A version of 0 changes nothing."""
        before = self.moment

        def end(outcome: Outcome) -> None:
            if outcome is Outcome.COMMITTED:
                self.remember(table, key, versions, before)

        at_end(connection, end)

    def forget(self) -> None:
        """Forget all rows, because an older state was accepted."""
        self._tables.clear()
        self._acceptances = None
        self.moment += 1
        self._forgotten_at = self.moment

    def remember(self, table: str, key: object, versions: tuple[int, ...], before: int) -> None:
        """Refuse a row below these versions from now on.

        Args:
            table: The table.
            key: The row's key.
            versions: Its authenticated versions; 0 for one that is not known.
            before: The value of `moment` before they were read.
        """
        if before < self._forgotten_at or not any(versions):
            return  # the row was read before an older state was accepted, or none of its versions is known
        rows = self._tables.setdefault(table, OrderedDict())
        known = rows.get(key)
        newest = versions if known is None else tuple(map(max, versions, known.versions))
        if known is None or newest != known.versions:
            self.moment += 1
            rows[key] = _Newest(newest, self.moment)
            if len(rows) > MOST_ROWS:
                rows.popitem(last=False)

    async def _read_first_count(self, place: Place) -> None:
        """Read the number of acceptances. While it is unknown, every older row is refused."""
        forgotten_at = self._forgotten_at
        with suppress(KmsError):
            accepted = await self._accepted(place)
            if accepted is not None and self._acceptances is None and forgotten_at == self._forgotten_at:
                self._acceptances = max(accepted, self._sums.get(CELL, 0) // ACCEPTANCE)

    async def _accepted(self, place: Place) -> int | None:
        """Return the number of acceptances of the cell's tables; None if the sums are missing or do not open.

        Concurrent checks outside of transactions share a statement. A check in a transaction uses the connection of the transaction,
        because that may be the last one of the pool.
        """
        if isinstance(place, Database):
            return await self._shared.get(place)
        return await self._count(await place.fetchrow(_SQL["sums"], CELL))

    async def _counted(self, databases: Sequence[Database]) -> Mapping[Database, int]:
        found: dict[Database, int] = {}
        for database in databases:
            async with database.connection(NO_NAMESPACE) as connection:
                row = await connection.fetchrow(_SQL["sums"], CELL)
            count = await self._count(row)
            if count is not None:
                found[database] = count
        return found

    async def _count(self, row: Row | None) -> int | None:
        if row is None:
            return None
        keys = await self._keyring.open(self._keyring.cell_id)
        if (await opened(self._keyring, keys, CELL, row)).problems:
            return None
        return int(row["number"]) // ACCEPTANCE


def _is_older(versions: tuple[int, ...], newest: tuple[int, ...]) -> bool:
    return any(one < other for one, other in zip(versions, newest, strict=True))


def _older_row(table: str, found: tuple[int, ...], seen: tuple[int, ...]) -> DataLoss:
    one, other = ("/".join(map(str, versions)) for versions in (found, seen))
    return DataLoss(
        f"a row of {table} has version {one}, and this process has seen version {other}: an older row was put back; run "
        "'strongroom verify' to find what else was changed. After a failover to an older standby on purpose, restart this process"
    )
