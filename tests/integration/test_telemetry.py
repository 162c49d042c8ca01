from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from opentelemetry.trace import StatusCode

from strongroom.driver.config import AwsKms, ElasticsearchConfig
from strongroom.driver.importing.importer import import_executions
from strongroom.driver.stores import STORES
from strongroom.driver.strongroom import Strongroom
from strongroom.driver.telemetry.attributes import OTHER, attribute_values
from strongroom.kms import CachePolicy, IntegrityError, KekRef, StrongroomError, Suite
from strongroom.storage import NO_NAMESPACE, DataBlob, NamespaceNotFound, TaskQueueKey
from strongroom.storage.cell.damaged_rows import DamagedRows
from strongroom.visibility import attribute_types
from strongroom.visibility.backends.elasticsearch.documents import document_name
from tests.support.every_table import every_table
from tests.support.fixtures.raw_rows import execute, fetch
from tests.support.kms.fix_aws import aws_server, running_server
from tests.support.search_cell import new_cell, record
from tests.support.shredding import shred
from tests.support.telemetry_probe import Probe, alerts

pytestmark = pytest.mark.integration

PLANTED = (
    "order 0",
    "order 1",
    "orders",
    "ship",
    "customer-",
    "Customer",
    "build 1",
    "west",
    "acme-hidden",
    "local:first",
)
SPAN_NUMBERS = {"db.operation.batch.size"}
ALERTS = alerts()
SOON = CachePolicy(failure_ttl=0.1, retry_pause=0.05)


@pytest.fixture
async def watched(config, probe):
    """An open cell with telemetry."""
    async with Strongroom.open(config, telemetry=probe.telemetry) as strongroom:
        yield strongroom


async def create(strongroom, name="tenant", **options):
    kek = await strongroom.create_kek(KekRef.parse("local:first"))
    return await strongroom.namespaces.create(name, kek=kek, **options)


# --- nothing of a tenant


def not_listed(probe):
    """Return emitted attributes that are in no closed list."""
    lists = attribute_values()
    return {
        (key, value)
        for key, value in probe.attributes()
        if key not in SPAN_NUMBERS and value != OTHER and value not in lists.get(key, ())
    }


def leaks(probe, planted):
    """Return the planted strings that were emitted."""
    everything = "\n".join(probe.said())
    return {text for text in planted if text in everything}


async def test_no_value_of_a_tenant_is_emitted(config, probe, sample):
    """A workload over every store, with its failures, puts no planted string and no attribute outside the lists into metrics or spans.

    Planted are names and ids of namespaces, workflows, runs, types, queues, attributes and their values, builds, clusters, KEKs and a
    section of the configuration. The control: a label with a workflow id, and one in a span, are both caught.
    """
    local = config.kms["local"]
    config = replace(config, kms={"local": local, "acme-hidden": local})
    planted = set(PLANTED)
    async with Strongroom.open(config, telemetry=probe.telemetry) as cell:
        made = await every_table(cell)
        await made.read()
        imported = await create(cell, f"planted-{secrets.token_hex(8)}")
        await import_executions(cell, imported, sample[:6])
        imported = await cell.namespaces.get(imported.name)
        await cell.create_kek(KekRef("acme-hidden", "kek-hidden"))
        await cell.namespaces.create("second", kek=KekRef("acme-hidden", "kek-hidden"))
        for execution in sample[:6]:
            each = execution.record
            planted |= {each.workflow_id, each.run_id, each.workflow_type, each.task_queue, *each.search_attributes}
            planted |= {str(value) for value in each.search_attributes.values() if len(str(value)) > 4}
        types = attribute_types(imported)
        for query in (f'WorkflowId = "{sample[0].record.workflow_id}"', "Unknown4711 = 'hidden-value'", "((("):
            with suppress(StrongroomError):
                await cell.visibility.list_workflow_executions(imported.namespace_id, query, types, page_size=10)
            with suppress(StrongroomError):
                await cell.visibility.count_workflow_executions(imported.namespace_id, query, types)
        queue = TaskQueueKey(imported.namespace_id, "queue-4711", 1)
        for fails in (
            lambda: cell.namespaces.get("nobody-4711"),
            lambda: cell.keyring.provider("local").describe(KekRef("local", "kek-4711")),
            lambda: cell.namespaces.create("x-4711", kek=KekRef("local", "kek-4711")),
            lambda: cell.history.get_history_tree(uuid4(), shard_id=1, tree_id=uuid4()),
            lambda: cell.tasks.get_task_queue(queue),
            lambda: cell.tasks.create_tasks(queue, [], range_id="range-4711"),
        ):
            with pytest.raises(StrongroomError):
                await fails()
        await cell.token_verifier().run(imported.namespace_id, types, repair=False)
        await shred(cell, imported.namespace_id)
        await probe.telemetry.look_once()
        planted |= {made.name, imported.name, str(made.namespace_id), made.namespace_id.hex, str(imported.namespace_id)}
        planted |= {"4711", "hidden-value", "kek-hidden", str(config.cell.cell_id)}
        planted |= {str(made.expected[f"run {number}"][0]) for number in range(3)}
        planted.discard("")
        assert len(probe.said()) > 100
        assert leaks(probe, planted) == set()
        assert not_listed(probe) == set()
        stores = {value for key, value in probe.attributes() if key == "strongroom.store"}
        assert stores >= {store.name for store in STORES}  # all of them were at work

        probe.meters.get_meter("control").create_counter("control").add(1, {"workflow": "order 1"})
        with probe.tracers.get_tracer("control").start_as_current_span("control", attributes={"name": made.name}):
            pass
        assert leaks(probe, planted) == {"order 1", made.name}
        assert {key for key, _ in not_listed(probe)} == {"workflow", "name"}


