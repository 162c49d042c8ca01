"""What a cell's connections, batches and keys are watched by: it passes on what the telemetry is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext, get_current_span

from .attributes import OTHER, POOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms import KeyEvent, KeyEventSink
    from strongroom.storage import StatementReport

    from .telemetry import Telemetry


class PoolWatch:
    """Watches one list of connections; see `DatabaseWatch`."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        assert name in POOLS  # noqa: S101 - our own names
        self._telemetry = telemetry
        self._name = name

    def origin(self) -> SpanContext | None:
        """Return the span that is current."""
        context = get_current_span().get_span_context()
        return context if context.is_valid else None

    def statement(self, report: StatementReport) -> None:
        """Record that a shared statement has ended."""
        self._telemetry.batch(report)

    def used(self, seconds: float) -> None:
        """Pass it on."""
        self._telemetry.used(self._name, seconds)


class KeyEvents:
    """A `KeyEventSink` that reports each finished KMS call and key change to telemetry, and passes the event on."""

    def __init__(self, telemetry: Telemetry, audit: KeyEventSink, types: Mapping[str, str]) -> None:
        self._telemetry = telemetry
        self._audit = audit
        self._types = types

    async def record(self, event: KeyEvent) -> None:
        """See `KeyEventSink`."""
        kind = None if event.provider is None else self._types.get(event.provider, OTHER)
        if event.operation.startswith("kms."):
            self._telemetry.kms_call(event, kind)
        elif event.outcome != "begun":
            self._telemetry.key_change(event, kind)
        await self._audit.record(event)
