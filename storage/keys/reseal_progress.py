"""The counts of a reseal run, and its rate."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from .sealed_pages import CHUNK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from .reseal_rows import UnreadableRow

RATE = 2000
"""Rows a second by default, a fraction of what a server writes."""
NAMED = 100
"""Maximum number of unreadable rows that are named; all are counted."""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with a step and a number: "total" and the rows to reseal, "reseal" and the rows resealed so far, "wait" and the seconds left,
"scan" and the rows looked at, "index" and the documents of older versions left in the search index."""


def no_progress(_step: str, _number: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """The result of a run.

    Attributes:
        version: The version that seals all rows now, except unreadable ones.
        found: The number of rows of older versions at the start.
        resealed: The number of rows that this run resealed, by column, including rows that others then wrote with the old key.
        unreadable: The number of rows that do not open, by column. They are unchanged.
        named: Some of the unreadable rows.
        seconds: The duration of the run in seconds, without waits.
    """

    version: int
    found: int
    resealed: Mapping[str, int]
    unreadable: Mapping[str, int]
    named: Sequence[UnreadableRow]
    seconds: float


@dataclass(slots=True)
class Tally:
    """The counts of a run so far.

    Attributes:
        resealed: The number of rows resealed in the whole run, by column.
        unreadable: The number of unreadable rows of the current pass, by column.
        named: Some of these unreadable rows.
        missed: The number of rows of the current pass that other transactions changed or hold.
    """

    resealed: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    named: list[UnreadableRow] = field(default_factory=list)
    missed: int = 0

    def begin_pass(self) -> None:
        """Forget the rows that the last pass left, because the next pass finds them again."""
        self.unreadable.clear()
        self.named.clear()
        self.missed = 0


class Pace:
    """Limits the rate of a run.

    Attributes:
        chunk: Rows in one statement; at most the rows of one second.

    Args:
        rate: Rows a second; 0 for no limit.
        monotonic: A monotonic clock, in seconds.
        sleep: Suspends for some seconds.
    """

    def __init__(
        self,
        rate: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.chunk = CHUNK if rate == 0 else max(1, min(CHUNK, int(rate)))
        self._rate = rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._due = monotonic()

    async def after(self, rows: int) -> None:
        """Wait for the time that some rows may take. A run that is late does not catch up."""
        if self._rate:
            now = self._monotonic()
            self._due = max(self._due + rows / self._rate, now)
            await self._sleep(self._due - now)
