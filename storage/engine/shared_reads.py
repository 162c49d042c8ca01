"""Reads that share a statement under load. A read that is alone is a plain statement, which costs less than a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .group_commit import GroupCommit
from .group_commit_members import GroupCommitLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .connection import Connection
    from .database import Database


class PagedRequest(Protocol):
    """A request for rows of one shard.

    Attributes:
        shard_id: The shard.
        limit: The maximum number of rows.
    """

    @property
    def shard_id(self) -> int:
        """See the attributes."""

    @property
    def limit(self) -> int:
        """See the attributes."""


Request = TypeVar("Request")
Paged = TypeVar("Paged", bound=PagedRequest)
Answer = TypeVar("Answer")

MOST_ALONE = 4
"""Plain statements in flight. Further reads share statements."""
_LIMITS = GroupCommitLimits(statement_bytes=5000, waiting_bytes=2**31)
"""Sizes are numbers of rows here: a statement has at most five reads of 1000 rows, so that its answer stays small."""


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


def shared_reads(
    database: Database,
    name: str,
    alone: Callable[[Paged], Awaitable[Answer]],
    together: Callable[[Connection, Sequence[Paged]], Awaitable[Sequence[Answer]]],
    *,
    distributed: bool,
) -> SharedReads[Paged, Answer]:
    """Return shared reads of pages of shards.

    Args:
        database: The connections of the shared statements.
        name: The name of the shared statement, for telemetry.
        alone: Reads one request with a plain statement.
        together: Reads several requests in one statement.
        distributed: Whether the tables are spread over a Citus cluster, so that a statement must be confined to one shard.
    """
    group: GroupCommit[Paged, Answer] = GroupCommit(
        database,
        together,
        name=name,
        shard=(lambda request: request.shard_id) if distributed else None,
        size=lambda request: request.limit,
        idempotent=True,
        limits=_LIMITS,
    )
    return SharedReads(alone, group)
