"""Write changed records from the outbox to the search index (DESIGN.md, "Indexer").

The indexer writes each record as it is now, so several changes of a run become one write. Writing a document twice or late is
harmless, because a document never takes a version older than its own. No key is needed: a row is copied sealed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import StrongroomError
from strongroom.storage import BEFORE_ALL, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage import OutboxEntry, RunKey, VisibilityOutbox
    from strongroom.visibility.backends.search_index import SearchIndex

SENDERS = 2
"""Number of concurrent bulk writes. While the index executes one, the next one is read and encoded."""

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of documents that were written so far."""


@dataclass(slots=True)
class IndexerState:
    """The progress of an indexer, for monitoring.

    Attributes:
        written: Number of documents that the index accepted.
        failures: Number of consecutive failed attempts.
        last_error: The error of the last attempt; None if it succeeded.
        drained_at: Monotonic time, in seconds, at which `run` last found the outbox empty; None before that.
    """

    written: int = 0
    failures: int = 0
    last_error: StrongroomError | None = None
    drained_at: float | None = None


class Indexer:
    """Drains the outbox into a search index. Several indexers may run at the same time.

    Args:
        outbox: The outbox.
        index: The search index.
        batch_runs: Maximum number of runs in one bulk write.
        batch_bytes: Maximum size of the sealed records in one bulk write, in bytes.
        poll_interval: Time after which `run` reads the outbox without a notification, in seconds.
        reconnect_interval: Time after which `run` listens for notifications again when the connection was lost, in seconds.
        retry_wait: First and longest time to wait after a failure, in seconds. The time doubles with each failure.
        deletes_kept: Time for which the outbox remembers deletions, so that late writes do not bring deleted runs back.
    """

    def __init__(
        self,
        outbox: VisibilityOutbox,
        index: SearchIndex,
        *,
        batch_runs: int = 500,
        batch_bytes: int = 4 * 2**20,
        poll_interval: float = 1.0,
        reconnect_interval: float = 5.0,
        retry_wait: tuple[float, float] = (0.1, 30.0),
        deletes_kept: timedelta = timedelta(days=1),
    ) -> None:
        self._outbox = outbox
        self._index = index
        self._batch_runs = batch_runs
        self._batch_bytes = batch_bytes
        self._poll_interval = poll_interval
        self._reconnect_interval = reconnect_interval
        self._retry_wait = retry_wait
        self._deletes_kept = deletes_kept
        self._woken = asyncio.Event()
        self.state = IndexerState()

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
        tried = written = 0
        after: RunKey | None = BEFORE_ALL
        reading = asyncio.Lock()

        async def send() -> None:
            nonlocal after, tried, written
            while True:
                async with reading:
                    if after is None or not (entries := await self._take(after)):
                        after = None
                        return
                    after = entries[-1].key
                tried += len(entries)
                accepted = await self._send(
                    entries
                )  # `written += await` would lose what the other sender adds meanwhile
                written += accepted
                if progress is not None:
                    progress(before + written)

        senders = [asyncio.create_task(send()) for _ in range(SENDERS)]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.wait(senders)
        if tried and not written:
            raise ResourceExhausted(
                "the search index accepts no documents: it is overloaded, or its disk is full. Retry later."
            )
        return written

    async def run(self) -> None:
        """Drain the outbox after each notification, and at the poll interval, until the task is cancelled.

        A failure is recorded in `state` and retried with increasing waits.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            await self._drain_for_ever()

    async def _listen(self) -> None:
        while True:
            with suppress(StrongroomError):
                await self._outbox.listen(self.wake)
            await asyncio.sleep(self._reconnect_interval)

    async def _drain_for_ever(self) -> None:
        while True:
            try:
                await self.drain()
                self.state.drained_at = time.monotonic()
                await self._outbox.forget_deletes(older_than=self._deletes_kept)
            except StrongroomError as error:
                self.state.failures += 1
                self.state.last_error = error
                await asyncio.sleep(self._wait_after_failure())
                continue
            self.state.failures, self.state.last_error = 0, None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_interval):
                    await self._woken.wait()
            self._woken.clear()

    def _wait_after_failure(self) -> float:
        first, longest = self._retry_wait
        wait: float = min(first * 2 ** min(self.state.failures, 10), longest)
        return wait * (0.5 + random.random() / 2)  # noqa: S311 - not a secret

    async def _take(self, after: RunKey) -> list[OutboxEntry]:
        return await self._outbox.take(after, runs=self._batch_runs, size=self._batch_bytes)

    async def _send(self, entries: Sequence[OutboxEntry]) -> int:
        """Write entries to the index, and take the accepted ones out of the outbox; return how many were accepted."""
        rows = [(entry.key[1], entry.record) for entry in entries if entry.record is not None]
        deleted = [(entry.key[2], entry.deleted_version) for entry in entries if entry.record is None]
        rejected = set(await self._index.write(rows, deleted))
        accepted = [entry for entry in entries if entry.key[2] not in rejected]
        if accepted:
            await self._outbox.done(accepted)
        self.state.written += len(accepted)
        return len(accepted)
