"""Who watches connections and batches: told when one is over. What watches must neither raise nor wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Batch:
    """A statement that several calls went in.

    Attributes:
        operation: name of the database's function that it calls, without digest.
        waits: seconds that each call waited to be sent.
        origins: for each call what `DatabaseWatch.origin` returned when it was made.
        seconds: from having it to send until it was committed or failed.
        error: why it failed as a whole; None where each call has an answer.
    """

    operation: str
    waits: Sequence[float]
    origins: Sequence[object]
    seconds: float
    error: Exception | None


class DatabaseWatch(Protocol):
    """Counts what is done with the connections of one `Database`."""

    def origin(self) -> object:
        """Return what a batch is traced back to: whatever the caller does just now."""

    def batch(self, batch: Batch) -> None:
        """A statement of several calls is over."""

    def used(self, seconds: float) -> None:
        """A connection was lent for so long, outside batches."""
