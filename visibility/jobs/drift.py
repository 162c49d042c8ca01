"""How a search index can differ from the records, and what a comparison of the two found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID


class Drift(StrEnum):
    """What is wrong with a document, the first that applies."""

    MISSING = "missing"
    VERSION = "of another version"
    BUCKET = "with another epoch or bucket"
    RECORD = "with another sealed record"
    NAMESPACE = "in another namespace"
    TOKENS = "without some of its tokens"


@dataclass(frozen=True, slots=True)
class Difference:
    """What is wrong with the document of a record.

    Attributes:
        drift: see there.
        copies: of the document; none where it is missing.
    """

    drift: Drift
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A document by what tells it from all others, and what leads to its record.

    Attributes:
        name: its id in the index.
        id: the record's; None for a name that no record can have.
        version: of the document.
        routing: where somebody else sent it; None for documents of ours.
        b1: bucket of close; None where it has not just one.
        b2: bucket of start; likewise.
    """

    name: str
    id: bytes | None
    version: int
    routing: str | None
    b1: int | None
    b2: int | None


@dataclass(frozen=True, slots=True)
class NamespaceTally:
    """How many records of a namespace there are, and how many of their documents are right in the end."""

    namespace_id: UUID
    records: int
    equal: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a comparison of a search index with the records found, and what it did.

    Attributes:
        records: that were looked at.
        equal: of them those whose document is as the record says, found so or repaired.
        changing: of them those that the index is yet to hear of, or that changed meanwhile; they are no drift.
        found: documents that were wrong, by what was.
        repaired: of them those that are right now, or that somebody writes again.
        rewritten: documents that were sent anew without being asked for their tokens.
        orphans: documents without a record.
        removed: of them those that were deleted.
        namespaces: the same for each namespace that has records, in the order of their ids.
    """

    records: int
    equal: int
    changing: int
    found: Mapping[Drift, int]
    repaired: Mapping[Drift, int]
    rewritten: int
    orphans: int
    removed: int
    namespaces: tuple[NamespaceTally, ...]

    @property
    def drift(self) -> int:
        """How many documents were wrong, or had no record."""
        return sum(self.found.values()) + self.orphans

    @property
    def left(self) -> int:
        """How many of them still are, or have none."""
        return self.drift - sum(self.repaired.values()) - self.removed

    def __str__(self) -> str:
        settled = self.records - self.changing
        still = f"; {self.changing} more are being written" if self.changing else ""
        return f"{self.equal} of {settled} documents are as their records say{still}"
