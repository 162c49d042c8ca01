"""Keep metrics and spans in memory, return the texts in them, and evaluate alerts as Prometheus does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from strongroom.driver.operations import Operation
from strongroom.driver.proxy import Invocation, chained
from strongroom.driver.telemetry.telemetry import Telemetry
from tests.support import prometheus
from tests.support.prometheus import alerts


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
    registry: CollectorRegistry
    verdicts: dict = field(default_factory=dict)

    @classmethod
    def make(cls):
        """Return a new probe."""
        reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
        registry = CollectorRegistry()
        exporter = PrometheusMetricReader(registry=registry)
        meters, tracers = MeterProvider(metric_readers=[reader, exporter]), TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(spans))
        telemetry = Telemetry(meter_provider=meters, tracer_provider=tracers, look=3600)
        return cls(telemetry, reader, spans, meters, tracers, registry)

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

    def scrape(self):
        """Return what Prometheus gets from this process through OpenTelemetry's exporter."""
        return generate_latest(self.registry).decode()

    def holds(self, alert):
        """Return whether the condition of an alert on the page holds now. If promtool is installed, it must agree."""
        scrape, expressions = self.scrape(), alerts()
        held = prometheus.holds(expressions[alert], scrape)
        if self.verdicts.get(alert) != held and prometheus.find_promtool() is not None:
            with tempfile.TemporaryDirectory() as folder:
                assert prometheus.fires(alert, expressions, scrape, Path(folder)) == held, (alert, scrape)
            self.verdicts[alert] = held
        return held
