"""Open the sums and the entries of a shard, and the result of verifying it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms import IntegrityError, KeyDestroyed, KeyNotFound, UnsupportedFormat
from strongroom.kms.sealing.record_kinds import JOURNAL_ENTRY, JOURNAL_SUMS

from .entry import Entry, replaced_digest, split_images
from .folding import StoredEntry
from .sums import ShardSums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Row

_ALTERED = (IntegrityError, UnsupportedFormat, KeyDestroyed)


@dataclass(frozen=True, slots=True)
class ShardVerification:
    """The result of verifying a shard.

    Attributes:
        shard_id: The shard in the journal; see `images.journal_shards`.
        rows: The number of rows that were compared.
        number: The number of its sums.
        pending: Entries that wait for one that may be in flight, or for a later one that confirms what they replaced.
        tables: The tables whose rows are not those that the entries added.
        problems: What else was changed, in sentences without a tenant's value.
        digest: A digest of the shard's rows.
    """

    shard_id: int
    rows: int
    number: int
    pending: int
    tables: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    digest: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether nothing was changed."""
        return not (self.tables or self.problems)

    @property
    def texts(self) -> list[str]:
        """What was changed, in sentences without a tenant's value."""
        rows = (f"rows of {table} were put back, deleted, altered or brought back" for table in self.tables)
        return [f"shard {self.shard_id}: {text}" for text in (*rows, *self.problems)]


class OpenedShard(NamedTuple):
    """What a shard has of the journal.

    Attributes:
        sums: Its sums.
        entries: Its entries.
        problems: A sentence for the sums and for each entry that do not open.
    """

    sums: ShardSums
    entries: list[StoredEntry]
    problems: list[str]


async def opened(
    keyring: Keyring, keys: NamespaceKeys, shard_id: int, sums: Row | None, entries: Sequence[Row] = ()
) -> OpenedShard:
    """Open the sums and the entries of a shard.

    Args:
        keyring: The unwrapped keys. It loads a key version that another process has created since.
        keys: The cell's keys that this request has opened.
        shard_id: The shard in the journal.
        sums: The row of the sums; None for a shard that was never folded.
        entries: The rows of the entries.

    Raises:
        KmsError: The keys are not available.
    """

    def use(keys: NamespaceKeys, altered: tuple[type[Exception], ...] = _ALTERED) -> OpenedShard:
        found = OpenedShard(ShardSums() if sums is None else ShardSums(sums["number"]), [], [])
        if sums is not None:
            try:
                packed = keys.open(JOURNAL_SUMS, (shard_id, sums["number"]), sums["data"])
                found = found._replace(sums=ShardSums.unpack(sums["number"], packed))
            except altered:
                found.problems.append("the sums do not open")
        for row, one in zip(entries, _opened_entries(keys, shard_id, entries, altered), strict=True):
            writer, number, replaced = row["writer"], row["number"], row["replaced"]
            if one is None:
                found.problems.append(f"entry {number} of writer {writer} does not open")
                continue
            try:
                images, digest = split_images(replaced), replaced_digest(replaced)
                found.entries.append(StoredEntry(writer, number, Entry.unpack(one), images, digest))
            except altered:
                found.problems.append(f"what entry {number} of writer {writer} replaced was altered")
        return found

    try:
        return await keyring.with_keys(keyring.cell_id, use, keys=keys)
    except KeyNotFound:  # the registry has no such version: the value was made up
        return use(keys, (*_ALTERED, KeyNotFound))


def _opened_entries(
    keys: NamespaceKeys, shard_id: int, rows: Sequence[Row], altered: tuple[type[Exception], ...]
) -> Sequence[bytes | None]:
    """Open entries, all at once if possible. An altered one gives None."""
    sealed = [((row["writer"].bytes, row["number"]), row["data"]) for row in rows]
    try:
        return keys.open_many(JOURNAL_ENTRY, sealed, scope=(shard_id,))
    except altered:
        if len(rows) == 1:
            return [None]
    return [opened for row in rows for opened in _opened_entries(keys, shard_id, [row], altered)]
