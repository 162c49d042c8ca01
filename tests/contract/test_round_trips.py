"""Numbers at the borders of 7 to 64 bits come back as they were written, or are refused, in the process and over the socket."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from strongroom.kms import StrongroomError
from strongroom.storage import (
    CategoryType,
    HistoryBranch,
    HistoryNode,
    HistoryTask,
    ShardInfo,
    Task,
    TaskCategory,
    TaskKey,
    TaskQueue,
    TaskQueueKey,
)
from strongroom.storage.cluster.members import ServiceRole
from strongroom.storage.executions.modes import CreateMode
from strongroom.storage.executions.tasks import TIMER, TRANSFER
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import COMPLETED, CREATED, Workflow, blob, state
from tests.support.serve.client import CallError, Client
from tests.support.serve.remote import RemoteCell
from tests.support.serve.running import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.integration

INT64 = 2**63 - 1
_RANDOM = random.Random(15)  # noqa: S311 - the same numbers each time
NUMBERS = sorted(
    {2**bits + offset for bits in (7, 8, 15, 16, 31, 32, 53, 63) for offset in (-1, 0)}
    | {0, 1, -1, -(2**31) - 1, -(2**63), 2**64 - 1}
    | {_RANDOM.getrandbits(bits) for bits in (20, 40, 62)}
)
ON_THE_WIRE = range(-(2**63), 2**64)
"""The integers that MessagePack can encode."""


@dataclass
class Scene:
    """A cell, as an object in the process or behind the socket, with a namespace and a shard."""

    cell: Any
    namespace_id: UUID
    shard_id: int

    def workflow(self, **changes: Any) -> Workflow:
        """Return a new workflow."""
        return replace(Workflow(self.cell, self.namespace_id, self.shard_id, workflow_id=str(uuid4())), **changes)

    def branch(self) -> HistoryBranch:
        """Return a new branch."""
        return HistoryBranch(self.shard_id, uuid4(), uuid4())

    async def nodes(self, branch: HistoryBranch) -> list[HistoryNode]:
        """Return the nodes of a branch."""
        return list((await self.cell.history.read_history_branch(self.namespace_id, branch)).nodes)

    async def append(self, branch: HistoryBranch, node: HistoryNode, *, is_new_branch: bool = False) -> None:
        """Append a node."""
        await self.cell.history.append_history_nodes(self.namespace_id, branch, [node], is_new_branch=is_new_branch)


@dataclass(frozen=True)
class Field:
    """A number of a request, with the smallest and the largest value that its store takes."""

    first: int
    last: int
    round_trip: Callable[[Scene, int], Awaitable[int]]


FIELDS: dict[str, Field] = {}


def kinds_of(error: Any) -> list[str]:
    """Return the names of an error's classes, also of one that came over the socket."""
    return getattr(error, "kinds", [kind.__name__ for kind in type(error).__mro__])


def field(first: int, last: int, name: str | None = None) -> Callable[[Any], Any]:
    """Add a field, under the name of the decorated function if it gets no other.

    The function writes a value of the field, and returns the value that it reads back.
    """

    def add(round_trip: Any) -> Any:
        FIELDS[name or round_trip.__name__] = Field(first, last, round_trip)
        return round_trip

    return add


@field(0, INT64)
async def next_event_id(scene, value):
    workflow = scene.workflow()
    created = await workflow.create(workflow.snapshot(next_event_id=value))
    return (await workflow.get(created.run_id)).next_event_id


@field(-INT64 - 1, INT64)
async def last_write_version(scene, value):
    """The next run of the workflow names it as its condition."""
    workflow = scene.workflow()
    first = await workflow.create(workflow.snapshot(of=COMPLETED, last_write_version=value))
    assert (await workflow.current()).last_write_version == value
    second = await workflow.create(
        workflow.snapshot(last_write_version=value),
        CreateMode.UPDATE_CURRENT,
        previous_run_id=first.run_id,
        previous_last_write_version=value,
    )
    return (await workflow.get(second.run_id)).last_write_version


@field(0, INT64)
async def db_record_version(scene, value):
    workflow = scene.workflow()
    created = await workflow.create(workflow.snapshot(db_record_version=value))
    return (await workflow.get(created.run_id)).db_record_version


@field(0, INT64)
async def condition(scene, value):
    """The update names the stored next event id as its condition. Its own next event id is read back."""
    workflow = scene.workflow()
    created = await workflow.create(workflow.snapshot(next_event_id=max(value, 0)))
    await workflow.update(
        workflow.mutation(created.run_id, db_record_version=0, condition=value, next_event_id=max(value, 0))
    )
    return (await workflow.get(created.run_id)).next_event_id


@field(0, INT64)
async def start_time(scene, value):
    workflow = scene.workflow()
    await workflow.create(workflow.snapshot(execution_state=state(CREATED, start_time=value)))
    return (await workflow.current()).execution_state.start_time


