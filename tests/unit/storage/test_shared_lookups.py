from __future__ import annotations

import asyncio

import pytest

from strongroom.storage import DatabaseUnavailable
from strongroom.storage.shared_lookups import AT_ONCE, SharedLookups


class Reader:
    """A table that counts statements. It answers when a test releases it."""

    def __init__(self):
        self.statements = []
        self.release = asyncio.Event()
        self.release.set()
        self.error = None
        self.version = 1

    async def read(self, keys):
        """Return the version of each key that is not negative."""
        self.statements.append(list(keys))
        version = self.version
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return {key: (key, version) for key in keys if key >= 0}


async def test_look_ups_that_arrive_meanwhile_share_the_next_statement():
    """The first look-up is sent at once. All that arrive while it runs are sent together, and each gets its own value."""
    reader = Reader()
    lookups = SharedLookups(reader.read)
    reader.release.clear()
    first = asyncio.ensure_future(lookups.get(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(lookups.get(key)) for key in [*range(1, 100), *range(1, 100), -1]]
    await asyncio.sleep(0)
    reader.release.set()
    assert await first == (0, 1)
    assert await asyncio.gather(*others) == [
        *((key, 1) for key in range(1, 100)),
        *((key, 1) for key in range(1, 100)),
        None,
    ]
    assert [len(each) for each in reader.statements] == [1, 100]


async def test_a_statement_has_a_bounded_size():
    """Many thousands of look-ups are several statements."""
    reader = Reader()
    lookups = SharedLookups(reader.read)
    assert len(await asyncio.gather(*(lookups.get(key) for key in range(2 * AT_ONCE + 1)))) == 2 * AT_ONCE + 1
    assert [len(each) for each in reader.statements] == [AT_ONCE, AT_ONCE, 1]


async def test_nobody_gets_what_was_read_before_they_asked():
    """A caller that asks after a change never joins a statement that was sent before the change."""
    reader = Reader()
    lookups = SharedLookups(reader.read)
    reader.release.clear()
    early = asyncio.ensure_future(lookups.get(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reader.version = 2
    late = asyncio.ensure_future(lookups.get(1))
    await asyncio.sleep(0)
    reader.release.set()
    assert (await early, await late) == ((1, 1), (1, 2))


async def test_an_error_reaches_every_caller_of_its_statement_and_no_other():
    """Each caller gets an error of its own, and the next look-up is sent again."""
    reader = Reader()
    lookups = SharedLookups(reader.read)
    reader.error = DatabaseUnavailable("away")
    outcomes = await asyncio.gather(*(lookups.get(key) for key in range(10)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
    assert len(set(map(id, outcomes))) == 10
    reader.error = None
    assert await lookups.get(1) == (1, 1)


async def test_an_unexpected_error_is_not_taken_for_a_cancellation():
    """A row that can't be read raises its error in each caller. The caller's own task is not cancelled."""
    reader = Reader()
    lookups = SharedLookups(reader.read)
    reader.error = ValueError("no such state")
    outcomes = await asyncio.gather(*(lookups.get(key) for key in range(3)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ValueError}
    reader.error = None
    assert await lookups.get(1) == (1, 1)


async def test_a_row_that_can_not_be_read_stops_no_other_look_up():
    """The error of one key reaches the callers of that key only, although they share a statement."""
    reader = Reader()

    async def read(keys):
        found = await reader.read(keys)
        if 7 in keys:
            raise ValueError("no such state")
        return found

    lookups = SharedLookups(read)
    outcomes = await asyncio.gather(*(lookups.get(key) for key in range(10)), return_exceptions=True)
    assert isinstance(outcomes.pop(7), ValueError)
    assert outcomes == [(key, 1) for key in range(10) if key != 7]


async def test_a_cancelled_caller_takes_nothing_from_the_others():
    """One of two callers of a key is cancelled, and the other gets the value. All may leave."""
    reader = Reader()
    lookups = SharedLookups(reader.read)
    reader.release.clear()
    one, two = (asyncio.ensure_future(lookups.get(1)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    reader.release.set()
    assert await two == (1, 1)
    reader.release.clear()
    reader.error = DatabaseUnavailable("away")
    left = asyncio.ensure_future(lookups.get(2))
    await asyncio.sleep(0)
    left.cancel()
    reader.release.set()
    for _ in range(5):
        await asyncio.sleep(0)
    reader.error = None
    assert await lookups.get(2) == (2, 1)
