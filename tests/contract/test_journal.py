"""The journal: verification finds rows that were put back, deleted or brought back, and legitimate writes raise no alarm.

An attack edits the database as an administrator could, between two writes of the service.
"""

from __future__ import annotations

import asyncio

import pytest

from strongroom.kms import rotate_data_key
from strongroom.storage import ShardInfo, TaskKey
from strongroom.storage.errors import OlderThanAnchor
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.tasks import TRANSFER
from strongroom.storage.journal.folding import UNCONFIRMED_AFTER
from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.writer import Journal
from tests.support.earlier_rows import administrator
from tests.support.fixtures.driver_role import owner_dsn
from tests.support.fixtures.executions import COMPLETED, blob, task, tasks
from tests.support.processes import new_process

pytestmark = pytest.mark.integration


@pytest.fixture
async def admin_of_shard(cell, shard_id):
    """An administrator of the database, who copies, deletes and puts back rows of the test's shard."""
    async with administrator(owner_dsn(cell.config), within=f"shard_id = {shard_id}") as made:
        yield made


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
async def test_attacks_are_found(workflow, updated_run, admin_of_shard, attack, folded):
    """Verification names the table of a row that was put back, deleted or brought back; it does so after later writes too."""
    shard_id, table = workflow.shard_id, ATTACKS[attack]
    before = await admin_of_shard.copies(table)
    done = task(TRANSFER).key
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3, tasks=tasks(TRANSFER)))
    await workflow.cell.history_tasks.range_complete_history_tasks(
        TRANSFER, shard_id=shard_id, min_key=TaskKey(0, 0), max_key=done
    )
    assert (await verify(workflow, folded=folded)).ok
    if "brought back" not in attack:
        await admin_of_shard.delete(table)
    if "back" in attack:
        await admin_of_shard.put_back(table, before)
    assert (await verify(workflow, folded=folded)).tables == [table]
    await workflow.like(workflow_id="order 2").create()
    assert table in (await verify(workflow, folded=folded)).tables


async def test_a_known_current_run_is_taken_out_of_the_sums_by_its_writer(workflow, admin_of_shard):
    """A process that wrote the current run names its tag itself, so the entry lists no replaced row that an edit could change.

    The older row that is put back is found by every process at once, and a write of the run goes on and hides nothing.
    """
    created = await workflow.create()
    before = await admin_of_shard.copies("current_executions")
    await workflow.update(workflow.mutation(created.run_id))
    assert not any(row["replaced"] for row in await admin_of_shard.copies("journal"))
    assert (await verify(workflow)).ok
    await admin_of_shard.delete("current_executions")
    await admin_of_shard.put_back("current_executions", before)
    assert (await verify(workflow)).tables == ["current_executions"]
    await workflow.update(workflow.mutation(created.run_id, db_record_version=3))
    assert (await verify(workflow, folded=True)).tables == ["current_executions"]


async def test_a_current_run_that_another_writer_replaced_is_read_again(workflow, updated_run):
    """A resealing and another process replace the row of the current run. The process that knew the row before then writes it."""
    cell, other = workflow.cell, workflow.like(cell=new_process(workflow.cell))
    await rotate_data_key(cell.keyring, workflow.namespace_id)
    resealed = (await cell.reseal(wait=0.1).run(workflow.namespace_id, rate=0)).resealed
    assert resealed["current_executions.data"] == 1
    for number, writer in enumerate((workflow, other, workflow, workflow), 3):
        await writer.update(workflow.mutation(updated_run.run_id, db_record_version=number))
        assert (await verify(workflow, folded=number % 2 == 0)).ok


async def test_an_entry_that_vanished_is_found(workflow, updated_run, admin_of_shard):
    """An entry deleted together with what it wrote is a gap. Its process finds it, and then all others, also after it has ended."""
    cell, shard_id = workflow.cell, workflow.shard_id
    await cell.journal.fold(shard_id)
    before = {table: await admin_of_shard.copies(table) for table in ("executions", "current_executions")}
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    await admin_of_shard.delete("journal")
    for table, rows in before.items():
        await admin_of_shard.put_back(table, rows)
    other = JournalKeeper(cell.database, cell.keyring, Journal(cell.keyring))
    assert (await other.verify(shard_id)).ok, "control: no other process knows of the write"
    found = await cell.journal.verify(shard_id)
    assert not found.tables
    assert "is missing" in found.problems[0]
    for _ in range(2):  # it states what it found in an entry, once, and again if that vanishes too
        for _ in range(2):
            assert await cell.journal.fold(shard_id)
        assert len(await admin_of_shard.copies("journal")) == 1
        assert "is missing" in (await other.verify(shard_id)).problems[0]
        await admin_of_shard.delete("journal")


