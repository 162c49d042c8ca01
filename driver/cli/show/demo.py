"""Print the demonstration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from . import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

_STYLES: dict[str, output.Style] = {"held": "green", "failed": "red", "": ""}


class TextTerminal:
    """Prints the demonstration to the terminal; see `strongroom.driver.demo.Terminal`."""

    def line(self, text: str = "", *, outcome: Literal["held", "failed", ""] = "") -> None:
        """Print a line."""
        output.line(text, style=_STYLES[outcome])

    def title(self, text: str) -> None:
        """Print a title."""
        output.line(text, style="bold")

    def table(self, *columns: str, rows: Iterable[Iterable[object]]) -> None:
        """Print a table."""
        output.table(*columns, rows=rows)

    def progress(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Print a progress bar."""
        return output.progress_bar(description, total)

    def busy(self, text: str) -> AbstractContextManager[object]:
        """Print a spinner."""
        return output.busy(text)
