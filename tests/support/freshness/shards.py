"""Attacks on shards, history tasks and dead letters, and on all of matching."""

from __future__ import annotations

from dataclasses import replace

from strongroom.kms import IntegrityError
from strongroom.storage import DataLoss, HistoryTask, TaskKey
from strongroom.storage.executions.tasks import TRANSFER
from tests.support.fixtures.executions import blob, task

from .attacks import AttackList, Found, Refused

SHARDS, HISTORY_TASKS = AttackList("shard"), AttackList("history task")
TASK_QUEUES, TASKS = AttackList("task queue"), AttackList("task")
ATTACKS = (SHARDS, HISTORY_TASKS, TASK_QUEUES, TASKS)
_FENCES = "tests/contract/test_fences.py::"
_SHARD = "shard_id = $1"
_NAMESPACE = "namespace_id = $1"


@SHARDS.attack("put an older row back", Found("shards"))
async def _(scene):
    await scene.keep("older", "shards", _SHARD, scene.shard_id)
    await scene.take_over_shard()
    yield
    await scene.admin.put_back("shards", scene.kept["older"])
    yield
    await scene.take_over_shard()


@SHARDS.attack(
    "edit range_id, and read",
    Refused(lambda scene: scene.cell.shards.get_or_create_shard(scene.shard_id), IntegrityError),
)
async def _(scene):
    yield
    await scene.admin.edit("shards", "range_id = range_id + 1", _SHARD, scene.shard_id)
    yield


SHARDS.tested(
    "edit range_id, and write as a former owner",
    _FENCES + "test_a_deposed_owner_is_refused_after_an_edit_of_range_id",
    _FENCES + "test_an_owner_learns_that_its_range_id_was_edited",
)


async def _add_tasks(scene, *task_ids):
    made = [task(TRANSFER, task_id=task_id) for task_id in task_ids]
    await scene.cell.history_tasks.add_history_tasks(
        scene.namespace_id, {TRANSFER: made}, shard_id=scene.shard_id, range_id=1
    )


async def _complete(scene, below):
    await scene.cell.history_tasks.range_complete_history_tasks(
        TRANSFER, shard_id=scene.shard_id, min_key=TaskKey(0, 0), max_key=TaskKey(0, below)
    )


@HISTORY_TASKS.attack("delete a pending task", Found("history_tasks"))
async def _(scene):
    await _add_tasks(scene, 1, 2, 3)
    yield
    await scene.admin.delete("history_tasks", "shard_id = $1 AND task_id = 2", scene.shard_id)
    yield
    await _complete(scene, 100)


@HISTORY_TASKS.attack("put a completed task back", Found("history_tasks"))
async def _(scene):
    await _add_tasks(scene, 1, 2, 3)
    await scene.keep("done", "history_tasks", "shard_id = $1 AND task_id = 2", scene.shard_id)
    await _complete(scene, 3)
    yield
    await scene.admin.put_back("history_tasks", scene.kept["done"])
    yield
    await _complete(scene, 100)


@HISTORY_TASKS.attack(
    "renumber a task", Refused(lambda scene: scene.stored_tasks(TRANSFER), IntegrityError), Found("history_tasks")
)
async def _(scene):
    await _add_tasks(scene, 1, 2)
    yield
    await scene.admin.edit("history_tasks", "task_id = task_id + 10", "shard_id = $1 AND task_id = 2", scene.shard_id)
    yield
    await _complete(scene, 100)


@HISTORY_TASKS.attack("delete a task that was written with a run", Found("history_tasks"))
async def _(scene):
    await scene.start(tasks={TRANSFER: [task(TRANSFER)]})
    yield
    await scene.admin.delete("history_tasks", _SHARD, scene.shard_id)
    yield


async def _put_letter(scene, task_id):
    await scene.cell.history_tasks.put_replication_task_to_dlq(
        scene.namespace_id,
        HistoryTask(TaskKey(0, task_id), blob()),
        shard_id=scene.shard_id,
        source_cluster_name="west",
    )


@HISTORY_TASKS.attack("delete a dead letter", Found("replication_dlq_tasks"))
async def _(scene):
    await _put_letter(scene, 1)
    yield
    await scene.admin.delete("replication_dlq_tasks", _SHARD, scene.shard_id)
    yield
    await _put_letter(scene, 1)