async def test_a_text_of_an_error_is_not_emitted(watched, probe):
    """A span of a call that failed has the class of the error, and no event, text or traceback."""
    with pytest.raises(NamespaceNotFound):
        await watched.namespaces.get("nobody")
    (span,) = [span for span in probe.spans.get_finished_spans() if span.name == "namespaces get"]
    assert span.attributes["error.type"] == "NamespaceNotFound"
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


# --- what is reported


async def test_calls_rows_and_connections(watched, probe):
    """Each call, row, batch and lookup is counted once, and the stores return the same as without telemetry."""
    made = await every_table(watched)
    await made.read()
    created = probe.value("strongroom.call.duration", strongroom__operation="create_workflow_execution")
    assert created == 3
    assert probe.value("db.client.operation.duration", db__operation__name="write_executions") >= 6
    assert probe.value("strongroom.rows.sealed", strongroom__record__kind="execution") >= 6
    assert probe.value("strongroom.rows.opened", strongroom__record__kind="execution") == 3
    assert probe.value("strongroom.rows.opened", strongroom__record__kind="visibility_record") == 3
    assert probe.value("strongroom.rows.open_failures") == 0
    assert probe.value("strongroom.key_cache.lookups", strongroom__key_cache__result="miss") >= 2
    assert probe.value("strongroom.key_cache.lookups", strongroom__key_cache__result="hit") > 20
    assert probe.value("strongroom.key_cache.in_use") == 2
    assert (
        probe.value("strongroom.kms.call.duration", strongroom__kms__type="local", strongroom__kms__operation="unwrap")
        >= 2
    )
    pools = probe.value("db.client.connection.count")
    assert pools == 2 * watched.config.connections + 1
    async with watched.database.connection(NO_NAMESPACE):
        used = {"db__client__connection__pool__name": "transactions", "db__client__connection__state": "used"}
        assert probe.value("db.client.connection.count", **used) == 1
    assert probe.value("db.client.connection.count", db__client__connection__state="used") == 0
    async with Strongroom.open(watched.config) as unwatched:
        await made.on(unwatched).read()


