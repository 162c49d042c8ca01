"""What it costs to open documents. A search that can't end in time is refused before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.visibility.backends.search_index import CHUNK

MAX_BYTES = 2**30
"""Maximum size of the sealed records that one search opens, in bytes."""
DEADLINE = 20.0
"""Time that a search may take, in seconds. A statement or request of it that still runs is then cancelled on its server."""
SORTING = 3.0
"""Time after which a list that sorts opened runs stops, and continues in the next request, in seconds."""
_MARGIN = 3
"""A search is refused beforehand if its estimate is this many times too high, because an estimate depends on the load."""
_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """What one search may use. A namespace has these for each of its slots, see `fair_slots.py`.

    Attributes:
        seconds: Time that it may take once it has a slot.
        bytes: Maximum size of the sealed records that it opens.
        sorting: Time from the arrival of a request, in seconds, after which a list that sorts opened runs returns a page without runs,
            whose token continues. Temporal's Go SDK gives ListWorkflow 10 s, and a part of them is the wait for a slot.
    """

    seconds: float = DEADLINE
    bytes: int = MAX_BYTES
    sorting: float = SORTING


@dataclass(frozen=True, slots=True)
class Cost:
    """What it takes to open documents.

    Attributes:
        documents: Number of documents.
        seconds: Estimated time to fetch and open them.
        bytes: Estimated size of their sealed records.
    """

    documents: int
    seconds: float
    bytes: int

    def exceeds(self, limits: SearchLimits) -> bool:
        """Return whether a search with this cost can't end within its limits."""
        return self.seconds > _MARGIN * limits.seconds or self.bytes > _MARGIN * limits.bytes


class CostModel:
    """Learns from each scan of the process what a document costs.

    Args:
        seconds: Time for one document, in seconds, until a scan has shown it.
        size: Size of one sealed record, in bytes, until a scan has shown it.
    """

    def __init__(self, seconds: float = 3e-5, size: float = 700.0) -> None:
        self._seconds = seconds
        self._size = size

    def learn(self, documents: int, seconds: float, size: int) -> None:
        """Take the time and the size of documents that were fetched and opened into account.

        Fewer than `CHUNK` documents show the time of a request, not that of a document, so they are ignored.
        """
        if documents >= CHUNK:
            self._seconds += _WEIGHT * (seconds / documents - self._seconds)
            self._size += _WEIGHT * (size / documents - self._size)

    def estimate(self, documents: int) -> Cost:
        """Return the estimated cost of opening documents."""
        return Cost(documents, documents * self._seconds, int(documents * self._size))
