"""Group commit: calls that arrive while statements are in flight go together in the next one.

There is no timer. A call that finds nothing in flight is run at once; under load, batches grow by themselves as long as
statements take. Each caller returns after the commit of its own batch, so what is acknowledged is as durable as without.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from strongroom.kms import StrongroomError
from strongroom.storage.errors import ResourceExhausted, StorageError, Unavailable

from .barrier import BarrierConnection
from .watch import Batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from .barrier import Barrier
    from .connection import Connection
    from .database import Database

Request = TypeVar("Request")
Answer = TypeVar("Answer")

MAX_REQUESTS = 16
"""Requests a statement: the best of 8 to 64, with 4 connections (DESIGN.md, "Group commit")."""
MAX_STATEMENT_BYTES = 8 * 2**20
MAX_WAITING = 4096
MAX_WAITING_BYTES = 64 * 2**20
MAX_WAIT = 10.0
"""Seconds after which a call that was not sent yet gives up."""
_SWEEP = 1.0


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Request, Answer]):
    request: Request
    key: Hashable
    place: int
    size: int
    since: float
    future: asyncio.Future[Answer]
    barrier: Barrier | None
    alone: bool = False
    retried: bool = False
    open_outcome: bool = False
    origin: object = None


class GroupCommit(Generic[Request, Answer]):
    """Runs one kind of call for many callers.

    - A failure that concerns one request is its answer. An unexpected one fails the statement, which was rolled back; then its
      members are run again, each by itself, so that a caller's bad row is an error for this caller only.
    - When the outcome is open, a statement that is not idempotent is never run again: all members hear that it may have been
      committed.
    - A caller that is cancelled, or gives up, leaves alone what it is in a statement with.
    - A statement is sealed at once, and sent when the barriers of all its members have passed (`barrier.py`). If one fails, nothing is
      sent, and the members are run again, each by itself.

    Args:
        database: its connections bound how many statements are in flight.
        run: seals, sends and reads one statement for several requests; returns in their order what each is answered with, or
            the error that it is to raise.
        name: of the database's function that the statement calls, for who watches.
        key: requests with the same key are never in flight together, so that one statement never touches a row twice;
            None: there are no such rows.
        place: the shard of a request. Given, a statement has requests of one shard only (a Citus cluster needs that).
        size: bytes that a request holds.
        idempotent: running a statement twice is as running it once.
    """

    def __init__(
        self,
        database: Database,
        run: Callable[[Connection, Sequence[Request]], Awaitable[Sequence[Answer | StrongroomError]]],
        *,
        name: str,
        key: Callable[[Request], Hashable] | None = None,
        place: Callable[[Request], int] | None = None,
        size: Callable[[Request], int] | None = None,
        idempotent: bool = False,
    ) -> None:
        self._database = database
        self._run = run
        self._name = name
        self._key = key or id
        self._place = place or (lambda _: 0)
        self._size = size or (lambda _: 0)
        self._idempotent = idempotent
        self._waiting: deque[_Waiting[Request, Answer]] = deque()
        self._waiting_bytes = 0
        self._busy: set[Hashable] = set()
        self._lanes: set[asyncio.Task[None]] = set()
        self._direct = 0
        self._sweeper: asyncio.TimerHandle | None = None

    async def submit(self, request: Request, *, barrier: Barrier | None = None) -> Answer:
        """Run a request with those of other callers, and return after its commit.

        Args:
            request: The request to run.
            barrier: What must have happened before the statement is sent; None for nothing.

        Raises:
            ResourceExhausted: too much is waiting already; nothing was sent.
            Unavailable: it could not be sent in time; or the server was lost, and it may have been committed.
            StorageError: whatever `run` answers for it.
        """
        key = self._key(request)
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Request, Answer] = _Waiting(
            request, key, self._place(request), self._size(request), loop.time(), loop.create_future(), barrier
        )
        if self._database.watch is not None:
            waiting.origin = self._database.watch.origin()
        if not self._lanes and not self._direct and not self._waiting:
            return await self._bypass(waiting)
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + waiting.size > MAX_WAITING_BYTES:
            msg = "too many calls are waiting for the database; nothing was sent"
            raise ResourceExhausted(msg)
        self._waiting.append(waiting)
        self._waiting_bytes += waiting.size
        self._start_lane()
        if self._sweeper is None:
            self._sweeper = loop.call_later(_SWEEP, self._sweep)
        return await waiting.future

    async def aclose(self) -> None:
        """Wait until nothing is in flight or waiting."""
        while self._lanes:
            await asyncio.wait(self._lanes)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _bypass(self, waiting: _Waiting[Request, Answer]) -> Answer:
        """Run a request in its caller's own task: nobody else is here."""
        self._direct += 1
        self._busy.add(waiting.key)
        try:
            await self._send([waiting])
        finally:
            self._busy.discard(waiting.key)
            self._direct -= 1
            self._start_lane()
        if waiting.future.done():
            return waiting.future.result()
        return await waiting.future  # it is run again, by a lane

    def _start_lane(self) -> None:
        if self._waiting and len(self._lanes) + self._direct < self._database.size:
            lane = asyncio.create_task(self._lane())
            self._lanes.add(lane)
            lane.add_done_callback(self._lane_ended)

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        if not lane.cancelled():
            lane.exception()  # none is expected: `_send` hands all of them to callers

    async def _lane(self) -> None:
        while batch := self._take():
            try:
                await self._send(batch)
            finally:
                self._busy.difference_update(waiting.key for waiting in batch)
            if len(self._waiting) > MAX_REQUESTS:
                self._start_lane()

    async def _send(self, batch: list[_Waiting[Request, Answer]]) -> None:
        try:
            connection = await self._database.acquire()
        except Exception as error:  # noqa: BLE001 - it goes to the callers. Nothing was sent, and nobody else would fare better.
            self._failed(batch, error, sent=False)
            return
        broken = False
        watch = self._database.watch
        began = 0.0 if watch is None else asyncio.get_running_loop().time()
        try:
            try:
                barriers = {waiting.barrier for waiting in batch if waiting.barrier and not waiting.barrier.passed}
                answers = await self._run(
                    BarrierConnection(connection, barriers) if barriers else connection,
                    [waiting.request for waiting in batch],
                )
            except StorageError as error:
                broken = error.may_have_been_committed
                raise
            finally:
                self._database.release(connection, broken=broken)
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the callers
            if watch is not None:
                watch.batch(self._over(batch, began, error))
            self._failed(batch, error)
        else:
            if watch is not None:
                watch.batch(self._over(batch, began, None))
            for waiting, answer in zip(batch, answers, strict=True):
                _answer(waiting.future, answer)

    def _over(self, batch: list[_Waiting[Request, Answer]], began: float, error: Exception | None) -> Batch:
        waits = [began - waiting.since for waiting in batch]
        origins = [waiting.origin for waiting in batch]
        return Batch(self._name, waits, origins, asyncio.get_running_loop().time() - began, error)

    def _failed(self, batch: list[_Waiting[Request, Answer]], error: Exception, *, sent: bool = True) -> None:
        open_outcome = isinstance(error, StorageError) and error.may_have_been_committed
        raced = isinstance(error, StorageError) and error.raced
        again = sent and (self._idempotent if open_outcome else raced or len(batch) > 1)
        for waiting in reversed(batch):
            if waiting.retried or not again:
                own = error if len(batch) == 1 else _copy(error)
                if waiting.open_outcome and isinstance(own, StorageError):
                    own.may_have_been_committed = True  # by the first attempt, whatever became of this one
                _answer(waiting.future, own)
            else:
                waiting.retried, waiting.alone, waiting.open_outcome = True, not open_outcome, open_outcome
                self._waiting.appendleft(waiting)
                self._waiting_bytes += waiting.size
        for _ in range(self._database.size):  # so that one that waits for a lock holds up none of the others
            self._start_lane()

    def _take(self) -> list[_Waiting[Request, Answer]]:
        """Take what goes into the next statement; what can't go with it keeps its place in the queue."""
        batch: list[_Waiting[Request, Answer]] = []
        passed: list[_Waiting[Request, Answer]] = []
        room = MAX_STATEMENT_BYTES
        while self._waiting and len(batch) < MAX_REQUESTS:
            waiting = self._waiting.popleft()
            if waiting.future.done():  # cancelled, or given up
                self._waiting_bytes -= waiting.size
            elif waiting.key in self._busy or (
                batch and (waiting.alone or batch[0].alone or waiting.place != batch[0].place or waiting.size > room)
            ):
                passed.append(waiting)
            else:
                batch.append(waiting)
                self._busy.add(waiting.key)
                self._waiting_bytes -= waiting.size
                room -= waiting.size
                if waiting.alone:
                    break
        self._waiting.extendleft(reversed(passed))
        return batch

    def _sweep(self) -> None:
        """Give up on calls that waited too long to be sent."""
        loop = asyncio.get_running_loop()
        too_old = loop.time() - MAX_WAIT
        for waiting in self._waiting:
            if waiting.since < too_old and not waiting.retried:
                msg = f"the call waited {MAX_WAIT:g} s for the database; nothing was sent"
                _answer(waiting.future, Unavailable(msg))
        self._sweeper = loop.call_later(_SWEEP, self._sweep) if self._waiting else None


def _answer(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():
        return  # the caller is gone
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _copy(error: Exception) -> Exception:
    """Return an error of one caller's own: raising one object in several tasks would mix their tracebacks."""
    if isinstance(error, StorageError):
        return type(error)(str(error), may_have_been_committed=error.may_have_been_committed)
    if isinstance(error, StrongroomError):
        return type(error)(str(error))
    return error