async def test_many_callers_share_a_batch(watched, probe):
    """A shared statement is one batch of several calls, below the first call and linked to the others."""
    made = await every_table(watched, workflows=1)
    probe.spans.clear()
    await asyncio.gather(*(made.read_workflow(0) for _ in range(30)))
    spans = {span.context.span_id: span for span in probe.spans.get_finished_spans()}
    batches = [span for span in spans.values() if span.name == "batch get_executions"]
    assert sum(span.attributes["db.operation.batch.size"] for span in batches) == 30
    shared = [span for span in batches if span.attributes["db.operation.batch.size"] > 1]
    assert shared
    for span in shared:
        callers = [span.parent, *(link.context for link in span.links)]
        assert len(callers) == span.attributes["db.operation.batch.size"]
        assert {spans[caller.span_id].name for caller in callers} == {"executions get_workflow_execution"}
        assert len({caller.span_id for caller in callers}) == len(callers)
    assert probe.value("strongroom.batch.wait", db__operation__name="get_executions") >= 30


async def test_spans_of_a_call_are_below_it(watched, probe):
    """A call's statements and the KMS calls that it needs are spans below the call's, and that is below the service's own."""
    created = await create(watched)
    watched.keyring.evict(created.namespace_id)
    probe.spans.clear()
    with probe.tracers.get_tracer("service").start_as_current_span("service") as service:
        await watched.namespaces.get("tenant")
    spans = probe.spans.get_finished_spans()
    (call,) = [span for span in spans if span.name == "namespaces get"]
    assert call.parent.span_id == service.get_span_context().span_id
    for name in ("connection", "kms unwrap"):
        assert [span for span in spans if span.name == name]
        assert {span.parent.span_id for span in spans if span.name == name} == {call.context.span_id}
    assert len({span.context.trace_id for span in spans}) == 1


async def test_either_half_can_be_left_out(config):
    """A service that wants only metrics, only traces or neither gets a cell that works."""
    for probe in (Probe.make(), None):
        for name in ("meter_provider", "tracer_provider"):
            given = {} if probe is None else {name: probe.meters if name == "meter_provider" else probe.tracers}
            telemetry = type(Probe.make().telemetry)(**given)
            async with Strongroom.open(config, telemetry=telemetry) as strongroom:
                await create(strongroom, f"tenant {len(given)} {name}")
    assert probe is None


async def test_a_closed_cell_is_not_told_of(config, probe):
    """After the cell is closed, collecting metrics reports nothing of it and does not fail."""
    async with Strongroom.open(config, telemetry=probe.telemetry) as strongroom:
        await create(strongroom)
        assert probe.value("db.client.connection.count") > 0
    assert probe.value("strongroom.key_cache.in_use") == 0
    assert probe.value("db.client.connection.count") == 0


# --- alerts: each fired once, by its cause


async def test_alert_rows_do_not_open(watched, probe, sample):
    """A byte of a stored row is flipped: the next read fails, and the alert's condition holds."""
    created = await create(watched)
    await import_executions(watched, created, sample[:1])
    types = attribute_types(await watched.namespaces.get("tenant"))

    async def read():
        await watched.visibility.list_workflow_executions(created.namespace_id, "", types, page_size=10)

    await read()
    assert not probe.holds("StrongroomRowsDoNotOpen")
    await execute(watched, "UPDATE visibility_records SET s = set_byte(s, 60, get_byte(s, 60) # 1)")
    with pytest.raises(IntegrityError):
        await read()
    assert probe.holds("StrongroomRowsDoNotOpen")
    kind = {"strongroom__record__kind": "visibility_record", "error__type": "IntegrityError"}
    assert probe.value("strongroom.rows.open_failures", **kind) == 1


async def test_alert_damaged_rows(watched, probe):
    """A message of a queue is altered: the queue goes on without it, and the alert fires until an operator forgets the row."""
    for _ in range(2):
        await watched.namespace_replication_queue.enqueue_message(DataBlob(b"message"))
    await probe.telemetry.look_once()
    assert not probe.holds("StrongroomDamagedRows")
    await execute(
        watched, "UPDATE queue_messages SET data = set_byte(data, 40, get_byte(data, 40) # 1) WHERE message_id = 0"
    )
    first, second = await watched.namespace_replication_queue.read_messages(max_count=10)
    assert isinstance(first.unreadable, IntegrityError)
    assert second.data == DataBlob(b"message")
    await probe.telemetry.look_once()
    assert probe.holds("StrongroomDamagedRows")
    assert probe.value("strongroom.rows.damaged") == 1
    await DamagedRows(watched.database).forget(datetime.max.replace(tzinfo=UTC))
    await probe.telemetry.look_once()
    assert not probe.holds("StrongroomDamagedRows")


