"""Metrics and traces by OpenTelemetry (telemetry.md). Needs its API alone: the service brings providers and exporters."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    SpanKind,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from strongroom.kms import StrongroomError
from strongroom.storage import PostgresDataKeyStore

from .telemetry_stores import watched, watched_stores
from .telemetry_table import INDEX, INSTRUMENTS, ORPHAN, OTHER, POOLS, TOKENS, closed, error_type, kms_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.trace import TracerProvider

    from strongroom.kms import KeyAudit, KeyEvent, RecordKind
    from strongroom.storage import Batch, Database, DatabaseWatch
    from strongroom.visibility import Reconciler, Reconciliation, TokenAudit, TokenTally

    from .kms_config import KmsConfig
    from .strongroom import Strongroom

SCOPE = "strongroom"
LOOK = 30.0
"""Seconds between two looks into the database for what only it knows."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CALLS = (1, 2, 4, 8, 12, 16)


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
        self._tracer = (tracer_provider or NoOpTracerProvider()).get_tracer(SCOPE)
        self._cell: Strongroom | None = None
        self._pools: dict[str, Database] = {}
        self._attributes: dict[tuple[str, ...], dict[str, str]] = {}
        observed = {
            "db.client.connection.count": self._connections,
            "strongroom.key_cache.in_use": self._in_use,
            "strongroom.key_cache.oldest_age": self._oldest_age,
        }
        meter = (meter_provider or NoOpMeterProvider()).get_meter(SCOPE)
        self._instruments: dict[str, Any] = {}
        for name, instrument in INSTRUMENTS.items():
            told = {"name": name, "unit": instrument.unit, "description": instrument.description}
            match instrument.kind:
                case "counter":
                    self._instruments[name] = meter.create_counter(**told)
                case "gauge":
                    self._instruments[name] = meter.create_gauge(**told)
                case "histogram":
                    bounds = _SECONDS if instrument.unit == "s" else _CALLS
                    self._instruments[name] = meter.create_histogram(**told, explicit_bucket_boundaries_advisory=bounds)
                case "observed":
                    meter.create_observable_gauge(**told, callbacks=[observed[name]])

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
            self._set("strongroom.nonce.use", 0.0 if use is None else use)
        if self._cell.indexer is not None:
            waiting = await self._cell.outbox.waiting()
            self._set("strongroom.indexer.backlog", waiting)
            drained_at = self._cell.indexer.state.drained_at
            if drained_at is not None:
                self._set("strongroom.indexer.lag", time.monotonic() - drained_at if waiting else 0.0)

    # --- stores and connections

    @contextmanager
    def operation(self, store: str, operation: str) -> Iterator[None]:
        """Tell of a call of a store: a span around it, and its time."""
        name = "strongroom.operation.duration"
        attributes = self._closed(name, store, operation)
        began = time.perf_counter()
        with self._tracer.start_as_current_span(
            f"{attributes['strongroom.store']} {attributes['strongroom.operation']}",
            attributes=attributes,
            record_exception=False,  # its text and traceback are for the service's own log
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                kind = error_type(error)
                attributes = self._closed(name, store, operation, kind)
                span.set_attribute("error.type", kind)
                span.set_status(StatusCode.ERROR)
                raise
            finally:
                self._instruments[name].record(time.perf_counter() - began, attributes)

    def batch(self, batch: Batch) -> None:
        """Tell of a statement of several calls: a span below the first of them, linked to the others."""
        errors = (error_type(batch.error),) if batch.error is not None else ()
        attributes = self._closed("db.client.operation.duration", "postgresql", batch.operation, *errors)
        self._instruments["db.client.operation.duration"].record(batch.seconds, attributes)
        operation = self._closed("strongroom.batch.size", batch.operation)
        self._instruments["strongroom.batch.size"].record(len(batch.waits), operation)
        for wait in batch.waits:
            self._instruments["strongroom.batch.wait"].record(wait, operation)
        origins = [origin for origin in batch.origins if isinstance(origin, SpanContext)]
        numbered: dict[str, str | int] = {**attributes, "db.operation.batch.size": len(batch.waits)}
        self._span(
            f"batch {operation['db.operation.name']}", batch.seconds, numbered, origins=origins, failed=bool(errors)
        )

    def used(self, pool: str, seconds: float) -> None:
        """Tell of a connection that was lent."""
        attributes = self._closed("db.client.connection.use_time", pool)
        self._instruments["db.client.connection.use_time"].record(seconds, attributes)
        if get_current_span().get_span_context().is_valid:  # else of our own looks, which are nobody's trace
            self._span("connection", seconds, attributes)

    # --- keys

    def sealed(self, kind: RecordKind, rows: int) -> None:
        """See `KeyWatch`."""
        self._add("strongroom.rows.sealed", rows, kind.name)

    def opened(self, kind: RecordKind, rows: int) -> None:
        """See `KeyWatch`."""
        self._add("strongroom.rows.opened", rows, kind.name)

    def not_opened(self, kind: RecordKind, error: StrongroomError) -> None:
        """See `KeyWatch`."""
        self._add("strongroom.rows.open_failures", 1, kind.name, error_type(error))

    def looked_up(self, result: Literal["hit", "aged", "miss"]) -> None:
        """See `KeyWatch`."""
        self._add("strongroom.key_cache.lookups", 1, result)

    def kms_call(self, event: KeyEvent, kind: str) -> None:
        """Tell of a call of a KMS that is over."""
        seconds, errors = event.seconds or 0.0, () if event.outcome == "done" else (event.error or OTHER,)
        name = "strongroom.kms.call.duration"
        attributes = self._closed(name, kind, event.operation.removeprefix("kms."), *errors)
        self._instruments[name].record(seconds, attributes)
        self._span(f"kms {attributes['strongroom.kms.operation']}", seconds, attributes, failed=bool(errors))

    # --- checks

    def reconciler(self, reconciler: Reconciler) -> Reconciler:
        """Return a reconciler that tells what it found."""
        return watched(reconciler, INDEX, self, {"run": self._reconciled})

    def token_audit(self, audit: TokenAudit) -> TokenAudit:
        """Return an audit of tokens that tells what it found."""
        return watched(audit, INDEX, self, {"run": self._tallied})

    def audit_lag(self, seconds: float) -> None:
        """Tell how old the oldest audit record is that no checkpoint outside covers. For who keeps the audit log."""
        self._set("strongroom.audit.lag", seconds)

    def chain_breaks(self, breaks: int) -> None:
        """Tell how many breaks a check of the audit log has found. For who keeps the audit log."""
        self._add("strongroom.audit.chain_breaks", breaks)

    def _reconciled(self, found: Reconciliation) -> None:
        for drift, documents in found.found.items():
            self._add("strongroom.reconcile.drift", documents, drift.name.lower())
        self._add("strongroom.reconcile.drift", found.orphans, ORPHAN)

    def _tallied(self, found: TokenTally) -> None:
        self._add("strongroom.reconcile.drift", found.wrong, TOKENS)

    # --- what is emitted

    def _closed(self, name: str, *values: str) -> dict[str, str]:
        """Return an instrument's attributes, in the order of the table, with values of the closed lists."""
        known = self._attributes.get((name, *values))
        if known is None:
            keys = INSTRUMENTS[name].attributes
            known = {key: closed(key, value) for key, value in zip(keys, values, strict=False)}
            if tuple(known.values()) == values:  # else anybody could fill the memory
                self._attributes[(name, *values)] = known
        return known

    def _add(self, name: str, amount: int, *values: str) -> None:
        if amount:
            self._instruments[name].add(amount, self._closed(name, *values))

    def _set(self, name: str, value: float) -> None:
        self._instruments[name].set(value)

    def _span(
        self,
        name: str,
        seconds: float,
        attributes: Mapping[str, str | int],
        *,
        origins: Iterable[SpanContext] | None = None,
        failed: bool = False,
    ) -> None:
        """Write a span of what is over: below the current one, or below the first of its origins and linked to the others."""
        ended = time.time_ns()
        context, links = None, []
        if origins is not None:
            first, *others = [*origins] or [INVALID_SPAN_CONTEXT]
            context = set_span_in_context(NonRecordingSpan(first), Context())
            links = [Link(other) for other in others]
        span = self._tracer.start_span(
            name,
            context=context,
            kind=SpanKind.CLIENT,
            attributes=dict(attributes),
            links=links,
            start_time=ended - int(seconds * 1e9),
        )
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        name = "db.client.connection.count"
        for pool, database in self._pools.items():
            yield Observation(database.lent, self._closed(name, pool, "used"))
            yield Observation(database.size - database.lent, self._closed(name, pool, "idle"))

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
