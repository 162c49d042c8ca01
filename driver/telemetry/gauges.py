"""Gauges: values of an open cell, read when metrics are collected, or from its database from time to time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from opentelemetry.metrics import CallbackOptions, Observation

from strongroom.storage import PostgresDataKeyStore
from strongroom.storage.cell.damaged_rows import DamagedRows

from .attributes import RECEIVE, TRANSMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from strongroom.driver.access import AccessControl
    from strongroom.driver.anchor import Anchors
    from strongroom.driver.audit import AuditLog
    from strongroom.kms import Background, Keyring
    from strongroom.storage import Database, VisibilityOutbox
    from strongroom.storage.journal.keeping import JournalKeeper
    from strongroom.visibility import Indexer

    from .emitter import Emitter


@dataclass(frozen=True, slots=True)
class ObservedCell:
    """The parts of an open cell that are observed.

    Attributes:
        keyring: The cell's keys.
        outbox: Changes that the search index has not received yet.
        indexer: The indexer; None without a search index.
        audit: The audit log; None without one.
        journal: Verifies rows in the background.
        background: The work in the background of this process.
        access: The access policy.
        anchors: The anchors outside of the database.
    """

    keyring: Keyring
    outbox: VisibilityOutbox
    indexer: Indexer | None
    audit: AuditLog | None
    journal: JournalKeeper
    background: Sequence[Background] = ()
    access: AccessControl | None = None
    anchors: Anchors | None = None

    def alterations(self) -> Mapping[str, int]:
        """Return how often each part was found altered."""
        store = self.keyring.store
        return {
            "registry": store.heads.alterations if isinstance(store, PostgresDataKeyStore) else 0,
            "policy": 0 if self.access is None else self.access.alterations,
            "audit": 0 if self.audit is None else self.audit.breaks,
        }


class ServeCounts(Protocol):
    """What a worker of `strongroom serve` counts; see `strongroom.driver.serve.counts.Counts`."""

    connections: int
    in_flight: int
    queued: int
    refused: int
    given_up: int
    received_bytes: int
    sent_bytes: int
    protocol_errors: int


def _audit_waiting(cell: ObservedCell) -> float | None:
    return None if cell.audit is None else cell.audit.waiting


def _audit_unsigned(cell: ObservedCell) -> float | None:
    return None if cell.audit is None else cell.audit.unsigned


def _indexer_failures(cell: ObservedCell) -> float | None:
    return None if cell.indexer is None else cell.indexer.state.failures


def _anchor_age(cell: ObservedCell) -> float | None:
    bucket = None if cell.anchors is None else cell.anchors.bucket
    return None if bucket is None else bucket.age_ratio


_READ: Mapping[str, Callable[[ObservedCell], float | None]] = {
    "strongroom.key_cache.in_use": lambda cell: len(cell.keyring.ages()),
    "strongroom.key_cache.oldest_age": lambda cell: max(cell.keyring.ages(), default=0.0),
    "strongroom.audit.waiting": _audit_waiting,
    "strongroom.audit.unsigned": _audit_unsigned,
    "strongroom.indexer.failures": _indexer_failures,
    "strongroom.journal.altered_shards": lambda cell: len(cell.journal.altered),
    "strongroom.anchor.age_ratio": _anchor_age,
}


_SERVED: Mapping[str, Callable[[ServeCounts], int]] = {
    "strongroom.serve.connections": lambda counts: counts.connections,
    "strongroom.serve.in_flight": lambda counts: counts.in_flight,
    "strongroom.serve.queued": lambda counts: counts.queued,
    "strongroom.serve.refused": lambda counts: counts.refused,
    "strongroom.serve.given_up": lambda counts: counts.given_up,
    "strongroom.serve.protocol_errors": lambda counts: counts.protocol_errors,
}


class Gauges:
    """Reads one open cell.

    Attributes:
        cell: The open cell; None before it is opened and after it is closed.
        pools: The cell's connection pools, by name.
        served: The counts of a worker of `strongroom serve`; None elsewhere.
        restarts: How often that worker was started again.

    Args:
        emitter: Writes metrics.
    """

    def __init__(self, emitter: Emitter) -> None:
        self.cell: ObservedCell | None = None
        self.pools: Mapping[str, Database] = {}
        self.served: ServeCounts | None = None
        self.restarts = 0
        self._emitter = emitter
        emitter.observe("db.client.connection.count", self._connections)
        emitter.observe("strongroom.background.failures", self._background)
        emitter.observe("strongroom.alterations", self._alterations)
        for name, read in _READ.items():
            emitter.observe(name, partial(self._observed, read))
        emitter.observe("strongroom.serve.io", self._io)
        emitter.observe("strongroom.serve.restarts", self._restarts)
        for name, count in _SERVED.items():
            emitter.observe(name, partial(self._counted, count))

    async def read_database(self) -> None:
        """Report the spent share of the most used key's limit, damaged rows, and the backlog and lag of the search index.

        Raises:
            StorageError: The database does not answer.
        """
        if self.cell is None:
            return
        store, indexer = self.cell.keyring.store, self.cell.indexer
        if isinstance(store, PostgresDataKeyStore):
            use = await store.nonce_use()
            self._emitter.set("strongroom.nonce.use_ratio", 0.0 if use is None else use)
        database = self.pools.get("transactions")
        if database is not None:
            kept = await DamagedRows(database).counts()
            self._emitter.set("strongroom.rows.damaged", sum(kept.values()))
        if indexer is not None:
            counts = await self.cell.outbox.counts()
            waiting = counts.waiting
            self._emitter.set("strongroom.indexer.backlog", waiting)
            self._emitter.set("strongroom.indexer.refused", counts.refused)
            if indexer.state.drained_at is not None:
                lag = time.monotonic() - indexer.state.drained_at if waiting > counts.refused else 0.0
                self._emitter.set("strongroom.indexer.lag", lag)

    def _observed(self, read: Callable[[ObservedCell], float | None], _: CallbackOptions) -> Iterable[Observation]:
        value = None if self.cell is None else read(self.cell)
        if value is not None:
            yield Observation(value)

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        name = "db.client.connection.count"
        for pool, database in self.pools.items():
            yield Observation(database.lent, self._emitter.closed(name, pool, "used"))
            yield Observation(database.size - database.lent, self._emitter.closed(name, pool, "idle"))

    def _background(self, _: CallbackOptions) -> Iterable[Observation]:
        for work in () if self.cell is None else self.cell.background:
            yield Observation(work.consecutive, self._emitter.closed("strongroom.background.failures", work.name))

    def _alterations(self, _: CallbackOptions) -> Iterable[Observation]:
        for part, number in () if self.cell is None else self.cell.alterations().items():
            yield Observation(number, self._emitter.closed("strongroom.alterations", part))

    def _counted(self, count: Callable[[ServeCounts], int], _: CallbackOptions) -> Iterable[Observation]:
        if self.served is not None:
            yield Observation(count(self.served))

    def _io(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.served is not None:
            name = "strongroom.serve.io"
            yield Observation(self.served.received_bytes, self._emitter.closed(name, RECEIVE))
            yield Observation(self.served.sent_bytes, self._emitter.closed(name, TRANSMIT))

    def _restarts(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.served is not None:
            yield Observation(self.restarts)
