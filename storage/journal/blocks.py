"""Blocks that write entries of the journal. The end of a block settles them.

They are classes, because a generator as a context manager costs each write 4 µs more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from strongroom.storage.engine.transaction_ends import Outcome, at_end

from .outcomes import Settled
from .tickets import Entries, OneEntry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection

    from .entry import Changes
    from .tickets import Ticket

_SETTLED = {
    Outcome.COMMITTED: Settled.COMMITTED,
    Outcome.ROLLED_BACK: Settled.REFUSED,
    Outcome.UNKNOWN: Settled.UNKNOWN,
}


class EntryMaker(Protocol):
    """Makes and settles entries. `writer.Journal` implements it."""

    writer: UUID

    async def record(self, changes: Sequence[Changes]) -> list[Ticket]:
        """Seal an entry for each of the changes."""

    def settle(self, tickets: Sequence[Ticket], settled: Settled, digests: Sequence[bytes | None] = ()) -> None:
        """Note the outcome of entries."""

    def failed(self, tickets: Sequence[Ticket], error: BaseException) -> None:
        """Note that the statement of entries failed."""


class _Block:
    """Settles entries by its end.

    Args:
        journal: The journal of this process.
        changes: The changes, each of one shard.
    """

    __slots__ = ("_changes", "_journal", "_made", "_tickets")
    _made: OneEntry | Entries

    def __init__(self, journal: EntryMaker, changes: Sequence[Changes]) -> None:
        self._journal = journal
        self._changes = changes
        self._tickets: Sequence[Ticket] = ()

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is None:
            self._end(Settled.COMMITTED)
        else:
            self._journal.failed(self._tickets, error)

    def _end(self, settled: Settled) -> None:
        """Note the outcome of the entries after their block or their transaction."""
        made = self._made
        digests = [made.digests.get(each.shard_id) for each in self._tickets] if made.digests else ()
        self._journal.settle(self._tickets, Settled.REFUSED if made.refused else settled, digests)


class OneEntryBlock(_Block):
    """A block that writes one entry."""

    __slots__ = ()

    async def __aenter__(self) -> OneEntry:
        self._tickets = await self._journal.record(self._changes)
        [(shard_id, number, sealed)] = self._tickets
        made = self._made = OneEntry(shard_id, (self._journal.writer, number, sealed))
        return made


class EntriesBlock(_Block):
    """A block that writes all of its entries or none."""

    __slots__ = ()
    _made: Entries

    async def __aenter__(self) -> Entries:
        tickets = self._tickets = await self._journal.record(self._changes)
        shards, numbers, sealed = (list(column) for column in zip(*tickets, strict=True)) if tickets else ([], [], [])
        made = self._made = Entries((self._journal.writer, shards, numbers, sealed))
        return made


class TransactionBlock(EntriesBlock):
    """A block in a transaction, whose end settles the entries.

    In a transaction that `Database` did not begin, their outcome counts as unknown.

    Args:
        journal: The journal of this process.
        changes: The changes, each of one shard.
        transaction: The connection of the transaction.
    """

    __slots__ = ("_failed", "_transaction")

    def __init__(self, journal: EntryMaker, changes: Sequence[Changes], transaction: Connection) -> None:
        super().__init__(journal, changes)
        self._transaction = transaction
        self._failed = False

    async def __aenter__(self) -> Entries:
        made = await super().__aenter__()
        if not at_end(self._transaction, self._transaction_ended):
            self._journal.settle(self._tickets, Settled.UNKNOWN)
        return made

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is not None:
            self._failed = True

    def _transaction_ended(self, outcome: Outcome) -> None:
        # A caller can handle the error and commit. The statement may have been executed, or never sent.
        is_unknown = self._failed and outcome is Outcome.COMMITTED
        self._end(Settled.UNKNOWN if is_unknown else _SETTLED[outcome])
