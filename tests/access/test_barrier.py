"""No statement of a write is sent before the call's audit record is on disk, even if the statement waits and not the call."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.stores import STORE_OPERATIONS
from strongroom.storage import EVERY_NAMESPACE, HistoryBranch, HistoryNode, ShardInfo, Task, TaskQueue, TaskQueueKey
from tests.support.access.people import records
from tests.support.fixtures.executions import TABLES, Workflow, blob

pytestmark = pytest.mark.integration
MANY = 40
WITH_BARRIER = [name for name, operation in STORE_OPERATIONS.items() if operation.barrier]
_ALL = "SELECT whole::text AS text FROM {} whole"


@pytest.fixture
async def place(access_cell, one):
    """A run in a shard, and a task queue of each kind; all created without a session."""
    shard_id = await access_cell.shards.shard_of(one, "order 7")
    await access_cell.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 1, blob()))
    workflow = Workflow(access_cell, one, shard_id, "order 7")
    run = await workflow.create(workflow.full(db_record_version=1))
    queue = TaskQueueKey(one, "queue", 1)
    for store in (access_cell.tasks, access_cell.fair_tasks):
        await store.create_task_queue(TaskQueue(queue, 1, blob()))
    return workflow, run.run_id, queue


def writes(session, place):
    """Return a call of each operation whose statement waits for the record."""
    workflow, run_id, queue = place
    through = workflow.like(cell=session)
    branch = HistoryBranch(workflow.shard_id, uuid4(), uuid4())
    return {
        "executions.create_workflow_execution": through.create_zombie,
        "executions.update_workflow_execution": lambda: through.update(workflow.mutation(run_id)),
        "executions.conflict_resolve_workflow_execution": lambda: through.resolve(
            workflow.full(run_id, db_record_version=2)
        ),
        "executions.set_workflow_execution": lambda: through.set(workflow.full(run_id, db_record_version=2)),
        "history.append_history_nodes": lambda: session.history.append_history_nodes(
            workflow.namespace_id, branch, [HistoryNode(1, 1, 0, blob())], is_new_branch=True
        ),
        "tasks.create_tasks": lambda: session.tasks.create_tasks(queue, [Task(1, blob())], range_id=1),
        "fair_tasks.create_tasks": lambda: session.fair_tasks.create_tasks(queue, [Task(1, blob(), 1)], range_id=1),
    }


async def rows(cell):
    """Return every row that such a call may write, as text."""
    found = []
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        for table in (*TABLES, "tasks", "task_queues"):
            found += [row["text"] for row in await connection.fetch(_ALL.format(table))]
    return sorted(found)


@pytest.mark.parametrize("operation", WITH_BARRIER)
@pytest.mark.parametrize("refused", [True, False])
async def test_nothing_is_sent_while_the_disk_hangs(access_cell, one, session_with, place, disk, operation, refused):
    """Nothing is sent while the disk hangs, and never if the log refuses the call. Once the record is written, the call is done."""
    session = await session_with(("write", one))
    before = await rows(access_cell)
    disk.hangs() if refused else disk.goes_on.clear()
    call = asyncio.ensure_future(writes(session, place)[operation]())
    await asyncio.sleep(0.3)
    assert refused or not call.done()  # a slow machine may take the two seconds of a refusal here
    assert await rows(access_cell) == before
    if refused:
        async with asyncio.timeout(50):  # a busy machine, and less than the disk hangs
            with pytest.raises(AuditUnavailable):
                await call
        disk.goes()
        await asyncio.sleep(0.2)
        assert await rows(access_cell) == before
        return
    disk.goes()
    await call
    assert await rows(access_cell) != before, "control: it writes"


async def test_every_member_of_a_statement_is_on_disk_before(access_cell, one, session_with, place, monkeypatch):
    """When a shared statement is sent, the intents of all its calls are on disk."""
    workflow, *_ = place
    session = await session_with(("write", one))
    sent, sizes = [], {}
    run, fetch = access_cell.executions._writer._group._run, asyncpg.Connection.fetch

    async def runs(connection, requests):
        sizes[asyncio.current_task()] = len(requests)
        return await run(connection, requests)

    async def fetches(connection, *args, **kwargs):
        if members := sizes.pop(asyncio.current_task(), 0):
            sent.append((members, b"".join(read_lines(access_cell.audit.root)).count(b'"event":"intent"')))
        return await fetch(connection, *args, **kwargs)

    monkeypatch.setattr(access_cell.executions._writer._group, "_run", runs)
    monkeypatch.setattr(asyncpg.Connection, "fetch", fetches)
    through = workflow.like(cell=session)
    await asyncio.gather(*(through.like(workflow_id=f"job {number}").create() for number in range(MANY)))
    total = 0
    for members, intents in sent:
        total += members
        assert intents >= total
    assert total == MANY
    assert max(members for members, _ in sent) > 1, "control: they share"


async def test_one_that_is_refused_takes_nobody_with_it(access_cell, one, session_with, place, disk):
    """Calls after a refused statement are done."""
    workflow, *_ = place
    session = await session_with(("write", one))
    through = workflow.like(cell=session)
    disk.hangs()
    calls = [through.like(workflow_id=f"job {number}").create() for number in range(MANY)]
    async with asyncio.timeout(50):
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in ended} == {AuditUnavailable}
    disk.goes()
    await asyncio.sleep(0.2)
    await through.like(workflow_id="order 99").create()
    await access_cell.audit.record({"event": "end"})
    failed = [each for each in records(access_cell) if each.get("error") == "AuditUnavailable"]
    assert len(failed) == MANY


async def test_what_was_read_is_not_handed_out_before(one, session_with, place, disk):
    """A reader gets neither an answer nor NotFound before its record is on disk."""
    workflow, run_id, _ = place
    session = await session_with(("read", one))
    through = workflow.like(cell=session)
    disk.goes_on.clear()
    calls = [asyncio.ensure_future(through.get(each)) for each in (run_id, uuid4())]
    await asyncio.sleep(0.3)
    assert not any(call.done() for call in calls)
    disk.goes()
    found, missing = await asyncio.gather(*calls, return_exceptions=True)
    assert found.db_record_version == 1
    assert type(missing).__name__ == "NotFound"
