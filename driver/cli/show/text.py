"""Untrusted text on a terminal. Everything that the command line prints passes through `escaped`.

Workflow ids, names, file names and messages of servers can hold control sequences that change a terminal's title, colours, keyboard
or clipboard, and characters that reverse or hide the text around them.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INVISIBLE = re.compile(
    # Characters without a glyph that Python counts as printable: Unicode's Default_Ignorable_Code_Point, and the Braille blank.
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str) -> str:
    r"""Return a text without characters that control a terminal or can't be seen, as one line.

    Control characters (C0, DEL, C1), line separators, bidirectional and zero-width characters, other invisible characters, spaces
    other than the ordinary one, and lone surrogates are written as in C: `\n`, `\x1b`, `\u202e`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if _is_visible(each) else _escape(each) for each in text)


def _is_visible(character: str) -> bool:
    return character.isprintable() and _INVISIBLE.match(character) is None


def _escape(character: str) -> str:
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - C's three forms


def as_json(value: object) -> str:
    """Return a value as JSON in ASCII, on one line. A parser returns the original characters."""
    return json.dumps(_plain(value), ensure_ascii=True, separators=(",", ":"), default=_default)


def _plain(value: Any) -> Any:
    """Return a value with dataclasses and mappings as dictionaries whose keys are texts."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if hasattr(value, "items"):
        return {str(name): _plain(each) for name, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value


def _default(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else str(value)


class Guarded:
    """A text stream that escapes what is written to it, except the ends of lines.

    It is in place of `sys.stdout` and `sys.stderr`, so that texts of other libraries, log lines and tracebacks are escaped too.

    Attributes:
        unguarded: The stream itself, for text that is escaped already.
    """

    def __init__(self, unguarded: TextIO) -> None:
        self.unguarded = unguarded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        self.unguarded.write("\n".join(map(escaped, text.split("\n"))))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write texts, escaped."""
        for each in lines:
            self.write(each)


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream itself, for text that is escaped already."""
    return cast("TextIO", getattr(stream, "unguarded", stream))


@contextmanager
def guarded(module: Any) -> Iterator[None]:
    """Guard `stdout` and `stderr` of the module `sys`. Characters that the terminal's encoding lacks are written as escapes."""
    before = module.stdout, module.stderr
    streams = [each if each is not None else Path(os.devnull).open("w", encoding="utf-8") for each in before]  # noqa: SIM115 - until the end
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    module.stdout, module.stderr = map(Guarded, streams)
    try:
        yield
    finally:
        module.stdout, module.stderr = before
