from __future__ import annotations

import inspect

import pytest

from strongroom.storage import Database
from strongroom.storage.engine.group_commit_members import DEFAULT_LIMITS
from strongroom.storage.keys.registry_wait import MARGIN, RegistryWait

SECONDS = 930.0


class Clock:
    """A monotonic clock that only `sleep` moves."""

    def __init__(self):
        self.seconds = 1000.0
        self.slept = []

    def monotonic(self):
        """Return the monotonic time."""
        return self.seconds

    async def sleep(self, seconds):
        """Advance the clock."""
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def wait(clock):
    return RegistryWait(SECONDS, monotonic=clock.monotonic, sleep=clock.sleep)


def test_a_change_is_waited_for_from_the_moment_it_was_read(wait, clock):
    """The time counts from the first time that a job read a change, and another change has a time of its own."""
    assert wait.deadline_of("rotation 2") == 1000.0 + SECONDS
    clock.seconds += 600.0
    assert wait.deadline_of("rotation 2") == 1000.0 + SECONDS
    assert wait.deadline_of("rotation 3") == 1600.0 + SECONDS


async def test_a_wait_ends_at_its_deadline(wait, clock):
    """It sleeps a second at most, so that it reports the seconds left, and never sleeps past the deadline."""
    reported = []
    deadline = wait.deadline()
    clock.seconds += SECONDS - 2.5
    assert await wait.wait_until(deadline, lambda *report: reported.append(report)) == 2.5
    assert clock.seconds == deadline
    assert clock.slept == [1.0, 1.0, 0.5]
    assert reported == [("wait", 2), ("wait", 2), ("wait", 0)]


async def test_a_deadline_in_the_past_is_no_wait(wait, clock):
    """A deadline that has passed needs no sleep."""
    assert await wait.wait_until(clock.seconds - 1, lambda *_: pytest.fail("reported")) == 0.0
    assert clock.slept == []


def test_the_margin_covers_the_slowest_write():
    """A write that was sealed with an old key is committed or refused before the key may be destroyed."""
    limits = inspect.signature(Database).parameters
    one = sum(limits[name].default for name in ("connect_timeout", "statement_timeout", "grace"))
    assert DEFAULT_LIMITS.max_wait + 2 * one <= MARGIN
