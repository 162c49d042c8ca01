"""The audit log of a process: many callers, one write and one fsync for all that wait.

A caller that awaits `record` is answered once its record is on disk, or is refused within two seconds. Nothing that needs a record
may happen before.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from strongroom.kms import StrongroomError

from .batch import Batch
from .checkpoint import Checkpoint, as_event
from .errors import AuditUnavailable
from .events import CHECKPOINT, OPENED, now, of_codec, of_key
from .stream import Stream
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from strongroom.driver.codec.audit import CodecEvent
    from strongroom.kms import KeyEvent, SigningKey

    from .events import Event, Fields

PATIENCE = 2.0
"""Seconds until a caller is refused whose record is not on disk."""
LAST_SECONDS = 0.4
"""That the last signature of a process may take, when database and KMS are silent."""
SOON = 0.05
"""Seconds that a record which nobody waits for may stay in memory."""
MOST_WAITING = 65_536
"""Records in memory that are not on disk, beyond which callers are refused at once."""
CHECKPOINT_SECONDS = 30.0
CHECKPOINT_RECORDS = 1000


class AuditLog:
    """Appends records to one stream.

    Attributes:
        root: folder of all streams.
        is_healthy: whether the last write went well.

    Args:
        root: folder of all streams; made where it is missing.
        sign: returns the cell's audit key; None for a log without signatures.
        witness: keeps each checkpoint somewhere else, with its signature.
    """

    def __init__(
        self,
        root: Path,
        *,
        sign: Callable[[], Awaitable[SigningKey]] | None = None,
        witness: Callable[[Checkpoint, bytes], Awaitable[None]] | None = None,
    ) -> None:
        self.root = root
        self._sign, self._witness = sign, witness
        self._stream: Stream | None = None
        self._writer = Writer(self._turn)
        self._batch, self._lock = Batch(), threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._signed = 0
        self._due = asyncio.Event()
        self._signing = asyncio.Lock()
        self.is_healthy = True

    @property
    def waiting(self) -> int:
        """How many records are in memory and not known to be on disk."""
        return len(self._batch.events) + (self._stream.waiting if self._stream is not None else 0)

    @property
    def unsigned(self) -> int:
        """How many records were written since the last signature."""
        return self._stream.written[0] - self._signed if self._stream is not None else 0

    async def record(self, event: Event) -> None:
        """Append a record; when this returns it is on disk.

        Raises:
            AuditUnavailable: it is not, after two seconds at most.
        """
        await self.begin(event).wait()

    def begin(self, event: Event) -> Batch:
        """Append a record and have it written; what is returned tells when it is on disk.

        Raises:
            AuditUnavailable: too much waits already.
        """
        batch = self._added(event)
        if not batch.asked:
            batch.asked = True
            loop = self._loop = asyncio.get_running_loop()
            loop.call_later(PATIENCE, self._expire, batch)
            loop.call_soon(self._writer.ring)  # once all that come in this turn of the loop are in it
        return batch

    def note(self, event: Event) -> None:
        """Append a record that nobody waits for: it goes with the next that somebody does, or soon.

        Raises:
            AuditUnavailable: too much waits already.
        """
        self._added(event)
        if self._soon is None:
            self._loop = asyncio.get_running_loop()
            self._soon = self._loop.call_later(SOON, self._write_soon)

    def _added(self, event: Event) -> Batch:
        with self._lock:  # or the thread takes the batch between the two
            batch = self._batch
            if len(batch.events) >= MOST_WAITING:
                raise AuditUnavailable
            batch.events.append(event)
        return batch

    def _write_soon(self) -> None:
        self._soon = None
        self._writer.ring()

    async def checkpoint(self) -> None:
        """Sign what is on disk, if anything is there since the last signature; keys that can't be had are no error."""
        async with self._signing:
            stream = self._stream
            if self._sign is None or stream is None or not self.unsigned:
                return
            with suppress(StrongroomError):
                key = await self._sign()  # may itself be told to the log
                covered = Checkpoint(stream.stream_id, *stream.written)
                signature = key.sign(covered.message())
                said = as_event(covered, kind=CHECKPOINT, at=now(), public_key=key.public_key, signature=signature)
                await self.record(said)
                self._signed = covered.sequence + 1  # its own record needs none, where no other came between
                if self._witness is not None:
                    await self._witness(covered, signature)

    async def keep_signing(self) -> None:
        """Sign every 30 seconds, or after 1,000 records; ends by being cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECKPOINT_SECONDS):  # not wait_for, which can swallow being cancelled
                    await self._due.wait()
            self._due.clear()
            await self.checkpoint()

    async def aclose(self) -> None:
        """Write what waits, and let another process go on with the stream."""
        if self._soon is not None:
            self._soon.cancel()
        # What can't be written until then are outcomes: nothing was done without its intent.
        if await asyncio.to_thread(self._writer.end, PATIENCE) and self._stream is not None:
            self._stream.close()

    def _turn(self) -> bool:
        """Write all that waits, in the writer's thread; return whether that went well."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
        if not batch.events and (self._stream is None or not self._stream.waiting):
            return True
        try:
            self._append(batch.events)
        except Exception as error:  # noqa: BLE001 - the thread must live on, and whoever waits hear of it
            self.is_healthy = False
            if self._stream is None:
                with self._lock:
                    self._batch.events[:0] = batch.events  # not numbered yet
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            self._tell(batch.settle, AuditUnavailable(f"the audit log can't be written: {why}"))
            return False
        self.is_healthy = True
        if batch.written():
            self._tell(batch.settle)
        if self.unsigned >= CHECKPOINT_RECORDS and not self._due.is_set():
            self._tell(self._due.set)
        return True

    def _tell(self, heard: Callable[..., object], *about: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            if self._loop is not None:
                self._loop.call_soon_threadsafe(heard, *about)

    def _append(self, events: list[Event]) -> None:
        if self._stream is None:
            stream = Stream.take(self.root)
            self._signed = stream.written[0]
            self._stream = stream
            here = {"host": socket.gethostname(), "process": os.getpid(), "version": version("strongroom")}
            events = [{"event": OPENED, "at": now(), **here}, *events]
        self._stream.write(events)

    def _expire(self, batch: Batch) -> None:
        if batch.passed:
            return
        self.is_healthy = False
        batch.settle(AuditUnavailable())


class KeyRecords:
    """Write key events to an audit log; see `strongroom.kms.KeyEventSink`.

    Args:
        log: where to.
        caller: returns whose call is being done: fields for the record.
    """

    def __init__(self, log: AuditLog, caller: Callable[[], Fields]) -> None:
        self._log, self._caller = log, caller

    async def record(self, event: KeyEvent) -> None:
        """Write an event; what was about to be done is not, where that fails."""
        await self._log.record(of_key(event, self._caller()))


class CodecRecords:
    """Writes what is told of the codec server to an audit log; see `CodecAudit`."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def record(self, event: CodecEvent) -> None:
        """Write an event; the caller is shown nothing where that fails."""
        await self._log.record(of_codec(event))


@asynccontextmanager
async def opened(log: AuditLog) -> AsyncIterator[AuditLog]:
    """Keep a log signed while the block runs, sign it once more at the end, and close it."""
    signing = asyncio.create_task(log.keep_signing())
    try:
        yield log
    finally:
        signing.cancel()
        with suppress(asyncio.CancelledError):
            await signing
        with suppress(TimeoutError):  # keys that are out of reach: the next process signs
            async with asyncio.timeout(LAST_SECONDS):
                await log.checkpoint()
        await log.aclose()
