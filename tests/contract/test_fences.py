"""Edited clear columns never decide a write (kms/FORMAT.md section 7.4).

Each attack edits a column that the condition of a write compares, and then a caller writes what only the edited column allows. In the
control the attacker has the keys and edits the MAC too, and the same write succeeds.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError
from strongroom.storage import EVERY_NAMESPACE, DataBlob, TaskQueue
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.modes import ConflictResolveMode, CreateMode, UpdateMode
from strongroom.storage.executions.shards import ShardInfo
from strongroom.storage.executions.tasks import TRANSFER
from strongroom.storage.fences import RunFences, ShardFences, current_mac, lease_mac
from strongroom.storage.matching.task_queue_keys import TaskQueueKey
from strongroom.storage.matching.task_requests import Task
from tests.support.fixtures.executions import COMPLETED, RUNNING, ZOMBIE, blob, tasks

pytestmark = pytest.mark.integration


@pytest.fixture(params=[True, False], ids=["without keys", "control"])
def is_fenced(request):
    """Whether the attacker has no keys, and so can't make a MAC."""
    return request.param


async def execute(cell, query, *arguments):
    """Change the database as an attacker without keys could."""
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        tag = await connection.execute(query, *arguments)
    assert int(tag.split()[-1]) > 0


async def edit(workflow, query, *arguments, is_fenced):
    """Edit clear columns of the workflow's rows. In the control their MACs are made to fit."""
    await execute(workflow.cell, query, *arguments)
    if is_fenced:
        return
    cell, shard_id = workflow.cell, workflow.shard_id
    keys = await cell.keyring.open(workflow.namespace_id)
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        for row in await connection.fetch("SELECT * FROM shards WHERE shard_id = $1", shard_id):
            mac = await ShardFences(cell.keyring).mac(shard_id, row["range_id"])
            await connection.execute("UPDATE shards SET range_mac = $2 WHERE shard_id = $1", shard_id, mac)
        for row in await connection.fetch("SELECT * FROM executions WHERE shard_id = $1", shard_id):
            macs = RunFences(keys, shard_id, row["workflow_id"]).stored(
                row["run_id"].bytes,
                record_version=row["db_record_version"],
                next_event_id=row["next_event_id"],
                last_write_version=row["last_write_version"],
            )
            await connection.execute("UPDATE executions SET macs = $2 WHERE run_id = $1", row["run_id"], macs)
        for row in await connection.fetch("SELECT * FROM current_executions WHERE shard_id = $1", shard_id):
            made, run_id = RunFences(keys, shard_id, row["workflow_id"]), row["run_id"].bytes
            macs = current_mac(made.current(0, run_id), row["state"])
            macs += made.write_version(run_id, row["last_write_version"])
            await connection.execute("UPDATE current_executions SET macs = $2 WHERE run_id = $1", row["run_id"], macs)


@asynccontextmanager
async def refused(workflow, *, is_fenced):
    """Expect that a write is refused with IntegrityError and changes no row. In the control it must succeed."""
    before = await workflow.footprint()
    if is_fenced:
        with pytest.raises(IntegrityError):
            yield
        assert await workflow.footprint() == before
    else:
        yield


@pytest.fixture
async def deposed(workflow):
    """A workflow with a run, whose shard another host took over. `workflow` is the deposed host's view of it."""
    run = await workflow.create()
    await take_over(workflow)
    return run


async def take_over(workflow):
    """Take the shard over as another host."""
    shard = await workflow.cell.shards.get_or_create_shard(workflow.shard_id)
    taken = replace(shard, range_id=shard.range_id + 1)
    await workflow.cell.shards.update_shard(taken, previous_range_id=shard.range_id)
    return taken


WRITES_OF_A_SHARD = {
    "create": lambda workflow, _run: workflow.create_zombie(),
    "update": lambda workflow, run: workflow.update(workflow.mutation(run.run_id)),
    "resolve": lambda workflow, run: workflow.resolve(workflow.snapshot(run.run_id, db_record_version=2)),
    "set": lambda workflow, run: workflow.set(workflow.snapshot(run.run_id, db_record_version=2)),
    "add tasks": lambda workflow, _run: workflow.cell.history_tasks.add_history_tasks(
        workflow.namespace_id, tasks(TRANSFER), shard_id=workflow.shard_id, range_id=workflow.range_id
    ),
    "assert": lambda workflow, _run: workflow.cell.shards.assert_shard_ownership(
        workflow.shard_id, range_id=workflow.range_id
    ),
    "take over": lambda workflow, _run: take_over_from(workflow),
}


