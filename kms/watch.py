"""The protocol of a receiver of reports on sealing and on the key cache, for example for metrics.

A report is about a batch, never about a single row or its contents. A receiver must not raise or block. Any thread may call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from .errors import StrongroomError
    from .sealing.record_kind import RecordKind


class KeyWatch(Protocol):
    """A receiver of reports."""

    def sealed(self, kind: RecordKind, rows: int) -> None:
        """Report that a batch of rows of a kind was sealed."""

    def opened(self, kind: RecordKind, rows: int) -> None:
        """Report that a batch of rows of a kind was opened."""

    def not_opened(self, kind: RecordKind, error: StrongroomError) -> None:
        """Report that a batch of a kind did not open."""

    def looked_up(self, result: Literal["hit", "aged", "miss"]) -> None:
        """Report a look-up in the key cache: the keys were fresh (hit), due to be unwrapped again (aged), or missing (miss)."""
