"""Records that go to disk in one write, and the callers that wait for them."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import AuditUnavailable
    from .events import Event


class PendingRecords:
    """Records on their way to disk. It is a `strongroom.storage.Barrier` for operations that must wait for them.

    Attributes:
        events: The records.
        passed: Whether the records reached the disk in time for their callers.
        requested: Whether a write of these records has been requested.
    """

    __slots__ = ("_refusal", "_waiters", "events", "passed", "requested")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.passed = False
        self.requested = False
        self._refusal: AuditUnavailable | None = None
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return once the records are on disk.

        Raises:
            AuditUnavailable: They were not written within `LogSettings.write_timeout`.
        """
        if self.passed:
            return
        if self._refusal is not None:
            raise copy(self._refusal)  # Each raise needs a traceback of its own.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if not self.passed:  # The writing thread looks for waiters after it has set `passed`.
            await waiter

    def written(self) -> bool:
        """Note, from any thread, that the records are on disk; return whether callers wait for `settle`."""
        if self._refusal is None:
            self.passed = True
        self.events = []
        return bool(self._waiters)

    def settle(self, refusal: AuditUnavailable | None = None) -> None:
        """Let the waiting callers go on, or refuse them. A refusal is final: the records may still be written later."""
        if refusal is not None and not self.passed:
            self._refusal = refusal
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():  # The caller gave up.
                continue
            if self._refusal is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(copy(self._refusal))
