"""Send audit records to a collector, starting at a cursor. Each is sent at least once and in order, even after interruptions."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from strongroom.driver.config import ConfigError
from strongroom.kms import replace_file
from strongroom.kms.private_files import read_small

from .events import OPENED
from .reader import read_records
from .sinks import SinkUnavailable
from .stream import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .formats import Format
    from .sinks import Sink

BATCH = 1000
"""Maximum number of records that are sent at a time."""
LONGEST_WAIT = 30.0
"""Maximum time between two attempts, in seconds."""
POLL = 1.0
"""Seconds between two searches for new records, with `follow`."""


@dataclass(slots=True)
class Cursor:
    """The position of an export.

    Attributes:
        sent: The number of the last record that was sent, by stream.
        hosts: The host that wrote the stream last, by stream.
    """

    sent: dict[UUID, int] = field(default_factory=dict)
    hosts: dict[UUID, str] = field(default_factory=dict)


@contextmanager
def cursor_file(path: Path | None) -> Iterator[tuple[Cursor, Callable[[], None]]]:
    """Read a cursor, and yield it with a function that saves it.

    Args:
        path: The cursor's file; None for a cursor that is not saved.

    Raises:
        ConfigError: The cursor can't be read or written, or another export uses it.
    """
    if path is None:
        yield Cursor(), lambda: None
        return
    if not path.name:
        msg = f"the cursor {path} is a folder; name a file"
        raise ConfigError(msg)
    try:
        lock = os.open(
            path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        msg = f"the cursor {path} can't be used: {error.strerror}"
        raise ConfigError(msg) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        cursor = _read(path)
        yield cursor, lambda: _write(path, cursor)
    except BlockingIOError:
        msg = f"another export uses the cursor {path}; stop it first, or use another cursor"
        raise ConfigError(msg) from None
    finally:
        os.close(lock)


async def export(
    root: Path,
    *,
    cursor: Cursor,
    save: Callable[[], None],
    write: Format,
    sink: Sink,
    follow: bool = False,
    progress: Callable[[int], None] = lambda _count: None,
    trouble: Callable[[SinkUnavailable, float], None] = lambda _error, _wait: None,
) -> int:
    """Send the records that were not sent yet.

    Args:
        root: The folder of all streams.
        cursor: The position. It advances as records are sent.
        save: Saves the cursor.
        write: The form of the records.
        sink: The collector.
        follow: Whether to wait for new records, and for a collector that can't be reached, until cancelled.
        progress: Is called with the number of records sent so far.
        trouble: Is called with the error of a failed attempt, and the seconds until the next one.

    Returns:
        The number of records sent.

    Raises:
        SinkUnavailable: The collector did not take the records; not with `follow`.
    """
    sent, wait = 0, 0.5
    while True:
        records = read_records(root, after=cursor.sent)
        while batch := await asyncio.to_thread(_next, records):
            lines = [_written(cursor, write, stream_id, line) for stream_id, _, line in batch]
            try:
                await sink.send(lines)
            except SinkUnavailable as error:
                if not follow:
                    raise
                trouble(error, wait)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                break
            wait = 0.5
            for stream_id, sequence, _ in batch:
                cursor.sent[stream_id] = max(sequence, cursor.sent.get(stream_id, 0))
            await asyncio.to_thread(save)
            sent += len(batch)
            progress(sent)
        else:
            if not follow:
                return sent
            await asyncio.sleep(POLL)


def _next(records: Iterator[tuple[UUID, int, bytes]]) -> list[tuple[UUID, int, bytes]]:
    return list(islice(records, BATCH))


def _written(cursor: Cursor, write: Format, stream_id: UUID, line: bytes) -> bytes:
    parsed = parse(line)
    if parsed is None:  # A line that is not a record is sent unchanged, so that verification finds it.
        return line.rstrip(b"\n")
    fields = parsed[0]
    if fields.get("event") == OPENED:
        cursor.hosts[stream_id] = str(fields.get("host", ""))
    return write(fields, line, cursor.hosts.get(stream_id, "unknown"))


def _read(path: Path) -> Cursor:
    try:
        document = orjson.loads(read_small(path))
        sent = {UUID(stream): int(sequence) for stream, sequence in document["sent"].items()}
        hosts = {UUID(stream): str(host) for stream, host in document["hosts"].items()}
    except FileNotFoundError:
        return Cursor()
    except OSError as error:
        msg = f"the cursor {path} can't be read: {error.strerror}"
        raise ConfigError(msg) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = f"{path} is not a cursor of an export; move the file to another place to send everything again"
        raise ConfigError(msg) from None
    return Cursor(sent, hosts)


def _write(path: Path, cursor: Cursor) -> None:
    document: dict[str, Any] = {"sent": cursor.sent, "hosts": cursor.hosts}
    try:
        replace_file(path, orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))
    except OSError as error:
        msg = f"the cursor {path} can't be written, so the last records will be sent again: {error.strerror}"
        raise ConfigError(msg) from None
