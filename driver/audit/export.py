"""Send audit records to a collector, from a cursor on: each at least once, in order, over any number of interruptions."""

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
LONGEST_WAIT = 30.0
"""Seconds between two tries, at most."""
POLL = 1.0
"""Seconds after which an export that follows looks for more."""


@dataclass(slots=True)
class Cursor:
    """How far an export is.

    Attributes:
        sent: by stream the last record that was kept elsewhere.
        hosts: by stream the host that wrote it last.
    """

    sent: dict[UUID, int] = field(default_factory=dict)
    hosts: dict[UUID, str] = field(default_factory=dict)


@contextmanager
def cursor_file(path: Path | None) -> Iterator[tuple[Cursor, Callable[[], None]]]:
    """Read a cursor, and yield it with what saves it. None is a cursor for this once.

    Raises:
        ConfigError: it can't be read or written, or another export uses it.
    """
    if path is None:
        yield Cursor(), lambda: None
        return
    try:
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        msg = f"the cursor {path} can't be used: {error.strerror}"
        raise ConfigError(msg) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        cursor = _read(path)
        yield cursor, lambda: _write(path, cursor)
    except BlockingIOError:
        msg = f"another export goes on from the cursor {path}; stop it first, or use a cursor of its own"
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
    """Send what is not sent yet.

    Args:
        root: folder of all streams.
        cursor: how far it is; moves on.
        save: keeps the cursor.
        write: the form.
        sink: where to.
        follow: whether to wait for more, for ever, and for the collector while that can't be reached.
        progress: is told of how many were sent so far.
        trouble: is told why a batch was not taken, and after how many seconds it is sent again.

    Returns:
        How many were sent.

    Raises:
        SinkUnavailable: the collector did not take them; not with `follow`.
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
    if parsed is None:  # what is no record is handed on as it is: whoever verifies must see it
        return line.rstrip(b"\n")
    fields = parsed[0]
    if fields.get("event") == OPENED:
        cursor.hosts[stream_id] = str(fields.get("host", ""))
    return write(fields, line, cursor.hosts.get(stream_id, "unknown"))


def _read(path: Path) -> Cursor:
    try:
        document = orjson.loads(path.read_bytes())
        sent = {UUID(stream): int(sequence) for stream, sequence in document["sent"].items()}
        hosts = {UUID(stream): str(host) for stream, host in document["hosts"].items()}
    except FileNotFoundError:
        return Cursor()
    except OSError as error:
        msg = f"the cursor {path} can't be read: {error.strerror}"
        raise ConfigError(msg) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = f"{path} is no cursor of an export; move it away to send everything again"
        raise ConfigError(msg) from None
    return Cursor(sent, hosts)


def _write(path: Path, cursor: Cursor) -> None:
    document: dict[str, Any] = {"sent": cursor.sent, "hosts": cursor.hosts}
    try:
        replace_file(path, orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))
    except OSError as error:
        msg = f"the cursor {path} can't be written, so the last records will be sent again: {error.strerror}"
        raise ConfigError(msg) from None
