from __future__ import annotations

import base64
import os
import secrets
from dataclasses import replace
from types import MappingProxyType
from uuid import UUID, uuid4

import orjson
import pytest

from strongroom.driver.demo.embedded_postgres import embedded_postgres
from strongroom.driver.demo.leak_scan import scan
from strongroom.driver.demo.plaintext_copy import write_copy
from strongroom.driver.importing.history_event import encode_batch
from strongroom.driver.importing.import_file import Execution
from strongroom.driver.importing.importer import history_nodes, import_executions, imported_branch
from strongroom.kms import KekRef
from strongroom.storage import DataBlob, HistoryNode, StorageError
from strongroom.visibility import AttributeType, InvalidQuery, attribute_types
from tests.support.databases import administer, superuser_of
from tests.support.fixtures.driver_role import owner_connection

pytestmark = pytest.mark.integration

PLACES = (
    "workflow id",
    "workflow type",
    "task queue",
    "parent workflow id",
    "root workflow id",
    "keyword",
    "predefined keyword",
    "list item",
    "text",
    "memo",
    "event payload",
    "attribute name",
    "namespace name",
    "branch info",
    "appended event",
    "searched value",
    "unknown attribute",
    "failing statement",
)
NOT_IN_THE_TWIN = (
    *("namespace name", "branch info", "appended event", "searched value", "unknown attribute", "failing statement"),
)


@pytest.fixture
def canaries():
    """Return a unique string for each place that a tenant can write to."""
    return {place: f"canary{secrets.token_hex(16)}" for place in PLACES}


def planted(execution, canaries):
    """Return an execution with a canary in each place, and its run ids. Some payloads are longer than a block of the server."""
    record = execution.record
    attributes = {
        **record.search_attributes,
        canaries["attribute name"]: "x",
        "CanaryKeyword": canaries["keyword"],
        "CanaryList": ("a", canaries["list item"]),
        "CanaryText": f"some words, {canaries['text']}, and more",
        "BatcherUser": canaries["predefined keyword"],
    }
    types = {
        **execution.attribute_types,
        canaries["attribute name"]: AttributeType.KEYWORD,
        "CanaryKeyword": AttributeType.KEYWORD,
        "CanaryList": AttributeType.KEYWORD_LIST,
        "CanaryText": AttributeType.TEXT,
    }
    first, *rest = execution.events
    content = b"x" * 20_000 + canaries["event payload"].encode() + b"y" * 20_000
    field = b"\xfa\xff\xff\xff\x0f"  # an unknown field of bytes
    length = bytes([len(content) & 0x7F | 0x80, len(content) >> 7 & 0x7F | 0x80, len(content) >> 14])
    marked = replace(first, data=first.data + field + length + content)
    return Execution(
        record._replace(
            run_id=str(uuid4()),
            workflow_id=canaries["workflow id"],
            workflow_type=canaries["workflow type"],
            task_queue=canaries["task queue"],
            parent_workflow_id=canaries["parent workflow id"],
            parent_run_id=str(uuid4()),
            root_workflow_id=canaries["root workflow id"],
            search_attributes=MappingProxyType(attributes),
            memo=orjson.dumps({"note": canaries["memo"]}),
        ),
        (marked, *rest),
        types,
    )


async def use(strongroom, execution, sample, canaries):
    """Import, search, append, fork and fail, with a canary in every place."""
    kek = KekRef.parse("local:leaks")
    await strongroom.create_kek(kek)
    namespace = await strongroom.namespaces.create(canaries["namespace name"], kek=kek)
    await import_executions(strongroom, namespace, [*sample, execution])
    namespace = await strongroom.namespaces.get(canaries["namespace name"])
    types = attribute_types(namespace)
    record = execution.record
    for query in (
        f"WorkflowId = '{record.workflow_id}'",
        f"WorkflowId STARTS_WITH '{record.workflow_id[:20]}' OR CanaryKeyword = '{canaries['searched value']}'",
        f"CanaryText = '{canaries['text']}' AND {canaries['attribute name']} = 'x'",
        f"CanaryList IN ('{canaries['list item']}') AND BatcherUser = '{canaries['predefined keyword']}'",
        f"TaskQueue > '{canaries['task queue'][:-1]}' AND WorkflowType = '{record.workflow_type}'",
    ):
        found = await strongroom.visibility.list_workflow_executions(namespace.namespace_id, query, types)
        assert record in found.executions, query
        assert (await strongroom.visibility.count_workflow_executions(namespace.namespace_id, query, types)).count
    with pytest.raises(InvalidQuery):
        await strongroom.visibility.count_workflow_executions(
            namespace.namespace_id, f"{canaries['unknown attribute']} = 1", types
        )
    branch = imported_branch(
        record.run_id, await strongroom.shards.shard_of(namespace.namespace_id, record.workflow_id)
    )
    forked = await strongroom.history.fork_history_branch(
        namespace.namespace_id, branch, fork_node_id=2, info=canaries["branch info"]
    )
    appended = HistoryNode(2, 1000, 1, DataBlob(canaries["appended event"].encode()))
    await strongroom.history.append_history_nodes(namespace.namespace_id, forked, [appended])
    page = await strongroom.history.read_history_branch(namespace.namespace_id, forked)
    assert page.nodes == (history_nodes(execution)[0], appended)
    await fail(strongroom, namespace, record, canaries)


