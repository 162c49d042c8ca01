"""Write changed records from the outbox to the search index (DESIGN.md, "Indexer").

The indexer writes the present state of each record, so several changes of a run become one write. Writing a document twice or late is
harmless, because a document never takes a version older than its own. No key is needed: a row is copied sealed.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.kms import Background
from strongroom.visibility.errors import SearchIndexMismatch

from .sweep import Progress, Sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import StrongroomError
    from strongroom.storage import OutboxEntry, RunKey, VisibilityOutbox
    from strongroom.storage.engine.server_clock import SteadyClock
    from strongroom.storage.visibility_rows.marks import IndexMarks
    from strongroom.visibility.backends.search_index import Refusal, SearchIndex

_WORK = ("indexing", "indexer notifications", "forgetting deletions")
SENDERS = 2
"""Number of concurrent bulk writes. While the index executes one, the next one is read and encoded."""
_FORGET_INTERVAL = 60.0
"""Time between two searches for deletions that need not be remembered any more, in seconds."""
_STEADY = 600.0
"""Seconds for which the database server's clock must not have jumped before deletions are forgotten, which is longer than any late
write is under way. A clock that jumps by a day makes a deletion of this moment look old."""
_PIECE = 1000
"""Number of deletions that are forgotten at a time."""


@dataclass(slots=True)
class IndexerState:
    """The progress of an indexer, for monitoring.

    Attributes:
        written: Number of documents that the index accepted.
        refused: Number of times that the index refused a single document.
        failures: Number of consecutive failed attempts.
        last_error: The error of the last attempt; None if it succeeded.
        drained_at: Monotonic time, in seconds, at which the last sweep began that left nothing due in the outbox. All changes from
            before it are in the index, or are set aside. None before that.
    """

    written: int = 0
    refused: int = 0
    failures: int = 0
    last_error: StrongroomError | None = None
    drained_at: float | None = None


class Indexer:
    """Drains the outbox into a search index. Several indexers may run at the same time.

    Args:
        outbox: The outbox.
        index: The search index.
        batch: Maximum number of runs in one bulk write, and maximum size of their sealed records, in bytes.
        pause: Time for which `run` gathers changes after a notification, and time after which it reads the outbox without one, in
            seconds. A bulk of one document costs the index and the database nearly as much as one of many.
        reconnect_interval: Time after which `run` listens for notifications again when the connection was lost, in seconds.
        retry_wait: First and longest time to wait after a failure, in seconds. The time doubles with each failure.
        deletes_kept: Time for which deletions are remembered, so that late writes do not bring deleted runs back.
        clock: Notices a jump of the database server's clock, after which no deletion is forgotten for ten minutes; None for a new one.
        marks: Marks that show whether the database or the index was restored; None for none.
    """

    def __init__(
        self,
        outbox: VisibilityOutbox,
        index: SearchIndex,
        *,
        batch: tuple[int, int] = (500, 4 * 2**20),
        pause: tuple[float, float] = (0.5, 1.0),
        reconnect_interval: float = 5.0,
        retry_wait: tuple[float, float] = (0.1, 30.0),
        deletes_kept: timedelta = timedelta(days=1),
        clock: SteadyClock | None = None,
        marks: IndexMarks | None = None,
    ) -> None:
        self._outbox = outbox
        self._index = index
        self._batch = batch
        self._gather, self._poll_interval = pause
        self._reconnect_interval = reconnect_interval
        self._retry_wait = retry_wait
        self._deletes_kept = deletes_kept
        self._clock = clock or outbox.steady_clock(_STEADY)
        self._marks = marks
        self._woken = asyncio.Event()
        self.state = IndexerState()
        self.draining, self.listening, self.forgetting = map(Background, _WORK)

    def wake(self) -> None:
        """Make `run` read the outbox now."""
        self._woken.set()

    async def drain(self, progress: Progress | None = None) -> int:
        """Sweep the outbox until it is empty.

        Args:
            progress: Called after each bulk write.

        Returns:
            The number of documents that were written.

        Raises:
            StorageError, VisibilityError: The database or the index failed. Unwritten runs stay in the outbox.
        """
        total = 0
        while written := await self.sweep(progress, before=total):
            total += written
        return total

    async def sweep(self, progress: Progress | None = None, *, before: int = 0) -> int:
        """Write all runs that are in the outbox now. Runs that are added meanwhile do not prolong the sweep.

        Args:
            progress: Called after each bulk write.
            before: Number of documents of earlier sweeps, which is added to what `progress` is called with.

        Returns:
            The number of documents that were written.

        Raises:
            ResourceExhausted: The index accepted no document.
            StorageError, VisibilityError: The database or the index failed. Unwritten runs stay in the outbox.
        """
        began, refused = time.monotonic(), self.state.refused
        sweep = Sweep(self.take, self.send, progress, before)
        senders = [asyncio.create_task(sweep.send()) for _ in range(SENDERS)]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.wait(senders)
        refused = self.state.refused - refused
        written = sweep.result(some_refused=refused > 0)
        if written + refused == sweep.tried:
            self.state.drained_at = began
        return written

    async def run(self) -> None:
        """Sweep the outbox soon after each notification, and at the poll interval, until the task is cancelled.

        An exception of any kind is counted in `state`, and the work is tried again with increasing waits.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.listening.run(self._listen, pause=self._reconnect_interval))
            group.create_task(self.forgetting.run(self.forget_deletes, pause=_FORGET_INTERVAL))
            while True:
                if await self.draining.once(self._sweep_all):
                    self.state.failures, self.state.last_error = 0, None
                    await self._wait_for_work(self._poll_interval)
                else:
                    await self._wait_after_failure()

    async def forget_deletes(self) -> None:
        """Remove the marks of old deletions from the index, and then from the database, unless the server's clock has jumped.

        Raises:
            StorageError, VisibilityError: The database or the index failed.
        """
        if not await self._clock.is_steady():
            return
        while old := await self._outbox.old_deletes(older_than=self._deletes_kept, runs=_PIECE):
            await self._index.forget([(each.key, each.version) for each in old if not each.exists_again])
            await self._outbox.forget_deletes(old)
            if len(old) < _PIECE:
                return

    async def take(self, after: RunKey) -> list[OutboxEntry]:
        """Return the next entries of the outbox that are due."""
        runs, size = self._batch
        return await self._outbox.take(after, runs=runs, size=size)

    async def send(self, entries: Sequence[OutboxEntry]) -> int:
        """Write entries to the index, and remove those that it takes from the outbox; return how many it took.

        Entries that the index refused before are sent alone, so that they can't keep others out.
        """
        accepted = await self._send_together([entry for entry in entries if not entry.refusals])
        for entry in entries:
            if entry.refusals:
                accepted += await self._send_together([entry])
        return accepted

    async def _send_together(self, entries: Sequence[OutboxEntry]) -> int:
        if not entries:
            return 0
        rows = [(entry.key[1], entry.record) for entry in entries if entry.record is not None]
        deleted = [(entry.key, entry.deleted_version) for entry in entries if entry.record is None]
        if self._marks is None:
            refusals = await self._index.write(rows, deleted)
        else:
            advance = await self._marks.advance()  # after the entries were read
            try:
                refusals = await self._index.write(rows, deleted, mark=advance.mark, also=advance.target)
            except SearchIndexMismatch:
                if advance.target is None or advance.build is None or not await self._index.lacks(advance.target):
                    raise
                await self._marks.end_build(advance.build)  # otherwise no indexer would write anything
                refusals = await self._index.write(rows, deleted, mark=advance.mark)
            await self._marks.confirm(advance.mark)
        accepted = [entry for entry in entries if entry.key[2] not in refusals]
        if accepted:
            await self._outbox.done(accepted)
        self.state.written += len(accepted)
        await self._set_aside([(entry, refusals[entry.key[2]]) for entry in entries if entry.key[2] in refusals])
        return len(accepted)

    async def _set_aside(self, refused: Sequence[tuple[OutboxEntry, Refusal]]) -> None:
        """Set documents aside that the index refuses by themselves. Those that an overloaded index rejected stay in the outbox."""
        if at_fault := [(entry, refusal.reason) for entry, refusal in refused if not refusal.passing]:
            await self._outbox.set_aside(at_fault)
            self.state.refused += len(at_fault)

    async def _listen(self) -> None:
        await self._outbox.listen(self.wake)

    async def _sweep_all(self) -> None:
        """Sweep the outbox, and again while a sweep finds a full batch: then others write faster than the changes are gathered."""
        most, _ = self._batch
        while await self.sweep() >= most:
            pass

    async def _wait_for_work(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
            await asyncio.sleep(self._gather)
        self._woken.clear()

    async def _wait_after_failure(self) -> None:
        """Wait, longer after each failure. A notification ends the wait after the poll interval."""
        self.state.failures, self.state.last_error = self.draining.consecutive, self.draining.last_error
        first, longest = self._retry_wait
        wait = min(first * 2 ** min(self.state.failures, 10), longest) * (0.5 + random.random() / 2)  # noqa: S311 - not a secret
        shortest = min(wait, self._poll_interval)
        await asyncio.sleep(shortest)
        await self._wait_for_work(wait - shortest)
