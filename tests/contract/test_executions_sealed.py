from __future__ import annotations

import re
import secrets
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError, UnsupportedFormat
from strongroom.storage import EVERY_NAMESPACE, DataBlob, StorageError
from strongroom.storage.executions.requests import ChasmNode
from strongroom.storage.histories.rows import HistoryAppend, HistoryNode
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.executions import CATEGORIES, COMPLETED, CREATED, TABLES, ZOMBIE, blob, state, task

pytestmark = pytest.mark.integration


async def execute(workflow, query, *arguments):
    """Change the database as an attacker without keys could. Return how many rows were changed."""
    async with workflow.cell.database.connection(EVERY_NAMESPACE) as connection:
        tag = await connection.execute(query, *arguments)
    return int(tag.split()[-1])


@pytest.fixture
async def runs(workflow):
    """Two runs of one workflow with entries in all maps. The first is the current run, and both can be read."""
    first = await workflow.create(workflow.full())
    await workflow.update(workflow.mutation(first.run_id, new_buffered_events=blob()))
    second = await workflow.create_zombie(workflow.full(of=ZOMBIE, db_record_version=2, next_event_id=7))
    await workflow.get(first.run_id)
    await workflow.get(second.run_id)
    return first, second


@pytest.mark.parametrize("column", ["next_event_id", "last_write_version", "db_record_version"])
@pytest.mark.parametrize("change", [-1, 1])
async def test_an_edited_version_makes_a_run_unreadable(workflow, runs, column, change):
    """Columns in clear that the store compares are authenticated."""
    first, second = runs
    query = f"UPDATE executions SET {column} = {column} + $2 WHERE run_id = $1"  # noqa: S608 - our own columns
    assert await execute(workflow, query, first.run_id, change) == 1
    with pytest.raises(IntegrityError):
        await workflow.get(first.run_id)
    await workflow.get(second.run_id)


@pytest.mark.parametrize("column", ["state", "last_write_version"])
@pytest.mark.usefixtures("runs")
async def test_an_edited_current_run_is_noticed(workflow, column):
    """The current run's clear columns are authenticated, because its state decides which run may follow it."""
    query = f"UPDATE current_executions SET {column} = 3 WHERE namespace_id = $1"  # noqa: S608 - our own columns
    assert await execute(workflow, query, workflow.namespace_id) == 1
    with pytest.raises(IntegrityError):
        await workflow.current()


async def test_another_current_run_is_noticed(workflow, runs):
    """A row that names another run than it was sealed with does not open."""
    query = "UPDATE current_executions SET run_id = $2 WHERE namespace_id = $1"
    assert await execute(workflow, query, workflow.namespace_id, runs[1].run_id) == 1
    with pytest.raises(IntegrityError):
        await workflow.current()


SWAP = """
UPDATE executions e SET data = other.data FROM executions other
WHERE e.namespace_id = $1 AND other.namespace_id = $1 AND e.run_id <> other.run_id
"""
MOVE = """
UPDATE execution_maps e SET data = other.data FROM execution_maps other
WHERE e.run_id = $1 AND other.run_id = $2 AND e.map = other.map AND e.item = other.item
"""
SWAP_ITEMS = """
UPDATE execution_maps e SET data = other.data FROM execution_maps other
WHERE e.run_id = $1 AND other.run_id = $1 AND e.map = other.map AND e.item <> other.item AND e.map = $2
"""


async def test_swapped_runs_are_noticed(workflow, runs):
    """Rows of two runs at the same versions that are swapped do not open."""
    assert await execute(workflow, SWAP, workflow.namespace_id) == 2
    for run in runs:
        with pytest.raises(IntegrityError):
            await workflow.get(run.run_id)


async def test_an_entry_of_another_run_is_noticed(workflow, runs):
    """An entry that is copied to another run does not open, even with the same map and event id."""
    assert await execute(workflow, MOVE, runs[0].run_id, runs[1].run_id) == 8
    with pytest.raises(IntegrityError):
        await workflow.get(runs[0].run_id)
    await workflow.get(runs[1].run_id)


@pytest.mark.parametrize("number", range(1, 8))
async def test_swapped_entries_are_noticed(workflow, runs, number):
    """Two entries of one map that are swapped do not open, in each map."""
    assert await execute(workflow, SWAP_ITEMS, runs[0].run_id, number) == 2
    with pytest.raises(IntegrityError):
        await workflow.get(runs[0].run_id)


async def test_an_entry_in_another_map_is_noticed(workflow, runs):
    """An entry that is moved to another map does not open."""
    await execute(workflow, "DELETE FROM execution_maps WHERE run_id = $1 AND map = 3", runs[0].run_id)
    moved = await execute(workflow, "UPDATE execution_maps SET map = 3 WHERE run_id = $1 AND map = 1", runs[0].run_id)
    assert moved == 2
    with pytest.raises(IntegrityError):
        await workflow.get(runs[0].run_id)


async def test_a_run_of_another_namespace_is_noticed(workflow, runs, cell):
    """Rows of a run that are copied to a namespace with the same ids do not open."""
    other = workflow.like(namespace_id=await new_namespace(cell))
    theirs = await other.create(other.snapshot(runs[0].run_id, db_record_version=2, next_event_id=7))
    query = """
        UPDATE executions e SET data = other.data FROM executions other
        WHERE e.namespace_id = $1 AND other.namespace_id = $2 AND e.run_id = other.run_id
    """
    assert await execute(workflow, query, other.namespace_id, workflow.namespace_id) == 1
    with pytest.raises(IntegrityError):
        await other.get(theirs.run_id)


