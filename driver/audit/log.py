"""The audit log of a process: many callers, one write and one fsync for all that wait.

A caller that awaits `record` is answered once its record is on disk, or is refused within two seconds. Nothing that needs a record
may happen before.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from strongroom.kms import StrongroomError

from .batch import Batch
from .checkpoint import Checkpoint, as_event
from .errors import AuditUnavailable
from .events import CHECKPOINT, OPENED, now, of_codec, of_key
from .stream import Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from strongroom.driver.codec_audit import CodecEvent
    from strongroom.kms import KeyEvent, SigningKey

    from .events import Event, Fields

PATIENCE = 2.0
"""Seconds until a caller is refused whose record is not on disk."""
LAST_SECONDS = 0.4
"""That the last signature of a process may take, when database and KMS are silent."""
SOON = 0.05
"""Seconds that a record which nobody waits for may stay in memory."""
RETRY = 0.5
"""Seconds until what could not be written is tried again, where no caller comes first."""
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
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="strongroom-audit")
        self._batch = Batch()
        self._writing: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._unsigned = 0
        self._due = asyncio.Event()
        self._signing = asyncio.Lock()
        self._stuck = False
        self.is_healthy = True

    @property
    def waiting(self) -> int:
        """How many records are in memory and not known to be on disk."""
        return len(self._batch.events) + (self._stream.waiting if self._stream is not None else 0)

    @property
    def unsigned(self) -> int:
        """How many records were written since the last signature."""
        return self._unsigned

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
        if batch.patience is None:
            batch.patience = asyncio.get_running_loop().call_later(PATIENCE, self._expire, batch)
            self._begin()
        return batch

    def note(self, event: Event) -> None:
        """Append a record that nobody waits for: it goes with the next that somebody does, or soon.

        Raises:
            AuditUnavailable: too much waits already.
        """
        self._added(event)
        if self._writing is None and self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(SOON, self._begin)

    def _added(self, event: Event) -> Batch:
        batch = self._batch
        if len(batch.events) >= MOST_WAITING:
            raise AuditUnavailable
        batch.events.append(event)
        return batch

    def _begin(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def checkpoint(self) -> None:
        """Sign what is on disk, if anything is there since the last signature; keys that can't be had are no error."""
        async with self._signing:
            stream = self._stream
            if self._sign is None or stream is None or not self._unsigned:
                return
            with suppress(StrongroomError):
                key = await self._sign()  # may itself be told to the log
                covered = Checkpoint(stream.stream_id, stream.sequence, stream.chain)
                self._unsigned = 0
                signature = key.sign(covered.message())
                said = as_event(covered, kind=CHECKPOINT, at=now(), public_key=key.public_key, signature=signature)
                await self.record(said)
                self._unsigned = 0  # but for what came between, its own record is all that is not signed
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
        if self._batch.events:
            self._begin()
        if self._writing is not None:
            # What can't be written until then are outcomes: nothing was done without its intent.
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._writing
        self._thread.shutdown(wait=not self._stuck, cancel_futures=True)
        if self._stream is not None and not self._stuck:
            self._stream.close()

    async def _write(self) -> None:
        """Write until nobody waits; what fails is tried again for as long as somebody comes, and then each half second."""
        loop = asyncio.get_running_loop()
        begun = False
        while not begun or self._batch.patience is not None or (self._stream is not None and self._stream.waiting):
            begun = True
            batch, self._batch = self._batch, Batch()
            self._stuck = True
            try:
                await loop.run_in_executor(self._thread, self._append, batch.events)
            except OSError as error:
                self._stuck = self.is_healthy = False
                if self._stream is None:
                    self._batch.events[:0] = batch.events  # not numbered yet
                batch.settle(AuditUnavailable(f"the audit log can't be written: {error.strerror}"))
                if self._batch.patience is None or self._stream is None:
                    await asyncio.sleep(RETRY)
            else:
                self._stuck, self.is_healthy = False, True
                batch.settle()
                self._unsigned += len(batch.events)
                if self._unsigned >= CHECKPOINT_RECORDS:
                    self._due.set()
            finally:
                if batch.patience is not None:
                    batch.patience.cancel()
        self._writing = None
        if self._batch.events:  # that nobody waits for
            self._soon = loop.call_later(SOON, self._begin)

    def _append(self, events: list[Event]) -> None:
        if self._stream is None:
            self._stream = Stream.take(self.root)
            here = {"host": socket.gethostname(), "process": os.getpid(), "version": version("strongroom")}
            events = [{"event": OPENED, "at": now(), **here}, *events]
        self._stream.write(events)

    def _expire(self, batch: Batch) -> None:
        self.is_healthy = False
        batch.settle(AuditUnavailable())


class KeyRecords:
    """Writes what is told of keys to an audit log; see `strongroom.kms.KeyAudit`.

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
