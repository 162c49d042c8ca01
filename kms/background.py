"""Background work that outlives every exception, and counts them."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, NoReturn

from .errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger("strongroom.background")


class Background:
    """The state of a loop of this process, for health checks and metrics.

    Attributes:
        name: The name of the work.
        failures: Number of failed attempts since the process began.
        consecutive: Number of failed attempts since the last success.
        last_error: The error of the last attempt; None if it succeeded. An unexpected error is named by its type.

    Args:
        name: The name of the work.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failures = self.consecutive = 0
        self.last_error: StrongroomError | None = None

    async def run(self, attempt: Callable[[], Awaitable[object]], *, pause: float) -> NoReturn:
        """Repeat an attempt until the task is cancelled.

        Args:
            attempt: The work. An exception is counted, and the work is tried again.
            pause: Time between two attempts, in seconds.
        """
        while True:
            await self.once(attempt)
            await asyncio.sleep(pause)

    async def once(self, attempt: Callable[[], Awaitable[object]]) -> bool:
        """Make one attempt; return whether it succeeded."""
        try:
            await attempt()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.failed(error)  # something inside the attempt was cancelled, and not this task
        except Exception as error:  # noqa: BLE001 - the loop must go on, whatever it is
            self.failed(error)
        else:
            self.succeeded()
            return True
        return False

    def succeeded(self) -> None:
        """Record a successful attempt."""
        self.consecutive, self.last_error = 0, None

    def failed(self, error: BaseException) -> None:
        """Record a failed attempt. An unexpected error is logged by type and place, because its text can hold a tenant's value."""
        self.failures += 1
        self.consecutive += 1
        if isinstance(error, StrongroomError):
            self.last_error = error
            return
        self.last_error = StrongroomError(f"unexpected error {type(error).__name__} in {self.name}; report it as a bug")
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
        _log.error("unexpected error %s in %s, at %s; the work continues", type(error).__name__, self.name, place)
