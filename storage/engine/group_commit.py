"""Group commit: calls that arrive while statements are in flight share the next statement.

There is no timer. A call that finds nothing in flight is run at once. Under load, statements take longer and so carry more calls. Each
caller returns after the commit of its own statement, so an acknowledged call is as durable as it is without group commit.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic

from strongroom.storage.errors import DatabaseUnavailable, ResourceExhausted, StorageError

from .group_commit_members import DEFAULT_LIMITS, Answer, Member, Request, abandon, behind_barriers, copied_error, fits
from .group_commit_states import RETRIES, STEPS, Outcome, State, Step, outcome_of
from .watch import StatementReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from strongroom.kms import StrongroomError

    from .barrier import Barrier
    from .connection import Connection
    from .database import Database
    from .group_commit_members import GroupCommitLimits
    from .own_session import OwnSession

_CLOSE_INTERVAL = 0.01
"""Seconds between two looks at the statements in flight while the group commit is closed."""


class GroupCommit(Generic[Request, Answer]):
    """Run one kind of call for many callers.

    - A failure that concerns one request is the answer to that request. Any other failure rolls the statement back, and each of its
      requests is sent again in a statement of its own. So one bad request is an error for its own caller only.
    - If it is unknown whether a statement was committed, it is not sent again unless it is idempotent. All its callers get an
      error with `may_have_been_committed`.
    - A caller that is cancelled, or gives up, does not affect the other requests of its statement.
    - A statement is sealed at once, and sent when the barriers of all its requests have passed. If a barrier fails, nothing is
      sent, and each request is run again by itself.

    `group_commit_states.py` has the table of these rules.

    Args:
        database: Lends the connections; its size is the most statements in flight.
        run: Seals, sends and reads one statement for several requests. Returns for each request, in the same order, its answer or
            the error to raise.
        name: The name of the database's function that the statement calls, for telemetry.
        key: Returns the key of a request. Requests with the same key are never in flight together, so that a statement never touches
            a row twice. None if no two requests touch the same row.
        shard: Returns the shard of a request. A statement then has requests of one shard only, as a Citus cluster needs. None if a
            statement may have requests of several shards.
        size: Returns the bytes that a request holds.
        idempotent: Whether running a statement twice has the same effect as running it once.
        limits: The limits.
        clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(
        self,
        database: Database,
        run: Callable[[Connection, Sequence[Request]], Awaitable[Sequence[Answer | StrongroomError]]],
        *,
        name: str,
        key: Callable[[Request], Hashable] | None = None,
        shard: Callable[[Request], int] | None = None,
        size: Callable[[Request], int] | None = None,
        idempotent: bool = False,
        limits: GroupCommitLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._run = run
        self._name = name
        self._key = key or id
        self._shard = shard or (lambda _: 0)
        self._size = size or (lambda _: 0)
        self._idempotent = idempotent
        self._limits = limits
        self._clock = clock
        self._waiting: deque[Member[Request, Answer]] = deque()
        self._waiting_bytes = 0
        self._keys_in_flight: set[Hashable] = set()
        self._lanes: set[asyncio.Task[None]] = set()
        self._direct = 0
        self._connections: set[OwnSession] = set()
        """The connections with a statement in flight."""
        self._sweeper: asyncio.TimerHandle | None = None

    async def submit(self, request: Request, *, barrier: Barrier | None = None) -> Answer:
        """Run a request with those of other callers, and return its answer after the commit.

        Args:
            request: The request to run.
            barrier: The barrier that must have passed before the statement is sent; None for no barrier.

        Raises:
            ResourceExhausted: Too many requests wait already. Nothing was sent.
            DatabaseUnavailable: The request could not be sent in time, or the connection to the server was lost.
            StorageError: The error that `run` returned for the request.
        """
        member: Member[Request, Answer] = Member(
            request,
            self._key(request),
            self._shard(request),
            self._size(request),
            self._clock(),
            asyncio.get_running_loop().create_future(),
            barrier,
        )
        if self._database.watch is not None:
            member.origin = self._database.watch.origin()
        if self.is_idle:
            return await self._send_directly(member)
        if len(self._waiting) >= self._limits.waiting or self._waiting_bytes + member.size > self._limits.waiting_bytes:
            msg = "too many calls are waiting for the database; nothing was sent"
            raise ResourceExhausted(msg)
        self._waiting.append(member)
        self._waiting_bytes += member.size
        self._start_lane()
        self._start_sweeper()
        return await member.answer

    @property
    def is_idle(self) -> bool:
        """Whether no request is in flight or waiting."""
        return not (self._lanes or self._direct or self._waiting)

    async def aclose(self) -> None:
        """Wait until no request is in flight or waiting, for `close_wait` at most.

        A server that has not answered by then is taken for lost: the callers get `DatabaseUnavailable`, with
        `may_have_been_committed` if their statement was sent.
        """
        deadline = asyncio.get_running_loop().time() + self._limits.close_wait
        while (self._lanes or self._direct) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a caller's task
            await asyncio.sleep(_CLOSE_INTERVAL)
        for connection in self._connections:
            connection.terminate()
        while self._lanes:
            for lane in self._lanes:
                lane.cancel()
            await asyncio.wait(self._lanes)
        for member in self._waiting:
            if not member.answer.done():
                member.answer.set_exception(DatabaseUnavailable("the cell was closed; nothing was sent"))
        self._waiting.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _send_directly(self, member: Member[Request, Answer]) -> Answer:
        """Run a request in its caller's own task, because nothing else is in flight."""
        self._direct += 1
        self._keys_in_flight.add(member.key)
        try:
            await self._send([member])
        finally:
            self._keys_in_flight.discard(member.key)
            self._direct -= 1
            self._start_lane()
        return await member.answer  # not there yet if a lane sends the request again

    def _start_lane(self) -> None:
        if self._waiting and len(self._lanes) + self._direct < self._database.size:
            lane = asyncio.create_task(self._lane())
            self._lanes.add(lane)
            lane.add_done_callback(self._lane_ended)

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        if not lane.cancelled():
            lane.exception()  # none is expected: `_send` hands all errors to callers

    async def _lane(self) -> None:
        while members := self._take():
            try:
                await self._send(members)
            finally:
                self._keys_in_flight.difference_update(member.key for member in members)
            if len(self._waiting) > self._limits.requests:
                self._start_lane()

    async def _send(self, members: list[Member[Request, Answer]]) -> None:
        """Run one statement, and settle each member by the table in `group_commit_states.py`."""
        first = State.SHARED if len(members) > 1 else State.SINGLE
        for member in members:
            if member.state is State.WAITING:
                member.state = first
        try:
            connection = await self._database.acquire()
        except asyncio.CancelledError:
            abandon(members, sent=False)
            raise
        except Exception as error:  # noqa: BLE001 - it goes to the callers
            self._end(members, Outcome.NEVER_SENT, error)
            return
        started = self._clock()
        try:
            answers = await self._run_on(connection, members)
        except asyncio.CancelledError:
            abandon(members, sent=all(member.barrier is None or member.barrier.passed for member in members))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the callers
            self._report(members, started, error)
            self._end(members, outcome_of(error, idempotent=self._idempotent), error)
        else:
            self._report(members, started, None)
            for member, answer in zip(members, answers, strict=True):
                self._settle(member, Outcome.REFUSED if isinstance(answer, Exception) else Outcome.DONE, answer)

    async def _run_on(
        self, connection: OwnSession, members: list[Member[Request, Answer]]
    ) -> Sequence[Answer | Exception]:
        broken = False
        self._connections.add(connection)
        try:
            return await self._run(behind_barriers(connection, members), [member.request for member in members])
        except StorageError as error:
            lost = await self._database.lost_session(connection, error)
            broken = error.may_have_been_committed or lost is not None
            if lost is not None:
                raise lost from None
            raise
        finally:
            self._connections.discard(connection)
            self._database.release(connection, broken=broken)

    def _end(self, members: list[Member[Request, Answer]], outcome: Outcome, error: Exception) -> None:
        """Settle all members of a statement that failed as a whole."""
        for member in reversed(members):  # requests that are sent again keep their order at the head of the queue
            self._settle(member, outcome, error if len(members) == 1 else copied_error(error))
        for _ in range(self._database.size):  # a request that waits for a lock must not delay the others
            self._start_lane()

    def _settle(self, member: Member[Request, Answer], outcome: Outcome, answer: Any) -> None:
        if member.answer.done():
            member.state = State.ANSWERED
        step = STEPS[outcome][member.state]
        if step is Step.ANSWER:
            member.answer.set_result(answer)
        elif step in RETRIES:
            member.state = RETRIES[step]
            self._waiting.appendleft(member)
            self._waiting_bytes += member.size
        elif step is not Step.DROP:
            if step is Step.RAISE_OPEN and isinstance(answer, StorageError):
                answer.may_have_been_committed = True
            member.answer.set_exception(answer)

    def _take(self) -> list[Member[Request, Answer]]:
        """Take the requests of the next statement from the queue. A request that can't share it keeps its place."""
        members: list[Member[Request, Answer]] = []
        passed_over: list[Member[Request, Answer]] = []
        room = self._limits.statement_bytes
        while self._waiting and len(members) < self._limits.requests:
            member = self._waiting.popleft()
            if member.answer.done():  # cancelled, or given up
                self._waiting_bytes -= member.size
            elif member.key in self._keys_in_flight or (members and not fits(member, members[0], room)):
                passed_over.append(member)
            else:
                members.append(member)
                self._keys_in_flight.add(member.key)
                self._waiting_bytes -= member.size
                room -= member.size
                if member.state is State.RETRIED_ALONE:
                    break
        self._waiting.extendleft(reversed(passed_over))
        return members

    def _start_sweeper(self) -> None:
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(self._limits.sweep_interval, self._sweep)

    def _sweep(self) -> None:
        """Refuse the requests that waited too long and were never sent."""
        oldest = self._clock() - self._limits.max_wait
        for member in self._waiting:
            if member.since < oldest and member.state is State.WAITING and not member.answer.done():
                msg = f"the call waited {self._limits.max_wait:g} s for the database; nothing was sent"
                member.answer.set_exception(DatabaseUnavailable(msg))
        self._sweeper = None
        if self._waiting:
            self._start_sweeper()

    def _report(self, members: list[Member[Request, Answer]], started: float, error: Exception | None) -> None:
        watch = self._database.watch
        if watch is not None:
            waits = [started - member.since for member in members]
            origins = [member.origin for member in members]
            watch.statement(StatementReport(self._name, waits, origins, self._clock() - started, error))