async def test_alerts_of_a_kms_that_is_away(config, probe, monkeypatch):
    """While a KMS does not answer, its calls fail and the keys in use get too old to seal. When it answers again, that ends."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the test")
    with running_server() as server:
        kms = {**config.kms, "aws": AwsKms("eu-west-1", endpoint=server.address, insecure=True)}
        config = replace(config, kms=kms, cache=SOON)
        async with Strongroom.open(config) as before:
            kek = await before.create_kek(KekRef("aws", "tenant"))
            namespace_id = (await before.namespaces.create("tenant", kek=kek)).namespace_id
        async with Strongroom.open(config, telemetry=probe.telemetry) as cell:
            # the notification of the creation evicts no key of this process
            keyring = cell.keyring

            async def use_until(condition):
                """Use the keys until a condition holds. The time is only reached by a failing test."""
                async with asyncio.timeout(120):
                    while True:
                        with suppress(StrongroomError):
                            (await keyring.open(namespace_id)).identity("shard")
                        if condition():
                            return
                        await asyncio.sleep(0.05)

            await use_until(keyring.ages)
            assert not probe.holds("StrongroomKeysAreOld")
            assert not probe.holds("StrongroomKmsFails")
            server.fault = aws_server.Fault(status=503)
            age = keyring._cache[namespace_id].age
            age.unwrapped_at -= SOON.encrypt_ttl  # as if this time had passed
            age.fresh_until = age.due_at = 0.0
            kind = {"strongroom__kms__type": "aws-kms", "error__type": "KmsUnavailable"}
            await use_until(lambda: probe.value("strongroom.kms.call.duration", **kind) > 1)
            assert probe.holds("StrongroomKeysAreOld")
            assert probe.holds("StrongroomKmsFails")
            server.fault = None
            # The breaker lets one caller ask after ten seconds.
            await use_until(lambda: max(keyring.ages()) < SOON.encrypt_ttl)
            assert not probe.holds("StrongroomKeysAreOld")
            cached = keyring._cache[namespace_id]
            cached.age.unwrapped_at -= SOON.encrypt_ttl
            assert probe.holds("StrongroomKeysAreOld")
            cached.used_at -= SOON.soft_ttl
            assert not probe.holds("StrongroomKeysAreOld")  # keys that nobody uses are not refreshed, and are no alarm


async def test_alert_nonces_run_out(watched, probe):
    """The alert fires when processes have reserved most of an AES-256-GCM key's uses, and not for a new key."""
    created = await create(watched, suite=Suite.AES_256_GCM)
    await probe.telemetry.look_once()
    assert not probe.holds("StrongroomNoncesRunOut")
    assert await watched.keyring.store.lease_records(created.namespace_id, 1, count=7 * 2**27, limit=2**30)
    await probe.telemetry.look_once()
    assert probe.holds("StrongroomNoncesRunOut")
    assert probe.value("strongroom.nonce.use_ratio") == pytest.approx(7 / 8, abs=0.01)
    await execute(watched, "UPDATE data_keys SET state = 'decrypt_only' WHERE suite = 1 AND class = 'data'")
    await probe.telemetry.look_once()
    assert not probe.holds("StrongroomNoncesRunOut")


async def test_alert_index_drifts(watched, probe, sample):
    """A record whose tokens were changed is counted as drift by an audit of tokens."""
    created = await create(watched)
    await import_executions(watched, created, sample[:3])
    types = attribute_types(await watched.namespaces.get("tenant"))
    await watched.token_verifier().run(created.namespace_id, types, repair=False)
    assert not probe.holds("StrongroomIndexDrifts")
    await execute(
        watched,
        "UPDATE visibility_records SET t = t || 5::bigint WHERE id = (SELECT max(id::text)::bytea FROM visibility_records)",
    )
    await watched.token_verifier().run(created.namespace_id, types, repair=True)
    assert probe.holds("StrongroomIndexDrifts")
    assert probe.value("strongroom.reconcile.drift", strongroom__drift="record_tokens") == 1