@HISTORY_TASKS.attack("put an older dead letter back", Found("replication_dlq_tasks"))
async def _(scene):
    await _put_letter(scene, 1)
    await scene.keep("older", "replication_dlq_tasks", _SHARD, scene.shard_id)
    await _put_letter(scene, 1)
    yield
    await scene.admin.put_back("replication_dlq_tasks", scene.kept["older"])
    yield
    await scene.cell.history_tasks.delete_replication_task_from_dlq("west", 1, shard_id=scene.shard_id)


@TASK_QUEUES.attack("put an older lease back", Found("task_queues"))
async def _(scene):
    queue = await scene.make_task_queue()
    await scene.keep("older", "task_queues", _NAMESPACE, scene.namespace_id)
    await scene.cell.tasks.update_task_queue(replace(queue, range_id=8), previous_range_id=7)
    yield
    await scene.admin.put_back("task_queues", scene.kept["older"])
    yield
    await scene.cell.tasks.update_task_queue(replace(queue, range_id=9), previous_range_id=7)


@TASK_QUEUES.attack("delete a task queue", Found("task_queues"))
async def _(scene):
    queue = await scene.make_task_queue()
    yield
    await scene.admin.delete("task_queues", _NAMESPACE, scene.namespace_id)
    yield
    await scene.cell.tasks.create_task_queue(queue)


TASK_QUEUES.tested(
    "edit the lease, and write as a former owner",
    _FENCES + "test_a_former_owner_of_a_task_queue_is_refused_after_an_edit",
    _FENCES + "test_an_owner_of_a_task_queue_learns_that_its_lease_was_edited",
)
TASK_QUEUES.tested(
    "edit the lease, and read", "tests/contract/test_tasks_sealed.py::test_a_queue_opens_only_where_it_was_written"
)


@TASK_QUEUES.attack(
    "put older user data back",
    Found("task_queue_user_data"),
    Refused(
        lambda scene: scene.cell.task_queue_user_data.get_task_queue_user_data(scene.namespace_id, "orders"), DataLoss
    ),
)
async def _(scene):
    await scene.write_user_data(0)
    await scene.keep("older", "task_queue_user_data", _NAMESPACE, scene.namespace_id)
    await scene.write_user_data(1)
    yield
    await scene.admin.put_back("task_queue_user_data", scene.kept["older"])
    yield
    scene.restart()
    await scene.write_user_data(1)


@TASK_QUEUES.attack("hide a queue from a build id", Found("build_id_to_task_queue"))
async def _(scene):
    await scene.write_user_data(0, build_ids_added=("build",))
    yield
    await scene.admin.delete("build_id_to_task_queue", _NAMESPACE, scene.namespace_id)
    yield
    await scene.write_user_data(1, build_ids_removed=("build",))


@TASK_QUEUES.attack("bring a queue back to a build id", Found("build_id_to_task_queue"))
async def _(scene):
    await scene.write_user_data(0, build_ids_added=("build",))
    await scene.keep("row", "build_id_to_task_queue", _NAMESPACE, scene.namespace_id)
    await scene.write_user_data(1, build_ids_removed=("build",))
    yield
    await scene.admin.put_back("build_id_to_task_queue", scene.kept["row"])
    yield
    await scene.write_user_data(2, build_ids_removed=("build",))


@TASKS.attack("delete a task in the middle", Found("tasks"))
async def _(scene):
    await scene.make_task_queue(3)
    yield
    await scene.admin.delete("tasks", "namespace_id = $1 AND task_id = 2", scene.namespace_id)
    yield
    await scene.complete_tasks(100)


@TASKS.attack("put a completed task back", Found("tasks"))
async def _(scene):
    await scene.make_task_queue(3)
    await scene.keep("done", "tasks", "namespace_id = $1 AND task_id = 1", scene.namespace_id)
    await scene.complete_tasks(2)
    yield
    await scene.admin.put_back("tasks", scene.kept["done"])
    yield
    await scene.complete_tasks(100)


async def _read_tasks(scene):
    page = await scene.cell.tasks.get_tasks(scene.task_queue, page_size=10)
    for each in page.unreadable:
        raise each.reason


@TASKS.attack("exchange two tasks", Refused(_read_tasks, IntegrityError))
async def _(scene):
    await scene.make_task_queue(2)
    yield
    foreign = "data = (SELECT o.data FROM tasks o WHERE o.namespace_id = tasks.namespace_id AND o.task_id = 3 - tasks.task_id)"
    await scene.admin.edit("tasks", foreign, _NAMESPACE, scene.namespace_id)
    yield