async def take_over_from(workflow):
    """Take the shard over from the range id that this host believes in."""
    taken = ShardInfo(workflow.shard_id, workflow.range_id + 5, DataBlob(b""))
    await workflow.cell.shards.update_shard(taken, previous_range_id=workflow.range_id)


@pytest.mark.parametrize("write", WRITES_OF_A_SHARD)
async def test_a_deposed_owner_is_refused_after_an_edit_of_range_id(workflow, deposed, is_fenced, write):
    """A range id that is edited back does not return the shard to its former owner."""
    await edit(workflow, "UPDATE shards SET range_id = 1 WHERE shard_id = $1", workflow.shard_id, is_fenced=is_fenced)
    async with refused(workflow, is_fenced=is_fenced):
        await WRITES_OF_A_SHARD[write](workflow, deposed)


@pytest.mark.parametrize("write", WRITES_OF_A_SHARD)
async def test_an_owner_learns_that_its_range_id_was_edited(workflow, write):
    """The owner gets IntegrityError and not the error of a takeover, after which it would acquire the shard again."""
    run = await workflow.create()
    await execute(workflow.cell, "UPDATE shards SET range_id = 7 WHERE shard_id = $1", workflow.shard_id)
    async with refused(workflow, is_fenced=True):
        await WRITES_OF_A_SHARD[write](workflow, run)


@pytest.fixture
async def newer(workflow):
    """A current run at version 3, with next event id 9."""
    run = await workflow.create()
    await workflow.update(workflow.mutation(run.run_id))
    await workflow.update(workflow.mutation(run.run_id, db_record_version=3, next_event_id=9))
    return run


STALE_WRITES = {
    "update": lambda workflow, run_id: workflow.update(workflow.mutation(run_id, db_record_version=2)),
    "resolve": lambda workflow, run_id: workflow.resolve(workflow.snapshot(run_id, db_record_version=2)),
    "set": lambda workflow, run_id: workflow.set(workflow.snapshot(run_id, db_record_version=2)),
}


@pytest.mark.parametrize("write", STALE_WRITES)
async def test_a_stale_write_is_refused_after_an_edit_of_the_version(workflow, newer, is_fenced, write):
    """A run's version that is edited back admits no caller that read an older state."""
    query = "UPDATE executions SET db_record_version = 1 WHERE run_id = $1"
    await edit(workflow, query, newer.run_id, is_fenced=is_fenced)
    async with refused(workflow, is_fenced=is_fenced):
        await STALE_WRITES[write](workflow, newer.run_id)


async def test_a_stale_write_is_refused_after_an_edit_of_next_event_id(workflow, newer, is_fenced):
    """The same for callers that give no version, and expect a next event id."""
    await edit(workflow, "UPDATE executions SET next_event_id = 3 WHERE run_id = $1", newer.run_id, is_fenced=is_fenced)
    async with refused(workflow, is_fenced=is_fenced):
        await workflow.update(workflow.mutation(newer.run_id, db_record_version=0, condition=3))


async def test_a_version_may_be_followed_by_an_expected_event_id_and_back(workflow, newer):
    """A caller may expect a version or a next event id, whatever the write before it expected."""
    await workflow.update(workflow.mutation(newer.run_id, db_record_version=0, condition=9, next_event_id=12))
    await workflow.update(workflow.mutation(newer.run_id, db_record_version=1, next_event_id=13))
    assert (await workflow.get(newer.run_id)).next_event_id == 13


async def test_an_older_row_that_is_put_back_is_refused_by_the_owner(workflow, newer):
    """A row with its MACs, as it was, is not the one that the owner has in memory."""
    row = await stored_row(workflow.cell, newer.run_id)
    await workflow.update(workflow.mutation(newer.run_id, db_record_version=4))
    columns = "(next_event_id, last_write_version, db_record_version, macs, data)"
    query = f"UPDATE executions SET {columns} = ($2, $3, $4, $5, $6) WHERE run_id = $1"  # noqa: S608 - our own columns
    await execute(workflow.cell, query, newer.run_id, *row)
    with pytest.raises(WorkflowConditionFailed):
        await workflow.update(workflow.mutation(newer.run_id, db_record_version=5))


