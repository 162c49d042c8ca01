"""Two namespaces, every public call, crossed ids: access by call and row-level security each let nothing through alone."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import UUID

import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.stores import STORE_OPERATIONS
from strongroom.driver.strongroom import Strongroom, shard_of
from strongroom.kms import StrongroomError
from strongroom.storage.engine.functions import load_functions
from tests.support.every_table import KEK, every_table
from tests.support.fixtures.driver_role import as_driver, owner_connection
from tests.support.row_level_security.broken_first_wall import Broken
from tests.support.row_level_security.crossed_calls import BY_THE_NAMESPACE_ALONE, crossed_calls

pytestmark = pytest.mark.integration

SEALED = 28
"""Bytes that every sealed value has at least: header, nonce and tag are more."""
TABLES = "SELECT table_name FROM information_schema.columns WHERE table_schema = 'strongroom' AND column_name = 'namespace_id'"


@pytest.fixture
def walls(dsn, tmp_path, monkeypatch):
    """Opens a cell with only one of the two protections."""

    @asynccontextmanager
    async def opened(*, first, second):
        broken = Broken(monkeypatch, keep_statements=first)
        load_functions.cache_clear()
        path = tmp_path / "strongroom.toml"
        write_config(path, dsn=dsn)
        config = load_config(path)
        await Strongroom.init(config)
        if second:
            config = replace(config, dsn=await as_driver(dsn))
        async with Strongroom.open(config) as cell:
            yield cell, broken
        load_functions.cache_clear()

    yield opened
    load_functions.cache_clear()


async def two_namespaces(cell):
    """Return rows of every kind of one namespace, and the id of another one that has none."""
    table = await every_table(cell)
    keys = await cell.keyring.open(table.namespace_id)
    table.expected["record shard"] = shard_of(keys, "order 0", cell.config.cell.shard_count)
    await cell.create_kek(KEK)
    other = await cell.namespaces.create("other", kek=KEK, search_attributes={"Customer": "Keyword"})
    return table, other.namespace_id


async def stored(cell, namespace_id):
    """Return all rows of a namespace as they lie in the tables, and the sealed values in them."""
    rows, sealed = {}, set()
    async with owner_connection(cell) as connection:
        for (table,) in [tuple(row.values()) for row in await connection.fetch(TABLES)]:
            found = await connection.fetch(f"SELECT * FROM {table} WHERE namespace_id IN ($1)", namespace_id)  # noqa: S608
            rows[table] = sorted(str(dict(row)) for row in found)
            sealed |= {
                value for row in found for value in row.values() if isinstance(value, bytes) and len(value) > SEALED
            }
    return rows, sealed


def leaks(rows, namespace_id, sealed):
    """Return whether a row holds a sealed value of a namespace, or says that it is one of its rows."""
    for row in rows:
        for value in row.values():
            for one in value if isinstance(value, list) else [value]:
                if one in sealed or (isinstance(one, UUID) and one.bytes == namespace_id.bytes):
                    return True
    return False


async def cross(cell, broken):
    """Make every call for one namespace with the ids of another; return what leaked, and which operations changed something."""
    table, other = await two_namespaces(cell)
    calls = crossed_calls(table, other)
    # A new operation must be tried here, or be about a namespace and nothing in it.
    assert operations_about_a_namespace() == BY_THE_NAMESPACE_ALONE | set(calls)
    leaked, changed = set(), set()
    for operation, call in calls.items():
        before, sealed = await stored(cell, table.namespace_id)
        broken.rows.clear()
        with suppress(StrongroomError, ValueError):
            await call()
        if leaks(broken.rows, table.namespace_id, sealed):
            leaked.add(operation)
        after, _ = await stored(cell, table.namespace_id)
        if after != before:
            changed.add(operation)
    return leaked, changed


def operations_about_a_namespace():
    """Return the names of the operations of the table that are about a namespace."""
    return {name for name, operation in STORE_OPERATIONS.items() if operation.scope == "namespace"}


async def test_the_first_wall_alone(walls):
    """Connected as the owner of the tables, statements and keys keep namespaces apart; even where names have the same tokens."""
    async with walls(first=True, second=False) as (cell, broken):
        assert await cross(cell, broken) == (set(), set())


async def test_the_second_wall_alone(walls):
    """Statements that name no namespace, and equal tokens: row-level security gives out no row of another one and changes none."""
    async with walls(first=False, second=True) as (cell, broken):
        assert await cross(cell, broken) == (set(), set())
        assert broken.stripped


SEEN_WITHOUT = frozenset(
    {
        *(
            "executions.create_workflow_execution",
            "executions.get_current_execution",
            "executions.get_workflow_execution",
        ),
        *("history.get_history_tree", "history.get_history_tree_containing_branch", "history.read_history_branch"),
        *("history.delete_history_branch", "tasks.get_task_queue", "tasks.get_tasks"),
        *("fair_tasks.get_task_queue", "fair_tasks.get_tasks"),
        *("task_queue_user_data.get_task_queue_user_data", "task_queue_user_data.get_task_queues_by_build_id"),
        "task_queue_user_data.list_task_queue_user_data_entries",
        # A list is not among them: it reads the layout of the cell's keys, which has none, before it reads a record.
        "visibility.get_workflow_execution",
    }
)
CHANGED_WITHOUT = frozenset(
    {
        *("executions.update_workflow_execution", "executions.delete_workflow_execution"),
        *("executions.delete_current_workflow_execution", "history.delete_history_nodes"),
        *(
            "task_queue_user_data.update_task_queue_user_data",
            "tasks.complete_tasks_less_than",
            "tasks.update_task_queue",
            "fair_tasks.complete_tasks_less_than",
            "fair_tasks.update_task_queue",
        ),
        "visibility.delete_workflow_execution",
    }
)


async def test_without_either_wall_rows_get_through(walls):
    """Control of both: the same calls find, change and delete what belongs to the other namespace."""
    async with walls(first=False, second=False) as (cell, broken):
        assert await cross(cell, broken) == (SEEN_WITHOUT, CHANGED_WITHOUT)
