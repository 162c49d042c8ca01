"""One pass of the indexer over the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import StrongroomError
from strongroom.storage import BEFORE_ALL, ResourceExhausted

if TYPE_CHECKING:
    from strongroom.storage import OutboxEntry, RunKey

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of documents that were written so far."""
Take: TypeAlias = "Callable[[RunKey], Awaitable[Sequence[OutboxEntry]]]"
Send: TypeAlias = "Callable[[Sequence[OutboxEntry]], Awaitable[int]]"


class Sweep:
    """One pass over the outbox by several senders.

    Attributes:
        tried: Number of entries that were sent.

    Args:
        take: Returns the next entries after a key.
        send: Writes entries to the index, and returns how many it took.
        progress: Called after each bulk write.
        before: Number that is added to what `progress` is called with.
    """

    def __init__(self, take: Take, send: Send, progress: Progress | None, before: int) -> None:
        self._take = take
        self._send = send
        self._progress = progress
        self._before = before
        self._after: RunKey | None = BEFORE_ALL
        self._reading = asyncio.Lock()
        self.tried = self._written = 0
        self._unexpected: Exception | None = None

    async def send(self) -> None:
        """Send the next entries until there are no more. An unexpected error with some entries does not keep others out."""
        while entries := await self._next():
            self.tried += len(entries)
            try:
                accepted = await self._send(entries)
            except StrongroomError:
                raise
            except Exception as error:  # noqa: BLE001 - it is raised at the end
                self._unexpected = error
                continue
            self._written += accepted  # not `+= await`, which would lose what the other sender adds meanwhile
            if self._progress is not None:
                self._progress(self._before + self._written)

    def result(self, *, some_refused: bool) -> int:
        """Return the number of documents that were written.

        Args:
            some_refused: Whether the index refused documents by themselves, so that it is not overloaded.

        Raises:
            ResourceExhausted: The index accepted no document.
        """
        if self._unexpected is not None:
            raise self._unexpected
        if self.tried and not self._written and not some_refused:
            msg = "the search index accepts no documents: it is overloaded, or its disk is full. Retry later."
            raise ResourceExhausted(msg)
        return self._written

    async def _next(self) -> Sequence[OutboxEntry]:
        async with self._reading:
            if self._after is None or not (entries := await self._take(self._after)):
                self._after = None
                return []
            self._after = entries[-1].key
            return entries
