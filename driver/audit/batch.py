"""Records that go to disk in one write, and who waits for that."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import AuditUnavailable
    from .events import Event


class Batch:
    """Records on their way to disk: a `strongroom.storage.Gate` for whatever may happen only once they are there.

    Attributes:
        events: the records.
        passed: whether they are on disk, in time for who waits.
        patience: refuses all that wait when it ends; None while nobody has asked for these records to be written.
    """

    __slots__ = ("_refusal", "_waiters", "events", "passed", "patience")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.passed = False
        self.patience: asyncio.TimerHandle | None = None
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
        await waiter

    def settle(self, refusal: AuditUnavailable | None = None) -> None:
        """Let all that wait go on, or refuse them; what was refused stays so."""
        if self.patience is not None:
            self.patience.cancel()
        if self._refusal is None:
            self._refusal, self.passed = refusal, refusal is None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():  # the caller gave up
                continue
            if refusal is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(copy(refusal))