@field(0, INT64)
async def archetype_id(scene, value):
    workflow = scene.workflow()
    created = await workflow.create(archetype_id=value)
    assert (await workflow.current(value)).run_id == created.run_id
    await workflow.cell.executions.delete_current_workflow_execution(
        scene.namespace_id, workflow.workflow_id, created.run_id, shard_id=scene.shard_id, archetype_id=value
    )
    with pytest.raises((StrongroomError, CallError)) as missing:
        await workflow.current(value)
    assert "NotFound" in kinds_of(missing.value)
    return value


def _map_key(name):
    @field(0, INT64, f"a key of {name}")
    async def _(scene, value):
        workflow, stored = scene.workflow(), blob()
        created = await workflow.create(workflow.snapshot(**{name: {value: stored}}))
        found = getattr(await workflow.get(created.run_id), name)
        assert list(found.values()) == [stored]
        delete = {"delete_" + name: [value]}
        await workflow.update(workflow.mutation(created.run_id, **delete))
        assert not getattr(await workflow.get(created.run_id), name)
        return next(iter(found))


for _name in ("activity_infos", "child_execution_infos", "request_cancel_infos", "signal_infos"):
    _map_key(_name)


@field(0, INT64)
async def range_id_of_a_shard(scene, value):
    shard_id = await new_shard(scene.cell)
    await scene.cell.shards.update_shard(ShardInfo(shard_id, value, blob()), previous_range_id=1)
    workflow = scene.workflow(shard_id=shard_id, range_id=value)
    created = await workflow.create()
    await workflow.get(created.run_id)
    return (await scene.cell.shards.get_or_create_shard(shard_id)).range_id


@field(1, INT64 - 1)
async def node_id(scene, value):
    branch = scene.branch()
    await scene.append(branch, HistoryNode(1, 1, 0, blob()), is_new_branch=True)
    if value != 1:
        await scene.append(branch, HistoryNode(value, 2, 1, blob()))
    return (await scene.nodes(branch))[-1].node_id


@field(0, INT64)
async def txn_id(scene, value):
    branch = scene.branch()
    await scene.append(branch, HistoryNode(1, value, 0, blob()), is_new_branch=True)
    return (await scene.nodes(branch))[0].txn_id


@field(0, INT64 - 1)
async def prev_txn_id(scene, value):
    branch = scene.branch()
    await scene.append(branch, HistoryNode(1, max(value, 0), 0, blob()), is_new_branch=True)
    await scene.append(branch, HistoryNode(2, value + 1, value, blob()))
    return (await scene.nodes(branch))[1].prev_txn_id


@field(2, INT64 - 1)
async def fork_node_id(scene, value):
    branch = scene.branch()
    await scene.append(branch, HistoryNode(1, 1, 0, blob()), is_new_branch=True)
    fork = await scene.cell.history.fork_history_branch(scene.namespace_id, branch, fork_node_id=value)
    assert len(await scene.nodes(fork)) == 1
    tree = await scene.cell.history.get_history_tree(
        scene.namespace_id, shard_id=scene.shard_id, tree_id=branch.tree_id
    )
    (listed,) = [one.branch for one in tree if one.branch.branch_id == fork.branch_id]
    return listed.ancestors[-1].end_node


async def _history_task(scene, category, key):
    """Add a task, read it back by its own key alone, and complete it."""
    task = HistoryTask(key, blob())
    store, shard = scene.cell.history_tasks, {"shard_id": scene.shard_id}
    await store.add_history_tasks(scene.namespace_id, {category: [task]}, range_id=1, **shard)
    bounds = {"min_key": key, "max_key": TaskKey(key.fire_time, key.task_id + 1)}
    page = await store.get_history_tasks(category, **shard, **bounds, batch_size=10)
    (found,) = page.tasks
    await store.complete_history_task(category, key, **shard)
    assert not (await store.get_history_tasks(category, **shard, **bounds, batch_size=10)).tasks
    return found


@field(1, 2**15 - 1)
async def category_id(scene, value):
    category = TaskCategory(value, CategoryType.IMMEDIATE)
    await _history_task(scene, category, TaskKey(0, 7))
    return value


@field(0, INT64 - 1)
async def task_id_of_a_history_task(scene, value):
    return (await _history_task(scene, TRANSFER, TaskKey(0, value))).key.task_id


@field(0, INT64)
async def fire_time(scene, value):
    return (await _history_task(scene, TIMER, TaskKey(value, 7))).key.fire_time


@field(0, INT64 - 1)
async def task_id_of_a_dead_letter(scene, value):
    store, cluster = scene.cell.history_tasks, str(uuid4())
    where = {"shard_id": scene.shard_id, "source_cluster_name": cluster}
    await store.put_replication_task_to_dlq(scene.namespace_id, HistoryTask(TaskKey(0, value), blob()), **where)
    page = await store.get_replication_tasks_from_dlq(**where, min_task_id=value, max_task_id=value + 1, batch_size=10)
    await store.delete_replication_task_from_dlq(**where, task_id=value)
    assert await store.is_replication_dlq_empty(**where, min_task_id=0)
    return page.tasks[0].key.task_id


