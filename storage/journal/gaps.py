"""The entries that folding waits for: since when this process waits for each, and which transactions may still insert it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.engine.queries import load_queries

from .folding import UNKNOWN_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection

    from .folding import Awaited

_SQL = load_queries("journal/journal")


class Gap(NamedTuple):
    """An entry that folding waits for.

    Attributes:
        shard_id: The shard.
        writer: The process that made it.
        number: Its number among the writer's entries of the shard.
        is_missing: Whether it is missing. If not, nothing confirms what it replaced.
    """

    shard_id: int
    writer: UUID
    number: int
    is_missing: bool


@dataclass(slots=True)
class _Wait:
    since: float
    running: frozenset[str] | None = None
    """The transactions that could insert a missing entry when its time was over."""


class Gaps:
    """The entries that this process waits for.

    A missing entry is given up after some time. The wait is longer if a transaction that could insert the entry is still open then.

    Args:
        clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waits: dict[Gap, _Wait] = {}

    async def waited(self, connection: Connection, shard_id: int) -> dict[Awaited, float]:
        """Return the seconds for which the process has waited for each entry of a shard; none while one may be in flight.

        Args:
            connection: The connection. The entries must be read on it afterwards.
            shard_id: The shard.

        Raises:
            StorageError: The database does not answer.
        """
        now = self._clock()
        waits = {gap: wait for gap, wait in self._waits.items() if gap.shard_id == shard_id}
        over = [wait for gap, wait in waits.items() if gap.is_missing and now - wait.since >= UNKNOWN_AFTER]
        if over:
            running = frozenset([row["transaction"] for row in await connection.fetch(_SQL["writing"])])
            for wait in over:
                wait.running = running if wait.running is None else wait.running & running
        return {
            (gap.writer, gap.number, gap.is_missing): now - wait.since
            for gap, wait in waits.items()
            if not wait.running
        }

    def note(self, shard_id: int, entries: Iterable[Awaited]) -> None:
        """Replace the entries of a shard by those that the newest folding found."""
        known = {Gap(shard_id, *each) for each in entries}
        self._waits = {gap: wait for gap, wait in self._waits.items() if gap.shard_id != shard_id or gap in known}
        for gap in known:
            self._waits.setdefault(gap, _Wait(self._clock()))
