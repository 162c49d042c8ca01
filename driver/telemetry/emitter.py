"""Writes metrics and spans. Their attributes have values of the closed lists only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    SpanKind,
    StatusCode,
    set_span_in_context,
)

from .attributes import OTHER, closed
from .instruments import INSTRUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider

    from .instruments import Instrument

SCOPE = "strongroom"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CALLS = (1, 2, 4, 8, 12, 16)


class Emitter:
    """Creates every instrument of the table.

    Attributes:
        tracer: The provider's tracer.

    Args:
        meter_provider: Takes metrics; None for no metrics.
        tracer_provider: Takes spans; None for no traces.
    """

    def __init__(self, meter_provider: MeterProvider | None, tracer_provider: TracerProvider | None) -> None:
        self.tracer = (tracer_provider or NoOpTracerProvider()).get_tracer(SCOPE)
        self._attributes: dict[tuple[str | None, ...], dict[str, str]] = {}
        self._meter = meter = (meter_provider or NoOpMeterProvider()).get_meter(SCOPE)
        self._instruments: dict[str, Any] = {}
        for name, instrument in INSTRUMENTS.items():
            description = _description(instrument)
            match instrument.kind:
                case "counter":
                    self._instruments[name] = meter.create_counter(**description)
                case "gauge":
                    self._instruments[name] = meter.create_gauge(**description)
                case "histogram":
                    bounds = _SECONDS if instrument.unit == "s" else _CALLS
                    self._instruments[name] = meter.create_histogram(
                        **description, explicit_bucket_boundaries_advisory=bounds
                    )
                case "observed" | "observed_counter":
                    pass  # Created by `observe`.

    def observe(self, name: str, read: Callable[[CallbackOptions], Iterable[Observation]]) -> None:
        """Create an observed gauge or counter.

        Args:
            name: The instrument's name.
            read: Returns the values when metrics are collected.
        """
        instrument = INSTRUMENTS[name]
        is_gauge = instrument.kind == "observed"
        create = self._meter.create_observable_gauge if is_gauge else self._meter.create_observable_counter
        create(**_description(instrument), callbacks=[read])

    def closed(self, name: str, *values: str | None) -> dict[str, str]:
        """Return an instrument's attributes with values of the closed lists.

        Args:
            name: The instrument's name.
            values: The values in the order of the table; None for an attribute that is not set.
        """
        attributes = self._attributes.get((name, *values))
        if attributes is None:
            keys = INSTRUMENTS[name].attributes
            attributes = {key: closed(key, value) for key, value in zip(keys, values, strict=True) if value is not None}
            if OTHER not in attributes.values():  # Otherwise invented values could fill the memory.
                self._attributes[(name, *values)] = attributes
        return attributes

    def record(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        """Record a value of a histogram, with attributes from `closed`."""
        self._instruments[name].record(value, attributes)

    def add(self, name: str, amount: int, *values: str | None) -> None:
        """Add to a counter. An amount of 0 adds no data point."""
        if amount:
            self._instruments[name].add(amount, self.closed(name, *values))

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._instruments[name].set(value)

    def span(
        self,
        name: str,
        seconds: float,
        attributes: Mapping[str, str | int],
        *,
        origins: Iterable[SpanContext] | None = None,
        failed: bool = False,
    ) -> None:
        """Write a span that has ended.

        Args:
            name: The span's name.
            seconds: The span's duration.
            attributes: The span's attributes.
            origins: The spans that caused it. The first is its parent, and the others are linked. None for the current span.
            failed: Whether the span has the status ERROR.
        """
        ended = time.time_ns()
        context, links = None, []
        if origins is not None:
            first, *others = [*origins] or [INVALID_SPAN_CONTEXT]
            context = set_span_in_context(NonRecordingSpan(first), Context())
            links = [Link(other) for other in others]
        span = self.tracer.start_span(
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


def _description(instrument: Instrument) -> dict[str, str]:
    return {"name": instrument.name, "unit": instrument.unit, "description": instrument.description}
