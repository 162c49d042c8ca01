"""Notice that the database or the search index was restored from a backup (DESIGN.md, "Indexer")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.storage.visibility_rows.marks import IndexMarks


class MarkedIndex(Protocol):
    """A search index with marks."""

    async def marks(self) -> Mapping[UUID, int]:
        """Return the mark of each writer."""

    async def forget_marks(self, marks: Sequence[tuple[UUID, int]]) -> None:
        """Remove marks that have not changed."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The marks on which a database and its search index do not agree.

    Attributes:
        foreign: Number of marks in the index that the database does not know: it is older than the index, or another one.
        missing: Number of marks that the index confirmed and does not have: it is older than the database.
        seen: All marks, to forget them after a repair.
    """

    foreign: int
    missing: int
    seen: tuple[tuple[UUID, int], ...]

    def explanation(self) -> str | None:
        """Return what is wrong and what it means; None if both agree."""
        if self.foreign:
            return (
                "the database is older than the search index, or the index belongs to another database: "
                "searches can list runs that do not exist"
            )
        if self.missing:
            return "the search index is older than the database: searches can miss runs, and list deleted ones"
        return None


async def compare_marks(marks: IndexMarks, index: MarkedIndex) -> Restored:
    """Compare the marks in the database and in the index. Indexers may write meanwhile.

    Raises:
        StorageError, VisibilityError: The database or the index failed.
    """
    before = await marks.all()
    found = await index.marks()
    after = await marks.all()
    foreign = sum(writer not in after or number > after[writer].number for writer, number in found.items())
    missing = sum(mark.written > found.get(writer, 0) for writer, mark in before.items() if writer in after)
    seen = {writer: mark.number for writer, mark in before.items()}
    return Restored(foreign, missing, (*seen.items(), *((w, n) for w, n in found.items() if seen.get(w) != n)))


async def forget_seen(marks: IndexMarks, index: MarkedIndex, seen: Restored) -> None:
    """Forget marks after the index was compared with all records and repaired, or built from nothing.

    Raises:
        StorageError, VisibilityError: The database or the index failed.
    """
    await index.forget_marks(seen.seen)
    await marks.forget(seen.seen)
