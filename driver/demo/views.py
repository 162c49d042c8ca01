"""The steps of the demonstration that show results: rows as stored, list filters, speed."""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING

from strongroom.driver.importing.history_event import decode_batch, payloads
from strongroom.driver.importing.importer import history_nodes, imported_branch
from strongroom.storage import EVERY_NAMESPACE, HISTORY_NODE
from strongroom.storage.visibility_rows.records import all_tokens
from strongroom.visibility import matches, parse_filter

if TYPE_CHECKING:
    from .stage import Stage

FILTERS = (
    "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Completed' AND CustomerId = 'cust-00001'",
    "WorkflowId STARTS_WITH 'order/edi/' AND ExecutionStatus != 'Completed'",
    "StartTime BETWEEN '2026-11-23T18:34:40Z' AND '2026-11-23T18:34:50Z'",
    "Region IN ('eu-west-1', 'sa-east-1') AND Amount > 4500.5",
    "NOT (Region = 'us-east-1' OR Vip = true) AND ItemCount >= 5",
    "Tags = 'fragile' AND Note = 'escalation'",
    "ExecutionDuration > '10s' OR CloseTime IS NULL",
)
_SHOWN = 3


async def rows_as_stored(stage: Stage) -> bool:
    """Show raw rows next to the values that the service reads."""
    tenant, execution = stage.tenants[0], stage.tenants[0].executions[-1]
    record, namespace_id = execution.record, tenant.namespace.namespace_id
    shard_id = await stage.strongroom.shards.shard_of(namespace_id, record.workflow_id)
    branch = imported_branch(record.run_id, shard_id)
    async with stage.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        node = await connection.fetchrow(
            "SELECT * FROM history_node WHERE tree_id = $1 AND node_id = 1", branch.tree_id
        )
        name = await connection.fetchrow("SELECT * FROM namespaces WHERE namespace_id = $1", namespace_id)
        listed = await connection.fetchrow(
            "SELECT * FROM visibility_records WHERE namespace_id = $1 AND b1 = $2 AND b2 = $3 ORDER BY id LIMIT 1",
            namespace_id,
            (record.close_time or 2**62 * 10**9) // 10**9,
            record.start_time // 10**9,
        )
    if node is None or name is None or listed is None:
        return False
    page = await stage.strongroom.history.read_history_branch(namespace_id, branch, page_size=1)
    [event] = decode_batch(page.nodes[0].events.data)
    inputs = [payload.decode(errors="replace") for payload in payloads(event.data)]
    found = await stage.strongroom.visibility.get_workflow_execution(
        namespace_id, shard_id=shard_id, workflow_id=record.workflow_id, run_id=record.run_id
    )
    rows = [
        ("namespaces.name_token", _short(name["name_token"]), f"namespace {tenant.namespace.name}"),
        ("namespaces.details", _short(name["details"]), f"{len(tenant.types)} registered search attributes"),
        ("history_node.shard_id, tree_id", f"{node['shard_id']}, {node['tree_id']}", "shard and run id: the same"),
        ("history_node.node_id, txn_id", f"{node['node_id']}, {node['txn_id']}", "number of event and write: the same"),
        ("history_node.data", _short(node["data"]), f"{event.type}: {inputs[0] if inputs else ''}"),
        ("visibility_records.id", _short(listed["id"]), f"{found.workflow_id} / {found.run_id}"),
        ("visibility_records.b1, b2", f"{listed['b1']}, {listed['b2']}", "close and start time, to the second"),
        (
            "visibility_records.t, h_type, ...",
            ", ".join(map(str, listed["t"][:2])) + f", ... ({len(all_tokens(listed))} tokens)",
            ", ".join(f"{key}={value}" for key, value in list(found.search_attributes.items())[:4]) + ", ...",
        ),
        ("visibility_records.s", _short(listed["s"]), f"{found.execution_status}, memo {found.memo.decode()}"),
    ]
    stage.terminal.table("column", "as stored", "as read by the service", rows=rows)
    return page.nodes[0] == history_nodes(execution)[0] and found == record


async def list_filters(stage: Stage) -> bool:
    """Run list filters and a grouped count, and compare every answer with the same filter on the plaintext."""
    tenant, visibility = stage.tenants[0], stage.strongroom.visibility
    namespace_id, types = tenant.namespace.namespace_id, tenant.types
    records = [execution.record for execution in tenant.executions]
    rows, exact = [], True
    for query in FILTERS:
        where = parse_filter(query, types).where
        expected = {record.run_id for record in records if matches(where, record.attributes())}
        page = await visibility.list_workflow_executions(namespace_id, query, types, page_size=1000)
        count = await visibility.count_workflow_executions(namespace_id, query, types)
        right = {found.run_id for found in page.executions} == expected and count.count == len(expected) > 0
        exact = exact and right and len(page.executions) == count.count
        first = ", ".join(found.workflow_id for found in page.executions[:_SHOWN])
        rows.append((query, count.count, first + (", ..." if count.count > _SHOWN else ""), "yes" if right else "NO"))
    stage.terminal.table("filter", "count", "first runs", "as on plaintext", rows=rows)
    grouped = await visibility.count_workflow_executions(namespace_id, "GROUP BY ExecutionStatus", types)
    stage.terminal.line("GROUP BY ExecutionStatus: " + ", ".join(f"{name} {size}" for name, size in grouped.groups))
    return exact and grouped.count == len(records)


async def speed(stage: Stage) -> bool:
    """Seal and open the sample's nodes in memory."""
    tenant = stage.tenants[0]
    namespace_id = tenant.namespace.namespace_id
    keys = await stage.strongroom.keyring.open(namespace_id)
    scope = (1, os.urandom(16), os.urandom(16))
    nodes = [node for execution in tenant.executions for node in history_nodes(execution)]
    rows = [((node.node_id, node.txn_id, node.prev_txn_id), node.events.pack()) for node in nodes]
    started = perf_counter()
    sealed = keys.seal_many(HISTORY_NODE, rows, scope=scope)
    between = perf_counter()
    opened = keys.open_many(HISTORY_NODE, [(row[0], blob) for row, blob in zip(rows, sealed, strict=True)], scope=scope)
    ended = perf_counter()
    size = sum(len(plaintext) for _, plaintext in rows) / len(rows)
    stage.terminal.table(
        "on one core, nodes of this sample",
        "rows per second",
        rows=[
            (f"seal, {size:.0f} bytes a row", f"{len(rows) / (between - started):,.0f}"),
            (f"open, {size:.0f} bytes a row", f"{len(rows) / (ended - between):,.0f}"),
        ],
    )
    return opened == [plaintext for _, plaintext in rows]


def _short(data: bytes, length: int = 24) -> str:
    """Return the first bytes in hexadecimal, and the number of bytes if there are more."""
    return f"{data[:length].hex()}... ({len(data)} bytes)" if len(data) > length else data.hex()