async def stored_row(cell, run_id):
    """Return the columns of a run's row that change."""
    query = "SELECT next_event_id, last_write_version, db_record_version, macs, data FROM executions WHERE run_id = $1"
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        return tuple(await connection.fetchrow(query, run_id))


async def test_no_second_run_starts_after_an_edit_of_the_state(workflow, is_fenced):
    """A current run whose state is edited to COMPLETED is not replaced by a new run."""
    run = await workflow.create()
    await workflow.update(workflow.mutation(run.run_id, RUNNING))
    await edit(workflow, "UPDATE current_executions SET state = 3 WHERE run_id = $1", run.run_id, is_fenced=is_fenced)
    async with refused(workflow, is_fenced=is_fenced):
        await workflow.create(
            None, CreateMode.UPDATE_CURRENT, previous_run_id=run.run_id, previous_last_write_version=10
        )


@pytest.mark.parametrize("has_run", [True, False], ids=["run", "no run"])
async def test_no_run_starts_at_an_edited_write_version(workflow, is_fenced, has_run):
    """The last write version that a new run expects is the sealed one, in the run's row or in the current run's."""
    run = await workflow.create(workflow.snapshot(of=COMPLETED))
    if not has_run:
        await workflow.cell.executions.delete_workflow_execution(
            workflow.namespace_id, workflow.workflow_id, run.run_id, shard_id=workflow.shard_id
        )
    table = "executions" if has_run else "current_executions"
    query = f"UPDATE {table} SET last_write_version = 4 WHERE run_id = $1"  # noqa: S608 - our own tables
    await edit(workflow, query, run.run_id, is_fenced=is_fenced)
    async with refused(workflow, is_fenced=is_fenced):
        await workflow.create(
            None, CreateMode.UPDATE_CURRENT, previous_run_id=run.run_id, previous_last_write_version=4
        )


WRITES_OF_ANOTHER_RUN = {
    "update": lambda workflow, _current, other: workflow.update(workflow.mutation(other.run_id)),
    "create": lambda workflow, _current, other: workflow.create(None, previous_run_id=other.run_id),
    "resolve": lambda workflow, _current, other: workflow.resolve(workflow.snapshot(other.run_id, db_record_version=2)),
    "bypass": lambda workflow, current, _other: workflow.update(
        workflow.mutation(current.run_id, COMPLETED), UpdateMode.BYPASS_CURRENT
    ),
    "bypass a reset": lambda workflow, current, _other: workflow.resolve(
        workflow.snapshot(current.run_id, ZOMBIE, db_record_version=2), ConflictResolveMode.BYPASS_CURRENT
    ),
    "delete": lambda workflow, _current, other: delete_current(workflow, other.run_id),
}


async def delete_current(workflow, run_id):
    """Delete the current run's row if it is this run's."""
    await workflow.cell.executions.delete_current_workflow_execution(
        workflow.namespace_id, workflow.workflow_id, run_id, shard_id=workflow.shard_id
    )


@pytest.mark.parametrize("write", WRITES_OF_ANOTHER_RUN)
async def test_another_run_does_not_become_current_by_an_edit(workflow, is_fenced, write):
    """A row of the current run that is edited to name another run admits no write that only this other run allows."""
    run = await workflow.create()
    other = await workflow.create_zombie()
    query = "UPDATE current_executions SET run_id = $2 WHERE run_id = $1"
    await edit(workflow, query, run.run_id, other.run_id, is_fenced=is_fenced)
    async with refused(workflow, is_fenced=is_fenced):
        await WRITES_OF_ANOTHER_RUN[write](workflow, run, other)


async def test_a_write_past_a_forged_current_run_is_reported(workflow):
    """A MAC that fits no run does not hide that the row was altered from a write of another run, which was committed."""
    run = await workflow.create()
    query = "UPDATE current_executions SET run_id = $2, macs = $3 WHERE run_id = $1"
    await execute(workflow.cell, query, run.run_id, uuid4(), bytes(32))
    with pytest.raises(IntegrityError, match="was committed"):
        await workflow.update(workflow.mutation(run.run_id, COMPLETED), UpdateMode.BYPASS_CURRENT)


async def test_writes_that_bypass_an_unaltered_current_run_succeed(workflow):
    """The check of the passed row raises no false alarm, in any state of the current run."""
    run = await workflow.create()
    await workflow.create_zombie()
    await workflow.update(workflow.mutation(run.run_id, COMPLETED))
    other = await workflow.create_zombie()
    await workflow.update(workflow.mutation(other.run_id, ZOMBIE), UpdateMode.BYPASS_CURRENT)
    with pytest.raises(CurrentWorkflowConditionFailed):
        await workflow.update(workflow.mutation(run.run_id, COMPLETED, db_record_version=3), UpdateMode.BYPASS_CURRENT)


