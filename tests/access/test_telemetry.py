"""Telemetry of sessions: each call is reported once, with values of closed lists; and each alert of the audit log has its cause."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from opentelemetry.trace import StatusCode

from strongroom.driver.access import PermissionDenied, changes
from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.config import load_config
from strongroom.driver.proxy import Proxy
from strongroom.driver.stores import STORE_OPERATIONS, STORES
from strongroom.driver.strongroom import Strongroom
from strongroom.driver.telemetry.attributes import OTHER, attribute_values
from strongroom.kms import IntegrityError, KekRef, NamespaceKeys, rotate_data_key
from strongroom.storage import NamespaceNotFound, ShardInfo
from strongroom.visibility import AttributeType, VisibilityRecord
from tests.support.access.people import OWNER, bound
from tests.support.fixtures.executions import Workflow, blob
from tests.support.fixtures.raw_rows import execute
from tests.support.telemetry_probe import alerts, reported_call

pytestmark = pytest.mark.integration
PLANTED = "zq7planted"
CALLS = "strongroom.call.duration"
ALERTS = alerts()


@pytest.fixture
async def planted_cell(config_path, probe, disk):
    """A cell with telemetry, an owner, and planted names of a KMS section and a namespace."""
    config = load_config(config_path)
    config = replace(config, kms={**config.kms, f"{PLANTED}-customer": config.kms["local"]})
    await Strongroom.init(config)
    async with Strongroom.open(config, telemetry=probe.telemetry, log_settings=disk.settings()) as cell:
        await cell.access.change(lambda _: changes.first_owner(OWNER, now=datetime.now(UTC)))
        kek = await cell.create_kek(KekRef(f"{PLANTED}-customer", f"{PLANTED}-kek"))
        await cell.namespaces.create(f"{PLANTED}-name", kek=kek)
        yield cell


async def workload(cell):
    """Make writes, reads, filters, failures and refusals, with planted strings wherever a tenant can write."""
    namespace_id = await cell.namespaces.find(f"{PLANTED}-name")
    session = cell.session(await bound(cell, f"{PLANTED}-person", ("admin", namespace_id)), source=f"{PLANTED}-source")
    await session.namespaces.add_search_attributes(namespace_id, {f"{PLANTED}Attribute": "Keyword"})
    name = f"{PLANTED}-workflow"
    shard_id = await cell.shards.shard_of(namespace_id, name)
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
        with pytest.raises(Exception):  # noqa: B017, PT011 - the errors differ; the test is about their reports
            await failing
    return session, namespace_id, first, shard_id, name


def not_listed(probe):
    """Return emitted attributes, other than numbers, that are in no closed list."""
    lists = attribute_values()
    return {
        (key, value)
        for key, value in probe.attributes()
        if not isinstance(value, int) and value != OTHER and value not in lists.get(key, ())
    }


def planted(probe):
    """Return the emitted texts that contain a planted string."""
    return {said for said in probe.said() if PLANTED in said}


async def test_nothing_that_a_tenant_wrote_is_a_label(planted_cell, probe):
    """Metrics and spans of a workload with planted strings everywhere contain none of them, and no value that is not listed."""
    _, namespace_id, *_ = await workload(planted_cell)
    await rotate_data_key(planted_cell.keyring, namespace_id)
    assert probe.value(CALLS, strongroom__outcome="denied") > 0
    assert len(probe.said()) > 50
    assert planted(probe) == set()
    assert not_listed(probe) == set()


async def test_a_label_with_a_workflow_id_is_caught(planted_cell, probe):
    """Control of the test above: a planted string in a metric, in a span and in a span's name is found."""
    await workload(planted_cell)
    control = probe.meters.get_meter("control").create_counter("control")
    control.add(1, {"strongroom.operation": f"{PLANTED}-workflow"})
    control.add(1, {"workflow_id": "x"})
    tracer = probe.tracers.get_tracer("control")
    with tracer.start_as_current_span(f"{PLANTED}-span", attributes={"error.type": f"{PLANTED}-error"}):
        pass
    assert planted(probe) == {f"{PLANTED}-{each}" for each in ("workflow", "span", "error")}
    assert {key for key, _ in not_listed(probe)} == {"strongroom.operation", "workflow_id", "error.type"}


async def test_what_is_in_no_list_is_not_told(planted_cell, probe):
    """A planted name of a store, an operation, an error or a KMS is reported as `_OTHER`."""
    error = type(f"{PLANTED}Error", (IntegrityError,), {})("x")
    with pytest.raises(IntegrityError, match="x"):
        await reported_call(probe.telemetry, f"{PLANTED}-store", f"{PLANTED}-operation", error=error)
    assert planted_cell.telemetry is probe.telemetry
    assert planted(probe) == set()
    other = {"strongroom__store": OTHER, "strongroom__operation": OTHER, "error__type": OTHER}
    assert probe.value(CALLS, strongroom__outcome="failed", **other) == 1