@pytest.mark.usefixtures("updated_run")
async def test_a_removal_needs_a_permission(workflow, admin_of_shard):
    """A row that the database deletes and enters as replaced in another write's entry is named."""
    await admin_of_shard.edit(
        "journal",
        """
        replaced = replaced || (
            SELECT '\\x003303'::bytea || uuid_send(namespace_id) || int2send(category_id) || int8send(fire_time) || int8send(task_id)
                   || substr(data, octet_length(data) - 15) FROM history_tasks WHERE shard_id = $1 ORDER BY task_id LIMIT 1)
        """,
        "number = (SELECT max(number) FROM journal WHERE shard_id = $1)",
        workflow.shard_id,
    )
    first = "task_id = (SELECT min(task_id) FROM history_tasks WHERE shard_id = $1)"
    await admin_of_shard.delete("history_tasks", first, workflow.shard_id)
    found = await verify(workflow)
    assert any("may not replace" in problem for problem in found.problems)


async def test_older_sums_are_found(workflow, updated_run, admin_of_shard):
    """A process that has seen sums refuses older ones, and a folded entry that comes back is named."""
    cell, shard_id = workflow.cell, workflow.shard_id
    entries = await admin_of_shard.copies("journal")
    await cell.journal.fold(shard_id)
    older = await admin_of_shard.copies("journal_sums")
    await admin_of_shard.put_back("journal", entries)
    assert any("came back" in problem for problem in (await verify(workflow)).problems)
    await admin_of_shard.delete("journal")
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    await cell.journal.fold(shard_id)
    await admin_of_shard.put_back("journal_sums", older)
    found = await cell.journal.verify(shard_id)
    assert any("this process has seen" in problem for problem in found.problems)
    assert found.tables


@pytest.mark.usefixtures("updated_run")
async def test_the_last_entries_of_a_process_that_ended_are_folded(workflow):
    """Nothing confirms them, so another process folds them after some time, and not before."""
    cell, time = workflow.cell, [0.0]
    keeper = JournalKeeper(cell.database, cell.keyring, Journal(cell.keyring), clock=lambda: time[0])
    pending = []
    for time[0] in (0.0, UNCONFIRMED_AFTER - 1, UNCONFIRMED_AFTER + 1):
        assert await keeper.fold(workflow.shard_id) == []
        pending.append((await keeper.verify(workflow.shard_id)).pending)
    assert pending[0] == pending[1] > pending[2] == 0


async def test_a_busy_shard_is_folded_page_by_page(workflow, admin_of_shard):
    """More entries than one transaction takes are folded, without an alarm and without a rest."""
    for number in range(12):
        await workflow.like(workflow_id=f"order {number}").create()
    assert await workflow.cell.journal.fold(workflow.shard_id, limit=5) == []
    assert len(await admin_of_shard.copies("journal")) <= 1
    assert (await verify(workflow)).ok


async def test_an_older_shard_gets_no_new_owner(workflow, updated_run, admin_of_shard):
    """A process that has seen newer sums refuses to take over a shard that was put back; with the newest sums it takes it over."""
    cell, shard_id = workflow.cell, workflow.shard_id
    await cell.journal.fold(shard_id)
    older = await admin_of_shard.copies("journal_sums")
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    await cell.journal.fold(shard_id)
    newest = await admin_of_shard.copies("journal_sums")
    taken = ShardInfo(shard_id, workflow.range_id + 1, blob())
    await admin_of_shard.put_back("journal_sums", older)
    with pytest.raises(OlderThanAnchor):
        await cell.shards.update_shard(taken, previous_range_id=workflow.range_id)
    await admin_of_shard.put_back("journal_sums", newest)
    await cell.shards.update_shard(taken, previous_range_id=workflow.range_id)


async def test_work_in_the_background_notes_what_it_finds(workflow, updated_run, admin_of_shard):
    """Folding and verification each note an altered shard, and verification forgets it when it is as it was."""
    cell, shard_id = workflow.cell, workflow.shard_id
    keeper = cell.journal
    await keeper.fold(shard_id)
    await workflow.update(workflow.mutation(updated_run.run_id, db_record_version=3))
    entries = await admin_of_shard.copies("journal")
    await admin_of_shard.delete("journal")
    working = asyncio.create_task(keeper.keep_folding(pause=0.01))
    await noted(keeper, shard_id, True)
    working.cancel()
    await admin_of_shard.put_back("journal", entries)
    verifying = asyncio.create_task(keeper.keep_verifying([shard_id], pause=0.01))
    await noted(keeper, shard_id, False)
    await admin_of_shard.delete("current_executions")
    await noted(keeper, shard_id, True)
    verifying.cancel()
    assert keeper.altered.pop(shard_id).tables == ["current_executions"]


async def noted(keeper, shard_id, expected):
    """Wait until a shard is noted as altered, or is not any more."""
    async with asyncio.timeout(60):
        while (shard_id in keeper.altered) != expected:  # noqa: ASYNC110 - the keeper has no event for tests
            await asyncio.sleep(0.01)
