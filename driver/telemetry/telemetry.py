"""Metrics and traces by OpenTelemetry (telemetry.md). Needs its API alone: the service brings providers and exporters."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

try:
    from opentelemetry.trace import SpanContext, StatusCode, get_current_span
except ModuleNotFoundError:
    msg = "metrics and traces need OpenTelemetry's API: pip install 'strongroom[opentelemetry]'"
    raise ImportError(msg) from None

from strongroom.driver.access.errors import PermissionDenied
from strongroom.driver.audit.errors import AuditUnavailable
from strongroom.kms import StrongroomError
from strongroom.storage import NamespaceNotFound

from .attributes import (
    DENIED,
    DONE,
    FAILED,
    INDEX,
    ORPHAN,
    OTHER,
    TOKENS,
    error_type,
    kms_type,
    named_error,
)
from .emitter import Emitter
from .gauges import Gauges
from .stores import watched, watched_stores
from .watches import KeyEvents, PoolWatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from strongroom.driver.config import KmsConfig
    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import KeyEvent, KeyEventSink, RecordKind
    from strongroom.storage import Database, StatementReport
    from strongroom.visibility import Reconciler, Reconciliation, TokenAudit, TokenTally

LOOK = 30.0
"""Seconds between two looks into the database for what only it knows."""


class Telemetry:
    """What a cell tells of itself, for `Strongroom.open(config, telemetry=...)`. One for each open cell.

    The process's global providers are used if they are given, and only then.

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
        self._emit = Emitter(meter_provider, tracer_provider)
        self._gauges = Gauges(self._emit)

    # --- the cell

    def watch_pools(self, pools: Mapping[str, Database]) -> None:
        """Watch the cell's lists of connections, by their names in the table."""
        self._gauges.pools = dict(pools)
        for name, database in pools.items():
            database.watch = PoolWatch(self, name)

    def audit(self, audit: KeyEventSink, sections: Mapping[str, KmsConfig]) -> KeyEventSink:
        """Return a sink that reports key changes and KMS calls, and passes every event on."""
        return KeyEvents(self, audit, {name: kms_type(section) for name, section in sections.items()})

    def opened_cell(self, strongroom: Strongroom) -> Strongroom:
        """Return the cell with its stores watched."""
        self._gauges.cell = strongroom
        return watched_stores(strongroom, self)

    def closed_cell(self) -> None:
        """Tell nothing more of the cell when somebody collects."""
        self._gauges.cell, self._gauges.pools = None, {}

    async def watch(self) -> None:
        """Look into the database from time to time, until cancelled."""
        while True:
            with suppress(StrongroomError):
                await self.look_once()
            await asyncio.sleep(self.look)

    async def look_once(self) -> None:
        """Tell what only the database knows; see `Gauges.look`."""
        await self._gauges.look()

    # --- stores and connections

    @contextmanager
    def operation(self, store: str, operation: str, *, guarded: bool = False) -> Iterator[None]:
        """Tell of a call of a store: a span around it, its time, and how it ended.

        Args:
            store: as the table has it.
            operation: name of its method.
            guarded: whether it is a session's, which answers who may not with errors of its own.
        """
        name = "strongroom.call.duration"
        attributes = self._emit.closed(name, store, operation, DONE, None)
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
                denied = guarded and isinstance(error, (PermissionDenied, NamespaceNotFound))
                attributes = self._emit.closed(name, store, operation, DENIED if denied else FAILED, error_type(error))
                span.set_attributes(attributes)
                span.set_status(StatusCode.ERROR)
                if isinstance(error, AuditUnavailable):
                    self._emit.add("strongroom.audit.refusals", 1, store, operation)
                raise
            finally:
                self._emit.record(name, time.perf_counter() - began, attributes)

    def batch(self, batch: StatementReport) -> None:
        """Tell of a statement of several calls: a span below the first of them, linked to the others."""
        error = None if batch.error is None else error_type(batch.error)
        attributes = self._emit.closed("db.client.operation.duration", "postgresql", batch.operation, error)
        self._emit.record("db.client.operation.duration", batch.seconds, attributes)
        operation = self._emit.closed("strongroom.batch.size", batch.operation)
        self._emit.record("strongroom.batch.size", len(batch.waits), operation)
        for wait in batch.waits:
            self._emit.record("strongroom.batch.wait", wait, operation)
        origins = [origin for origin in batch.origins if isinstance(origin, SpanContext)]
        numbered: dict[str, str | int] = {**attributes, "db.operation.batch.size": len(batch.waits)}
        name = f"batch {operation['db.operation.name']}"
        self._emit.span(name, batch.seconds, numbered, origins=origins, failed=error is not None)

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

    def kms_call(self, event: KeyEvent, kind: str | None) -> None:
        """Tell of a call of a KMS that is over."""
        seconds, error = event.seconds or 0.0, _error(event)
        name = "strongroom.kms.call.duration"
        attributes = self._emit.closed(name, kind or OTHER, event.operation.removeprefix("kms."), error)
        self._emit.record(name, seconds, attributes)
        self._emit.span(f"kms {attributes['strongroom.kms.operation']}", seconds, attributes, failed=error is not None)

    def key_change(self, event: KeyEvent, kind: str | None) -> None:
        """Tell of a change of a key that is over."""
        outcome = DONE if event.outcome == "done" else FAILED
        self._emit.add("strongroom.key.changes", 1, event.operation, outcome, kind, _error(event))

    # --- checks

    def reconciler(self, reconciler: Reconciler) -> Reconciler:
        """Return a reconciler that tells what it found."""
        return watched(reconciler, INDEX, self, {"run": self._reconciled})

    def token_audit(self, audit: TokenAudit) -> TokenAudit:
        """Return an audit of tokens that tells what it found."""
        return watched(audit, INDEX, self, {"run": self._tallied})

    def _reconciled(self, found: Reconciliation) -> None:
        for drift, documents in found.found.items():
            self._emit.add("strongroom.reconcile.drift", documents, drift.name.lower())
        self._emit.add("strongroom.reconcile.drift", found.orphans, ORPHAN)

    def _tallied(self, found: TokenTally) -> None:
        self._emit.add("strongroom.reconcile.drift", found.wrong, TOKENS)


def _error(event: KeyEvent) -> str | None:
    return None if event.outcome != "failed" else named_error(event.error or OTHER)
