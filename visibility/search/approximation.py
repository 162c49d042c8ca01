"""The two token queries of a condition: sure ⊆ condition ⊆ possible (DESIGN.md, "Two sides")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.visibility.backends.token_query import difference

if TYPE_CHECKING:
    from strongroom.visibility.backends.token_query import TokenQuery


@dataclass(frozen=True, slots=True)
class Approximation:
    """Two token queries with sure ⊆ filter ⊆ possible.

    Attributes:
        sure: Documents that certainly satisfy the filter.
        possible: Documents that may satisfy it.
    """

    sure: TokenQuery
    possible: TokenQuery

    @property
    def exact(self) -> bool:
        """Whether both queries are the same, so that the index alone can count."""
        return self.sure == self.possible

    @property
    def between(self) -> TokenQuery:
        """Documents that are possible and not sure. Whether they match shows only when they are opened."""
        return difference(self.possible, self.sure)


def exact(query: TokenQuery) -> Approximation:
    """Return the approximation of a condition that the index decides alone."""
    return Approximation(query, query)
