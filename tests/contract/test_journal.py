"""The journal: verification finds rows that were put back, deleted or brought back, and legitimate writes raise no alarm.

An attack edits the database as an administrator could, between two writes of the service.
"""

from __future__ import annotations

import asyncio

import pytest

from strongroom.storage import EVERY_NAMESPACE, ShardInfo, TaskKey
from strongroom.storage.errors import OlderThanAnchor
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.tasks import TRANSFER
from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.writer import Journal
from tests.support.fixtures.executions import COMPLETED, blob, task, tasks

pytestmark = pytest.mark.integration


async def sql(cell, query, *arguments):
    """Run a statement as an administrator of the database."""
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        return await connection.fetch(query, *arguments)


async def kept(cell, table, shard_id):
    """Return the rows of a shard, to put them back later."""
    query = f"SELECT r::text AS text FROM {table} r WHERE shard_id = $1"  # noqa: S608 - our own tables, here and below
    return [row["text"] for row in await sql(cell, query, shard_id)]


async def put_back(cell, table, rows):
    """Insert rows as they were, except those whose key is there."""
    await sql(cell, f"INSERT INTO {table} SELECT (r::{table}).* FROM unnest($1::text[]) r ON CONFLICT DO NOTHING", rows)  # noqa: S608


async def delete(cell, table, shard_id):
    """Delete the rows of a shard."""
    await sql(cell, f"DELETE FROM {table} WHERE shard_id = $1", shard_id)  # noqa: S608


async def verify(workflow, *, folded=False):
    """Return the verification of the workflow's shard by this process and by a new one, which must agree."""
    if folded:
        await workflow.cell.journal.fold(workflow.shard_id)
    own = await workflow.cell.journal.verify(workflow.shard_id)
    cell = workflow.cell
    other = await JournalKeeper(cell.database, cell.keyring, Journal(cell.keyring)).verify(workflow.shard_id)
    assert (own.tables, own.rows) == (other.tables, other.rows)
    return own


@pytest.fixture
async def updated_run(workflow):
    """A run with tasks that was updated once."""
    created = await workflow.create(workflow.full())
    await workflow.update(workflow.mutation(created.run_id, tasks=tasks(TRANSFER)))
    return created


@pytest.mark.parametrize("folded", [False, True], ids=["entries", "folded"])
async def test_writes_raise_no_alarm(workflow, updated_run, folded):
    """Creating, updating, refusing, completing and deleting leave rows that fit the journal, before and after folding."""
    with pytest.raises(WorkflowConditionFailed):
        await workflow.update(workflow.mutation(updated_run.run_id))
    with pytest.raises(CurrentWorkflowConditionFailed):
        await workflow.create(workflow.snapshot())
    found = await verify(workflow, folded=folded)
    assert found.ok, found
    assert found.rows > 3

    await workflow.cell.history_tasks.range_complete_history_tasks(
        TRANSFER, shard_id=workflow.shard_id, min_key=TaskKey(0, 0), max_key=TaskKey(0, 2**63 - 1)
    )
    await workflow.update(workflow.mutation(updated_run.run_id, COMPLETED, db_record_version=3))
    store = workflow.cell.executions
    place = (workflow.namespace_id, workflow.workflow_id, updated_run.run_id)
    await store.delete_current_workflow_execution(*place, shard_id=workflow.shard_id)
    await store.delete_workflow_execution(*place, shard_id=workflow.shard_id)
    await workflow.create(workflow.snapshot())
    found = await verify(workflow, folded=folded)
    assert found.ok, found


async def test_many_writers_raise_no_alarm(workflow):
    """Concurrent writes of several workflows share statements, and folding runs between them."""
    others = [workflow.like(workflow_id=f"order {number}") for number in range(40)]
    keeper = workflow.cell.journal

    async def look():
        await keeper.fold(workflow.shard_id)
        return await keeper.verify(workflow.shard_id)

    *_, first, second, third = await asyncio.gather(*(each.create() for each in others), look(), look(), look())
    assert [each.ok for each in (first, second, third, await verify(workflow, folded=True))] == [True] * 4


ATTACKS = {
    "an older run put back": "executions",
    "a run deleted": "executions",
    "the current run deleted": "current_executions",
    "a task deleted": "history_tasks",
    "a task brought back": "history_tasks",
}


@pytest.mark.parametrize("folded", [False, True], ids=["entries", "folded"])
@pytest.mark.parametrize("attack", list(ATTACKS))
async def test_attacks_are_found(workflow, updated_run, attack, folded):
    """Verification names the table of a row that was put back, deleted or brought back; it does so after later writes too."""
    shard_id, table = workflow.shard_id, ATTACKS[attack]
    before = await kept(workflow.cell, table, shard_id)
    done = task(TRANSFER).key
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3, tasks=tasks(TRANSFER)))
    await workflow.cell.history_tasks.range_complete_history_tasks(
        TRANSFER, shard_id=shard_id, min_key=TaskKey(0, 0), max_key=done
    )
    assert (await verify(workflow, folded=folded)).ok
    if "brought back" not in attack:
        await delete(workflow.cell, table, shard_id)
    if "back" in attack:
        await put_back(workflow.cell, table, before)
    assert (await verify(workflow, folded=folded)).tables == [table]
    await workflow.like(workflow_id="order 2").create()
    assert table in (await verify(workflow, folded=folded)).tables


