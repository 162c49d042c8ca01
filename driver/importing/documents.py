"""Read the JSON documents of a file: JSON Lines, or pretty-printed objects one after the other; plain or gzip."""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

from strongroom.driver.strict_json import NotJson, read_json

from .errors import Fault, ImportFileError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES = 256 * 2**20
_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]", b"},")


def documents(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each document with the number of its first line.

    Args:
        path: The file; `-` for standard input.

    Raises:
        ImportFileError: The file is missing or truncated, or a document is too long.
    """
    pretty: list[bytes] = []
    start = size = 0
    for number, line in _lines(path):
        stripped = line.strip()
        if not pretty and stripped not in _OPENING:
            if stripped:
                yield number, line
            continue
        if not pretty:
            start, size = number, 0
        pretty.append(line)
        size += len(line)
        if size > MAX_LINE_BYTES:
            raise ImportFileError(f"{path}: the document at line {start} is longer than {MAX_LINE_BYTES} bytes")
        if line.rstrip() in _CLOSING:  # the end of the outermost object is not indented
            yield start, b"".join(pretty)
            pretty = []
    if pretty:
        yield start, b"".join(pretty)


def parse(text: bytes) -> Any:
    """Return the value of a document.

    Raises:
        Fault: It is not JSON, or an object has a key twice.
    """
    try:
        return read_json(text)
    except NotJson as error:
        raise Fault(str(error)) from None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise ImportFileError(f"{path}: line {number} is longer than {MAX_LINE_BYTES} bytes")
                if number == 1 and line.startswith(_UTF_16):
                    raise ImportFileError(
                        f"{path}: the file is UTF-16, not UTF-8; save it as UTF-8 (in PowerShell: -Encoding utf8)"
                    )
                yield number, line.removeprefix(_BOM) if number == 1 else line
    except FileNotFoundError:
        raise ImportFileError(f"{path} does not exist; check the path") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ImportFileError(
            f"{path}: the gzip stream is truncated or damaged after line {number}; export it again"
        ) from None
    except OSError as error:
        raise ImportFileError(f"{path}: can't be read: {error.strerror}") from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file once, because a pipe can't be read twice. Gzip is recognised by its first two bytes."""
    if str(path) == "-":
        yield _plain(cast("io.BufferedReader", sys.stdin.buffer))
        return
    with path.open("rb") as file:
        yield _plain(file)


def _plain(file: io.BufferedReader) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == _GZIP else file
