"""Metrics and traces by OpenTelemetry, described in docs/how-to/telemetry.md.

It needs the API only; the service supplies providers and exporters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

try:
    from opentelemetry.trace import SpanContext, get_current_span
except ModuleNotFoundError:
    msg = "metrics and traces need OpenTelemetry's API: pip install 'strongroom[opentelemetry]'"
    raise ImportError(msg) from None

from strongroom.driver.proxy import chained, proxied
from strongroom.kms import Background

from .attributes import (
    DONE,
    FAILED,
    ORPHAN,
    OTHER,
    RECONCILER,
    TOKEN_VERIFIER,
    TOKENS,
    error_type,
    kms_type,
    named_error,
)
from .emitter import Emitter
from .gauges import Gauges, ObservedCell
from .interceptors import CallTelemetry, ReportAnswer
from .watches import PoolWatch, ReportedKeyEvents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from strongroom.driver.access import AccessControl
    from strongroom.driver.anchor import Anchors
    from strongroom.driver.audit import AuditLog
    from strongroom.driver.config import KmsConfig
    from strongroom.kms import KeyEvent, KeyEventSink, Keyring, RecordKind, StrongroomError
    from strongroom.storage import Database, StatementReport, VisibilityOutbox
    from strongroom.storage.journal.keeping import JournalKeeper
    from strongroom.visibility import Indexer, Reconciler, Reconciliation, TokenTally, TokenVerifier

    from .gauges import ServeCounts

LOOK = 30.0
"""Seconds between two readings of the database."""


class Telemetry:
    """The metrics and traces of one open cell, for `Strongroom.open(config, telemetry=...)`.

    The process's global providers are not used, unless they are passed.

    Attributes:
        look: Seconds between two readings of the database.
        calls: Reports calls of stores that the service uses by itself.
        session_calls: Reports calls of sessions.
        watching: The state of the loop that reads the database.

    Args:
        meter_provider: Takes metrics; None for no metrics.
        tracer_provider: Takes spans; None for no traces.
        look: Seconds between two readings of the database.
    """

    def __init__(
        self,
        *,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        look: float = LOOK,
    ) -> None:
        self.look = look
        self.watching = Background("telemetry")
        self._emitter = Emitter(meter_provider, tracer_provider)
        self._gauges = Gauges(self._emitter)
        self.calls = CallTelemetry(self._emitter, of_session=False)
        self.session_calls = CallTelemetry(self._emitter, of_session=True)

    # --- the cell

    def watch_pools(self, pools: Mapping[str, Database]) -> None:
        """Watch the cell's connection pools.

        Args:
            pools: The pools, by their names in the list of attributes.
        """
        self._gauges.pools = dict(pools)
        for name, database in pools.items():
            database.watch = PoolWatch(self, name)

    def key_events(self, sink: KeyEventSink, sections: Mapping[str, KmsConfig]) -> KeyEventSink:
        """Return a sink of key events that reports them, and passes them on.

        Args:
            sink: The sink that gets the events next.
            sections: The configuration of each KMS.
        """
        return ReportedKeyEvents(self, sink, {name: kms_type(section) for name, section in sections.items()})

    def cell_opened(
        self,
        *,
        keyring: Keyring,
        outbox: VisibilityOutbox,
        indexer: Indexer | None,
        audit: AuditLog | None,
        journal: JournalKeeper,
        background: Sequence[Background] = (),
        access: AccessControl | None = None,
        anchors: Anchors | None = None,
    ) -> None:
        """Observe an open cell."""
        work = [*background, self.watching]
        self._gauges.cell = ObservedCell(keyring, outbox, indexer, audit, journal, work, access, anchors)

    def cell_closed(self) -> None:
        """Stop observing the cell."""
        self._gauges.cell, self._gauges.pools = None, {}

    def serving(self, counts: ServeCounts, *, restarts: int) -> None:
        """Observe a worker of `strongroom serve`.

        Args:
            counts: What the worker counts.
            restarts: How often it was started again.
        """
        self._gauges.served, self._gauges.restarts = counts, restarts

    async def watch(self) -> None:
        """Read the database from time to time, until cancelled."""
        await self.watching.run(self.look_once, pause=self.look)

    async def look_once(self) -> None:
        """Read the database once; see `Gauges.read_database`."""
        await self._gauges.read_database()

    # --- connections

    def statement(self, report: StatementReport) -> None:
        """Report a statement of several calls: a span below the first call's, linked to the others."""
        error = None if report.error is None else error_type(report.error)
        attributes = self._emitter.closed("db.client.operation.duration", "postgresql", report.operation, error)
        self._emitter.record("db.client.operation.duration", report.seconds, attributes)
        operation = self._emitter.closed("strongroom.batch.size", report.operation)
        self._emitter.record("strongroom.batch.size", len(report.waits), operation)
        for wait in report.waits:
            self._emitter.record("strongroom.batch.wait", wait, operation)
        origins = [origin for origin in report.origins if isinstance(origin, SpanContext)]
        numbered: dict[str, str | int] = {**attributes, "db.operation.batch.size": len(report.waits)}
        name = f"batch {operation['db.operation.name']}"
        self._emitter.span(name, report.seconds, numbered, origins=origins, failed=error is not None)

    def used(self, pool: str, seconds: float) -> None:
        """Report that a connection was used."""
        attributes = self._emitter.closed("db.client.connection.use_time", pool)
        self._emitter.record("db.client.connection.use_time", seconds, attributes)
        if get_current_span().get_span_context().is_valid:  # Reading the database for gauges belongs to no trace.
            self._emitter.span("connection", seconds, attributes)

    # --- keys

    def sealed(self, kind: RecordKind, rows: int) -> None:
        """See `KeyWatch`."""
        self._emitter.add("strongroom.rows.sealed", rows, kind.name)

    def opened(self, kind: RecordKind, rows: int) -> None:
        """See `KeyWatch`."""
        self._emitter.add("strongroom.rows.opened", rows, kind.name)

    def not_opened(self, kind: RecordKind, error: StrongroomError) -> None:
        """See `KeyWatch`."""
        self._emitter.add("strongroom.rows.open_failures", 1, kind.name, error_type(error))

    def looked_up(self, result: Literal["hit", "aged", "miss"]) -> None:
        """See `KeyWatch`."""
        self._emitter.add("strongroom.key_cache.lookups", 1, result)

    def kms_call(self, event: KeyEvent, kind: str | None) -> None:
        """Report a finished call of a KMS."""
        seconds, error = event.seconds or 0.0, _error(event)
        name = "strongroom.kms.call.duration"
        attributes = self._emitter.closed(name, kind or OTHER, event.operation.removeprefix("kms."), error)
        self._emitter.record(name, seconds, attributes)
        span = f"kms {attributes['strongroom.kms.operation']}"
        self._emitter.span(span, seconds, attributes, failed=error is not None)

    def key_change(self, event: KeyEvent, kind: str | None) -> None:
        """Report a finished change of a key."""
        outcome = DONE if event.outcome == "done" else FAILED
        self._emitter.add("strongroom.key.changes", 1, event.operation, outcome, kind, _error(event))

    # --- checks of the search index

    def reconciler(self, reconciler: Reconciler) -> Reconciler:
        """Return a reconciler that reports the drift that it finds."""
        return proxied(RECONCILER, reconciler, chained((ReportAnswer(self._reconciled), self.calls)))

    def token_verifier(self, verifier: TokenVerifier) -> TokenVerifier:
        """Return a token verifier that reports the drift that it finds."""
        return proxied(TOKEN_VERIFIER, verifier, chained((ReportAnswer(self._tokens_compared), self.calls)))

    def _reconciled(self, report: Reconciliation) -> None:
        for drift, documents in report.found.items():
            self._emitter.add("strongroom.reconcile.drift", documents, drift.name.lower())
        self._emitter.add("strongroom.reconcile.drift", report.orphans, ORPHAN)

    def _tokens_compared(self, report: TokenTally) -> None:
        self._emitter.add("strongroom.reconcile.drift", report.wrong, TOKENS)


def _error(event: KeyEvent) -> str | None:
    return None if event.outcome != "failed" else named_error(event.error or OTHER)
