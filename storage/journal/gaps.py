"""Missing entries that may still be in flight: since when this process waits for each, and which transactions may still insert it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.engine.queries import load_queries

from .folding import UNKNOWN_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection

_SQL = load_queries("journal/journal")


class Gap(NamedTuple):
    """A missing entry.

    Attributes:
        shard_id: The shard.
        writer: The process that made it.
        number: Its number among the writer's entries of the shard.
    """

    shard_id: int
    writer: UUID
    number: int


@dataclass(slots=True)
class _Wait:
    since: float
    running: frozenset[str] | None = None
    """The transactions that could insert the entry when its time was over."""


class Gaps:
    """The missing entries that this process waits for.

    A missing entry is passed over after some time. If a transaction of a caller is open for longer, it may still insert the entry, so
    the wait also lasts until every transaction has ended that could insert entries when the time was over.

    Args:
        clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waits: dict[Gap, _Wait] = {}

    async def waited(self, connection: Connection, shard_id: int) -> dict[tuple[UUID, int], float]:
        """Return the seconds for which the process has waited for each missing entry of a shard; none while it may be in flight.

        Args:
            connection: The connection. The entries must be read on it afterwards.
            shard_id: The shard.

        Raises:
            StorageError: The database does not answer.
        """
        now = self._clock()
        over = {
            gap: wait
            for gap, wait in self._waits.items()
            if gap.shard_id == shard_id and now - wait.since >= UNKNOWN_AFTER
        }
        if not over:
            return {}
        running = frozenset([row["transaction"] for row in await connection.fetch(_SQL["writing"])])
        for wait in over.values():
            wait.running = running if wait.running is None else wait.running & running
        return {(gap.writer, gap.number): now - wait.since for gap, wait in over.items() if not wait.running}

    def note(self, shard_id: int, missing: Iterable[tuple[UUID, int]]) -> None:
        """Replace the missing entries of a shard by those that the newest folding found."""
        known = {Gap(shard_id, *each) for each in missing}
        self._waits = {gap: wait for gap, wait in self._waits.items() if gap.shard_id != shard_id or gap in known}
        for gap in known:
            self._waits.setdefault(gap, _Wait(self._clock()))