@pytest.mark.parametrize(
    ("table", "columns"),
    [("shards", "range_mac = $2"), ("executions", "macs = $2"), ("current_executions", "macs = $2")],
)
async def test_an_edited_mac_is_refused(workflow, table, columns):
    """The owner's write is refused with IntegrityError if a MAC was edited, because the row was altered."""
    run = await workflow.create()
    where = "shard_id = $1" if table == "shards" else "run_id = $1"
    key = workflow.shard_id if table == "shards" else run.run_id
    await execute(workflow.cell, f"UPDATE {table} SET {columns} WHERE {where}", key, bytes(48))  # noqa: S608 - our own columns
    async with refused(workflow, is_fenced=True):
        await workflow.update(workflow.mutation(run.run_id))


async def test_an_altered_run_hides_no_write_of_another_caller(workflow, newer):
    """Of writes that share a statement only that of the altered run is refused."""
    await execute(workflow.cell, "UPDATE executions SET db_record_version = 1 WHERE run_id = $1", newer.run_id)
    others = [workflow.like(workflow_id=f"order {number}") for number in range(2, 8)]
    calls = [workflow.update(workflow.mutation(newer.run_id)), *(other.create() for other in others)]
    first, *rest = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, IntegrityError)
    assert not [answer for answer in rest if isinstance(answer, Exception)]


QUEUE_WRITES = {
    "create tasks": lambda store, queue: store.create_tasks(queue.queue, [Task(5, blob())], range_id=queue.range_id),
    "renew": lambda store, queue: store.update_task_queue(queue, previous_range_id=queue.range_id),
    "delete": lambda store, queue: store.delete_task_queue(queue.queue, range_id=queue.range_id),
    "complete tasks": lambda store, queue: store.complete_tasks_less_than(
        queue.queue, max_task_id=9, limit=9, range_id=queue.range_id
    ),
}


@pytest.mark.parametrize("write", QUEUE_WRITES)
async def test_a_former_owner_of_a_task_queue_is_refused_after_an_edit(cell, namespace_id, is_fenced, write):
    """A lease that is edited back does not return the queue to its former owner."""
    former = secrets.randbelow(2**60)
    queue = TaskQueue(TaskQueueKey(namespace_id, f"queue {uuid4()}", 1), former, blob())
    await cell.tasks.create_task_queue(queue)
    await cell.tasks.create_tasks(queue.queue, [Task(1, blob())], range_id=former)
    await cell.tasks.update_task_queue(replace(queue, range_id=former + 1), previous_range_id=former)
    await execute(cell, "UPDATE task_queues SET range_id = $1 WHERE range_id = $2", former, former + 1)
    if is_fenced:
        with pytest.raises(IntegrityError):
            await QUEUE_WRITES[write](cell.tasks, queue)
        assert [task.task_id for task in (await cell.tasks.get_tasks(queue.queue, page_size=10)).tasks] == [1]
        return
    keys = await cell.keyring.open(namespace_id)
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT * FROM task_queues WHERE range_id = $1", former)
        key = (row["range_hash"], namespace_id, row["task_queue_id"], row["task_type"], row["fair"])
        query = "UPDATE task_queues SET range_mac = $2 WHERE range_id = $1"
        await connection.execute(query, former, lease_mac(keys, key, former))
    await QUEUE_WRITES[write](cell.tasks, queue)


async def test_an_owner_of_a_task_queue_learns_that_its_lease_was_edited(cell, namespace_id):
    """The owner gets IntegrityError, also if its tasks share a statement with those of other queues."""
    mine = secrets.randbelow(2**60)
    queues = [TaskQueue(TaskQueueKey(namespace_id, f"queue {uuid4()}", 1), mine + n, blob()) for n in range(4)]
    for queue in queues:
        await cell.tasks.create_task_queue(queue)
    await execute(cell, "UPDATE task_queues SET range_id = 5 WHERE range_id = $1", mine)
    calls = [QUEUE_WRITES["create tasks"](cell.tasks, queue) for queue in queues]
    first, *rest = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, IntegrityError)
    assert rest == [None, None, None]