async def _queue(scene, *, task_type=1, range_id=1, fair=False):
    """Create a task queue. Return its store and key."""
    store = scene.cell.fair_tasks if fair else scene.cell.tasks
    key = TaskQueueKey(scene.namespace_id, str(uuid4()), task_type)
    await store.create_task_queue(TaskQueue(key, range_id, blob()))
    return store, key


async def _task(scene, task, *, fair=False):
    """Create a task, read it back, and complete it."""
    store, key = await _queue(scene, fair=fair)
    await store.create_tasks(key, [task], range_id=1)
    page = await store.get_tasks(
        key, page_size=10, min_pass=task.task_pass, min_task_id=task.task_id, max_task_id=INT64, subqueue=task.subqueue
    )
    (found,) = page.tasks
    bounds = {"max_pass": task.task_pass if fair else 0, "max_task_id": task.task_id + 1 if fair else INT64}
    assert await store.complete_tasks_less_than(key, limit=10, subqueue=task.subqueue, **bounds) == 1
    return found


@field(0, INT64 - 1)
async def task_id(scene, value):
    return (await _task(scene, Task(value, blob(), 0))).task_id


@field(1, INT64 - 1)
async def task_pass(scene, value):
    return (await _task(scene, Task(7, blob(), value), fair=True)).task_pass


@field(0, 2**31 - 1)
async def subqueue(scene, value):
    return (await _task(scene, Task(7, blob(), 0, value))).subqueue


@field(0, 2**15 - 1)
async def task_type(scene, value):
    store, key = await _queue(scene, task_type=value)
    return (await store.get_task_queue(key)).queue.task_type


@field(0, INT64)
async def range_id_of_a_task_queue(scene, value):
    store, key = await _queue(scene, range_id=value)
    await store.create_tasks(key, [Task(7, blob(), 0)], range_id=value)
    return (await store.get_task_queue(key)).range_id


@field(0, 2**16 - 1)
async def rpc_port(scene, value):
    store, host = scene.cell.cluster_metadata, uuid4()
    started = datetime(2026, 1, 1, tzinfo=UTC)
    await store.upsert_cluster_membership(
        host,
        role=ServiceRole.HISTORY,
        rpc_address="10.0.0.1",
        rpc_port=value,
        session_start=started,
        record_expiry=timedelta(hours=1),
    )
    page = await store.get_cluster_members(host_id=host)
    return page.members[0].rpc_port


@field(1, 2**31 - 1)
async def queue_type(scene, value):
    store, name = scene.cell.queues, str(uuid4())
    await store.create_queue(value, name)
    await store.enqueue_message(value, name, data=blob(), namespace_id=None)
    assert len((await store.read_messages(value, name, page_size=10)).messages) == 1
    listed = await store.list_queues(value, page_size=1000)
    assert name in {queue.queue_name for queue in listed.queues}
    return value


@pytest.fixture(params=["in the process", "over the socket"])
async def either_scene(request, cell):
    """The cell, in both forms."""
    namespace_id = await new_namespace(cell)
    if request.param == "in the process":
        yield Scene(cell, namespace_id, await new_shard(cell))
        return
    async with serving(cell) as running:
        client = await Client.open(running.path)
        remote = RemoteCell(client)
        yield Scene(remote, namespace_id, await new_shard(remote))
        await client.aclose()


@pytest.mark.parametrize("name", FIELDS)
async def test_a_number_comes_back_or_is_refused(either_scene, name):
    """A value in the field's range is read back unchanged. Every other value is refused before anything is written."""
    tested = FIELDS[name]
    numbers = {*NUMBERS, tested.first, tested.last, tested.first - 1, tested.last + 1}
    if isinstance(either_scene.cell, RemoteCell):
        numbers = {number for number in numbers if number in ON_THE_WIRE}
    for value in sorted(numbers):
        if tested.first <= value <= tested.last:
            assert await tested.round_trip(either_scene, value) == value
            continue
        with pytest.raises((StrongroomError, CallError)) as refused:
            await tested.round_trip(either_scene, value)
        assert "InvalidPersistenceRequest" in kinds_of(refused.value), value
        assert not refused.value.may_have_been_committed
        assert str(value) not in str(refused.value) or abs(value) < 10


async def test_the_last_shard(cell):
    """Rows of the largest shard number are written, read and deleted by all stores that have shards."""
    shard_id = 2**31 - 1
    await cell.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 1, blob()))
    scene = Scene(cell, await new_namespace(cell), shard_id)
    for name in ("next_event_id", "node_id", "fork_node_id", "fire_time", "task_id_of_a_dead_letter"):
        assert await FIELDS[name].round_trip(scene, 2**31) == 2**31