async def test_calls_are_counted_by_how_they_ended(planted_cell, probe):
    """Calls are counted by outcome and class of error, and changes of keys by the type of their KMS."""
    session, namespace_id, *_ = await workload(planted_cell)
    with pytest.raises(NamespaceNotFound):
        await session.history.get_history_tree(uuid4(), shard_id=1, tree_id=uuid4())
    with pytest.raises(PermissionDenied):
        await session.metadata.list_namespaces(page_size=10)
    done = {"strongroom__operation": "create_workflow_execution", "strongroom__outcome": "done"}
    assert probe.value(CALLS, strongroom__store="executions", **done) == 1
    failed = {"strongroom__operation": "get_workflow_execution", "strongroom__outcome": "failed"}
    assert probe.value(CALLS, error__type="NotFound", **failed) == 1
    for store, operation, error in (
        ("history", "get_history_tree", "NamespaceNotFound"),
        ("metadata", "list_namespaces", "PermissionDenied"),
    ):
        told = {"strongroom__store": store, "strongroom__operation": operation, "error__type": error}
        assert probe.value(CALLS, strongroom__outcome="denied", **told) == 1
    await rotate_data_key(planted_cell.keyring, namespace_id)
    rotated = {"strongroom__key__operation": "key.rotate", "strongroom__kms__type": "local"}
    assert probe.value("strongroom.key.changes", strongroom__outcome="done", **rotated) == 1
    with pytest.raises(NamespaceNotFound):
        await planted_cell.namespaces.get("nobody")
    # Of a store that the service uses by itself nobody is denied anything.
    told = {"strongroom__store": "namespaces", "strongroom__operation": "get", "error__type": "NamespaceNotFound"}
    assert probe.value(CALLS, strongroom__outcome="failed", **told) == 1


async def test_a_call_of_a_session_is_told_once(planted_cell, probe):
    """A call of a session is one data point and one span, with authorisation and audit inside and its statements below."""
    session, namespace_id, first, shard_id, name = await workload(planted_cell)
    probe.spans.clear()
    got = {"strongroom__operation": "get_workflow_execution"}
    before = probe.value(CALLS, **got)
    await session.executions.get_workflow_execution(namespace_id, name, first.run_id, shard_id=shard_id)
    assert probe.value(CALLS, **got) == before + 1
    spans = probe.spans.get_finished_spans()
    (call,) = [span for span in spans if span.name == "executions get_workflow_execution"]
    assert call.parent is None
    assert dict(call.attributes) == {
        "strongroom.store": "executions",
        "strongroom.operation": "get_workflow_execution",
        "strongroom.outcome": "done",
    }
    below = {span.name for span in spans if span.parent is not None and span.parent.span_id == call.context.span_id}
    assert "batch get_executions" in below
    probe.spans.clear()
    with pytest.raises(NamespaceNotFound):
        await session.executions.get_workflow_execution(uuid4(), name, first.run_id, shard_id=shard_id)
    (call,) = [span for span in probe.spans.get_finished_spans() if span.name == "executions get_workflow_execution"]
    assert (call.attributes["strongroom.outcome"], call.status.status_code) == ("denied", StatusCode.ERROR)
    assert (call.status.description, call.events) == (None, ())


async def test_a_watched_session_has_what_an_unwatched_one_has(planted_cell):
    """A session of a cell with telemetry has the operations of the table, and nothing else of a store."""
    session = planted_cell.session(OWNER)
    for operation in STORE_OPERATIONS.values():
        assert callable(getattr(getattr(session, operation.area), operation.method))
    for hidden in ("aclose", "_keyring", "read_everything"):
        with pytest.raises(AttributeError):
            getattr(session.executions, hidden)


async def test_each_alert_has_its_cause(planted_cell, probe, disk, monkeypatch):
    """The page's rules fire for a flipped bit, and for a log that can't be written, is behind, or is not signed."""
    monkeypatch.setattr("tests.support.telemetry_probe.alerts", in_small_numbers)
    session, namespace_id, first, shard_id, name = await workload(planted_cell)
    rules = ("RowsDoNotOpen", "AuditRefuses", "AuditWaits", "AuditUnsigned")

    def hold():
        return {rule for rule in rules if probe.holds(f"Strongroom{rule}")}

    await planted_cell.audit.checkpoint()
    assert hold() == set()
    await execute(planted_cell, "UPDATE executions SET data = set_byte(data, 40, 255 - get_byte(data, 40))")
    with pytest.raises(IntegrityError):
        await session.executions.get_workflow_execution(namespace_id, name, first.run_id, shard_id=shard_id)
    assert hold() == {"RowsDoNotOpen"}
    log = planted_cell.audit
    disk.fails()
    with pytest.raises(AuditUnavailable):
        await session.namespaces.get(f"{PLANTED}-name")
    refused = {"strongroom__store": "namespaces", "strongroom__operation": "get"}
    assert probe.value("strongroom.audit.refusals", **refused) == 1
    assert hold() == {"RowsDoNotOpen", "AuditRefuses"}
    for _ in range(MANY + 1):
        log.note({"event": "check"})
    assert hold() == {"RowsDoNotOpen", "AuditRefuses", "AuditWaits"}
    disk.works()
    await log.record({"event": "check"})
    assert hold() == {"RowsDoNotOpen", "AuditRefuses", "AuditUnsigned"}
    await log.checkpoint()
    assert hold() == {"RowsDoNotOpen", "AuditRefuses"}


MANY = 100


def in_small_numbers():
    """Return the page's rules with limits for the few records of this test."""
    return {name: rule.replace("> 10000", f"> {MANY}") for name, rule in ALERTS.items()}


async def test_without_telemetry_nothing_is_told(config_path):
    """Without telemetry the stores of a cell are not proxies, and nothing watches connections and keys."""
    config = load_config(config_path)
    await Strongroom.init(config)
    async with Strongroom.open(config) as cell:
        assert cell.telemetry is cell.by_key.watch is cell.keyring._watch is None
        assert type(await cell.keyring.open(cell.keyring.cell_id)) is NamespaceKeys
        session = cell.session(OWNER)
        for store in STORES:
            assert type(getattr(cell, store.name)) is store.type
            assert isinstance(getattr(session, store.name), Proxy)
