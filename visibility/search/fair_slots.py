"""Slots for searches, shared fairly between namespaces.

The searches of one namespace have at most about half of the slots, so another namespace always finds one or gets the next. When a slot
becomes free, the waiting namespace with the fewest slots gets it, and of several the one that has waited longest.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from strongroom.storage import ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

MOST_WAITING = 100
"""Maximum number of waiting searches of one namespace."""


class FairSlots:
    """See the module.

    Attributes:
        slots: Number of searches that run at once.
        per_namespace: Number of searches of one namespace that run at once.
        held: Number of running searches of each namespace.

    Args:
        slots: Number of searches that run at once.
        wait: Time that a search waits for a slot, in seconds.
    """

    def __init__(self, slots: int, *, wait: float) -> None:
        self.slots = slots
        self.per_namespace = max(1, min((slots + 1) // 2, slots - 1))
        self.held: Counter[UUID] = Counter()
        self._wait = wait
        # Ordered by the time of the first waiting search. A namespace without waiting searches is not in it.
        self._waiting: dict[UUID, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def slot(self, namespace_id: UUID) -> AsyncIterator[None]:
        """Hold a slot.

        Args:
            namespace_id: The namespace that is searched.

        Raises:
            ResourceExhausted: Too many searches run or wait.
        """
        if self._waiting or not self._may_begin(namespace_id):
            await self._queue(namespace_id)
        else:
            self.held[namespace_id] += 1
        try:
            yield
        finally:
            self._release(namespace_id)

    def _may_begin(self, namespace_id: UUID) -> bool:
        return self.held.total() < self.slots and self.held[namespace_id] < self.per_namespace

    async def _queue(self, namespace_id: UUID) -> None:
        waiting = self._waiting.setdefault(namespace_id, deque())
        if len(waiting) >= MOST_WAITING:
            msg = f"{len(waiting)} searches of this namespace are waiting; retry later, with fewer searches at once"
            raise ResourceExhausted(msg)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        self._begin_next()
        try:
            async with asyncio.timeout(self._wait):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release(namespace_id)  # it got the slot and was cancelled at the same time
            else:
                self._leave(namespace_id, turn)
            if isinstance(error, TimeoutError):
                msg = (
                    f"no search could begin within {self._wait:g} s; this namespace runs {self.held[namespace_id]} of at most "
                    f"{self.per_namespace} at once. Retry later, with fewer or cheaper searches."
                )
                raise ResourceExhausted(msg) from None
            raise

    def _leave(self, namespace_id: UUID, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(namespace_id)
        if waiting is None or turn not in waiting:
            return  # `_begin_next` has removed it, after it was cancelled and before this task ran
        waiting.remove(turn)
        if not waiting:
            del self._waiting[namespace_id]

    def _release(self, namespace_id: UUID) -> None:
        self.held[namespace_id] -= 1
        if not self.held[namespace_id]:
            del self.held[namespace_id]
        self._begin_next()

    def _begin_next(self) -> None:
        """Give free slots to waiting searches."""
        while candidates := [each for each in self._waiting if self._may_begin(each)]:
            chosen = min(candidates, key=lambda each: self.held[each])  # the first of several, which has waited longest
            waiting = self._waiting.pop(chosen)
            turn = waiting.popleft()
            if waiting:
                self._waiting[chosen] = waiting  # at the end, so that the others come first
            if not turn.done():
                self.held[chosen] += 1
                turn.set_result(None)