@pytest.mark.parametrize("table", ["executions", "execution_maps", "current_executions"])
@pytest.mark.parametrize("position", [0, -1], ids=["header", "tag"])
async def test_a_flipped_bit_is_noticed(workflow, runs, table, position):
    """A sealed value with a flipped bit at either end does not open."""
    query = f"""
        UPDATE {table} SET data = set_byte(data, (length(data) + $2) % length(data),
            get_byte(data, (length(data) + $2) % length(data)) # 1) WHERE run_id = $1
    """  # noqa: S608 - our own tables
    assert await execute(workflow, query, runs[0].run_id, position) >= 1
    read = workflow.current() if table == "current_executions" else workflow.get(runs[0].run_id)
    with pytest.raises((IntegrityError, UnsupportedFormat)):
        await read


BINARY = re.compile(r"\\x((?:[0-9a-f]{2})+)")


@pytest.fixture
def canary():
    """Return a text that is unique."""
    return f"canary{secrets.token_hex(12)}"


async def raw(workflow):
    """Return all rows of the namespace as text, and each binary column as its bytes."""
    text = "\n".join(row for rows in (await workflow.footprint()).values() for row in rows)
    return b"\n".join([text.encode(), *(bytes.fromhex(column) for column in BINARY.findall(text))])


async def test_nothing_that_a_tenant_wrote_is_in_clear(workflow, canary):
    """No text that a tenant wrote is in the rows. The same scan finds the clear columns and a canary in one of them."""
    mine = workflow.like(workflow_id=f"{canary} workflow")
    value, run_id = DataBlob(f"{canary} blob".encode() * 3), uuid4()
    names = {f"{canary} name"}
    snapshot = mine.snapshot(
        run_id,
        execution_info=value,
        execution_state=state(CREATED, blob=value, create_request_id=f"{canary} request"),
        activity_infos={5: value},
        timer_infos=dict.fromkeys(names, value),
        child_execution_infos={5: value},
        request_cancel_infos={5: value},
        signal_infos={5: value},
        signal_requested_ids=names,
        chasm_nodes=dict.fromkeys(names, ChasmNode(value, value)),
        tasks={category: [task(category)._replace(blob=value)] for category in CATEGORIES},
    )
    events = [HistoryAppend(mine.branch(run_id), [HistoryNode(1, 1, 0, value)], is_new_branch=True, info=canary)]
    await mine.create(snapshot, new_workflow_new_events=events)
    await mine.update(
        mine.mutation(run_id, execution_info=value, upsert_timer_infos={f"{canary}2": value}, new_buffered_events=value)
    )
    found = await mine.footprint()
    assert all(found[table] for table in TABLES if table != "visibility_records")
    rows = await raw(mine)
    assert canary.encode() not in rows
    assert str(run_id).encode() in rows
    query = "UPDATE executions SET data = data || $2::bytea WHERE run_id = $1"
    assert await execute(workflow, query, run_id, canary.encode()) == 1
    assert canary.encode() in await raw(mine)


async def test_errors_hold_nothing_that_a_tenant_wrote(workflow, canary):
    """Neither the message of an error nor its context contains a tenant's text."""
    mine = workflow.like(workflow_id=f"{canary} workflow")
    snapshot = await mine.create(mine.snapshot(of=COMPLETED, execution_info=DataBlob(canary.encode())))
    taken = task(CATEGORIES[0])
    await mine.create_zombie(mine.snapshot(of=ZOMBIE, tasks={CATEGORIES[0]: [taken]}))
    for call in (
        mine.create(),
        mine.create(mine.snapshot(workflow_id=canary * 10_000)),
        mine.create(mine.snapshot(timer_infos={canary * 10_000: blob()})),
        mine.create(mine.snapshot(timer_infos={canary: canary})),
        mine.create_zombie(
            mine.snapshot(of=ZOMBIE, tasks={CATEGORIES[0]: [taken._replace(blob=DataBlob(canary.encode()))]})
        ),
        mine.create_zombie(mine.snapshot(snapshot.run_id, ZOMBIE)),
        mine.update(mine.mutation(snapshot.run_id, COMPLETED, db_record_version=9)),
        mine.set(mine.snapshot(uuid4(), timer_infos={canary: blob()})),
        mine.get(uuid4()),
        mine.like(range_id=9).create(),
    ):
        with pytest.raises(StorageError) as raised:
            await call
        error: BaseException | None = raised.value
        while error is not None:
            assert canary not in f"{error!r} {error}"
            error = error.__cause__ or error.__context__


async def test_equal_names_are_not_equal_tokens(workflow, cell):
    """Equal timer names in two runs, and equal workflow ids in two namespaces, have different tokens."""
    other = workflow.like(namespace_id=await new_namespace(cell))
    for place in (workflow, other):
        await place.create(place.snapshot(timer_infos={"timer": blob()}))
        await place.create_zombie(place.snapshot(of=ZOMBIE, timer_infos={"timer": blob()}))
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT workflow_id, item FROM execution_maps WHERE namespace_id = ANY ($1)",
            [workflow.namespace_id, other.namespace_id],
        )
    assert len(rows) == 4
    assert len({row["item"] for row in rows}) == 4
    assert len({row["workflow_id"] for row in rows}) == 2
