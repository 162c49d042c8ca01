"""Records that go to disk in one write, and who waits for that."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import AuditUnavailable
    from .events import Event


class Batch:
    """Records on their way to disk: a `strongroom.storage.Barrier` for whatever may happen only once they are there.

    Attributes:
        events: the records.
        passed: whether they are on disk, in time for who waits.
        asked: whether somebody has asked for these records to be written.
    """

    __slots__ = ("_refusal", "_waiters", "asked", "events", "passed")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.passed = False
        self.asked = False
        self._refusal: AuditUnavailable | None = None
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return once the records are on disk.

        Raises:
            AuditUnavailable: they are not, two seconds after the first was asked for.
        """
        if self.passed:
            return
        if self._refusal is not None:
            raise copy(self._refusal)  # a traceback belongs to one raise
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if not self.passed:  # the thread that writes looks for waiters after it said so
            await waiter

    def written(self) -> bool:
        """Say that the records are on disk, from any thread; return whether somebody waits for `settle`."""
        if self._refusal is None:
            self.passed = True
        self.events = []
        return bool(self._waiters)

    def settle(self, refusal: AuditUnavailable | None = None) -> None:
        """Let all that wait go on, or refuse them; what was refused stays so."""
        if refusal is not None and not self.passed:
            self._refusal = refusal
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():  # the caller gave up
                continue
            if self._refusal is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(copy(self._refusal))
