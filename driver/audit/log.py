"""The audit log of a process: many callers share one write.

A caller that awaits `record` returns once its record is on disk, or gets `AuditUnavailable` within two seconds. An
operation that needs a record must not start before that.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from strongroom.kms import Background, StrongroomError

from .checkpoint import Checkpoint, as_event
from .errors import AuditUnavailable
from .events import CHECKPOINT, OPENED, of_key
from .pending import PendingRecords
from .settings import LogSettings
from .stream import Stream
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from strongroom.kms import KeyEvent, SigningKey

    from .events import Event, Fields

LAST_SIGNATURE_SECONDS = 0.4
"""Timeout for the last signature of a process, in case the database or the KMS does not answer."""


class AuditLog:
    """Appends records to one stream.

    Attributes:
        root: The folder of all streams.
        is_healthy: Whether the last write succeeded.
        signing_work: The state of the loop that signs, for monitoring.

    Args:
        root: The folder of all streams; it is created if it does not exist.
        sign: Returns the cell's audit key; None for a log without signatures.
        witness: Stores a checkpoint and its signature in a second place.
        settings: Deadlines and limits.
    """

    def __init__(
        self,
        root: Path,
        *,
        sign: Callable[[], Awaitable[SigningKey]] | None = None,
        witness: Callable[[Checkpoint, bytes], Awaitable[None]] | None = None,
        settings: LogSettings | None = None,
    ) -> None:
        self.root = root
        self.is_healthy = True
        self._sign, self._witness, self._settings = sign, witness, settings or LogSettings()
        self._stream: Stream | None = None
        self._writer = Writer(self._turn)
        self._pending, self._lock = PendingRecords(), threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._signed = 0
        self.signing_work = Background("audit signatures")
        self._due = asyncio.Event()
        self._signing = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """The number of records in memory that are not known to be on disk."""
        return len(self._pending.events) + (self._stream.waiting if self._stream is not None else 0)

    @property
    def unsigned(self) -> int:
        """The number of records written since the last signature."""
        return self._stream.written[0] - self._signed if self._stream is not None else 0

    async def record(self, event: Event) -> None:
        """Append a record, and return once it is on disk.

        Raises:
            AuditUnavailable: The record was not on disk in time.
        """
        await self.begin(event).wait()

    def begin(self, event: Event) -> PendingRecords:
        """Append a record and request its write. The record is on disk once the result's `wait` returns.

        Raises:
            AuditUnavailable: Too many records are waiting.
        """
        pending = self._add(event)
        if not pending.requested:
            pending.requested = True
            loop = self._loop = asyncio.get_running_loop()
            loop.call_later(self._settings.write_timeout, self._expire, pending)
            loop.call_soon(self._writer.request_turn)  # All records of this turn of the event loop go into one write.
        return pending

    def note(self, event: Event) -> None:
        """Append a record without waiting. It is written with the next awaited record, or after 50 ms.

        Raises:
            AuditUnavailable: Too many records are waiting.
        """
        self._add(event)
        if self._flush_timer is None:
            self._loop = asyncio.get_running_loop()
            self._flush_timer = self._loop.call_later(self._settings.flush_delay, self._flush)

    def _add(self, event: Event) -> PendingRecords:
        with self._lock:  # The writing thread must not take the records between these lines.
            pending = self._pending
            if len(pending.events) >= self._settings.max_waiting:
                raise AuditUnavailable
            pending.events.append(event)
        return pending

    def _flush(self) -> None:
        self._flush_timer = None
        self._writer.request_turn()

    async def checkpoint(self) -> None:
        """Sign the records on disk, if there are any since the last signature. Unavailable keys are not an error."""
        async with self._signing:
            stream = self._stream
            if self._sign is None or stream is None or not self.unsigned:
                return
            with suppress(StrongroomError):
                key = await self._sign()  # This may append records itself.
                covered = Checkpoint(stream.stream_id, *stream.written)
                signature = key.sign(covered.message())
                at = self._settings.now()
                await self.record(
                    as_event(covered, kind=CHECKPOINT, at=at, public_key=key.public_key, signature=signature)
                )
                self._signed = covered.sequence + 1  # The checkpoint's own record needs no signature.
                if self._witness is not None:
                    await self._witness(covered, signature)

    async def keep_signing(self) -> None:
        """Sign every 30 seconds, or after 1,000 records, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.checkpoint_seconds):  # wait_for can swallow a cancellation.
                    await self._due.wait()
            self._due.clear()
            await self.signing_work.once(self.checkpoint)

    async def aclose(self) -> None:
        """Write the records in memory, and release the stream for another process."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        # Records that can't be written by then are outcomes, or belong to namespaces that put availability first.
        if await asyncio.to_thread(self._writer.end, self._settings.write_timeout) and self._stream is not None:
            self._stream.close()

    def _turn(self) -> bool:
        """Write all records in memory, in the writer's thread; return whether that succeeded."""
        with self._lock:
            pending, self._pending = self._pending, PendingRecords()
        if not pending.events and (self._stream is None or not self._stream.waiting):
            return True
        try:
            self._append(pending.events)
        except Exception as error:  # noqa: BLE001 - the thread must live on, and the callers must get an error
            self.is_healthy = False
            if self._stream is None:
                with self._lock:
                    self._pending.events[:0] = pending.events  # They have no number yet.
            self._in_loop(pending.settle, AuditUnavailable(_unwritable(self.root, error)))
            return False
        self.is_healthy = True
        if pending.written():
            self._in_loop(pending.settle)
        if self.unsigned >= self._settings.checkpoint_records and not self._due.is_set():
            self._in_loop(self._due.set)
        return True

    def _in_loop(self, callback: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # The loop is closed.
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback, *args)

    def _append(self, events: list[Event]) -> None:
        if self._stream is None:
            stream = Stream.take(self.root, self._settings)
            self._signed = stream.written[0]
            self._stream = stream
            process = {"host": socket.gethostname(), "process": os.getpid(), "version": version("strongroom")}
            events = [{"event": OPENED, "at": self._settings.now(), **process}, *events]
        self._stream.write(events)

    def _expire(self, pending: PendingRecords) -> None:
        if pending.passed:
            return
        self.is_healthy = False
        pending.settle(AuditUnavailable())


