"""Slots are shared fairly: no namespace holds all of them, waiting ones take turns, and none is lost by a cancellation."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

import pytest

from strongroom.storage import ResourceExhausted
from strongroom.visibility.search.fair_slots import MOST_WAITING, FairSlots

A, B, C = (UUID(int=number) for number in range(1, 4))


@pytest.mark.parametrize(("slots", "share"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 4)])
def test_a_namespace_has_about_half_of_the_slots(slots, share):
    """With two slots or more, one is left for the others."""
    assert FairSlots(slots, wait=1).per_namespace == share
    assert share < slots or slots == 1


class Searches:
    """Starts searches that hold a slot until their event is set."""

    def __init__(self, slots, *, wait=60.0):
        self.slots = FairSlots(slots, wait=wait)
        self.running = []
        self.tasks = []

    def start(self, namespace_id):
        """Start a search; return its task and the event that ends it."""
        end = asyncio.Event()

        async def search():
            async with self.slots.slot(namespace_id):
                self.running.append(namespace_id)
                try:
                    await end.wait()
                finally:
                    self.running.remove(namespace_id)

        task = asyncio.create_task(search())
        self.tasks.append(task)
        return task, end


async def settled():
    """Let all tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_another_namespace_begins_at_once_while_one_uses_its_share():
    """Ten searches of one namespace leave a slot for the next namespace."""
    searches = Searches(4)
    ends = [searches.start(A)[1] for _ in range(10)]
    await settled()
    assert searches.running == [A, A]
    _, end = searches.start(B)
    await settled()
    assert searches.running == [A, A, B]
    for each in (*ends, end):
        each.set()
    await asyncio.gather(*searches.tasks)
    assert not searches.slots.held


async def test_the_namespace_with_the_fewest_slots_is_next():
    """A namespace that came last and holds nothing comes before the further searches of the others."""
    searches = Searches(3)
    started = [searches.start(A) for _ in range(5)] + [searches.start(B)]
    await settled()
    assert sorted(searches.running) == [A, A, B]
    waiting = searches.start(C)
    await settled()
    started[0][1].set()
    await settled()
    assert sorted(searches.running) == [A, B, C]
    for _, end in (*started, waiting):
        end.set()
    await asyncio.gather(*searches.tasks)


async def test_a_waiting_search_ends_with_an_error_that_names_the_share():
    """After its time, with what to do; the slots are as before."""
    searches = Searches(2, wait=0.01)
    _, end = searches.start(A)
    await settled()
    late, _ = searches.start(A)
    with pytest.raises(ResourceExhausted, match="1 of at most 1 at once"):
        await late
    end.set()
    await asyncio.gather(*searches.tasks, return_exceptions=True)
    assert not searches.slots.held
    async with searches.slots.slot(A):
        assert searches.slots.held[A] == 1


async def test_too_many_waiting_searches_are_refused_at_once():
    """They take memory, and would time out anyway."""
    searches = Searches(1)
    ends = [searches.start(A)[1] for _ in range(MOST_WAITING + 1)]
    await settled()
    refused, _ = searches.start(A)
    with pytest.raises(ResourceExhausted, match="waiting"):
        await refused
    other, end = searches.start(B)
    await settled()
    assert not other.done()
    for each in (*ends, end):
        each.set()
    await asyncio.gather(*searches.tasks, return_exceptions=True)
    assert not searches.slots.held


async def test_a_search_that_is_cancelled_while_a_slot_becomes_free_ends_as_cancelled():
    """The slot becomes free after the cancellation and before the waiting search runs again."""
    searches = Searches(1)
    async with searches.slots.slot(A):
        waiting, _ = searches.start(A)
        await settled()
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with searches.slots.slot(A):
        assert searches.slots.held[A] == 1


async def test_no_slot_is_lost_by_cancellations_at_any_moment():
    """Searches start, end and are cancelled in random order, also in the turn in which they get a slot."""
    rng = random.Random(7)  # noqa: S311 - a test's order
    searches = Searches(3)
    started = []
    for _ in range(2000):
        match rng.randrange(4):
            case 0 | 1:
                started.append(searches.start(rng.choice((A, B, C))))
            case 2 if started:
                started.pop(rng.randrange(len(started)))[1].set()
            case 3 if started:
                started.pop(rng.randrange(len(started)))[0].cancel()
        if rng.random() < 0.5:
            await asyncio.sleep(0)
        assert searches.slots.held.total() <= 3
        assert all(count <= 2 for count in searches.slots.held.values())
    for task, _ in started:
        task.cancel()
    found = await asyncio.gather(*searches.tasks, return_exceptions=True)
    assert {type(each) for each in found} <= {type(None), asyncio.CancelledError, ResourceExhausted}
    assert not searches.slots.held
    async with searches.slots.slot(A), searches.slots.slot(B):
        pass
