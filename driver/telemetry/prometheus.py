"""Metrics of this process for Prometheus, over HTTP. Only `strongroom serve` uses it; a service chooses its exporters by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

try:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
except ModuleNotFoundError:
    msg = "metrics of the server need packages that are not installed: pip install 'strongroom[serve-metrics]'"
    raise ImportError(msg) from None

from strongroom.driver.config import ConfigError

from .telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def served_metrics(host: str, port: int) -> Iterator[tuple[Telemetry, str]]:
    """Answer Prometheus on an address, and yield the telemetry to give to the cell, and the endpoint's URL.

    Args:
        host: A name or an address.
        port: The port; 0 for any free one.

    Raises:
        ConfigError: The address can't be used.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    meters = MeterProvider(metric_readers=[PrometheusMetricReader(disable_target_info=True, registry=registry)])
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        msg = f"the metrics can't be served on {host}:{port}: {error.strerror}; change serve.metrics, or stop the other program"
        raise ConfigError(msg) from None
    try:
        yield Telemetry(meter_provider=meters), f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        meters.shutdown()
