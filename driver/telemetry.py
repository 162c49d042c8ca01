"""Metrics and traces for whoever runs a service, by OpenTelemetry; telemetry.md has the table of instruments.

Every attribute is one of `ATTRIBUTES`, and its value one of a closed set: names of operations, kinds of errors, ids of KMS providers.
Nothing that a tenant wrote is ever a label; a test runs a workload with planted strings and looks for them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from strongroom.kms import StrongroomError

from .config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider

    from strongroom.kms import KeyAudit, KeyEvent

    from .strongroom import Strongroom

SCOPE = "strongroom"
ATTRIBUTES = frozenset({"operation", "outcome", "error.type", "provider"})


class Telemetry(Protocol):
    """What is told of calls and keys; nothing of what stands in them."""

    def span(self, operation: str) -> AbstractContextManager[object]:
        """Return what a call is done within."""

    def call(self, operation: str, outcome: str, seconds: float, error: BaseException | None = None) -> None:
        """Count a call of a session; `outcome` is done, failed or denied."""

    def key(self, event: KeyEvent) -> None:
        """Count a change of a key, or a call of a KMS."""

    def watch(self, strongroom: Strongroom) -> None:
        """Look at an open cell whenever metrics are read."""


class _NoTelemetry:
    def span(self, operation: str) -> AbstractContextManager[object]:  # noqa: ARG002 - of the protocol, as below
        return nullcontext()

    def call(self, operation: str, outcome: str, seconds: float, error: BaseException | None = None) -> None:
        """Tell nobody."""

    def key(self, event: KeyEvent) -> None:
        """Tell nobody."""

    def watch(self, strongroom: Strongroom) -> None:
        """Look at nothing."""


NO_TELEMETRY: Telemetry = _NoTelemetry()
"""For who wants none."""


class OpenTelemetry:
    """Tells OpenTelemetry.

    Args:
        meter_provider: of the service; the global one if None.
        tracer_provider: likewise.

    Raises:
        ConfigError: OpenTelemetry's API is not installed.
    """

    def __init__(
        self, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
    ) -> None:
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415 - an optional dependency
        except ModuleNotFoundError:
            msg = "metrics and traces need OpenTelemetry's API: pip install 'strongroom[opentelemetry]'"
            raise ConfigError(msg) from None
        self._observation = metrics.Observation
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._meter = meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self._calls = meter.create_histogram(
            "strongroom.call.duration", unit="s", description="Calls of sessions, authorisation and audit included."
        )
        self._unopened = meter.create_counter(
            "strongroom.open.failures", unit="{value}", description="Calls in which a sealed value did not open."
        )
        self._unaudited = meter.create_counter(
            "strongroom.audit.refusals",
            unit="{call}",
            description="Calls refused because the audit log can't be written.",
        )
        self._kms = meter.create_histogram("strongroom.kms.duration", unit="s", description="Calls of a KMS.")
        self._changes = meter.create_counter("strongroom.key.changes", unit="{change}", description="Changes of keys.")

    def span(self, operation: str) -> AbstractContextManager[object]:
        """Return a span, current within."""
        # What an error says may hold what a caller wrote: its kind alone is told.
        return self._tracer.start_as_current_span(
            operation, attributes={"operation": operation}, record_exception=False, set_status_on_exception=False
        )

    def call(self, operation: str, outcome: str, seconds: float, error: BaseException | None = None) -> None:
        """Count a call."""
        where: dict[str, str] = {"operation": operation, "outcome": outcome}
        if error is not None:
            where["error.type"] = kind_of(error)
            if where["error.type"] == "IntegrityError":
                self._unopened.add(1, {"operation": operation})
            elif where["error.type"] == "AuditUnavailable":
                self._unaudited.add(1, {"operation": operation})
        self._calls.record(seconds, where)

    def key(self, event: KeyEvent) -> None:
        """Count a change or a call."""
        where: dict[str, str] = {"operation": event.operation, "outcome": event.outcome}
        if event.provider is not None:
            where["provider"] = event.provider
        if event.error is not None:
            where["error.type"] = event.error
        if event.operation.startswith("kms."):
            self._kms.record(event.seconds or 0.0, where)
        elif event.outcome != "begun":
            self._changes.add(1, where)

    def watch(self, strongroom: Strongroom) -> None:
        """Look at audit log, keys and indexer whenever metrics are read."""
        gauges = {
            "strongroom.audit.waiting": ("{record}", "Audit records in memory that are not on disk."),
            "strongroom.audit.unsigned": ("{record}", "Audit records since the last signature."),
            "strongroom.keys.age": ("s", "Since a KMS last gave keys that are in use here: the oldest."),
            "strongroom.index.failures": ("{try}", "Tries of the indexer that failed since the last that did not."),
        }
        for name, (unit, description) in gauges.items():

            def read(_: CallbackOptions, name: str = name) -> Iterable[Observation]:
                value = readings(strongroom).get(name)
                return () if value is None else (self._observation(value),)

            self._meter.create_observable_gauge(name, [read], unit=unit, description=description)


class TellingAudit:
    """Tells telemetry what a `KeyAudit` is told."""

    def __init__(self, inner: KeyAudit, telemetry: Telemetry) -> None:
        self._inner, self._telemetry = inner, telemetry

    async def record(self, event: KeyEvent) -> None:
        """Keep an event, and count it."""
        await self._inner.record(event)
        self._telemetry.key(event)


def readings(strongroom: Strongroom) -> Mapping[str, float]:
    """Return what an open cell's gauges show now."""
    found: dict[str, Any] = {"strongroom.keys.age": strongroom.keyring.oldest()}
    if strongroom.audit is not None:
        found["strongroom.audit.waiting"] = strongroom.audit.waiting
        found["strongroom.audit.unsigned"] = strongroom.audit.unsigned
    if strongroom.indexer is not None:
        found["strongroom.index.failures"] = strongroom.indexer.state.failures
    return {name: value for name, value in found.items() if value is not None}


def kind_of(error: BaseException) -> str:
    """Return the kind of an error: ours by name; any other as `other`, since a class may be named by anybody."""
    return type(error).__name__ if isinstance(error, StrongroomError) else "other"
