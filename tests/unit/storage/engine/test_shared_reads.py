from __future__ import annotations

import asyncio

import pytest

from strongroom.storage.engine.shared_reads import MOST_ALONE, SharedReads
from strongroom.storage.errors import DatabaseUnavailable


class Group:
    """A group commit that records its requests."""

    def __init__(self):
        self.is_idle, self.requests = True, []

    async def submit(self, request):
        """Answer a request as the group would."""
        self.requests.append(request)
        return f"shared {request}"


async def test_only_further_reads_share_a_statement():
    """A few reads at once are plain statements. Further ones go to the group, and the next is alone again afterwards."""
    group, go = Group(), asyncio.Event()

    async def alone(request):
        await go.wait()
        return f"alone {request}"

    reads = SharedReads(alone, group)
    running = [asyncio.create_task(reads.submit(number)) for number in range(MOST_ALONE)]
    await asyncio.sleep(0)
    assert await reads.submit("next") == "shared next"
    go.set()
    assert await asyncio.gather(*running) == [f"alone {number}" for number in range(MOST_ALONE)]
    assert await reads.submit("later") == "alone later"
    assert group.requests == ["next"]


async def test_a_read_joins_a_group_that_is_at_work():
    """While the group has a statement in flight, no read sends another one by itself."""
    group = Group()
    group.is_idle = False
    assert await SharedReads(None, group).submit(1) == "shared 1"


async def test_a_failed_or_cancelled_read_gives_its_place_back():
    """An error is the caller's own, and afterwards reads are alone as before."""
    group, outcomes = Group(), [DatabaseUnavailable("away"), asyncio.CancelledError()] * MOST_ALONE

    async def alone(request):
        if outcomes:
            raise outcomes.pop()
        return request

    reads = SharedReads(alone, group)
    while outcomes:
        with pytest.raises((DatabaseUnavailable, asyncio.CancelledError)):
            await reads.submit(1)
    assert await reads.submit(2) == 2
    assert group.requests == []