async def fail(strongroom, namespace, record, canaries):
    """Make the server refuse writes whose parameters it could log."""
    async with owner_connection(strongroom) as connection:
        await connection.execute("ALTER TABLE history_node ADD CONSTRAINT refuse CHECK (txn_id < 5000) NOT VALID")
        await connection.execute(
            "ALTER TABLE visibility_records ADD CONSTRAINT refuse CHECK (version < 5000) NOT VALID"
        )
    branch = imported_branch(
        record.run_id, await strongroom.shards.shard_of(namespace.namespace_id, record.workflow_id)
    )
    node = HistoryNode(1, 6000, 0, DataBlob(canaries["failing statement"].encode()))
    with pytest.raises(StorageError) as of_history:
        await strongroom.history.append_history_nodes(namespace.namespace_id, branch, [node])
    late = record._replace(memo=canaries["failing statement"].encode())
    with pytest.raises(StorageError) as of_visibility:
        await strongroom.visibility.record_workflow_executions(
            namespace.namespace_id, [(branch.shard_id, 6000, late)], attribute_types(namespace)
        )
    for error in (of_history.value, of_visibility.value):
        assert not any(canary in f"{error!r} {error.__cause__!r}" for canary in canaries.values())


async def test_nothing_that_a_tenant_wrote_is_in_the_servers_files(
    strongroom, server_folder, sample, canaries, tmp_path
):
    """Tables, indexes, WAL and the server's log have no canary. The same rows in clear have every one."""
    execution = planted(sample[0], canaries)
    await use(strongroom, execution, sample, canaries)
    async with owner_connection(strongroom) as connection:
        await connection.execute("VACUUM ANALYZE")  # statistics have values of columns
    await flush_all(strongroom)
    report = scan(server_folder, canaries.values())
    assert report.hits == {}
    assert report.bytes > 2**20

    with embedded_postgres(tmp_path / "twin") as dsn:
        await write_copy(dsn, [execution])
        control = scan(tmp_path / "twin", canaries.values())
    held = {canary for place, canary in canaries.items() if place not in NOT_IN_THE_TWIN}
    assert set(control.hits) == held


async def flush_all(strongroom):
    """Flush the server's memory to its files, which only a superuser may do."""
    await administer(superuser_of(strongroom.config.dsn), "CHECKPOINT")


async def test_the_scan_sees_what_is_in_clear_in_this_very_server(strongroom, server_folder, canaries):
    """The scan finds a value in clear in a column, and one of a deleted row."""
    column, gone = canaries["keyword"], canaries["memo"]
    async with owner_connection(strongroom) as connection:
        await connection.execute("CREATE TABLE plain (note text)")
        for text in (column, gone):
            await connection.execute("INSERT INTO plain VALUES ($1)", text)
        await connection.execute("DELETE FROM plain WHERE note = $1", gone)
    await flush_all(strongroom)
    assert set(scan(server_folder, canaries.values()).hits) == {column, gone}


FORMS = {
    "UTF-8": str.encode,
    "UTF-16-LE": lambda text: text.encode("utf-16-le"),
    "UTF-16-BE": lambda text: text.encode("utf-16-be"),
    "hex": lambda text: text.encode().hex().encode(),
    "HEX": lambda text: text.encode().hex().upper().encode(),
    "base64+0": lambda text: base64.b64encode(b"abc" + text.encode() + b"xyz"),
    "base64+1": lambda text: base64.b64encode(b"abcd" + text.encode() + b"xyz"),
    "base64+2": lambda text: base64.b64encode(b"abcde" + text.encode() + b"xyz"),
}

# Without a zero, because UTF-16-BE before a zero is also UTF-16-LE, one byte later.
AROUND = bytes(range(255, 155, -1))


@pytest.mark.parametrize(
    "text", ["canary0123456789abcdef", "Überraschung-支払い-12", "abcdefghijklmnopq", "abcdefghijklmnop"]
)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found(tmp_path, form, text):
    """The scan finds a value in every encoding, and names the encoding."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(AROUND + FORMS[form](text) + AROUND)
    (tmp_path / "clean").write_bytes(os.urandom(1000))
    report = scan(tmp_path, [text, "not there at all"])
    assert report.hits == {text: {f"deep/er/file ({form})"}}
    assert report.files == 2


@pytest.mark.parametrize("offset", [0, 1, 8180, 8191, 8192, 16_380, 3 * 8192 - 5])
@pytest.mark.parametrize("filler", [b"\x00", b"x"], ids=["zeros", "text"])
def test_a_value_across_the_border_of_blocks_is_found(tmp_path, offset, filler):
    """The scan finds a value that continues in the next block, even between empty blocks."""
    text = "canary" + secrets.token_hex(16)
    content = bytearray(filler * (5 * 8192))
    content[offset : offset + len(text)] = text.encode()
    (tmp_path / "segment").write_bytes(content)
    assert set(scan(tmp_path, [text]).hits) == {text}


def test_every_file_counts_once_and_links_are_not_followed(tmp_path):
    """Equal files are read and counted, and links are not followed."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_bytes(b"canary-outside")
    (inside / "a").write_bytes(b"canary-inside")
    (inside / "b").write_bytes(b"canary-inside")
    (inside / "link").symlink_to(outside)
    report = scan(inside, ["canary-inside", "canary-outside"])
    assert (report.files, report.bytes) == (2, 26)
    assert set(report.hits) == {"canary-inside"}


def test_the_planted_execution_is_what_it_should_be(sample, canaries):
    """The control of the canaries: the imported execution has each of them."""
    execution = planted(sample[0], canaries)
    content = orjson.dumps(execution.record.attributes()) + execution.record.memo + encode_batch(execution.events)
    for place, canary in canaries.items():
        assert (canary.encode() in content) == (place not in NOT_IN_THE_TWIN), place
    assert UUID(execution.record.run_id)