async def test_alerts_of_the_search_index(config, probe, elasticsearch, monkeypatch):
    """Without a running indexer backlog and lag are reported; a deleted document is reported as drift."""
    monkeypatch.setattr("tests.support.telemetry_probe.alerts", in_small_numbers)
    cluster = ElasticsearchConfig(elasticsearch.url, index=f"{elasticsearch.prefix}watched", insecure=True)
    async with Strongroom.open(replace(config, elasticsearch=cluster), telemetry=probe.telemetry) as strongroom:
        await strongroom.search_index.create()
        cell = await new_cell(strongroom)
        await cell.write(record(1))
        indexing = asyncio.create_task(strongroom.indexer.run())
        async with asyncio.timeout(60):
            while strongroom.indexer.state.drained_at is None:  # noqa: ASYNC110 - a state without an event
                await asyncio.sleep(0.05)
        await probe.telemetry.look_once()
        for alert in (
            "StrongroomIndexBacklog",
            "StrongroomIndexLags",
            "StrongroomIndexDrifts",
            "StrongroomIndexerFails",
        ):
            assert not probe.holds(alert)
        indexing.cancel()
        await asyncio.gather(indexing, return_exceptions=True)
        await cell.write(record(2), record(3))
        await asyncio.sleep(1.1)
        await probe.telemetry.look_once()
        assert probe.holds("StrongroomIndexBacklog")
        assert probe.holds("StrongroomIndexLags")
        await strongroom.indexer.drain()
        await probe.telemetry.look_once()
        assert not probe.holds("StrongroomIndexBacklog")
        assert not probe.holds("StrongroomIndexLags")
        await strongroom.search_index.refresh()
        (row, *_) = await fetch(strongroom, "SELECT id FROM visibility_records")
        path = f"/{strongroom.search_index.name}/_doc/{document_name(row['id'])}?refresh=true"
        elasticsearch.client.request("DELETE", path)
        found = await strongroom.reconciler().run()
        assert found.drift == 1
        assert probe.holds("StrongroomIndexDrifts")
        assert probe.value("strongroom.reconcile.drift", strongroom__drift="missing") == 1


async def test_alert_indexer_fails(config, probe, monkeypatch):
    """Failed attempts of the indexer are counted while the search index is away; without an indexer nothing is reported."""
    monkeypatch.setattr("tests.support.telemetry_probe.alerts", in_small_numbers)
    cluster = ElasticsearchConfig("http://127.0.0.1:1", index="away", timeout=1.0, insecure=True)
    async with Strongroom.open(replace(config, elasticsearch=cluster), telemetry=probe.telemetry) as strongroom:
        strongroom.search_index.client.deadline = 0.2
        await (await new_cell(strongroom)).write(record(1))
        assert not probe.holds("StrongroomIndexerFails")
        indexing = asyncio.create_task(strongroom.indexer.run())
        async with asyncio.timeout(60):
            while not probe.holds("StrongroomIndexerFails"):  # noqa: ASYNC110 - a state without an event
                await asyncio.sleep(0.05)
        indexing.cancel()
        await asyncio.gather(indexing, return_exceptions=True)
    async with Strongroom.open(config, telemetry=probe.telemetry):
        assert "strongroom.indexer.failures" not in {metric.name for metric, _ in probe.points()}


def in_small_numbers():
    """Return the page's rules with limits for the few runs of this test."""
    written = dict(ALERTS)
    written["StrongroomIndexBacklog"] = written["StrongroomIndexBacklog"].replace("> 100000", "> 1")
    written["StrongroomIndexerFails"] = written["StrongroomIndexerFails"].replace("> 5", "> 1")
    written["StrongroomIndexLags"] = written["StrongroomIndexLags"].replace("> 60", "> 1")
    return written
