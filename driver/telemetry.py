"""Metrics and traces by OpenTelemetry (telemetry.md). Needs its API alone: the service brings providers and exporters."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import SpanContext, StatusCode, get_current_span

from strongroom.kms import StrongroomError
from strongroom.storage import PostgresDataKeyStore

from .telemetry_attributes import INDEX, ORPHAN, OTHER, POOLS, TOKENS, error_type, kms_type
from .telemetry_emitter import Emitter
from .telemetry_stores import watched, watched_stores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from strongroom.kms import KeyAudit, KeyEvent, RecordKind
    from strongroom.storage import Batch, Database, DatabaseWatch
    from strongroom.visibility import Reconciler, Reconciliation, TokenAudit, TokenTally

    from .kms_config import KmsConfig
    from .strongroom import Strongroom

LOOK = 30.0
"""Seconds between two looks into the database for what only it knows."""


class Telemetry:
    """What a cell tells of itself, for `Strongroom.open(config, telemetry=...)`. One for each open cell.

    Attributes:
        look: seconds between two looks into the database.

    Args:
        meter_provider: takes metrics; None for no metrics.
        tracer_provider: takes spans; None for no traces.
        look: see above.
    """

    def __init__(
        self,
        *,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        look: float = LOOK,
    ) -> None:
        self.look = look
        self._emit = Emitter(
            meter_provider,
            tracer_provider,
            observed={
                "db.client.connection.count": self._connections,
                "strongroom.key_cache.in_use": self._in_use,
                "strongroom.key_cache.oldest_age": self._oldest_age,
            },
        )
        self._cell: Strongroom | None = None
        self._pools: dict[str, Database] = {}

    # --- the cell

    def pool(self, name: str) -> DatabaseWatch:
        """Return what watches one of the cell's lists of connections."""
        return _Pool(self, name)

    def audit(self, audit: KeyAudit, sections: Mapping[str, KmsConfig]) -> KeyAudit:
        """Return an audit log that also tells of calls of a KMS."""
        return _KmsCalls(self, audit, {name: kms_type(section) for name, section in sections.items()})

    def opened_cell(self, strongroom: Strongroom, pools: Mapping[str, Database]) -> Strongroom:
        """Return the cell with its stores watched."""
        self._cell, self._pools = strongroom, dict(pools)
        return watched_stores(strongroom, self)

    def closed_cell(self) -> None:
        """Tell nothing more of the cell when somebody collects."""
        self._cell, self._pools = None, {}

    async def watch(self) -> None:
        """Look into the database from time to time, until cancelled."""
        while True:
            with suppress(StrongroomError):
                await self.look_once()
            await asyncio.sleep(self.look)

    async def look_once(self) -> None:
        """Tell what only the database knows: how much of a key is used, and how far behind the search index is.

        Raises:
            StorageError: the database does not answer.
        """
        if self._cell is None:
            return
        store = self._cell.keyring.store
        if isinstance(store, PostgresDataKeyStore):
            use = await store.nonce_use()
            self._emit.set("strongroom.nonce.use", 0.0 if use is None else use)
        if self._cell.indexer is not None:
            waiting = await self._cell.outbox.waiting()
            self._emit.set("strongroom.indexer.backlog", waiting)
            drained_at = self._cell.indexer.state.drained_at
            if drained_at is not None:
                self._emit.set("strongroom.indexer.lag", time.monotonic() - drained_at if waiting else 0.0)

    # --- stores and connections

    @contextmanager
    def operation(self, store: str, operation: str) -> Iterator[None]:
        """Tell of a call of a store: a span around it, and its time."""
        name = "strongroom.operation.duration"
        attributes = self._emit.closed(name, store, operation)
        began = time.perf_counter()
        with self._emit.tracer.start_as_current_span(
            f"{attributes['strongroom.store']} {attributes['strongroom.operation']}",
            attributes=attributes,
            record_exception=False,  # its text and traceback are for the service's own log
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                kind = error_type(error)
                attributes = self._emit.closed(name, store, operation, kind)
                span.set_attribute("error.type", kind)
                span.set_status(StatusCode.ERROR)
                raise
            finally:
                self._emit.record(name, time.perf_counter() - began, attributes)

    def batch(self, batch: Batch) -> None:
        """Tell of a statement of several calls: a span below the first of them, linked to the others."""
        errors = (error_type(batch.error),) if batch.error is not None else ()
        attributes = self._emit.closed("db.client.operation.duration", "postgresql", batch.operation, *errors)
        self._emit.record("db.client.operation.duration", batch.seconds, attributes)
        operation = self._emit.closed("strongroom.batch.size", batch.operation)
        self._emit.record("strongroom.batch.size", len(batch.waits), operation)
        for wait in batch.waits:
            self._emit.record("strongroom.batch.wait", wait, operation)
        origins = [origin for origin in batch.origins if isinstance(origin, SpanContext)]
        numbered: dict[str, str | int] = {**attributes, "db.operation.batch.size": len(batch.waits)}
        self._emit.span(
            f"batch {operation['db.operation.name']}", batch.seconds, numbered, origins=origins, failed=bool(errors)
        )

    def used(self, pool: str, seconds: float) -> None:
        """Tell of a connection that was lent."""
        attributes = self._emit.closed("db.client.connection.use_time", pool)
        self._emit.record("db.client.connection.use_time", seconds, attributes)
        if get_current_span().get_span_context().is_valid:  # else of our own looks, which are nobody's trace
            self._emit.span("connection", seconds, attributes)

    # --- keys

    def sealed(self, kind: RecordKind, rows: int) -> None:
        """See `KeyWatch`."""
        self._emit.add("strongroom.rows.sealed", rows, kind.name)

    def opened(self, kind: RecordKind, rows: int) -> None:
        """See `KeyWatch`."""
        self._emit.add("strongroom.rows.opened", rows, kind.name)

    def not_opened(self, kind: RecordKind, error: StrongroomError) -> None:
        """See `KeyWatch`."""
        self._emit.add("strongroom.rows.open_failures", 1, kind.name, error_type(error))

    def looked_up(self, result: Literal["hit", "aged", "miss"]) -> None:
        """See `KeyWatch`."""
        self._emit.add("strongroom.key_cache.lookups", 1, result)

    def kms_call(self, event: KeyEvent, kind: str) -> None:
        """Tell of a call of a KMS that is over."""
        seconds, errors = event.seconds or 0.0, () if event.outcome == "done" else (event.error or OTHER,)
        name = "strongroom.kms.call.duration"
        attributes = self._emit.closed(name, kind, event.operation.removeprefix("kms."), *errors)
        self._emit.record(name, seconds, attributes)
        self._emit.span(f"kms {attributes['strongroom.kms.operation']}", seconds, attributes, failed=bool(errors))

    # --- checks

    def reconciler(self, reconciler: Reconciler) -> Reconciler:
        """Return a reconciler that tells what it found."""
        return watched(reconciler, INDEX, self, {"run": self._reconciled})

    def token_audit(self, audit: TokenAudit) -> TokenAudit:
        """Return an audit of tokens that tells what it found."""
        return watched(audit, INDEX, self, {"run": self._tallied})

    def audit_lag(self, seconds: float) -> None:
        """Tell how old the oldest audit record is that no checkpoint outside covers. For who keeps the audit log."""
        self._emit.set("strongroom.audit.lag", seconds)

    def chain_breaks(self, breaks: int) -> None:
        """Tell how many breaks a check of the audit log has found. For who keeps the audit log."""
        self._emit.add("strongroom.audit.chain_breaks", breaks)

    def _reconciled(self, found: Reconciliation) -> None:
        for drift, documents in found.found.items():
            self._emit.add("strongroom.reconcile.drift", documents, drift.name.lower())
        self._emit.add("strongroom.reconcile.drift", found.orphans, ORPHAN)

    def _tallied(self, found: TokenTally) -> None:
        self._emit.add("strongroom.reconcile.drift", found.wrong, TOKENS)

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        name = "db.client.connection.count"
        for pool, database in self._pools.items():
            yield Observation(database.lent, self._emit.closed(name, pool, "used"))
            yield Observation(database.size - database.lent, self._emit.closed(name, pool, "idle"))

    def _in_use(self, _: CallbackOptions) -> Iterable[Observation]:
        if self._cell is not None:
            yield Observation(len(self._cell.keyring.ages()))

    def _oldest_age(self, _: CallbackOptions) -> Iterable[Observation]:
        if self._cell is not None:
            yield Observation(max(self._cell.keyring.ages(), default=0.0))


class _Pool:
    """Watches one list of connections; see `DatabaseWatch`."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        assert name in POOLS  # noqa: S101 - our own names
        self._telemetry = telemetry
        self._name = name

    def origin(self) -> SpanContext | None:
        """Return the span that is current."""
        context = get_current_span().get_span_context()
        return context if context.is_valid else None

    def batch(self, batch: Batch) -> None:
        """Pass it on."""
        self._telemetry.batch(batch)

    def used(self, seconds: float) -> None:
        """Pass it on."""
        self._telemetry.used(self._name, seconds)


class _KmsCalls:
    """An audit log before which calls of a KMS are told of."""

    def __init__(self, telemetry: Telemetry, audit: KeyAudit, types: Mapping[str, str]) -> None:
        self._telemetry = telemetry
        self._audit = audit
        self._types = types

    async def record(self, event: KeyEvent) -> None:
        """See `KeyAudit`."""
        if event.operation.startswith("kms."):
            self._telemetry.kms_call(event, self._types.get(event.provider or "", OTHER))
        await self._audit.record(event)
