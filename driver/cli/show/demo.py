"""Print the demonstration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.markup import escape

from . import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

_STYLES = {"held": "green", "failed": "bold red", "": "none"}


class RichTerminal:
    """Prints the demonstration to the terminal; see `strongroom.driver.demo.Terminal`."""

    def line(self, text: str = "", *, outcome: Literal["held", "failed", ""] = "") -> None:
        """Print a line."""
        output.console.print(text, style=_STYLES[outcome], markup=False, highlight=not outcome)

    def title(self, text: str) -> None:
        """Print a title with a rule."""
        output.console.rule(f"[bold]{escape(text)}", align="left")

    def table(self, *columns: str, rows: Iterable[Iterable[object]]) -> None:
        """Print a table."""
        output.table(*columns, rows=rows)

    def progress(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Print a progress bar."""
        return output.progress_bar(description, total)

    def busy(self, text: str) -> AbstractContextManager[object]:
        """Print a spinner."""
        return output.console.status(text)
