"""Open the sums and the entries of a shard, and the result of verifying it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError, UnsupportedFormat
from strongroom.kms.sealing.record_kinds import JOURNAL_ENTRY, JOURNAL_SUMS

from .entry import Entry, split_images
from .folding import StoredEntry
from .sums import ShardSums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.engine.connection import Row


@dataclass(frozen=True, slots=True)
class ShardVerification:
    """The result of verifying a shard.

    Attributes:
        shard_id: The shard in the journal; see `images.journal_shards`.
        rows: The number of rows that were compared.
        number: The number of its sums.
        pending: Entries that wait for one that may be in flight.
        tables: The tables whose rows are not those that the entries added.
        problems: What else was changed, in sentences without a tenant's value.
    """

    shard_id: int
    rows: int
    number: int
    pending: int
    tables: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was changed."""
        return not (self.tables or self.problems)

    @property
    def texts(self) -> list[str]:
        """What was changed, in sentences without a tenant's value."""
        rows = (f"rows of {table} were put back, deleted, altered or brought back" for table in self.tables)
        return [f"shard {self.shard_id}: {text}" for text in (*rows, *self.problems)]


def open_sums(keys: NamespaceKeys, shard_id: int, row: Row | None, problems: list[str]) -> ShardSums:
    """Open the sums of a shard. If they do not open, `problems` gets a sentence."""
    if row is None:
        return ShardSums()
    try:
        return ShardSums.unpack(row["number"], keys.open(JOURNAL_SUMS, (shard_id, row["number"]), row["data"]))
    except (IntegrityError, UnsupportedFormat):
        problems.append("the sums do not open")
        return ShardSums(row["number"])


def open_entries(keys: NamespaceKeys, shard_id: int, rows: Sequence[Row], problems: list[str]) -> list[StoredEntry]:
    """Open entries. For each that does not open, `problems` gets a sentence."""
    stored = []
    for row in rows:
        writer, number = row["writer"], row["number"]
        try:
            packed = keys.open(JOURNAL_ENTRY, (shard_id, writer.bytes, number), row["data"])
            stored.append(StoredEntry(writer, number, Entry.unpack(packed), split_images(row["replaced"])))
        except (IntegrityError, UnsupportedFormat):
            problems.append(f"entry {number} of writer {writer} does not open")
    return stored
