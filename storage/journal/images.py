"""The image of a row: the bytes that stand for a version of a row in sums (kms/FORMAT.md section 7.7).

An image is the number of the table, the namespace (16 bytes, zero without one), the other columns of the key, and the tag of each
sealed value. A tag belongs to one sealed value, because each is sealed with a nonce of its own.
"""

from __future__ import annotations

import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from strongroom.storage.schema.table import NAMESPACE
from strongroom.storage.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.storage.schema.table import Table

TAG_BYTES = 16
NO_NAMESPACE_ID = bytes(16)
CELL = 0
"""The shard id in the journal of the cell's own tables and of queues."""
TASK_QUEUE_GROUPS = 1
"""The number of groups of task queues. Group 0 has the shard id -1 in the journal, and so on."""
_GROUP_BITS = 31
"""Range hashes have 31 bits."""

EXECUTIONS, CURRENT_EXECUTIONS, HISTORY_TASKS, HISTORY_TREE, HISTORY_NODE, VISIBILITY_RECORDS, TASKS = range(1, 8)
NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "executions": EXECUTIONS,
        "current_executions": CURRENT_EXECUTIONS,
        "history_tasks": HISTORY_TASKS,
        "history_tree": HISTORY_TREE,
        "history_node": HISTORY_NODE,
        "visibility_records": VISIBILITY_RECORDS,
        "tasks": TASKS,
        "task_queues": 8,
        "task_queue_user_data": 9,
        "build_id_to_task_queue": 10,
        "shards": 11,
        "replication_dlq_tasks": 12,
        "queues": 13,
        "queue_messages": 14,
        "queues_v2": 15,
        "queue_v2_messages": 16,
        "namespaces": 17,
        "cluster_metadata": 18,
        "nexus_endpoints": 19,
    }
)
"""The number of each table that is in the journal."""
NAMES: Final[Mapping[int, str]] = MappingProxyType({number: name for name, number in NUMBERS.items()})

CLEAR: Final[Mapping[str, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {"visibility_records": (("version", "bigint"), ("k", "integer"), ("b1", "bigint"), ("b2", "bigint"))}
)
"""Clear columns, with their types, that are in the image of a row too, because a count reads them and opens no row."""
_BYTES = {"bigint": 8, "integer": 4}
_TAGS = {
    NUMBERS[table.name]: TAG_BYTES * len(table.sealed) + sum(_BYTES[kind] for _, kind in CLEAR.get(table.name, ()))
    for table in TABLES
    if table.name in NUMBERS
}
_BINARY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "smallint": "int2send({0})",
        "integer": "int4send({0})",
        "bigint": "int8send({0})",
        "uuid": "uuid_send({0})",
        "boolean": "boolsend({0})",
        "text": "convert_to({0}, 'UTF8')",
        "bytea": "{0}",
    }
)
_IMMUTABLE: Final[Mapping[str, str]] = MappingProxyType({"text": r"decode(replace({0}, '\', '\\'), 'escape')"})
"""The same, if the database's encoding is UTF8."""


def tag(sealed: bytes) -> bytes:
    """Return the tag of a sealed value."""
    return sealed[-TAG_BYTES:]


def tags_of(number: int) -> int:
    """Return the bytes of the tags at the end of an image of a table."""
    return _TAGS[number]


def journal_shards(shard_count: int) -> list[int]:
    """Return all shard ids in the journal of a cell: of the cell's tables, of its shards, of groups of task queues."""
    return [CELL, *range(1, shard_count + 1), *task_queue_groups()]


def in_random_order(shards: Sequence[int]) -> Iterator[int]:
    """Yield each shard once, in an order that nobody can predict.

    The shuffle is Durstenfeld's (CACM 7, algorithm 235), one draw at a time. All draws of 16384 shards at once take 20 ms, in which
    a process that starts does nothing else.
    """
    left = list(shards)
    while left:
        place = secrets.randbelow(len(left))
        left[place], left[-1] = left[-1], left[place]
        yield left.pop()


def task_queue_groups() -> list[int]:
    """Return the shard ids in the journal of the groups of task queues."""
    return [-1 - group for group in range(TASK_QUEUE_GROUPS)]


def task_queue_group(range_hash: int) -> int:
    """Return the shard id in the journal of the rows that have this range hash."""
    return -1 - (range_hash >> _GROUP_BITS)


def tables_of(shard_id: int) -> dict[Table, str]:
    """Return the tables that have rows of a shard of the journal, each with the SQL condition of these rows."""
    tables = [table for table in TABLES if table.name in NUMBERS]
    if shard_id > CELL:
        return {table: f"shard_id = {shard_id}" for table in tables if table.partition_column == "shard_id"}
    if shard_id == CELL:
        return {table: "true" for table in tables if table.partition_column not in {"shard_id", "range_hash"}}
    first = -1 - shard_id << _GROUP_BITS
    rows = f"range_hash BETWEEN {first} AND {first + (1 << _GROUP_BITS) - 1}"
    return {table: rows for table in tables if table.partition_column == "range_hash"}


def shard_sql(table: Table, alias: str = "") -> str:
    """Return the SQL expression of the shard id in the journal of a row; see `image_sql`."""
    if table.partition_column == "range_hash":
        return f"-1 - ({alias}range_hash >> {_GROUP_BITS})"
    return f"{alias}shard_id" if table.partition_column == "shard_id" else str(CELL)


def image_sql(table: Table, alias: str = "", *, on_cluster: bool = False) -> str:
    """Return the SQL expression of a row's image.

    Args:
        table: The table's descriptor.
        alias: What precedes the name of a column: an alias with a dot, or nothing.
        on_cluster: Whether it is for the RETURNING clause of a statement for a Citus cluster, whose functions must be immutable.
    """
    binary = {**_BINARY, **_IMMUTABLE} if on_cluster else _BINARY
    columns = [binary[type_].format(alias + name) for name, type_ in table.key if name not in {NAMESPACE, "shard_id"}]
    namespace = f"uuid_send({alias}{NAMESPACE})" if table.namespaced else f"'\\x{NO_NAMESPACE_ID.hex()}'::bytea"
    none = f"'\\x{bytes(TAG_BYTES).hex()}'::bytea"  # for an absent value, so that all images of a table have one length of tags
    tags = [
        f"coalesce(substr({alias}{each.column}, octet_length({alias}{each.column}) - {TAG_BYTES - 1}), {none})"
        for each in table.sealed
    ]
    clear = [_BINARY[type_].format(alias + name) for name, type_ in CLEAR.get(table.name, ())]
    return " || ".join([f"'\\x{NUMBERS[table.name]:02x}'::bytea", namespace, *columns, *clear, *tags])
