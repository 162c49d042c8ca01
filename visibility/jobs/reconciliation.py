"""The result of comparing a search index with the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from strongroom.visibility.backends.drift import Drift


@dataclass(frozen=True, slots=True)
class NamespaceTally:
    """The result for one namespace.

    Attributes:
        namespace_id: The namespace.
        records: The number of its records.
        equal: The number of records whose document is correct in the end.
    """

    namespace_id: UUID
    records: int
    equal: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result of a comparison and repair.

    Attributes:
        records: The number of records that were compared.
        equal: The number of records whose document is correct, before or after a repair.
        changing: The number of records that wait for an indexer or changed during the comparison. They are not drift.
        refused: The number of records whose document the index refuses, so that it lacks them or has an older version.
        found: The number of wrong documents, by kind of drift.
        repaired: The number of them that are correct now, or that another writer replaced.
        rewritten: The number of documents that were rewritten without a comparison of their tokens.
        orphans: The number of documents without a record.
        removed: The number of orphans that were deleted.
        namespaces: The results of the namespaces that have records, in the order of their ids.
    """

    records: int
    equal: int
    changing: int
    refused: int
    found: Mapping[Drift, int]
    repaired: Mapping[Drift, int]
    rewritten: int
    orphans: int
    removed: int
    namespaces: tuple[NamespaceTally, ...]

    @property
    def drift(self) -> int:
        """The number of documents that were wrong or had no record."""
        return sum(self.found.values()) + self.orphans

    @property
    def left(self) -> int:
        """The number of documents that still are wrong or have no record."""
        return self.drift - sum(self.repaired.values()) - self.removed

    def __str__(self) -> str:
        settled = self.records - self.changing
        still = f"; {self.changing} more are being written" if self.changing else ""
        refused = f", of which the index refuses {self.refused} documents" if self.refused else ""
        return f"{self.equal} of {settled} documents match their records{still}{refused}"
