"""The objects that the cell's connections and keys report to. They pass every report on to the telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from opentelemetry.trace import SpanContext, get_current_span

from .attributes import OTHER, POOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms import KeyEvent, KeyEventSink
    from strongroom.storage import StatementReport


class ConnectionReports(Protocol):
    """Takes reports of connections; see `Telemetry`."""

    def statement(self, report: StatementReport) -> None:
        """Report a statement of several calls."""

    def used(self, pool: str, seconds: float) -> None:
        """Report that a connection was used."""


class KeyReports(Protocol):
    """Takes reports of keys; see `Telemetry`."""

    def kms_call(self, event: KeyEvent, kind: str | None) -> None:
        """Report a finished call of a KMS."""

    def key_change(self, event: KeyEvent, kind: str | None) -> None:
        """Report a finished change of a key."""


class PoolWatch:
    """Watches one connection pool; see `DatabaseWatch`.

    Args:
        reports: Takes the reports.
        pool: The pool's name.
    """

    def __init__(self, reports: ConnectionReports, pool: str) -> None:
        assert pool in POOLS  # noqa: S101 - a name of this project
        self._reports = reports
        self._pool = pool

    def origin(self) -> SpanContext | None:
        """Return the current span."""
        context = get_current_span().get_span_context()
        return context if context.is_valid else None

    def statement(self, report: StatementReport) -> None:
        """Pass a report on."""
        self._reports.statement(report)

    def used(self, seconds: float) -> None:
        """Pass a report on."""
        self._reports.used(self._pool, seconds)


class ReportedKeyEvents:
    """A sink of key events that reports finished calls of a KMS and finished changes of keys, and passes all events on.

    Args:
        reports: Takes the reports.
        sink: The sink that gets the events next.
        types: The type of each KMS, by its id in the configuration.
    """

    def __init__(self, reports: KeyReports, sink: KeyEventSink, types: Mapping[str, str]) -> None:
        self._reports = reports
        self._sink = sink
        self._types = types

    async def record(self, event: KeyEvent) -> None:
        """Report an event, and pass it on."""
        kind = None if event.provider is None else self._types.get(event.provider, OTHER)
        if event.operation.startswith("kms."):
            self._reports.kms_call(event, kind)
        elif event.outcome != "begun":
            self._reports.key_change(event, kind)
        await self._sink.record(event)
