"""What is told to OpenTelemetry: calls, keys and what waits; in closed words; each alert's cause moves its instrument."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import strongroom.driver
from strongroom.driver import OpenTelemetry
from strongroom.driver.access import OPERATIONS, changes
from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom, shard_of
from strongroom.driver.telemetry import ATTRIBUTES, SCOPE
from strongroom.kms import IntegrityError, KekRef, rotate_data_key
from strongroom.storage import EVERY_NAMESPACE, NamespaceNotFound, ShardInfo
from strongroom.visibility import AttributeType, VisibilityRecord
from tests.access.people import OWNER, bound
from tests.fix_executions import Workflow, blob

pytestmark = pytest.mark.integration
PLANTED = "zq7planted"
PAGE = (Path(strongroom.driver.__file__).parent / "telemetry.md").read_text(encoding="utf-8")


@dataclass
class Told:
    """A cell that tells, and what it told."""

    cell: Strongroom
    reader: InMemoryMetricReader
    spans: InMemorySpanExporter

    def points(self):
        """Name of the instrument, attributes and value of each point."""
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == SCOPE
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        yield (
                            metric.name,
                            dict(point.attributes),
                            getattr(point, "value", None) or getattr(point, "count", 0),
                        )

    def value(self, name, **attributes):
        """The sum of an instrument's points that have these attributes."""
        return sum(v for n, at, v in self.points() if n == name and attributes.items() <= at.items())


@pytest.fixture
async def told(config_path):
    """A cell with telemetry, an owner, and a namespace whose very name is planted."""
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = OpenTelemetry(meter_provider=MeterProvider([reader]), tracer_provider=tracers)
    config = load_config(config_path)
    await Strongroom.init(config)
    async with Strongroom.open(config, telemetry=telemetry) as cell:
        await cell.access.change(lambda _: changes.first_owner(OWNER, now=changes.utc_now()))
        kek = await cell.create_kek(KekRef.parse("local:shared"))
        await cell.namespaces.create(f"{PLANTED}-name", kek=kek)
        yield Told(cell, reader, exporter)


async def workload(told):
    """Writes, reads, filters, failures and refusals, with planted strings wherever a tenant may write."""
    cell = told.cell
    namespace_id = await cell.namespaces.find(f"{PLANTED}-name")
    session = cell.session(await bound(cell, f"{PLANTED}-person", ("admin", namespace_id)), source=f"{PLANTED}-source")
    await session.namespaces.add_search_attributes(namespace_id, {f"{PLANTED}Attribute": "Keyword"})
    name = f"{PLANTED}-workflow"
    shard_id = shard_of(await cell.keyring.open(namespace_id), name, cell.config.cell.shard_count)
    await cell.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 1, blob()))
    first = await Workflow(session, namespace_id, shard_id, name).create()
    await session.executions.get_workflow_execution(namespace_id, name, first.run_id, shard_id=shard_id)
    types = {f"{PLANTED}Attribute": AttributeType.KEYWORD}
    record = VisibilityRecord(
        workflow_id=name,
        run_id=str(first.run_id),
        workflow_type=f"{PLANTED}-type",
        task_queue=f"{PLANTED}-queue",
        execution_status="Running",
        start_time=1_795_000_000 * 10**9,
        execution_time=1_795_000_000 * 10**9,
        search_attributes={f"{PLANTED}Attribute": f"{PLANTED}-value"},
        memo=f"{PLANTED}-memo".encode(),
    )
    await session.visibility.record_workflow_executions(namespace_id, [(shard_id, 1, record)], types)
    await session.visibility.list_workflow_executions(namespace_id, f"{PLANTED}Attribute = '{PLANTED}-value'", types)
    for failing in (
        session.visibility.list_workflow_executions(namespace_id, f"{PLANTED} = = '{PLANTED}'", types),
        session.namespaces.get(f"{PLANTED}-other"),
        session.executions.get_workflow_execution(namespace_id, f"{PLANTED}-none", uuid4(), shard_id=shard_id),
    ):
        with pytest.raises(Exception):  # noqa: B017, PT011 - each another one; what matters is what is told of them
            await failing
    return session, namespace_id, first, shard_id, name


