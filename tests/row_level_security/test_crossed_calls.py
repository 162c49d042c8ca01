"""Every public call for one namespace, with ids of another one: statements alone protect it, and so does row-level security alone."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import UUID

import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.stores import STORE_OPERATIONS
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import StrongroomError
from strongroom.storage.engine.functions import load_functions
from tests.support.every_table import KEK, every_table
from tests.support.fixtures.driver_role import as_driver, owner_connection
from tests.support.row_level_security.crossed_calls import BY_THE_NAMESPACE_ALONE, crossed_calls
from tests.support.row_level_security.unconditional import Answers

pytestmark = pytest.mark.integration

SEALED = 28
"""Least bytes of a sealed value; header, nonce and tag have more."""
TABLES = "SELECT table_name FROM information_schema.columns WHERE table_schema = 'strongroom' AND column_name = 'namespace_id'"


@pytest.fixture
def opened_with(dsn, tmp_path, monkeypatch):
    """Return a context manager that opens a cell with conditions in statements, with row-level security, or with neither."""

    @asynccontextmanager
    async def opened(*, conditions, row_level_security):
        answers = Answers(monkeypatch, keep_conditions=conditions)
        load_functions.cache_clear()
        path = tmp_path / "strongroom.toml"
        write_config(path, dsn=dsn)
        config = load_config(path)
        await Strongroom.init(config)
        if row_level_security:
            config = replace(config, dsn=await as_driver(dsn))
        async with Strongroom.open(config) as cell:
            yield cell, answers
        load_functions.cache_clear()

    yield opened
    load_functions.cache_clear()


async def two_namespaces(cell):
    """Return rows of every kind of one namespace, and the id of another one that has none."""
    table = await every_table(cell)
    table.expected["record shard"] = await cell.shards.shard_of(table.namespace_id, "order 0")
    await cell.create_kek(KEK)
    other = await cell.namespaces.create("other", kek=KEK, search_attributes={"Customer": "Keyword"})
    return table, other.namespace_id


async def stored(cell, namespace_id):
    """Return all rows of a namespace as text, and the sealed values in them."""
    rows, sealed = {}, set()
    async with owner_connection(cell) as connection:
        for (table,) in [tuple(row.values()) for row in await connection.fetch(TABLES)]:
            found = await connection.fetch(f"SELECT * FROM {table} WHERE namespace_id IN ($1)", namespace_id)  # noqa: S608
            rows[table] = sorted(str(dict(row)) for row in found)
            sealed |= {value for row in found for value in row.values() if is_sealed(value)}
    return rows, sealed


def is_sealed(value):
    """Return whether a value is a sealed one. 32 zeros are the same in all namespaces: they stand for no shredding."""
    return isinstance(value, bytes) and len(value) > SEALED and any(value)


def leaks(rows, namespace_id, sealed):
    """Return whether a row has a sealed value of a namespace, or the namespace's id."""
    for row in rows:
        for value in row.values():
            for one in value if isinstance(value, list) else [value]:
                if one in sealed or (isinstance(one, UUID) and one.bytes == namespace_id.bytes):
                    return True
    return False


async def cross(cell, answers):
    """Make every call for one namespace with ids of another; return the operations that leaked rows, and those that changed some."""
    table, other = await two_namespaces(cell)
    calls = crossed_calls(table, other)
    # A new operation must be called here, unless it names a namespace and nothing in it.
    assert operations_about_a_namespace() == BY_THE_NAMESPACE_ALONE | set(calls)
    leaked, changed = set(), set()
    for operation, call in calls.items():
        before, sealed = await stored(cell, table.namespace_id)
        answers.rows.clear()
        with suppress(StrongroomError, ValueError):
            await call()
        if leaks(answers.rows, table.namespace_id, sealed):
            leaked.add(operation)
        after, _ = await stored(cell, table.namespace_id)
        if after != before:
            changed.add(operation)
    return leaked, changed


def operations_about_a_namespace():
    """Return the operations of the table that are about a namespace."""
    return {name for name, operation in STORE_OPERATIONS.items() if operation.scope == "namespace"}


async def test_conditions_alone_keep_namespaces_apart(opened_with):
    """As the owner of the tables, even if equal names have equal tokens in both namespaces."""
    async with opened_with(conditions=True, row_level_security=False) as (cell, answers):
        assert await cross(cell, answers) == (set(), set())


async def test_row_level_security_alone_keeps_namespaces_apart(opened_with):
    """Without conditions in statements and with equal tokens, no row of another namespace is returned or changed."""
    async with opened_with(conditions=False, row_level_security=True) as (cell, answers):
        assert await cross(cell, answers) == (set(), set())
        assert answers.stripped


SEEN_WITHOUT = frozenset(
    {
        *(
            "executions.create_workflow_execution",
            "executions.get_current_execution",
            "executions.get_workflow_execution",
        ),
        *("history.get_history_tree", "history.get_history_tree_containing_branch", "history.read_history_branch"),
        *("history.read_history_nodes", "history.delete_history_branch", "tasks.get_task_queue", "tasks.get_tasks"),
        *("fair_tasks.get_task_queue", "fair_tasks.get_tasks"),
        "history.fork_history_branch",
        *("task_queue_user_data.get_task_queue_user_data", "task_queue_user_data.get_task_queues_by_build_id"),
        "task_queue_user_data.list_task_queue_user_data_entries",
        *("visibility.get_workflow_execution", "visibility.list_workflow_executions"),
    }
)
CHANGED_WITHOUT = frozenset(
    {
        *("executions.delete_workflow_execution", "executions.delete_current_workflow_execution"),
        "executions.update_workflow_execution",
        "history.delete_history_nodes",
        "task_queue_user_data.update_task_queue_user_data",
        *("tasks.complete_tasks_less_than", "fair_tasks.complete_tasks_less_than"),
    }
)


async def test_without_either_check_rows_get_through(opened_with):
    """The control of both: the same calls return, change and delete rows of the other namespace."""
    async with opened_with(conditions=False, row_level_security=False) as (cell, answers):
        assert await cross(cell, answers) == (SEEN_WITHOUT, CHANGED_WITHOUT)
