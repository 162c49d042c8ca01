"""Limits of a search: a slot of its namespace's share, and a deadline (DESIGN.md, "Order and pages")."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from strongroom.visibility.backends.search_index import with_new_snapshots
from strongroom.visibility.errors import QueryDeadlineExceeded
from strongroom.visibility.index.tokens import active_tokenizer

from .cost import DEADLINE
from .explain import most_expensive, what_to_add
from .fair_slots import FairSlots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from strongroom.visibility.filter.tree import Attribute
    from strongroom.visibility.index.record import VisibilityRecord

    from .explain import Explanation
    from .page_token import ListState
    from .prepared import PreparedFilter
    from .searcher import Searcher

WAIT = 10.0
"""Time that a search waits for a slot, in seconds."""

Answer = TypeVar("Answer")


class LimitedSearcher:
    """A searcher whose searches share slots fairly and have a deadline.

    Attributes:
        slots: The slots.

    Args:
        searcher: The searcher.
        slots: Number of searches that run at once.
        deadline: Time that a search may take once it has a slot, in seconds.
        wait: Time that a search waits for a slot, in seconds.
    """

    def __init__(self, searcher: Searcher, slots: int, *, deadline: float = DEADLINE, wait: float = WAIT) -> None:
        self.slots = FairSlots(slots, wait=wait)
        self._searcher = searcher
        self._deadline = deadline

    async def page(
        self, prepared: PreparedFilter, *, after: ListState, page_size: int
    ) -> tuple[list[VisibilityRecord], ListState | None]:
        """See `Searcher.page`. The wait for a slot is a part of the time that a list may sort."""
        page, until = self._searcher.page, self._searcher.sorts_until()
        return await self._answer(prepared, lambda: page(prepared, after=after, page_size=page_size, until=until))

    async def count(self, prepared: PreparedFilter) -> int:
        """See `Searcher.count`."""
        return await self._answer(prepared, lambda: self._searcher.count(prepared))

    async def groups(self, prepared: PreparedFilter, attribute: Attribute) -> Mapping[str, int]:
        """See `Searcher.groups`."""
        return await self._answer(prepared, lambda: self._searcher.groups(prepared, attribute))

    async def explain(self, prepared: PreparedFilter) -> Explanation:
        """See `Searcher.explain`."""
        return await self._answer(prepared, lambda: self._searcher.explain(prepared))

    async def _answer(self, prepared: PreparedFilter, search: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer of a search within its limits. All its snapshots share one slot and one deadline."""
        async with self._limited(prepared):
            return await with_new_snapshots(search)

    @asynccontextmanager
    async def _limited(self, prepared: PreparedFilter) -> AsyncIterator[None]:
        """Hold a slot and end the block at the deadline.

        Raises:
            ResourceExhausted: Too many searches run or wait.
            QueryDeadlineExceeded: The deadline has passed.
        """
        async with self.slots.slot(prepared.keys.namespace_id):
            limit = asyncio.timeout(self._deadline)
            try:
                async with limit:
                    yield
            except TimeoutError:
                if not limit.expired():
                    raise
                raise QueryDeadlineExceeded(self._explained(prepared)) from None

    def _explained(self, prepared: PreparedFilter) -> str:
        keys = prepared.keys
        reasons = most_expensive(prepared.parsed.where, active_tokenizer(keys))
        return (
            f"the search took more than {self._deadline:g} s and was cancelled; expensive are: {reasons}. "
            f"{what_to_add(prepared.parsed.where)} If other searches are slow too, run `strongroom doctor`: "
            "the server that answers them may be overloaded or not answer"
        )
