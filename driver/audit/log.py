"""The audit log of a process: many callers share one write.

A caller that awaits `record` returns once its record is on disk, or gets `AuditUnavailable` within two seconds. An
operation that needs a record must not start before that.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from strongroom.kms import Background, StrongroomError

from .chain import GENESIS
from .checkpoint import NOT_IN_DATABASE, as_event
from .errors import AuditUnavailable, unwritable
from .events import BREAK, CHECK
from .own_stream import OwnStream
from .pending import PendingRecords
from .settings import LogSettings
from .statement import StatedPositions
from .taking import DATABASE
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from strongroom.kms import SigningKey
    from strongroom.storage.cell.positions import Position

    from .checkpoint import Checkpoint, SignedCheckpoint
    from .events import Event
    from .witness import Known, Witness

LAST_ROW = 0.6
"""Part of `LogSettings.last_seconds` for the database. After that the last checkpoint is written to the file alone."""
COMPACT_EVERY = 100
"""Number of checkpoints of the cell after which the process that wrote the last one deletes old ones, if there are enough."""


class AuditLog:
    """Appends records to one stream.

    Attributes:
        root: The folder of all streams.
        is_healthy: Whether the last write succeeded.
        policy_version: The highest version of the access policy that this process knows, from signed records, or because it has
            read it.
        positions: Returns the present positions of the cell, which a record states before each checkpoint; None for no such records.
        stated: The positions that are known and stated.
        covered: The position of the last checkpoint of this process; None before it.
        signing_work: The state of the loop that signs, for monitoring.

    Args:
        root: The folder of all streams; it is created if it does not exist.
        sign: Returns the cell's audit key; None for a log without signatures.
        witness: The checkpoints in the database; None for none.
        settings: Deadlines and limits.
    """

    def __init__(
        self,
        root: Path,
        *,
        sign: Callable[[], Awaitable[SigningKey]] | None = None,
        witness: Witness | None = None,
        settings: LogSettings | None = None,
    ) -> None:
        self.root = root
        self.is_healthy = True
        self._sign, self._witness, self._settings = sign, witness, settings or LogSettings()
        self.policy_version = 0
        self.positions: Callable[[], Awaitable[Sequence[Position]]] | None = None
        self.stated = StatedPositions()
        self.covered: Checkpoint | None = None
        self._own = OwnStream(root, self._settings)
        self._writer = Writer(self._turn)
        self._pending, self._lock = PendingRecords(), threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self.signing_work = Background("audit signatures")
        self._due = asyncio.Event()
        self._signing = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """The number of records in memory that are not known to be on disk."""
        return len(self._pending.events) + self._own.waiting

    @property
    def unsigned(self) -> int:
        """The number of records written since the last signature."""
        return self._own.unsigned

    @property
    def breaks(self) -> int:
        """The number of breaks that this process recorded."""
        return self._own.breaks

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

    async def prepare(self) -> Known | None:
        """Read the checkpoints in the database, with which this process compares the stream that it continues.

        Returns:
            The content of the database; None for a log without checkpoints there.

        Raises:
            StorageError: The checkpoints can't be read. The stream is then compared before its first checkpoint.
        """
        if self._witness is None:
            return None
        known = await self._witness.known()
        self._own.knows(known)
        return known

    async def checkpoint(self, *, is_last: bool = False) -> None:
        """Sign the records on disk, if there are any since the last signature. Unavailable keys are not an error.

        Args:
            is_last: Whether the process ends, so that it does not wait for longer than `LogSettings.last_seconds`.

        Raises:
            IntegrityError: The rows in the database were changed, so old ones are not deleted. The signature is written.
            StorageError: Old rows could not be deleted. The signature is written.
            TimeoutError: The process ends, and could not sign in time.
        """
        seconds = self._settings.last_seconds * LAST_ROW if is_last else self._settings.row_seconds
        async with asyncio.timeout(self._settings.last_seconds if is_last else None), self._signing:
            if self._sign is None or not self.unsigned:
                return
            try:
                key = await self._sign()  # This may append records itself.
                await self._state_positions(key, seconds / 2)
                made = await self._in_database(key, seconds)
                await self.record(as_event(made, public_key=key.public_key))
            except StrongroomError:
                return
            self.covered = made.covered
            self._own.signed = made.covered.sequence + 1  # The checkpoint's own record needs no signature.
            if self._witness is not None and made.number and made.number % COMPACT_EVERY == 0:
                await self._witness.compact(key)

    async def _state_positions(self, key: SigningKey, seconds: float) -> None:
        """Append a signed record of the positions that changed, if any did."""
        positions: Sequence[Position] = []
        if self.positions is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    positions = await self.positions()
        statement = self.stated.next(positions, at=self._settings.now(), records=self.unsigned)
        if statement is not None:
            await self.record(statement.signed(key).fields())
            self.stated.written(statement)

    async def _in_database(self, key: SigningKey, seconds: float) -> SignedCheckpoint:
        """Add a checkpoint to the database before its record is written, so that each record of one has its row.

        Returns:
            The checkpoint. Its number is `NOT_IN_DATABASE` if it could not be added, or if it is not known whether it was.
        """
        if self._witness is not None:
            with suppress(StrongroomError, TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self._added(key, self._witness)
        if not self._own.is_taken:  # It was ended, and the disk does not take a new one.
            raise AuditUnavailable
        return self._own.made(NOT_IN_DATABASE, GENESIS, self.policy_version).signed(key)

    async def _added(self, key: SigningKey, witness: Witness) -> SignedCheckpoint:
        own = self._own
        while True:
            recent = await witness.recent(own.position().stream_id)
            if recent.lost is not None:
                own.breaks += 1
                lost = {"reason": DATABASE, "stated": recent.lost.number, "found": recent.number}
                await self.record({"event": BREAK, "at": self._settings.now(), **lost})
                witness.forget_lost()
            if not await asyncio.to_thread(own.fits, recent.of_stream, key.public_key):
                # The next write continues in a new stream, whose first record names the break.
                await self.record({"event": CHECK, "at": self._settings.now()})
                continue
            made = own.made(recent.number + 1, recent.hash, self.policy_version).signed(key)
            if await witness.add(made):
                own.compared = made.covered
                return made

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
        if await asyncio.to_thread(self._writer.end, self._settings.write_timeout):
            self._own.close()

    def _turn(self) -> bool:
        """Write all records in memory, in the writer's thread; return whether that succeeded."""
        with self._lock:
            pending, self._pending = self._pending, PendingRecords()
        if not pending.events and not self._own.waiting:
            return True
        try:
            self._own.append(pending.events)
        except Exception as error:  # noqa: BLE001 - the thread must live on, and the callers must get an error
            self.is_healthy = False
            if not self._own.is_taken:
                with self._lock:
                    self._pending.events[:0] = pending.events  # They have no number yet.
            self._in_loop(pending.settle, AuditUnavailable(unwritable(self.root, error)))
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

    def _expire(self, pending: PendingRecords) -> None:
        if pending.passed:
            return
        self.is_healthy = False
        pending.settle(AuditUnavailable())


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
        with suppress(TimeoutError, StrongroomError):  # The keys are unavailable. The next process signs these records.
            await log.checkpoint(is_last=True)
        await log.aclose()
