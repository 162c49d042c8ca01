"""Make the entries of a process.

Each process numbers its entries of a shard from 1 without a gap, and a later entry names the outcome of each. So an entry that
vanished from the table is a gap that nothing explains. A statement returns a digest of the rows that it replaced, and a later entry
has that digest. So a later edit of what an entry replaced is found.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING
from uuid import uuid4

from strongroom.kms.sealing.record_kinds import JOURNAL_ENTRY
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import StorageError

from .blocks import EntriesBlock, OneEntryBlock, TransactionBlock
from .elements import ElementHash
from .entry import DIGEST_BYTES, NOTHING_REPLACED, Changes, Entry, packed_entry
from .newest_rows import NewestRows
from .outcomes import Outcomes, Settled
from .tickets import Ticket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Connection

_SQL = load_queries("journal/journal")
_MOST_REFUSED = 64
"""Refused entries of a shard, after which it is folded even if nothing was committed, so that the process forgets them."""


class Journal:
    """Makes the entries of this process.

    Attributes:
        writer: The id of this process in the journal.
        newest: The highest number of each shard's sums that this process or an anchor has seen.
        rows: The newest rows of small tables that this process has seen.
        dirty: The shards with entries since the last folding. Folding removes them.

    Args:
        keyring: The unwrapped keys.
    """

    def __init__(self, keyring: Keyring) -> None:
        self.writer = uuid4()
        self.dirty: set[int] = set()
        self.newest: dict[int, int] = {}
        self.rows = NewestRows(keyring, self.newest)
        self._keyring = keyring
        self._elements: dict[int, ElementHash] = {}
        self._streams: defaultdict[int, Outcomes] = defaultdict(Outcomes)

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
                shard_id = each.shard_id
                number, settled, refused, unknown, digests = self._streams[shard_id].begin()
                given.append((shard_id, number))
                sums = self._elements_of(keys, shard_id).packed_sums(each.replaced, each.images)
                packed = packed_entry(settled, refused, unknown, sums, each.rows, each.ranges, each.older, digests)
                rows.append(((shard_id, writer, number), packed))
            sealed = keys.seal_many(JOURNAL_ENTRY, rows)
        except BaseException:
            for shard_id, number in given:
                self._settle(shard_id, number, Settled.REFUSED)
            raise
        return [Ticket(*place, entry) for place, entry in zip(given, sealed, strict=True)]

    def entry(self, changes: Changes) -> OneEntryBlock:
        """Return a block that writes an entry, and settles it by its end.

        Entering it raises `KmsError` if the cell's keys are not available.
        """
        return OneEntryBlock(self, [changes])

    def entries(self, changes: Sequence[Changes], *, transaction: Connection | None = None) -> EntriesBlock:
        """Return a block that writes all entries or none, and settles them by its end.

        Entering it raises `KmsError` if the cell's keys are not available.

        Args:
            changes: The changes, each of one shard.
            transaction: The connection of a transaction whose end settles them instead; None for none. See `TransactionBlock`.
        """
        return EntriesBlock(self, changes) if transaction is None else TransactionBlock(self, changes, transaction)

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

    def settle(self, tickets: Sequence[Ticket], settled: Settled, digests: Sequence[bytes | None] = ()) -> None:
        """Note the outcome of entries.

        Args:
            tickets: The entries.
            settled: Their outcome.
            digests: The digest of what each committed entry replaced, as its statement returned it; None for nothing.
        """
        for (shard_id, number, _), digest in zip_longest(tickets, digests):
            self._settle(shard_id, number, settled, digest)

    def failed(self, tickets: Sequence[Ticket], error: BaseException) -> None:
        """Note that the statement of entries failed."""
        certain = isinstance(error, StorageError) and not error.may_have_been_committed
        self.settle(tickets, Settled.REFUSED if certain else Settled.UNKNOWN)

    def has_seen(self, shard_id: int, number: int) -> None:
        """Refuse sums of a shard below a number from now on."""
        self.newest[shard_id] = max(number, self.newest.get(shard_id, 0))

    def folded(self, shard_id: int, number: int) -> None:
        """Forget the outcomes of the entries up to a number, which were folded."""
        self._streams[shard_id].folded(number)

    def outcomes(self, shard_id: int) -> Entry:
        """Return an entry that names the outcomes of all entries of a shard that were not folded."""
        settled, refused, unknown, digests = self._streams[shard_id].known()
        return Entry(settled, refused, unknown, b"", digests=digests)

    async def state_outcomes(self, connection: Connection, shard_id: int) -> None:
        """Insert an entry that only names the outcomes that no other entry names.

        Other processes then find what was changed in the entries of this process, also after it has ended. Nothing is inserted if
        this method made the last entry, and the table still has it.

        Raises:
            KmsError: The cell's keys are not available.
            StorageError: The database does not answer.
        """
        stream = self._streams[shard_id]
        if stream.last == 0:
            return
        if stream.stated == stream.last and await connection.fetchrow(
            _SQL["entry"], shard_id, self.writer, stream.last
        ):
            return
        async with self.entries([Changes(shard_id)]) as made:
            await connection.execute(_SQL["write"], *made.arguments)
        stream.stated = made.arguments[2][0]

    def _elements_of(self, keys: NamespaceKeys, shard_id: int) -> ElementHash:
        elements = self._elements.get(shard_id)
        if elements is None or elements.keys is not keys:
            elements = self._elements[shard_id] = ElementHash(keys, shard_id)
        return elements

    def _settle(self, shard_id: int, number: int, settled: Settled, digest: bytes | None = None) -> None:
        stream = self._streams[shard_id]
        stream.settle(number, settled, NOTHING_REPLACED if digest is None else digest[:DIGEST_BYTES])
        if settled is not Settled.REFUSED or len(stream.refused) >= _MOST_REFUSED:
            self.dirty.add(shard_id)
