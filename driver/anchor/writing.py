"""Write the anchors of a cell into an object store at an interval, and when the process ends."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from strongroom.driver.audit.positions import AUDIT
from strongroom.kms import StrongroomError
from strongroom.storage.cell.positions import newest_by_name

from .anchors import older_than_anchor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from strongroom.kms import SigningKey

    from .anchors import Anchors

LAST_SECONDS = 3.0
"""Timeout for the last anchor of a process, in case the object store does not answer."""
CHANGE_SECONDS = 10.0
"""Timeout for the anchor of a command that changed the cell. It may be the last process for long."""


class Writing:
    """The anchors of one process in an object store.

    Args:
        anchors: The anchors of the cell, which have an object store.
        key: Returns the cell's audit key.
        refused: Called with the anchors if the database turns out to be older than the object store states.
    """

    def __init__(self, anchors: Anchors, key: Callable[[], Awaitable[SigningKey]], refused: Callable[[], None]) -> None:
        assert anchors.bucket is not None  # noqa: S101 - see above
        self._anchors, self._bucket = anchors, anchors.bucket
        self._key, self._refused = key, refused
        self._began = time.monotonic()

    async def write(self) -> None:
        """Write an anchor if a position changed.

        Raises:
            OlderThanAnchor: The database is older than the object store states. Nothing is written.
            StrongroomError: The positions can't be read, or the anchor can't be written.
        """
        key = await self._key()
        newest = await self._anchors.read_bucket(key.public_key)
        older = await self._anchors.older()
        if older:
            self._refused()
            raise older_than_anchor(older)
        positions = await self._anchors.everything()
        await self._bucket.write(positions, key, newest=newest)
        self._anchors.learn(positions, self._bucket.url)
        self._bucket.confirmed()

    async def write_last(self) -> None:
        """Write a last anchor, if more than the audit log changed, or if the process lived for an interval. Errors are recorded."""
        found = self._bucket.found
        before = {} if found is None else newest_by_name(found.statement.positions)
        changed = [each for each in await self._anchors.everything() if before.get(each.name) != each]
        is_long = time.monotonic() - self._began > self._bucket.interval
        if is_long or any(not each.name.startswith(AUDIT) for each in changed):
            await self._bucket.work.once(self.write)

    async def write_within(self, seconds: float) -> None:
        """Write a last anchor as `write_last` does, within a number of seconds. A failure is recorded, and stops nothing."""
        with suppress(TimeoutError, StrongroomError):
            async with asyncio.timeout(seconds):
                await self.write_last()

    async def keep_writing(self) -> None:
        """Write an anchor at each interval, until cancelled."""
        while True:
            await asyncio.sleep(self._bucket.interval)
            await self._bucket.work.once(self.write)


@asynccontextmanager
async def writing(made: Writing | None) -> AsyncIterator[None]:
    """Write anchors while the block runs, and once more at its end.

    Args:
        made: The writing of anchors; None if there is no object store.
    """
    if made is None:
        yield
        return
    task = asyncio.create_task(made.keep_writing())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await made.write_within(LAST_SECONDS)