async def test_an_entry_that_vanished_is_found(workflow, updated_run):
    """An entry deleted together with what it wrote is a gap, once a later entry says that it was settled."""
    cell, shard_id = workflow.cell, workflow.shard_id
    await cell.journal.fold(shard_id)
    before = {table: await kept(cell, table, shard_id) for table in ("executions", "current_executions")}
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    await delete(cell, "journal", shard_id)
    for table, rows in before.items():
        await delete(cell, table, shard_id)
        await put_back(cell, table, rows)
    found = await workflow.cell.journal.verify(workflow.shard_id)
    assert not found.tables
    assert "is missing" in found.problems[0]


@pytest.mark.usefixtures("updated_run")
async def test_a_removal_needs_a_permission(workflow):
    """A row that the database deletes and enters as replaced in another write's entry is named."""
    await sql(
        workflow.cell,
        """
        UPDATE journal SET replaced = replaced || (
            SELECT '\\x003303'::bytea || uuid_send(namespace_id) || int2send(category_id) || int8send(fire_time) || int8send(task_id)
                   || substr(data, octet_length(data) - 15) FROM history_tasks WHERE shard_id = $1 ORDER BY task_id LIMIT 1)
        WHERE shard_id = $1 AND number = (SELECT max(number) FROM journal WHERE shard_id = $1)
        """,
        workflow.shard_id,
    )
    await sql(
        workflow.cell,
        "DELETE FROM history_tasks WHERE shard_id = $1 AND task_id = (SELECT min(task_id) FROM history_tasks WHERE shard_id = $1)",
        workflow.shard_id,
    )
    found = await verify(workflow)
    assert any("may not replace" in problem for problem in found.problems)


async def test_older_sums_are_found(workflow, updated_run):
    """A process that has seen sums refuses older ones, and a folded entry that comes back is named."""
    cell, shard_id = workflow.cell, workflow.shard_id
    entries = await kept(cell, "journal", shard_id)
    await cell.journal.fold(shard_id)
    [older] = await sql(cell, "SELECT number, data FROM journal_sums WHERE shard_id = $1", shard_id)
    await put_back(cell, "journal", entries)
    assert any("came back" in problem for problem in (await verify(workflow)).problems)
    await delete(cell, "journal", shard_id)
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    await cell.journal.fold(shard_id)
    await sql(
        cell,
        "UPDATE journal_sums SET number = $2, data = $3 WHERE shard_id = $1",
        shard_id,
        older["number"],
        older["data"],
    )
    found = await cell.journal.verify(shard_id)
    assert any("this process has seen" in problem for problem in found.problems)
    assert found.tables


async def test_a_busy_shard_is_folded_page_by_page(workflow):
    """More entries than one transaction takes are folded, without an alarm and without a rest."""
    for number in range(12):
        await workflow.like(workflow_id=f"order {number}").create()
    assert await workflow.cell.journal.fold(workflow.shard_id, limit=5) == []
    [left] = await sql(workflow.cell, "SELECT count(*) FROM journal WHERE shard_id = $1", workflow.shard_id)
    assert left["count"] <= 1
    assert (await verify(workflow)).ok


async def replace_sums(cell, row):
    """Replace the sums of a shard."""
    await sql(cell, "UPDATE journal_sums SET number = $2, data = $3 WHERE shard_id = $1", *row.values())


async def test_an_older_shard_gets_no_new_owner(workflow, updated_run):
    """A process that has seen newer sums refuses to take over a shard that was put back; with the newest sums it takes it over."""
    cell, shard_id = workflow.cell, workflow.shard_id
    stored = "SELECT shard_id, number, data FROM journal_sums WHERE shard_id = $1"
    await cell.journal.fold(shard_id)
    [older] = await sql(cell, stored, shard_id)
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    await cell.journal.fold(shard_id)
    [newest] = await sql(cell, stored, shard_id)
    taken = ShardInfo(shard_id, workflow.range_id + 1, blob())
    await replace_sums(cell, older)
    with pytest.raises(OlderThanAnchor):
        await cell.shards.update_shard(taken, previous_range_id=workflow.range_id)
    await replace_sums(cell, newest)
    await cell.shards.update_shard(taken, previous_range_id=workflow.range_id)


async def test_work_in_the_background_notes_what_it_finds(workflow, updated_run):
    """Folding and verification each note an altered shard, and verification forgets it when it is as it was."""
    cell, shard_id = workflow.cell, workflow.shard_id
    keeper = cell.journal
    await keeper.fold(shard_id)
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    entries = await kept(cell, "journal", shard_id)
    await delete(cell, "journal", shard_id)
    working = asyncio.create_task(keeper.keep_folding(pause=0.01))
    await noted(keeper, shard_id, True)
    working.cancel()
    await put_back(cell, "journal", entries)
    verifying = asyncio.create_task(keeper.keep_verifying([shard_id], pause=0.01))
    await noted(keeper, shard_id, False)
    await delete(cell, "current_executions", shard_id)
    await noted(keeper, shard_id, True)
    verifying.cancel()
    assert keeper.altered.pop(shard_id).tables == ["current_executions"]


async def noted(keeper, shard_id, expected):
    """Wait until a shard is noted as altered, or is not any more."""
    async with asyncio.timeout(60):
        while (shard_id in keeper.altered) != expected:  # noqa: ASYNC110 - the keeper has no event for tests
            await asyncio.sleep(0.01)
