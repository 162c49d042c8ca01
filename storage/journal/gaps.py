"""The entries that folding waits for: since when this process waits for each, and which transactions may still insert it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.engine.queries import load_queries

from .folding import UNKNOWN_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.storage.engine.connection import Connection

    from .folding import Awaited

_SQL = load_queries("journal/journal")


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
        self._waits: dict[int, dict[Awaited, _Wait]] = {}

    async def waited(self, connection: Connection, shard_id: int) -> dict[Awaited, float]:
        """Return the seconds for which the process has waited for each entry of a shard; none while one may be in flight.

        Args:
            connection: The connection. The entries must be read on it afterwards.
            shard_id: The shard.

        Raises:
            StorageError: The database does not answer.
        """
        now = self._clock()
        waits = self._waits.get(shard_id, {})
        over = [wait for (*_, is_missing), wait in waits.items() if is_missing and now - wait.since >= UNKNOWN_AFTER]
        if over:
            writing = _SQL["writing_on_nodes" if is_distributed(connection) else "writing"]
            running = frozenset([row["transaction"] for row in await connection.fetch(writing)])
            for wait in over:
                wait.running = running if wait.running is None else wait.running & running
        return {each: now - wait.since for each, wait in waits.items() if not wait.running}

    def note(self, shard_id: int, entries: Iterable[Awaited]) -> None:
        """Replace the entries of a shard by those that the newest folding found."""
        before, now = self._waits.pop(shard_id, {}), self._clock()
        if waits := {each: before.get(each) or _Wait(now) for each in entries}:
            self._waits[shard_id] = waits
