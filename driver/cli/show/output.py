"""The output of the command line: lines, tables, JSON, errors and progress. Nothing else in the command line prints."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import click

from strongroom.driver.cli.interrupts import INTERRUPTS

from .piped import piped_progress
from .text import as_json, escaped, unguarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import TextIO

Style = Literal["", "bold", "red", "green", "yellow", "dim"]
_SGR: Mapping[Style, str] = {"bold": "1", "red": "1;31", "green": "32", "yellow": "33", "dim": "2"}
_GAP = "  "
JSON = "strongroom.json"
"""The key of click's `Context.meta` that is set by `--json`."""
_live: list[Live] = []


def json_wanted() -> bool:
    """Return whether the running command was given `--json`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(JSON))


def line(text: str = "", *, style: Style = "", label: str = "") -> None:
    """Print one line to standard output. The text is escaped, so a line break in it is visible and makes no second line.

    Args:
        text: The line.
        style: The style of the label, or of the line if there is no label.
        label: The beginning of the line.
    """
    _print(sys.stdout, text, style, label)
    sys.stdout.flush()  # a supervisor reads the lines of a command that runs for days


def fault(text: str, *, style: Style = "", label: str = "") -> None:
    """Print one line to standard error; see `line`."""
    _print(sys.stderr, text, style, label)


def _print(stream: TextIO, text: str, style: Style, label: str) -> None:
    _write(stream, _styled(stream, label, style) + (escaped(text) if label else _styled(stream, text, style)))


def result(document: Mapping[str, object], *lines: str) -> None:
    """Print what a command did: a JSON object with `--json`, else lines.

    Args:
        document: The object. Its keys are the same in each run of a command, and docs/reference/json.md lists them.
        lines: The lines for people.
    """
    if json_wanted():
        json_line(document)
        return
    for each in lines:
        line(each)


def json_line(document: object) -> None:
    """Print a JSON document on one line."""
    _write(sys.stdout, as_json(document))


def ask(question: str, *, hidden: bool = False) -> str:
    """Ask a person, and return the answer.

    Args:
        question: The question.
        hidden: Whether the answer is not shown.

    Raises:
        Abort: Standard input ended.
    """
    with INTERRUPTS.asking():
        answer: str = click.prompt(escaped(question), hide_input=hidden, err=True)
    return answer


def json_fault(kind: str, message: str, code: int, details: Sequence[str]) -> None:
    """Print an error as a JSON object to standard error."""
    error = {"type": kind, "message": message, "details": list(details), "exit_code": code}
    _write(sys.stderr, as_json({"error": error}))


def table(*columns: str, rows: Iterable[Iterable[object]], title: str | None = None) -> None:
    """Print a table in aligned columns. Nothing is cut off.

    A table that is wider than the terminal is printed in a compact form: the first cell of a row on a line, and the others with their
    column's name on the lines below it.
    """
    texts = [[escaped("" if cell is None else str(cell)) for cell in row] for row in rows]
    if title:
        line(title, style="bold")
    widths = [max(map(_width, column)) for column in zip(columns, *texts, strict=True)]
    width = _terminal_width()
    if width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        _compact(columns, texts, width)
        return
    if any(columns):
        _write(sys.stdout, _styled(sys.stdout, _aligned(columns, widths), "bold"))
    for row in texts:
        _write(sys.stdout, _aligned(row, widths))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _compact(columns: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> None:
    for first, *others in rows:
        _write(sys.stdout, _styled(sys.stdout, first, "bold"))
        current = ""
        for column, cell in zip(columns[1:], others, strict=True):
            if not cell:
                continue
            part = f"{column}: {cell}" if column else cell
            if current and _width(current) + _width(part) + 2 * len(_GAP) > width:
                _write(sys.stdout, _GAP + current)
                current = ""
            current += (_GAP if current else "") + part
        if current:
            _write(sys.stdout, _GAP + current)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - takes a while to import

    return cell_len(text)


def _terminal_width() -> int | None:
    """Return the width of the terminal; None if the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _styled(stream: TextIO, text: str, style: Style) -> str:
    shown = escaped(text)
    return f"\x1b[{_SGR[style]}m{shown}\x1b[0m" if style and shown and _has_styles(stream) else shown


def _has_styles(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in {"dumb", ""}


def _write(stream: TextIO, text: str) -> None:
    for live in _live:
        live.pause()
    unguarded(stream).write(text + "\n")
    if stream.isatty():
        stream.flush()
    for live in _live:
        live.resume()


class Live:
    """A progress bar or a spinner on standard error. It pauses while a line is printed, and is removed at its end."""

    def __init__(self, start: Callable[[], None], stop: Callable[[], None]) -> None:
        self.resume, self.pause = start, stop


def _without_display(text: str) -> AbstractContextManager[Callable[[str], None]] | None:
    """Return a context with a function that shows progress without a terminal; None if a bar or a spinner can be shown.

    With `--json` the function shows nothing, because an error is then an object.

    Args:
        text: The state at the beginning; "" for none.
    """
    if json_wanted():
        return nullcontext(lambda _text: None)
    return None if _has_terminal(sys.stderr) else piped_progress(fault, text)


def _has_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", ""}


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, or lines in a pipe, and yield a function that takes the number done so far."""
    if (lines := _without_display(f"{description}: 0 of {total}")) is not None:
        with lines as show:
            yield lambda done: show(f"{description}: {done} of {total}")
        return
    from rich.console import Console  # noqa: PLC0415 - takes a while to import
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(file=unguarded(sys.stderr))
    progress = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    task = progress.add_task(escaped(description), total=total)
    with _shown(progress.start, progress.stop):
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def busy(text: str = "") -> Iterator[Callable[[str], None]]:
    """Show a spinner on a terminal, or lines in a pipe, and yield a function that changes its text."""
    if (lines := _without_display(text)) is not None:
        with lines as show:
            yield show
        return
    from rich.console import Console  # noqa: PLC0415 - takes a while to import
    from rich.status import Status  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    status = Status(Text(escaped(text)), console=Console(file=unguarded(sys.stderr)))
    with _shown(status.start, status.stop):
        yield lambda other: status.update(Text(escaped(other)))


@contextmanager
def _shown(start: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    live = Live(start, stop)
    start()
    _live.append(live)
    try:
        yield
    finally:
        _live.remove(live)
        stop()


def moment(nanoseconds: int | None) -> str:
    """Return a time in UTC, to the millisecond; "" for None.

    Args:
        nanoseconds: The time since the epoch.
    """
    if nanoseconds is None:
        return ""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 10**6:03d}"