def _unwritable(folder: Path, error: Exception) -> str:
    """Return a message that names the folder, the reason and what to do."""
    cause = error.strerror if isinstance(error, OSError) else type(error).__name__
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        advice = "make room on its disk"
    else:
        advice = (
            "set audit.folder in the configuration to a folder that this user can write, for example a mounted volume"
        )
    return f"the audit log can't be written, so nothing was done: {folder}: {cause}; {advice}"


class KeyRecords:
    """Records key events in an audit log; see `strongroom.kms.KeyEventSink`.

    Args:
        log: The audit log.
        caller: Returns the fields of the caller whose operation caused the event.
    """

    def __init__(self, log: AuditLog, caller: Callable[[], Fields]) -> None:
        self._log, self._caller = log, caller

    async def record(self, event: KeyEvent) -> None:
        """Record an event.

        Raises:
            AuditUnavailable: The record was not on disk in time. The operation on the key must then not run.
        """
        await self._log.record(of_key(event, self._caller()))


@asynccontextmanager
async def opened(log: AuditLog) -> AsyncIterator[AuditLog]:
    """Sign a log regularly while the block runs, sign it once more at the end, and close it."""
    signing = asyncio.create_task(log.keep_signing())
    try:
        yield log
    finally:
        signing.cancel()
        with suppress(asyncio.CancelledError):
            await signing
        with suppress(TimeoutError):  # The keys are unavailable. The next process signs these records.
            async with asyncio.timeout(LAST_SIGNATURE_SECONDS):
                await log.checkpoint()
        await log.aclose()
