"""Who watches a process: told of batches and calls, never of a row, and never what is in one.

What watches must neither raise nor wait. It may be called from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from .errors import StrongroomError
    from .sealing.record_kind import RecordKind


class KeyWatch(Protocol):
    """Counts what is sealed and opened, and how often keys are at hand."""

    def sealed(self, kind: RecordKind, rows: int) -> None:
        """So many rows of a kind were sealed in a batch."""

    def opened(self, kind: RecordKind, rows: int) -> None:
        """So many rows of a kind were opened in a batch."""

    def not_opened(self, kind: RecordKind, error: StrongroomError) -> None:
        """A batch of a kind was not opened."""

    def looked_up(self, result: Literal["hit", "aged", "miss"]) -> None:
        """A namespace's keys were asked for: they were kept, kept and due to be unwrapped anew, or not there."""
