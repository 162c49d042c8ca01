"""Tell the search index what changed: from the outbox in bulk, until nothing is left (DESIGN.md, "Indexer").

What is written is the record as it is now, so changes that follow each other collapse, and whatever is sent twice or late changes
nothing: a document takes no older version than it has. No key is needed, as a row travels as it lies in the database.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias

from strongroom.kms import StrongroomError
from strongroom.storage import BEFORE_ALL, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.storage import OutboxEntry, Row, RunKey, VisibilityOutbox

BATCH_RUNS = 500
BATCH_BYTES = 4 * 2**20
"""Of sealed records in one bulk."""
SENDERS = 2
"""Bulks in hand at once, which bounds the memory: while the index writes one, the next is read and formed, or what it took is taken
off the list."""
POLL = 1.0
"""Seconds after which the outbox is looked into without being woken: what a lost notification costs."""
RELISTEN = 5.0
"""Seconds until a lost connection for notifications is made again."""
DELETES_KEPT = timedelta(days=1)
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 30.0

Progress: TypeAlias = Callable[[int], None]
"""Called with how many documents were written so far."""


class WritableIndex(Protocol):
    """A search index that documents are written to."""

    async def write(self, rows: Sequence[tuple[UUID, Row]], deleted: Sequence[tuple[bytes, int | None]]) -> list[bytes]:
        """Write and delete documents; return the ids of those that must be sent again."""


@dataclass(slots=True)
class IndexerState:
    """What an indexer has done; for whoever watches it.

    Attributes:
        written: documents sent and taken.
        failures: attempts in a row that failed.
        last_error: why the last one did; None when it succeeded.
        drained_at: monotonic seconds when `run` last found nothing left: what waits was written since. None before.
    """

    written: int = 0
    failures: int = 0
    last_error: StrongroomError | None = None
    drained_at: float | None = None


class Indexer:
    """Drains the outbox into an index.

    Several may run: what two of them send is the same.

    Args:
        outbox: what is to be told.
        index: whom.
    """

    def __init__(self, outbox: VisibilityOutbox, index: WritableIndex) -> None:
        self._outbox = outbox
        self._index = index
        self._woken = asyncio.Event()
        self.state = IndexerState()

    def wake(self) -> None:
        """Say that something was written."""
        self._woken.set()

    async def drain(self, progress: Progress | None = None) -> int:
        """Tell the index of all runs that wait, in passes until none is left; return how many documents that were.

        Raises:
            StorageError, VisibilityError: the database or the index does not answer; what is left stays in the outbox.
        """
        total = 0
        while in_pass := await self.sweep(progress, before=total):
            total += in_pass
        return total

    async def sweep(self, progress: Progress | None = None, *, before: int = 0) -> int:
        """As `drain`, but once through the list: who goes on writing does not keep it from ending.

        Args:
            progress: see there.
            before: documents that were written earlier, for `progress`.

        Raises:
            ResourceExhausted: the index took nothing of what waits; and as `drain`.
        """
        tried = done = 0
        after: RunKey | None = BEFORE_ALL
        taking = asyncio.Lock()

        async def send() -> None:
            nonlocal after, tried, done
            while True:
                async with taking:
                    if after is None or not (entries := await self._take(after)):
                        after = None
                        return
                    after = entries[-1].key
                tried += len(entries)
                taken = await self._send(entries)  # not within the sum, of which another sender makes more meanwhile
                done += taken
                if progress is not None:
                    progress(before + done)

        senders = [asyncio.create_task(send()) for _ in range(SENDERS)]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.wait(senders)
        if tried and not done:
            raise ResourceExhausted(
                "the search index takes no documents now: it has too much to do, or its disk is full"
            )
        return done

    async def run(self) -> None:
        """Drain for ever: when woken, by NOTIFY too, and from time to time; wait longer and longer while it fails.

        Ends by being cancelled.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            await self._drain_for_ever()

    async def _listen(self) -> None:
        while True:
            with suppress(StrongroomError):
                await self._outbox.listen(self.wake)
            await asyncio.sleep(RELISTEN)

    async def _drain_for_ever(self) -> None:
        while True:
            try:
                await self.drain()
                self.state.drained_at = time.monotonic()
                await self._outbox.forget_deletes(older_than=DELETES_KEPT)
            except StrongroomError as error:
                self.state.failures += 1
                self.state.last_error = error
                longest = min(_FIRST_WAIT * 2 ** min(self.state.failures, 10), _LONGEST_WAIT)
                await asyncio.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311 - nothing secret
                continue
            self.state.failures, self.state.last_error = 0, None
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._woken.wait()
            self._woken.clear()

    async def _take(self, after: RunKey) -> list[OutboxEntry]:
        return await self._outbox.take(after, runs=BATCH_RUNS, size=BATCH_BYTES)

    async def _send(self, entries: Sequence[OutboxEntry]) -> int:
        rows = [(entry.key[1], entry.record) for entry in entries if entry.record is not None]
        deleted = [(entry.key[2], entry.deleted_version) for entry in entries if entry.record is None]
        again = set(await self._index.write(rows, deleted))
        done = [entry for entry in entries if entry.key[2] not in again]
        if done:
            await self._outbox.done(done)
        self.state.written += len(done)
        return len(done)
