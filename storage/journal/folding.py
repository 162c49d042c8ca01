"""Fold entries into the sums of a shard: the rule, without the database.

The rule for the entries of one writer, in the order of their numbers: each entry is there, or a later one names it as refused or as
unknown. The database was changed if an entry is missing and no later one names it, if an entry is there that was refused, or if it
came back after it was folded. An entry is pending while an entry before it is missing and may still be in flight.

The list of replaced rows is not sealed, so a later entry of the same writer contains a digest of it. If the digests differ, the
database was changed. An entry is also pending until a later entry confirms it, or its process seems to have ended.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.storage.multiset import EMPTY, add

from .entry import NOTHING_REPLACED, Permissions
from .images import NAMES, tags_of
from .sums import ShardSums, unpack_sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

    from .elements import ElementHash
    from .entry import Entry


UNKNOWN_AFTER = 90.0
"""Seconds after which a missing entry with an unknown outcome counts as refused. The server stops a statement after 30 s."""
UNCONFIRMED_AFTER = 30.0
"""Seconds after which an entry of another process is folded though nothing confirms what it replaced. Its own process folds it within
ten seconds, if it has not ended."""
ABANDONED_AFTER = 3600.0
"""Seconds after which a missing entry that no later one names counts as refused, because its process must have ended."""
Awaited: TypeAlias = "tuple[UUID, int, bool]"
"""An entry that folding waits for: its writer, its number, and whether it is missing. If not, nothing confirms what it replaced."""
NOTHING_WAITED: Mapping[Awaited, float] = MappingProxyType({})
NO_LIMIT: Mapping[UUID, int] = MappingProxyType({})


class StoredEntry(NamedTuple):
    """An entry of the table.

    Attributes:
        writer: The process that made it.
        number: Its number among the writer's entries of the shard.
        entry: The opened entry.
        replaced: The images of the rows that it replaced or deleted, as the database reports them.
        digest: The digest of `replaced`, as its column has it.
    """

    writer: UUID
    number: int
    entry: Entry
    replaced: list[bytes]
    digest: bytes = NOTHING_REPLACED


@dataclass(slots=True)
class Folded:
    """The result of folding.

    Attributes:
        sums: The new sums, with the next number.
        is_advanced: Whether the sums have more entries than before, or pass over missing ones.
        has_more: Whether there may be entries that `fold` did not get.
        entries: Writer and number of the entries that are in them now.
        pending: The entries that are not, because one of the gaps precedes them or is one of them.
        gaps: The entries that these wait for: missing ones that may still be committed, and those of which nothing confirms what
            they replaced.
        problems: What was changed in the database, in sentences without a tenant's value.
    """

    sums: ShardSums
    is_advanced: bool = False
    has_more: bool = False
    entries: list[tuple[UUID, int]] = field(default_factory=list)
    pending: list[StoredEntry] = field(default_factory=list)
    gaps: list[Awaited] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def has_progress(self) -> bool:
        """Whether the sums are to be replaced. If the database was changed they are not, so every verification finds the change."""
        return self.is_advanced and not self.problems

    def total(self, elements: ElementHash) -> dict[int, int]:
        """Return the sums including the pending entries: those of the rows that are live now."""
        sums = dict(self.sums.sums)
        for each in self.pending:
            _apply(sums, each, elements, self.problems)
        return sums


def fold(
    sums: ShardSums,
    stored: Iterable[StoredEntry],
    elements: ElementHash,
    *,
    outcomes: Mapping[UUID, Entry],
    waited: Mapping[Awaited, float] = NOTHING_WAITED,
    below: Mapping[UUID, int] = NO_LIMIT,
) -> Folded:
    """Fold entries into sums.

    Args:
        sums: The sums. They are not changed.
        stored: All entries of the shard that the database has.
        elements: Hashes the images of the shard.
        outcomes: The outcomes of the entries of writers in this process.
        waited: Seconds for which this process has waited for entries.
        below: For some writers a number: `stored` has all of their entries below it, and no others.
    """
    result = Folded(ShardSums(sums.number + 1, dict(sums.sums), dict(sums.writers)))
    by_writer: defaultdict[UUID, dict[int, StoredEntry]] = defaultdict(dict)
    for each in stored:
        by_writer[each.writer][each.number] = each
    for writer in by_writer.keys() | outcomes.keys():
        entries = by_writer[writer]
        notes = [each.entry for each in entries.values()]
        patience = waited
        if writer in outcomes:
            notes.append(outcomes[writer])
            # The outcome of every other entry of a writer in this process is known.
            patience = {gap: seconds for gap, seconds in waited.items() if gap[1] in outcomes[writer].unknown}
        last = _fold_writer(result, writer, entries, notes, elements, patience, below.get(writer))
        if last:
            result.sums.writers[writer] = last
    result.is_advanced, result.has_more = result.sums.writers != sums.writers, bool(below)
    return result


def _fold_writer(
    result: Folded,
    writer: UUID,
    entries: dict[int, StoredEntry],
    notes: list[Entry],
    elements: ElementHash,
    waited: Mapping[Awaited, float],
    below: int | None,
) -> int:
    """Fold the entries of one writer; return the number of the last one that is in the sums."""
    last = result.sums.writers.get(writer, 0)
    known = _merged(notes, below)
    end = max(max(entries, default=0), known.settled - 1) + 1
    missing = [number for number in range(last + 1, end) if number not in entries and number not in known.refused]
    unconfirmed = {number for number in entries if number > last and not known.confirms(number)}
    result.problems += _changed(writer, last, entries, missing, known)
    for number in range(last + 1, end):
        if number in entries:
            # The entry that confirms it may be one that was not read.
            patience = UNCONFIRMED_AFTER if below is None else ABANDONED_AFTER
            if number in unconfirmed and waited.get((writer, number, False), 0.0) < patience:
                break  # a later entry will confirm it soon
            _apply(result.sums.sums, entries[number], elements, result.problems)
            result.entries.append((writer, number))
        elif number not in known.refused:
            patience = UNKNOWN_AFTER if number in known.unknown else ABANDONED_AFTER
            if waited.get((writer, number, True), 0.0) < patience:
                break  # its statement may still be running
        last = number
    result.pending.extend(each for number, each in sorted(entries.items()) if number > last)
    result.gaps.extend((writer, number, number not in entries) for number in (*missing, *unconfirmed) if number > last)
    # Entries that were not read yet: the wait for all of them begins now, and not for one page after the other.
    result.gaps.extend((writer, number, True) for number in known.unknown if number >= end)
    return last


class _Known(NamedTuple):
    """The outcomes that all notes of a writer together name; see `Entry`."""

    settled: int
    refused: set[int]
    unknown: set[int]
    digests: dict[int, bytes]

    def confirms(self, number: int) -> bool:
        """Return whether it is known what an entry replaced, or known that its writer does not know it."""
        return number < self.settled or number in self.digests or number in self.unknown

    def digest(self, number: int) -> bytes:
        """Return the digest of what a confirmed entry replaced."""
        return self.digests.get(number, NOTHING_REPLACED)


def _merged(notes: list[Entry], below: int | None) -> _Known:
    settled = max(note.settled for note in notes)
    return _Known(
        settled if below is None else min(settled, below),
        {number for note in notes for number in note.refused},
        {number for note in notes for number in note.unknown},
        {number: digest for note in notes for number, digest in note.digests.items()},
    )


def _changed(
    writer: UUID, last: int, entries: Mapping[int, StoredEntry], missing: list[int], known: _Known
) -> Iterator[str]:
    """Yield a sentence for each entry of a writer that was changed, as its notes show."""
    for number, stored in entries.items():
        if number <= last:
            problem = "came back after it was folded"
        elif number in known.refused:
            problem = "was refused, and is there"
        elif number not in known.unknown and known.confirms(number) and stored.digest != known.digest(number):
            problem = "lists other replaced rows than its statement returned"
        else:
            continue
        yield f"entry {number} of writer {writer} {problem}"
    for number in missing:
        if number < known.settled and number not in known.unknown:
            yield f"entry {number} of writer {writer} is missing"


def _apply(sums: dict[int, int], stored: StoredEntry, elements: ElementHash, problems: list[str]) -> None:
    permissions = Permissions(stored.entry)
    replaced: list[bytes] = []
    for image in stored.replaced:
        if image[0] in NAMES and permissions.use(image, tags_of(image[0])):
            replaced.append(image)
        else:
            problems.append(f"entry {stored.number} of writer {stored.writer} replaced a row that it may not replace")
    removed = elements.packed_sums(replaced, []) if replaced else b""
    for table, total in unpack_sums(stored.entry.sums + removed):
        sums[table] = add(sums.get(table, EMPTY), [total])