def leaks(told):
    """Where a planted string, or an attribute that is not in the table, shows."""
    found = []
    for name, attributes, _ in told.points():
        found += [(name, each) for each in attributes if each not in ATTRIBUTES]
        found += [(name, each) for each in (name, *attributes.values()) if PLANTED in str(each)]
    for span in told.spans.get_finished_spans():
        said = [span.name, span.status.description, *span.attributes.values(), *map(str, span.events)]
        found += [(span.name, each) for each in span.attributes if each not in ATTRIBUTES]
        found += [(span.name, each) for each in said if PLANTED in str(each)]
    return found


async def test_nothing_that_a_tenant_wrote_is_a_label(told):
    """Metrics and spans of a workload with planted strings everywhere."""
    await workload(told)
    points = list(told.points())
    assert {attributes["operation"] for name, attributes, _ in points if name == "strongroom.call.duration"} <= set(
        OPERATIONS
    )
    assert {span.name for span in told.spans.get_finished_spans()} <= set(OPERATIONS)
    assert len(points) > 8
    assert leaks(told) == []


async def test_a_label_with_a_workflow_id_is_caught(told):
    """Control of the test above: by its value, and by its name."""
    await workload(told)
    told.cell.telemetry._calls.record(1.0, {"operation": f"{PLANTED}-workflow"})
    told.cell.telemetry._calls.record(1.0, {"workflow_id": "x"})
    with told.cell.telemetry.span(f"{PLANTED}-span"):
        pass
    assert len(leaks(told)) >= 3


async def test_calls_are_counted_by_how_they_ended(told):
    """Done, failed and denied, each with its kind."""
    session, namespace_id, *_ = await workload(told)
    with pytest.raises(NamespaceNotFound):
        await session.history.get_history_tree(uuid4(), shard_id=1, tree_id=uuid4())
    name = "strongroom.call.duration"
    assert told.value(name, operation="executions.create_workflow_execution", outcome="done") == 1
    assert (
        told.value(name, operation="executions.get_workflow_execution", outcome="failed", **{"error.type": "NotFound"})
        == 1
    )
    assert told.value(name, operation="history.get_history_tree", outcome="denied") == 1
    await rotate_data_key(told.cell.keyring, namespace_id)
    assert told.value("strongroom.key.changes", operation="key.rotate", outcome="done") == 1
    assert told.value("strongroom.kms.duration", provider="local") > 0


async def test_each_alert_has_its_cause(told):
    """A flipped bit, a log that can't be written, keys that grow old: the instruments of the page's rules move."""
    session, namespace_id, first, shard_id, name = await workload(told)
    assert told.value("strongroom.open.failures") == told.value("strongroom.audit.refusals") == 0
    async with told.cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("UPDATE executions SET data = set_byte(data, 40, 255 - get_byte(data, 40))")
    with pytest.raises(IntegrityError):
        await session.executions.get_workflow_execution(namespace_id, name, first.run_id, shard_id=shard_id)
    assert told.value("strongroom.open.failures", operation="executions.get_workflow_execution") == 1
    log, real = told.cell.audit, told.cell.audit._append

    def fails(_events):
        raise OSError(5, "Input/output error")

    log._append = fails
    with pytest.raises(AuditUnavailable):
        await session.namespaces.get(f"{PLANTED}-name")
    log._append = real
    assert told.value("strongroom.audit.refusals") == 1
    before = told.value("strongroom.keys.age")
    told.cell.keyring._clock = lambda clock=told.cell.keyring._clock: clock() + 700
    assert told.value("strongroom.keys.age") > before + 600


def test_the_page_names_every_instrument():
    """And every rule of it an instrument that there is."""
    code = (Path(strongroom.driver.__file__).parent / "telemetry.py").read_text(encoding="utf-8")
    made = set(re.findall(r'"(strongroom\.[a-z.]+)"', code))
    for name in made:
        assert f"`{name}`" in PAGE or f"`.{name.rpartition('.')[2]}`" in PAGE, name
    for rule in re.findall(r"strongroom_[a-z_]+", PAGE):
        plain = re.sub(r"_(total|seconds)$", "", rule).replace("_", ".")
        assert plain in made, rule


async def test_without_telemetry_nothing_is_told(cell, one, session_with):
    """The default; the same calls work."""
    session = await session_with(("read", one))
    await session.namespaces.get("one")
    assert type(cell.telemetry).__name__ == "_NoTelemetry"
