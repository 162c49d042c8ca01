"""Plaintext visibility in PostgreSQL, with Temporal's columns and types. It has the primary key, the default order and ten indexes.

Temporal's real schema has 73 indexes, so sizes and writes favour this copy.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

CODES = {"Running": 1, "Completed": 2, "Failed": 3, "Canceled": 4, "Terminated": 5, "ContinuedAsNew": 6, "TimedOut": 7}
COLUMNS = {
    "RunId": "char(64)",
    "StartTime": "timestamp",
    "ExecutionTime": "timestamp",
    "WorkflowId": "varchar(255)",
    "WorkflowType": "varchar(255)",
    "ExecutionStatus": "integer",
    "CloseTime": "timestamp",
    "HistoryLength": "bigint",
    "HistorySizeBytes": "bigint",
    "ExecutionDuration": "bigint",
    "StateTransitionCount": "bigint",
    "TaskQueue": "varchar(255)",
    "ParentWorkflowId": "varchar(255)",
    "ParentRunId": "varchar(255)",
    "RootWorkflowId": "varchar(255)",
    "RootRunId": "varchar(255)",
    "CustomerId": "varchar(255)",
    "Region": "varchar(255)",
    "Tags": "jsonb",
    "Note": "tsvector",
    "Items": "bigint",
    "Amount": "decimal(20,5)",
    "Paid": "boolean",
    "DueBy": "timestamp",
    "TemporalLowCardinalityKeywordTier": "varchar(255)",
}
INDEXED = (
    "WorkflowId",
    "WorkflowType",
    "ExecutionStatus",
    "StartTime",
    "HistoryLength",
    "TaskQueue",
    "CustomerId",
    "ParentWorkflowId",
)
ORDER = "coalesce(CloseTime, '9999-12-31 23:59:59'::timestamp) DESC, StartTime DESC, RunId"
NAMESPACE = "0d8e1b52-3f0a-4f6e-9b1c-6f1d2c3b4a59"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)


async def create(connection: asyncpg.Connection) -> None:
    """Create the table and its indexes."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    await connection.execute(
        f"CREATE TABLE executions_visibility (namespace_id char(64), TemporalNamespaceDivision varchar(255), {columns}, "
        "memo bytea, encoding varchar(64), PRIMARY KEY (namespace_id, RunId))"
    )
    await connection.execute(f"CREATE INDEX ON executions_visibility (namespace_id, {ORDER})")
    for name in INDEXED:
        await connection.execute(f"CREATE INDEX ON executions_visibility (namespace_id, {name}, {ORDER})")
    await connection.execute("CREATE INDEX ON executions_visibility USING gin (Tags jsonb_path_ops)")
    await connection.execute("CREATE INDEX ON executions_visibility USING gin (Note)")


async def write(connection: asyncpg.Connection, documents: Iterable[dict[str, Any]]) -> None:
    """Write documents in one transaction."""
    names = ", ".join(COLUMNS)
    marks = ", ".join(
        f"to_tsvector('simple', ${at}::text)" if name == "Note" else f"${at}" for at, name in enumerate(COLUMNS, 2)
    )
    statement = (
        f"INSERT INTO executions_visibility (namespace_id, {names}, memo, encoding) "
        f"VALUES ($1, {marks}, ${len(COLUMNS) + 2}, 'Proto3')"
    )
    rows = [(NAMESPACE, *(_value(name, each.get(name)) for name in COLUMNS), each["Memo"]) for each in documents]
    async with connection.transaction():
        await connection.executemany(statement, rows)


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "ExecutionStatus":
        return CODES[value]
    if COLUMNS[name] == "timestamp":
        return _EPOCH + timedelta(microseconds=value // 1000)
    if name == "Tags":
        return "[" + ",".join(f'"{tag}"' for tag in value) + "]"
    return value


def page(where: str, order: str = ORDER) -> str:
    """Return the statement that lists 100 runs."""
    return (
        f"SELECT * FROM executions_visibility WHERE namespace_id = '{NAMESPACE}' AND ({where}) "
        f"AND TemporalNamespaceDivision IS NULL ORDER BY {order} LIMIT 100"
    )


def count(where: str) -> str:
    """Return the statement that counts runs."""
    return (
        f"SELECT count(*) FROM executions_visibility WHERE namespace_id = '{NAMESPACE}' AND ({where}) "
        "AND TemporalNamespaceDivision IS NULL"
    )


def groups(name: str = "ExecutionStatus") -> str:
    """Return the statement that counts the runs of each value of an attribute."""
    return (
        f"SELECT {name}, count(*) FROM executions_visibility WHERE namespace_id = '{NAMESPACE}' "
        f"AND TemporalNamespaceDivision IS NULL GROUP BY {name}"
    )
