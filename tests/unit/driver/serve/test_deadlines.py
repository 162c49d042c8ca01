from __future__ import annotations

import asyncio
import time

import pytest

from strongroom.driver.serve.deadlines import SHORT, TICK, Deadlines

PATIENCE = 60


@pytest.mark.parametrize("seconds", [0.0, TICK / 2, SHORT / 2, SHORT, 2.5 * SHORT])
async def test_a_deadline_passes_once_and_hardly_early(seconds: float) -> None:
    """The function is called once, and at most one bucket early."""
    deadlines, passed = Deadlines(asyncio.get_running_loop()), asyncio.Queue[float]()
    began = time.monotonic()
    deadlines.add("call", seconds, lambda: passed.put_nowait(time.monotonic()))
    assert await asyncio.wait_for(passed.get(), PATIENCE) - began > seconds - 2 * TICK
    await asyncio.sleep(3 * TICK)
    assert passed.empty()


@pytest.mark.parametrize("seconds", [SHORT / 2, 2 * SHORT])
async def test_a_removed_deadline_does_not_pass(seconds: float) -> None:
    """A call that has ended is not given up; another call in the same bucket is."""
    deadlines, passed = Deadlines(asyncio.get_running_loop()), asyncio.Queue[str]()
    removed = deadlines.add("ended", seconds, lambda: passed.put_nowait("ended"))
    deadlines.add("running", seconds, lambda: passed.put_nowait("running"))
    removed()
    removed()
    assert await asyncio.wait_for(passed.get(), PATIENCE) == "running"
    assert passed.empty()


async def test_deadlines_after_a_pause() -> None:
    """The timer stops while there is no deadline, and starts again."""
    deadlines, passed = Deadlines(asyncio.get_running_loop()), asyncio.Queue[int]()
    for number in range(3):
        deadlines.add(number, SHORT, lambda number=number: passed.put_nowait(number))  # type: ignore[misc]
        assert await asyncio.wait_for(passed.get(), PATIENCE) == number
        await asyncio.sleep(3 * TICK)
        assert deadlines._timer is None


async def test_a_late_event_loop_forgets_no_deadline() -> None:
    """A loop that was busy for many buckets calls the functions of all of them."""
    deadlines, passed = Deadlines(asyncio.get_running_loop()), asyncio.Queue[int]()
    for number in range(10):
        deadlines.add(number, SHORT + number * TICK, lambda number=number: passed.put_nowait(number))  # type: ignore[misc]
    time.sleep(2 * SHORT + 10 * TICK)  # noqa: ASYNC251 - the loop is busy
    assert [await asyncio.wait_for(passed.get(), PATIENCE) for _ in range(10)] == list(range(10))
