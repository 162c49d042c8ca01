"""Reads that share a statement under load. A read that is alone is a plain statement, which costs less than a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .group_commit import GroupCommit

Request = TypeVar("Request")
Answer = TypeVar("Answer")

MOST_ALONE = 4
"""Plain statements in flight. Further reads share statements."""


class SharedReads(Generic[Request, Answer]):
    """Runs a read by itself if few others are in flight, and with others in one statement if not.

    Args:
        alone: Reads one request with a plain statement.
        group: Reads several requests in one statement.
    """

    def __init__(self, alone: Callable[[Request], Awaitable[Answer]], group: GroupCommit[Request, Answer]) -> None:
        self._alone = alone
        self._group = group
        self._in_flight = 0

    async def submit(self, request: Request) -> Answer:
        """Return the answer of a request, which was read after this call began.

        Raises:
            StorageError: The database does not answer, or too many requests wait already.
        """
        if self._in_flight >= MOST_ALONE or not self._group.is_idle:
            return await self._group.submit(request)
        self._in_flight += 1
        try:
            return await self._alone(request)
        finally:
            self._in_flight -= 1

    async def aclose(self) -> None:
        """Wait until no shared read is in flight."""
        await self._group.aclose()
