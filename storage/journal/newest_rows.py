"""The newest versions of rows that this process has seen. A row of a small table that was put back is refused when it is read.

Statements run at the same time, so a row is compared only with what was known before its statement was sent. After a restore on
purpose, older versions are right: the number of the cell's sums then counts one more acceptance (`sums.ACCEPTANCE`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from strongroom.storage.engine.database import Database
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.engine.transaction_ends import Outcome, at_end
from strongroom.storage.errors import DataLoss

from .images import CELL
from .reading import opened
from .sums import ACCEPTANCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection

_SQL = load_queries("journal/journal")
Place: TypeAlias = "Database | Connection"
MOST_ROWS = 10_000
"""Rows of a table that are remembered. Of more, those that were seen first are forgotten."""


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

    async def check(self, place: Place, table: str, key: object, versions: tuple[int, ...], before: int) -> None:
        """Refuse a row that is older than this process has seen it, and remember it otherwise.

        Args:
            place: The database, or in a transaction its connection.
            table: The table.
            key: The row's key.
            versions: Its authenticated versions, each of which only rises.
            before: The value of `moment` before the row was read.

        Raises:
            DataLoss: One of the versions is lower than before.
            KmsError, StorageError: It seems older, and it can't be found out whether that was accepted.
        """
        if self._acceptances is None:
            self._acceptances = await self._accepted(place, verified=False)
        rows = self._tables.get(table)
        newest = None if rows is None else rows.get(key)
        is_older = newest is not None and any(one < other for one, other in zip(versions, newest.versions, strict=True))
        if is_older and newest is not None and newest.moment <= before:
            accepted = await self._accepted(place, verified=True)
            if accepted <= self._acceptances:
                raise _older_row(table, versions, newest.versions)
            self.forget()
            self._acceptances = accepted
            before = self.moment
        self._remember(table, key, versions, before)

    def written(self, connection: Connection, table: str, key: object, versions: tuple[int, ...]) -> None:
        """Remember a row that the transaction of a connection writes, if it is committed."""
        before = self.moment

        def end(outcome: Outcome) -> None:
            if outcome is Outcome.COMMITTED:
                self._remember(table, key, versions, before)

        at_end(connection, end)

    def forget(self) -> None:
        """Forget all rows, because an older state was accepted."""
        self._tables.clear()
        self._acceptances = None
        self.moment += 1
        self._forgotten_at = self.moment

    def _remember(self, table: str, key: object, versions: tuple[int, ...], before: int) -> None:
        if before < self._forgotten_at:
            return  # it was read before an older state was accepted
        rows = self._tables.setdefault(table, OrderedDict())
        known = rows.get(key)
        newest = versions if known is None else tuple(map(max, versions, known.versions))
        if known is None or newest != known.versions:
            self.moment += 1
            rows[key] = _Newest(newest, self.moment)
            if len(rows) > MOST_ROWS:
                rows.popitem(last=False)

    async def _accepted(self, place: Place, *, verified: bool) -> int:
        """Return how often an older state of the cell's tables was accepted; 0 if the sums are not valid and must be."""
        if isinstance(place, Database):
            async with place.connection(NO_NAMESPACE) as connection:
                row = await connection.fetchrow(_SQL["sums"], CELL)
        else:
            row = await place.fetchrow(_SQL["sums"], CELL)
        if row is None:
            return 0
        if verified:
            keys = await self._keyring.open(self._keyring.cell_id)
            found = await opened(self._keyring, keys, CELL, row)
            if found.problems or row["number"] < self._sums.get(CELL, 0):
                return 0
        return int(row["number"]) // ACCEPTANCE


def _older_row(table: str, found: tuple[int, ...], seen: tuple[int, ...]) -> DataLoss:
    one, other = ("/".join(map(str, versions)) for versions in (found, seen))
    return DataLoss(
        f"a row of {table} has version {one}, and this process has seen version {other}: an older row was put back; run "
        "'strongroom verify' to find what else was changed. After a failover to an older standby on purpose, restart this process"
    )
