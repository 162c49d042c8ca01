"""Make the entries of a process.

Each process numbers its entries of a shard from 1 without a gap, and notes in each the outcomes of the earlier ones. So an entry that
vanished from the table is a gap that nothing explains.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid4

from strongroom.kms.sealing.record_kinds import JOURNAL_ENTRY
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.transaction_ends import Outcome, at_end
from strongroom.storage.errors import StorageError

from .elements import ElementHash
from .entry import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Connection

    from .entry import Changes

_SQL = load_queries("journal/journal")
_MOST_REFUSED = 64
"""Refused entries of a shard, after which it is folded even if nothing was committed. Each entry names all of them."""


class Ticket(NamedTuple):
    """An entry that a statement inserts.

    Attributes:
        shard_id: The shard.
        number: The number among the writer's entries of the shard.
        entry: The sealed entry.
    """

    shard_id: int
    number: int
    entry: bytes


@dataclass(slots=True)
class OneEntry:
    """The entry of a write that shares its statement with no other one.

    Attributes:
        shard_id: The shard.
        arguments: Writer, number and sealed entry: the columns of the row after the shard.
        refused: Whether the statement did not insert the entry. Its caller sets this.
    """

    shard_id: int
    arguments: tuple[UUID, int, bytes]
    refused: bool = False

    @property
    def row(self) -> tuple[int, UUID, int, bytes]:
        """Shard, writer, number and sealed entry: all columns but the last."""
        return self.shard_id, *self.arguments


@dataclass(slots=True)
class Entries:
    """The entries of a statement that inserts all of them or none.

    Attributes:
        arguments: The writer, and the columns of shards, numbers and sealed entries.
        refused: Whether the statement did not insert them. Its caller sets this.
    """

    arguments: tuple[UUID, list[int], list[int], list[bytes]]
    refused: bool = False


class Settled(Enum):
    """The outcome of an entry."""

    COMMITTED = auto()
    REFUSED = auto()
    """The statement was rolled back, or did not insert the entry."""
    UNKNOWN = auto()
    """The statement may have been committed."""


_SETTLED = {
    Outcome.COMMITTED: Settled.COMMITTED,
    Outcome.ROLLED_BACK: Settled.REFUSED,
    Outcome.UNKNOWN: Settled.UNKNOWN,
}


@dataclass(slots=True)
class _Stream:
    """The entries of one shard."""

    last: int = 0
    in_flight: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)

    def outcomes(self) -> tuple[int, list[int], list[int]]:
        """Return the first three fields of an `Entry`."""
        return min(self.in_flight, default=self.last + 1), sorted(self.refused), sorted(self.unknown)


class Journal:
    """Makes the entries of this process.

    Attributes:
        writer: The id of this process in the journal.
        newest: The highest number of each shard's sums that this process or an anchor has seen.
        dirty: The shards with entries since the last folding. Folding removes them.

    Args:
        keyring: The unwrapped keys.
    """

    def __init__(self, keyring: Keyring) -> None:
        self.writer: UUID = uuid4()
        self.dirty: set[int] = set()
        self.newest: dict[int, int] = {}
        self._keyring = keyring
        self._elements: dict[int, ElementHash] = {}
        self._streams: defaultdict[int, _Stream] = defaultdict(_Stream)

    async def record(self, changes: Sequence[Changes]) -> list[Ticket]:
        """Seal an entry for each of the changes. The caller must settle each entry, whatever happens.

        Args:
            changes: The changes, each of one shard.

        Raises:
            KmsError: The cell's keys are not available.
        """
        keys = await self._keyring.open(self._keyring.cell_id)
        writer = self.writer.bytes
        rows = []
        given: list[tuple[int, int]] = []
        try:
            for each in changes:
                stream = self._streams[each.shard_id]
                stream.last += 1
                stream.in_flight.add(stream.last)
                given.append((each.shard_id, stream.last))
                rows.append(((each.shard_id, writer, stream.last), self._entry(keys, stream, each).pack()))
            sealed = keys.seal_many(JOURNAL_ENTRY, rows)
        except BaseException:
            for shard_id, number in given:
                self._settle(shard_id, number, Settled.REFUSED)
            raise
        return [Ticket(shard_id, number, entry) for ((shard_id, _, number), _), entry in zip(rows, sealed, strict=True)]

    @asynccontextmanager
    async def entry(self, changes: Changes) -> AsyncIterator[OneEntry]:
        """Make an entry for a block that writes it, and settle it by the block's end.

        Raises:
            KmsError: The cell's keys are not available.
        """
        tickets = await self.record([changes])
        one = OneEntry(changes.shard_id, (self.writer, tickets[0].number, tickets[0].entry))
        with self._settling(tickets, one):
            yield one

    @asynccontextmanager
    async def entries(
        self, changes: Sequence[Changes], *, transaction: Connection | None = None
    ) -> AsyncIterator[Entries]:
        """Make entries for a block that writes all of them or none, and settle them by the block's end.

        Args:
            changes: The changes, each of one shard.
            transaction: The connection of a transaction whose end settles them instead; None for none. In a transaction that
                `Database` did not begin, their outcome counts as unknown.

        Raises:
            KmsError: The cell's keys are not available.
        """
        tickets = await self.record(changes)
        shards, numbers, sealed = (list(column) for column in zip(*tickets, strict=True)) if tickets else ([], [], [])
        made = Entries((self.writer, shards, numbers, sealed))
        if transaction is not None:

            def end(outcome: Outcome) -> None:
                self.settle(tickets, Settled.REFUSED if made.refused else _SETTLED[outcome])

            if not at_end(transaction, end):
                self.settle(tickets, Settled.UNKNOWN)
            yield made
        else:
            with self._settling(tickets, made):
                yield made

    @contextmanager
    def _settling(self, tickets: Sequence[Ticket], made: OneEntry | Entries) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._ended(tickets, made, error)
            raise
        self._ended(tickets, made, None)

    async def write(self, connection: Connection, *changes: Changes) -> None:
        """Insert the entries of the current transaction, as its last statement. The transaction's end settles them.

        Args:
            connection: The transaction's connection. See `entries` for a transaction that is not one of `Database`.
            changes: What the transaction changed, with the images of the rows that it replaced, by shard.

        Raises:
            KmsError: The cell's keys are not available.
            StorageError: The database does not answer.
        """
        changed = [each for each in changes if each.images or each.replaced]
        if changed:
            async with self.entries(changed, transaction=connection) as made:
                await connection.execute(_SQL["write"], *made.arguments)

    def _ended(self, tickets: Sequence[Ticket], made: OneEntry | Entries, error: BaseException | None) -> None:
        """Note the outcome of entries after their block or their transaction."""
        if error is not None:
            self.failed(tickets, error)
        else:
            self.settle(tickets, Settled.REFUSED if made.refused else Settled.COMMITTED)

    def settle(self, tickets: Sequence[Ticket], settled: Settled) -> None:
        """Note the outcome of entries."""
        for shard_id, number, _ in tickets:
            self._settle(shard_id, number, settled)

    def failed(self, tickets: Sequence[Ticket], error: BaseException) -> None:
        """Note that the statement of entries failed."""
        certain = isinstance(error, StorageError) and not error.may_have_been_committed
        self.settle(tickets, Settled.REFUSED if certain else Settled.UNKNOWN)

    def has_seen(self, shard_id: int, number: int) -> None:
        """Refuse sums of a shard below a number from now on."""
        self.newest[shard_id] = max(number, self.newest.get(shard_id, 0))

    def folded(self, shard_id: int, number: int) -> None:
        """Forget the outcomes of the entries up to a number, which were folded."""
        stream = self._streams[shard_id]
        stream.refused = {each for each in stream.refused if each > number}
        stream.unknown = {each for each in stream.unknown if each > number}

    def outcomes(self, shard_id: int) -> Entry:
        """Return the outcomes of the entries of a shard, as the next entry would have them."""
        return Entry(*self._streams[shard_id].outcomes(), sums=b"")

    def _entry(self, keys: NamespaceKeys, stream: _Stream, changes: Changes) -> Entry:
        return Entry(
            *stream.outcomes(),
            self._elements_of(keys, changes.shard_id).packed_sums(changes.replaced, changes.images),
            changes.rows,
            changes.ranges,
        )

    def _elements_of(self, keys: NamespaceKeys, shard_id: int) -> ElementHash:
        elements = self._elements.get(shard_id)
        if elements is None or elements.keys is not keys:
            elements = self._elements[shard_id] = ElementHash(keys, shard_id)
        return elements

    def _settle(self, shard_id: int, number: int, settled: Settled) -> None:
        stream = self._streams[shard_id]
        stream.in_flight.discard(number)
        if settled is Settled.REFUSED:
            stream.refused.add(number)
        elif settled is Settled.UNKNOWN:
            stream.unknown.add(number)
        if settled is not Settled.REFUSED or len(stream.refused) >= _MOST_REFUSED:
            self.dirty.add(shard_id)
