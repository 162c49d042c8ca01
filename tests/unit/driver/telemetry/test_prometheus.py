from __future__ import annotations

import re
import subprocess

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from strongroom.driver.telemetry.attributes import attribute_values
from strongroom.driver.telemetry.emitter import Emitter
from strongroom.driver.telemetry.instruments import INSTRUMENTS
from tests.support.prometheus import alerts, evaluate, needed_promtool, rules, samples
from tests.support.services.choice import ServiceMissing
from tests.support.services.required import missing

COUNTER_ALERTS = {name: rule for name, rule in alerts().items() if "increase(" in rule}


@pytest.fixture(scope="module")
def promtool():
    """Promtool, which some tests need."""
    try:
        return needed_promtool()
    except ServiceMissing as reason:
        missing(str(reason))


def exported(instrument):
    """Return the names and labels that the exporter gives to an instrument with one value."""
    registry = CollectorRegistry()
    meters = MeterProvider(metric_readers=[PrometheusMetricReader(disable_target_info=True, registry=registry)])
    emit = Emitter(meters, None)
    values = {key: min(attribute_values()[key]) for key in instrument.attributes}
    if instrument.kind.startswith("observed"):
        from opentelemetry.metrics import Observation  # noqa: PLC0415

        emit.observe(instrument.name, lambda _: [Observation(1, values)])
    else:
        meter = meters.get_meter("test")
        make = {"counter": meter.create_counter, "gauge": meter.create_gauge, "histogram": meter.create_histogram}
        made = make[instrument.kind](instrument.name, unit=instrument.unit)
        getattr(made, {"counter": "add", "gauge": "set", "histogram": "record"}[instrument.kind])(1, values)
    found = list(samples(generate_latest(registry).decode()))
    return {name for name, _, _ in found}, {label for _, labels, _ in found for label in labels}


def collected(instrument):
    """Return an instrument's names by the rules of the OpenTelemetry Collector and of Prometheus' own OTLP receiver.

    They are those of prometheus/otlptranslator (UnderscoreEscapingWithSuffixes): a gauge of unit 1 gets the suffix `_ratio`.
    """
    name = instrument.name.replace(".", "_")
    if instrument.unit == "1" and instrument.kind in ("gauge", "observed"):
        name = name.removesuffix("_ratio") + "_ratio"
    name += {"s": "_seconds", "By": "_bytes"}.get(instrument.unit, "")
    if instrument.kind == "histogram":
        return {f"{name}_{part}" for part in ("bucket", "count", "sum")}
    return {f"{name}_total" if instrument.kind in ("counter", "observed_counter") else name}


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_exporter_gives_the_same_name(name):
    """An instrument has one name in Prometheus, whichever way its values take. A unit without a known suffix would be noticed here."""
    instrument = INSTRUMENTS[name]
    assert instrument.unit in {"s", "1", "By"} or re.fullmatch(r"\{\w+\}", instrument.unit)
    assert exported(instrument)[0] == collected(instrument)


def test_the_alerts_use_what_the_exporter_gives():
    """Each metric and label in each rule is in a real scrape. Renaming either without the page makes this fail."""
    scraped = {metric: exported(each) for each in INSTRUMENTS.values() for metric in exported(each)[0]}
    assert len(alerts()) >= 11
    for expression in alerts().values():
        names = set(re.findall(r"\b(?:strongroom|db)_\w+", expression))
        assert len(names) == 1, expression
        assert names <= scraped.keys(), expression
        labels = set(re.findall(r'(\w+)!?="', expression))
        assert labels <= scraped[names.pop()][1], expression


def test_the_error_types_of_the_alerts_exist():
    """A value that a rule selects is in the closed list of its attribute."""
    values = attribute_values()["error.type"]
    for expression in alerts().values():
        assert set(re.findall(r'error_type="(\w+)"', expression)) <= values


def test_promtool_takes_the_rules(promtool, tmp_path):
    """The rules on the page are a file that Prometheus loads."""
    (tmp_path / "rules.yml").write_text(rules())
    done = subprocess.run(
        [promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


@pytest.mark.parametrize("alert", COUNTER_ALERTS)
@pytest.mark.parametrize(
    ("values", "fires"),
    [
        ("0x1500 1x30", True),  # the first event of a known series
        ("_x1500 1x30", True),  # the first event of a series that was not there before
        ("7x1500 8x30", True),
        ("7x1540", False),  # events of long ago
        ("_x1540", False),
        ("0x1540", False),
    ],
)
def test_one_event_fires(promtool, alert, values, fires, tmp_path):  # noqa: ARG001 - the fixture requires the program
    """A single event fires an alert without a duration, also if it is the first of its labels. Old events don't."""
    duration = re.search(rf"alert: {alert}\n.*\n\s+for: ", rules())
    if duration:
        values = values.replace("1x30", "1+1x30").replace("8x30", "8+1x30")  # it must last
    name, labels = re.search(r"(strongroom_\w+)(\{.*?\})?", COUNTER_ALERTS[alert]).groups()
    series = [{"series": name + (labels or "").replace('!=""', '="KmsUnavailable"'), "values": values}]
    at = 1502 + (6 if duration else 0)
    assert evaluate(alert, series, at=at, content=rules(), folder=tmp_path) == fires
