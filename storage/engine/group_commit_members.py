"""The requests of a group commit that wait or are in flight, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from strongroom.kms import StrongroomError
from strongroom.storage.errors import DatabaseUnavailable, StorageError

from .barrier import BarrierConnection
from .group_commit_states import State

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Sequence

    from .barrier import Barrier
    from .connection import Connection

MAX_WAIT = 10.0
"""Seconds after which a request that was never sent is refused."""
Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class GroupCommitLimits:
    """Limits of one kind of call.

    Attributes:
        requests: The maximum number of requests in a statement; 16 was the best of 8 to 64 (DESIGN.md, "Group commit").
        statement_bytes: The maximum bytes of a statement, unless a single request is larger.
        waiting: The maximum number of requests that wait; a further call is refused.
        waiting_bytes: The maximum bytes of all requests that wait; a further call is refused.
        max_wait: Seconds after which a request that was never sent is refused.
        sweep_interval: Seconds between two searches for such requests.
        close_wait: Seconds that `aclose` waits for statements in flight.
    """

    requests: int = 16
    statement_bytes: int = 8 * 2**20
    waiting: int = 4096
    waiting_bytes: int = 64 * 2**20
    max_wait: float = MAX_WAIT
    sweep_interval: float = 1.0
    close_wait: float = 1.0


DEFAULT_LIMITS = GroupCommitLimits()


@dataclass(slots=True, eq=False)
class Member(Generic[Request, Answer]):
    """A request with its state in the group commit.

    Attributes:
        key: Requests with the same key are never in flight together.
        shard_id: The shard of the request, or 0 if a statement may have requests of several shards.
        size: Bytes that the request holds.
        since: The time of the call, on the group commit's clock.
        answer: The future that the caller waits for.
        origin: The value of `DatabaseWatch.origin`; None without an observer.
    """

    request: Request
    key: Hashable
    shard_id: int
    size: int
    since: float
    answer: asyncio.Future[Answer]
    barrier: Barrier | None
    state: State = State.WAITING
    origin: object = None


def fits(member: Member[Any, Any], first: Member[Any, Any], room: int) -> bool:
    """Return whether a request may share the statement that begins with another one."""
    return member.state is not State.RETRIED_ALONE and member.shard_id == first.shard_id and member.size <= room


def behind_barriers(connection: Connection, members: Sequence[Member[Any, Any]]) -> Connection:
    """Return a connection that sends nothing before the barriers of all members have passed."""
    barriers = {member.barrier for member in members if member.barrier is not None and not member.barrier.passed}
    return BarrierConnection(connection, barriers) if barriers else connection


def copied_error(error: Exception) -> Exception:
    """Return an error for one caller. The same object raised in several tasks would mix their tracebacks."""
    if isinstance(error, StorageError):
        return type(error)(str(error), may_have_been_committed=error.may_have_been_committed)
    if isinstance(error, StrongroomError):
        return type(error)(str(error))
    return error


def abandon(members: Sequence[Member[Request, Answer]], *, sent: bool) -> None:
    """Answer the requests of a lane that was cancelled. The only caller of a direct request is cancelled too."""
    for member in members:
        if not member.answer.done():
            message = "the cell was closed before the database answered"
            open_outcome = sent or member.state is State.RETRIED_WHOLE
            member.answer.set_exception(DatabaseUnavailable(message, may_have_been_committed=open_outcome))
            member.answer.exception()  # nobody may be waiting for it any more
