"""An indexer in a service gathers changes for a moment after a notification, so that many become one bulk."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest

from strongroom.visibility.backends.search_index import Refusal
from strongroom.visibility.jobs.indexer import Indexer

MOST = 3
NEVER = 3600.0


class Outbox:
    """Stands for the outbox: counts how often it is read. `found` are the numbers of entries that the next readings find."""

    def __init__(self, *found):
        self.found = list(found)
        self.readings = 0

    async def take(self, after, *, runs, size):
        """Return the entries of the next reading."""
        del after, size
        self.readings += 1
        number = self.found.pop(0) if self.found else 0
        assert number <= runs
        return [SimpleNamespace(key=(1, 2, bytes([each])), refusals=0, record=each) for each in range(number)]

    async def done(self, entries):
        """Remove entries, which are not kept here."""

    async def old_deletes(self, **_):
        """Return nothing: no run was deleted."""
        return []

    async def listen(self, wake):
        """Wait for notifications. The tests call `wake` themselves."""
        del wake
        await asyncio.Event().wait()


async def write_some(rows, _deleted):
    """Accept all documents but the first one, as an index does that lacks a shard."""
    return {rows[0][1].to_bytes(): Refusal("unavailable_shards_exception (status 503)", passing=True)} if rows else {}


async def write(_rows, _deleted):
    """Accept all documents, as an index does."""
    return {}


@asynccontextmanager
async def running(outbox, *, gather, write=write):
    """Run an indexer until its first sweep has ended."""

    async def is_steady():
        return True

    clock = SimpleNamespace(is_steady=is_steady)
    indexer = Indexer(outbox, SimpleNamespace(write=write), batch=(MOST, 1000), pause=(gather, NEVER), clock=clock)
    task = asyncio.create_task(indexer.run())
    await turns()
    try:
        yield indexer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def turns():
    """Let other tasks run until they wait for something else than each other."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("gather", "sweeps"), [(NEVER, 0), (0.0, 1)])
async def test_changes_are_gathered_after_a_notification(gather, sweeps):
    """After a notification nothing is read before the time is over. Control: without that time it is read at once."""
    outbox = Outbox()
    async with running(outbox, gather=gather) as indexer:
        before = outbox.readings
        indexer.wake()
        await turns()
        assert (outbox.readings > before) == bool(sweeps)


@pytest.mark.parametrize(("first", "is_read_again"), [(MOST, True), (MOST - 1, False)])
async def test_a_full_batch_is_followed_by_another_sweep(first, is_read_again):
    """A backlog is written without pauses. After a sweep with less than a batch the indexer waits."""
    outbox = Outbox(first, 0, 1)
    async with running(outbox, gather=NEVER) as indexer:
        assert indexer.state.written == first + is_read_again
        assert indexer.state.drained_at is not None


@pytest.mark.parametrize(("accepts", "is_drained"), [(write_some, False), (write, True)])
async def test_changes_that_the_index_did_not_take_are_not_counted_as_drained(accepts, is_drained):
    """Otherwise the lag of a document whose shard is away would not grow while others are written. Control: all are taken."""
    async with running(Outbox(MOST - 1), gather=NEVER, write=accepts) as indexer:
        assert indexer.state.written == MOST - 1 - (not is_drained)
        assert (indexer.state.drained_at is not None) is is_drained
