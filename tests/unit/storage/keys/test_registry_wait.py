from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from strongroom.storage.keys.registry_wait import SKEW, RegistryWait

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
SECONDS = 930.0


class Clock:
    """A wall clock and a monotonic clock that only `sleep` moves."""

    def __init__(self):
        self.seconds = 1000.0
        self.slept = []

    def now(self):
        """Return the wall-clock time."""
        return NOON + timedelta(seconds=self.seconds - 1000.0)

    def monotonic(self):
        """Return the monotonic time."""
        return self.seconds

    async def sleep(self, seconds):
        """Advance both clocks."""
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def wait(clock):
    return RegistryWait(SECONDS, now=clock.now, monotonic=clock.monotonic, sleep=clock.sleep)


@pytest.mark.parametrize(
    ("age", "left"),
    [
        (0, SECONDS),
        (SKEW, SECONDS),
        (SKEW + 100, SECONDS - 100),
        (SKEW + SECONDS, 0),
        (10 * SECONDS, 0),
        (-3600, SECONDS),
    ],
)
def test_a_change_by_another_host_is_waited_for_with_its_clock_in_doubt(wait, age, left):
    """A host's clock may be slow or fast by `SKEW` seconds; a change in the future is waited for no longer than any other."""
    assert wait.left(NOON - timedelta(seconds=age)) == left


async def test_a_wait_ends_at_its_deadline(wait, clock):
    """It sleeps a second at most, so that it reports the seconds left, and never sleeps past the deadline."""
    reported = []
    deadline = wait.deadline()
    clock.seconds += SECONDS - 2.5
    await wait.wait_until(deadline, lambda *report: reported.append(report))
    assert clock.seconds == deadline
    assert clock.slept == [1.0, 1.0, 0.5]
    assert reported == [("wait", 2), ("wait", 2), ("wait", 0)]


async def test_a_deadline_in_the_past_is_no_wait(wait, clock):
    """Neither is a wait of no seconds."""
    await wait.wait_until(clock.seconds - 1, lambda *_: pytest.fail("reported"))
    await wait.wait_for(0.0, lambda *_: pytest.fail("reported"))
    assert clock.slept == []
