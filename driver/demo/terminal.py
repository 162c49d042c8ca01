"""The output of the demonstration as a protocol, so that the demonstration does not depend on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager


class Terminal(Protocol):
    """Shows the progress of the demonstration."""

    def line(self, text: str = "", *, outcome: Literal["held", "failed", ""] = "") -> None:
        """Show a line.

        Args:
            text: The line.
            outcome: Whether the line is the outcome of a claim.
        """

    def title(self, text: str) -> None:
        """Begin a part."""

    def table(self, *columns: str, rows: Iterable[Iterable[object]]) -> None:
        """Show a table."""

    def progress(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar; the context yields a function that takes the number done so far."""

    def busy(self, text: str) -> AbstractContextManager[object]:
        """Show that work is in progress."""
