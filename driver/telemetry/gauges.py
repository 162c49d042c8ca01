"""What is read of an open cell: when somebody collects, and from its database from time to time."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Observation

from strongroom.storage import PostgresDataKeyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Database

    from .emitter import Emitter


def _audit_waiting(cell: Strongroom) -> float | None:
    return None if cell.audit is None else cell.audit.waiting


def _audit_unsigned(cell: Strongroom) -> float | None:
    return None if cell.audit is None else cell.audit.unsigned


def _indexer_failures(cell: Strongroom) -> float | None:
    return None if cell.indexer is None else cell.indexer.state.failures


_READ: Mapping[str, Callable[[Strongroom], float | None]] = {
    "strongroom.key_cache.in_use": lambda cell: len(cell.keyring.ages()),
    "strongroom.key_cache.oldest_age": lambda cell: max(cell.keyring.ages(), default=0.0),
    "strongroom.audit.waiting": _audit_waiting,
    "strongroom.audit.unsigned": _audit_unsigned,
    "strongroom.indexer.failures": _indexer_failures,
}


class Gauges:
    """Reads one open cell.

    Attributes:
        cell: that is open; None before and after.
        pools: its lists of connections, by name.

    Args:
        emit: takes what is read.
    """

    def __init__(self, emit: Emitter) -> None:
        self.cell: Strongroom | None = None
        self.pools: Mapping[str, Database] = {}
        self._emit = emit
        emit.observe("db.client.connection.count", self._connections)
        for name, read in _READ.items():
            emit.observe(name, partial(self._observed, read))

    async def look(self) -> None:
        """Tell what only the database knows: how much of a key is used, and how far behind the search index is.

        Raises:
            StorageError: the database does not answer.
        """
        if self.cell is None:
            return
        store, indexer = self.cell.keyring.store, self.cell.indexer
        if isinstance(store, PostgresDataKeyStore):
            use = await store.nonce_use()
            self._emit.set("strongroom.nonce.use", 0.0 if use is None else use)
        if indexer is not None:
            waiting = await self.cell.outbox.waiting()
            self._emit.set("strongroom.indexer.backlog", waiting)
            if indexer.state.drained_at is not None:
                lag = time.monotonic() - indexer.state.drained_at if waiting else 0.0
                self._emit.set("strongroom.indexer.lag", lag)

    def _observed(self, read: Callable[[Strongroom], float | None], _: CallbackOptions) -> Iterable[Observation]:
        value = None if self.cell is None else read(self.cell)
        if value is not None:
            yield Observation(value)

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        name = "db.client.connection.count"
        for pool, database in self.pools.items():
            yield Observation(database.lent, self._emit.closed(name, pool, "used"))
            yield Observation(database.size - database.lent, self._emit.closed(name, pool, "idle"))
