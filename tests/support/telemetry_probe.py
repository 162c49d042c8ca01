"""Keep metrics and spans in memory, return the texts in them, and evaluate alerts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from strongroom.driver.operations import Operation
from strongroom.driver.proxy import Invocation, chained
from strongroom.driver.telemetry.instruments import INSTRUMENTS, Instrument
from strongroom.driver.telemetry.telemetry import Telemetry
from tests.support.tree import ROOT

PAGE = ROOT / "docs" / "telemetry.md"
_SUFFIX = {"s": "_seconds", "1": "_ratio"}


def prometheus_names(instrument: Instrument) -> set[str]:
    """Return an instrument's names in Prometheus, by the exporter rules of OpenTelemetry."""
    name = instrument.name.replace(".", "_") + _SUFFIX.get(instrument.unit, "")
    if instrument.kind == "histogram":
        return {f"{name}_{part}" for part in ("bucket", "count", "sum")}
    return {f"{name}_total" if instrument.kind == "counter" else name}


def alerts():
    """Return the expressions of the rules on the page, by name."""
    return dict(re.findall(r"- alert: (\w+)\n\s+expr: (.*?)(?:  #.*)?\n", PAGE.read_text(encoding="utf-8")))


async def reported_call(telemetry, store, operation, *, error=None):
    """Make a call of any name that is reported, and return or fail."""

    async def method():
        if error is not None:
            raise error

    entry = Operation(operation, None, "read", "cell", area=store)
    await chained((telemetry.calls,))(Invocation(entry, method, (), (), {}))


@dataclass
class Probe:
    """Telemetry whose metrics and spans are kept in memory."""

    telemetry: Telemetry
    reader: InMemoryMetricReader
    spans: InMemorySpanExporter
    meters: MeterProvider
    tracers: TracerProvider

    @classmethod
    def make(cls):
        """Return a new probe."""
        reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
        meters, tracers = MeterProvider(metric_readers=[reader]), TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(spans))
        telemetry = Telemetry(meter_provider=meters, tracer_provider=tracers, look=3600)
        return cls(telemetry, reader, spans, meters, tracers)

    def points(self):
        """Yield each metric with each of its points."""
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        yield metric, point

    def value(self, name, **attributes):
        """Return the sum of the values, or for a histogram the counts, of a metric's points that have some attributes."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return sum(
            getattr(point, "value", None) if hasattr(point, "value") else point.count
            for metric, point in self.points()
            if metric.name == name and wanted.items() <= dict(point.attributes).items()
        )

    def said(self):
        """Return all texts of all metrics and spans: names, descriptions, keys, values, events, states."""
        texts = set()
        for metric, point in self.points():
            texts |= {metric.name, metric.description, *point.attributes, *map(str, point.attributes.values())}
            texts |= {str(each.filtered_attributes) for each in point.exemplars}
        for span in self.spans.get_finished_spans():
            texts |= {span.name, str(span.status.description), *span.attributes, *map(str, span.attributes.values())}
            texts |= {f"{event.name} {dict(event.attributes)}" for event in span.events}
            texts |= {str(dict(link.attributes)) for link in span.links}
        return texts

    def attributes(self):
        """Return all pairs of key and value, of metrics and spans."""
        found = {pair for _, point in self.points() for pair in point.attributes.items()}
        return found | {pair for span in self.spans.get_finished_spans() for pair in span.attributes.items()}

    def holds(self, alert):
        """Return whether the condition of an alert on the page holds now. It must be a sum or a value compared with a number.

        `increase(x[5m])` is evaluated as the count since the process began. `histogram_quantile` is not supported.
        """
        expression = alerts()[alert]
        match = re.fullmatch(r"(?:sum|max)? ?\(?(?:increase\()?(\w+)(\{.*?\})?(?:\[\w+\]\))?\)? > ([\d.]+)", expression)
        assert match, expression
        name, selector, limit = match.groups()
        (instrument,) = [each for each in INSTRUMENTS.values() if name in prometheus_names(each)]
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', selector or ""))
        unwanted = dict(re.findall(r'(\w+)!="([^"]*)"', selector or ""))
        values = [
            getattr(point, "value", None) if hasattr(point, "value") else point.count
            for metric, point in self.points()
            if metric.name == instrument.name and _matches(point.attributes, wanted, unwanted)
        ]
        return sum(values) > float(limit)


def _matches(attributes, wanted, unwanted):
    labels = {key.replace(".", "_"): value for key, value in attributes.items()}
    return wanted.items() <= labels.items() and not any(labels.get(key, "") == value for key, value in unwanted.items())
