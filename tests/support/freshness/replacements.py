"""Writes that replace or delete a row. An administrator undoes each: the row is put back, and the entry of the write edited to fit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from strongroom.storage import HistoryTask, TaskKey
from strongroom.storage.executions.tasks import TRANSFER
from strongroom.storage.journal.images import NUMBERS, image_sql, tags_of
from tests.support.earlier_rows import BY_NAME
from tests.support.fixtures.executions import COMPLETED, blob, task
from tests.support.fixtures.history import chain, node

if TYPE_CHECKING:
    from tests.support.earlier_rows import Rows

    from .scene import Scene

_Step: TypeAlias = Callable[["Scene"], Awaitable[object]]
_RUN, _TREE, _SHARD, _NAMESPACE = "run_id = $1", "tree_id = $1", "shard_id = $1", "namespace_id = $1"


@dataclass(frozen=True)
class Replacement:
    """A write that replaces or deletes a row.

    Attributes:
        name: What is written.
        table: The table of the row.
        where: The condition of the row. Its argument is `of`.
        of: Returns the argument.
        before: Writes the row.
        write: Replaces or deletes it.
        overwrites: Whether the write always stores a new version: it has no condition that can keep the old row, and deletes nothing.
    """

    name: str
    table: str
    where: str
    of: Callable[[Scene], object]
    before: _Step
    write: _Step
    overwrites: bool = False

    def __str__(self) -> str:
        return self.name

    async def rows(self, scene: Scene) -> Rows:
        """Return the rows that are stored."""
        return await scene.admin.copies(self.table, self.where, self.of(scene))

    async def images(self, scene: Scene) -> dict[bytes, bytes]:
        """Return the image of each stored row.

        Returns:
            Images with their lengths in front, as in an entry. The key is the same without the tag.
        """
        query = f"SELECT {image_sql(BY_NAME[self.table])} AS image FROM {self.table} WHERE {self.where}"  # noqa: S608
        images = [row["image"] for row in await scene.admin.connection.fetch(query, self.of(scene))]
        with_length = [len(image).to_bytes(2, "big") + image for image in images]
        return {image[: -tags_of(NUMBERS[self.table])]: image for image in with_length}

    async def do(self, scene: Scene) -> None:
        """Write the row, then replace or delete it. `scene.kept` has the rows and images from before the replacement."""
        await self.before(scene)
        scene.kept["older"], scene.kept["images"] = await self.rows(scene), await self.images(scene)
        await self.write(scene)

    async def undo(self, scene: Scene) -> None:
        """Put the rows back, and edit the entry of the write so that the sums fit.

        The entry then states that the write replaced its own new version of the row, or no row if the write deleted it.
        """
        new = await self.images(scene)
        old = scene.kept["images"]
        found = "position($1 IN replaced) > 0"
        [entry] = await scene.admin.copies("journal", found, next(iter(old.values())))
        replaced = entry["replaced"]
        for row, image in old.items():
            assert image in replaced
            replaced = replaced.replace(image, new.get(row, b""))
        key = entry["shard_id"], entry["writer"], entry["number"]
        await scene.admin.edit(
            "journal", "replaced = $4", "shard_id = $1 AND writer = $2 AND number = $3", *key, replaced
        )
        await scene.admin.put_back(self.table, scene.kept["older"])


WRITES: list[Replacement] = []


def _run(scene):
    return scene.run.run_id


def _shard(scene):
    return scene.shard_id


def _namespace(scene):
    return scene.namespace_id


def _queue_type(scene):
    return scene.queue_type


def _tree(scene):
    return scene.kept["branch"].tree_id


def _add(*parts, overwrites=False):
    WRITES.append(Replacement(*parts, overwrites=overwrites))


async def _nothing(_scene):
    """Prepare nothing."""


async def _take_over(scene):
    await scene.take_over_shard()


_add("a shard gets a new owner", "shards", _SHARD, _shard, _nothing, _take_over, overwrites=True)


async def _complete_run(scene):
    await scene.write(scene.run, COMPLETED)


async def _delete_run(scene):
    place = scene.namespace_id, scene.workflow.workflow_id, scene.run.run_id
    await scene.cell.executions.delete_workflow_execution(*place, shard_id=scene.shard_id)


async def _delete_current(scene):
    place = scene.namespace_id, scene.workflow.workflow_id, scene.run.run_id
    await scene.cell.executions.delete_current_workflow_execution(*place, shard_id=scene.shard_id)


async def _start(scene):
    await scene.start()


async def _start_and_forget(scene):
    """Start a run. The process forgets it, because the entry of a write names the replaced current run only if it was not known."""
    await scene.start()
    known = scene.cell.executions._known
    for name in [each for each in known._states if each.endswith(scene.run.run_id.bytes)]:
        known.forget(name)


_add("a run ends", "current_executions", _RUN, _run, _start_and_forget, _complete_run, overwrites=True)
_add("a run is deleted", "executions", _RUN, _run, _start, _delete_run)
_add("a current run is deleted", "current_executions", _RUN, _run, _start, _delete_current)


async def _write_branch(scene):
    branch = scene.kept["branch"] = scene.histories.branch()
    await scene.histories.append(branch, *chain(1, 3, txn=1))


async def _append_again(scene):
    await scene.histories.append(scene.kept["branch"], node(3, 3, 2))


async def _fork(scene):
    scene.kept["fork"] = await scene.histories.fork(scene.kept["branch"], 2)


async def _delete_branch(scene):
    await scene.histories.delete(scene.kept["branch"])


async def _delete_node(scene):
    await scene.histories.manager.delete_history_nodes(scene.namespace_id, scene.kept["branch"], node_id=3, txn_id=3)


_LAST_NODE = "tree_id = $1 AND node_id = 3"
_add("a node is appended again", "history_node", _LAST_NODE, _tree, _write_branch, _append_again, overwrites=True)
_add("a branch is forked", "history_tree", _TREE, _tree, _write_branch, _fork, overwrites=True)
_add("a branch is deleted, its row", "history_tree", _TREE, _tree, _write_branch, _delete_branch)
_add("a branch is deleted, its nodes", "history_node", _TREE, _tree, _write_branch, _delete_branch)
_add("a node is deleted", "history_node", _LAST_NODE, _tree, _write_branch, _delete_node)


async def _add_history_tasks(scene):
    made = [task(TRANSFER, task_id=task_id) for task_id in (1, 2, 3)]
    await scene.cell.history_tasks.add_history_tasks(
        scene.namespace_id, {TRANSFER: made}, shard_id=scene.shard_id, range_id=1
    )


async def _complete_history_tasks(scene):
    await scene.cell.history_tasks.range_complete_history_tasks(
        TRANSFER, shard_id=scene.shard_id, min_key=TaskKey(0, 0), max_key=TaskKey(0, 100)
    )


async def _put_letter(scene):
    letter = HistoryTask(TaskKey(0, 1), blob())
    await scene.cell.history_tasks.put_replication_task_to_dlq(
        scene.namespace_id, letter, shard_id=scene.shard_id, source_cluster_name="west"
    )


async def _delete_letters(scene):
    await scene.cell.history_tasks.range_delete_replication_tasks_from_dlq(
        "west", shard_id=scene.shard_id, min_task_id=0, max_task_id=100
    )


_TASK = "shard_id = $1 AND task_id = 2"
_add("history tasks are completed", "history_tasks", _TASK, _shard, _add_history_tasks, _complete_history_tasks)
_add("dead letters are deleted", "replication_dlq_tasks", _SHARD, _shard, _put_letter, _delete_letters)


async def _make_task_queue(scene):
    scene.kept["queue"] = await scene.make_task_queue(3)


async def _update_task_queue(scene):
    await scene.cell.tasks.update_task_queue(replace(scene.kept["queue"], range_id=8), previous_range_id=7)


async def _delete_task_queue(scene):
    await scene.cell.tasks.delete_task_queue(scene.task_queue, range_id=7)


async def _complete_tasks(scene):
    await scene.complete_tasks(3)


_MATCHING_TASK = "namespace_id = $1 AND task_id = 1"
_add(
    "a task queue gets a new owner",
    "task_queues",
    _NAMESPACE,
    _namespace,
    _make_task_queue,
    _update_task_queue,
    overwrites=True,
)
_add("a task queue is deleted", "task_queues", _NAMESPACE, _namespace, _make_task_queue, _delete_task_queue)
_add("tasks are completed", "tasks", _MATCHING_TASK, _namespace, _make_task_queue, _complete_tasks)


async def _show(scene):
    await scene.show(scene.record())


async def _show_newer(scene):
    await scene.show(scene.record(), version=2)


async def _hide(scene):
    await scene.hide(scene.record(), 2)


async def _create_with_record(scene):
    record = scene.kept["record"] = scene.workflow.record()
    snapshot = await scene.workflow.create(visibility=[record])
    scene.kept["run_id"] = snapshot.run_id


async def _update_with_record(scene):
    mutation = scene.workflow.mutation(scene.kept["run_id"])
    newer = scene.workflow.record(version=2, id=scene.kept["record"].id)
    await scene.workflow.update(mutation, visibility=[newer])


_RECORDS = "visibility_records", _NAMESPACE, _namespace
_add("a record is replaced", *_RECORDS, _show, _show_newer)
_add("a record is deleted", *_RECORDS, _show, _hide)
_add("a record is replaced with its run", *_RECORDS, _create_with_record, _update_with_record)


async def _enqueue(scene):
    for _ in range(3):
        await scene.queue.enqueue_message(blob())


async def _acknowledge(scene):
    await scene.queue.delete_messages_before(2)


async def _enqueue_named(scene):
    await scene.cell.queues.create_queue(scene.queue_type, "dead")
    for _ in range(3):
        await scene.cell.queues.enqueue_message(scene.queue_type, "dead", data=blob(), namespace_id=scene.namespace_id)


async def _acknowledge_named(scene):
    await scene.cell.queues.range_delete_messages(scene.queue_type, "dead", last_message_id=1)


_MESSAGE = "queue_type = $1 AND message_id = 1"
_add("messages are acknowledged", "queue_messages", _MESSAGE, _queue_type, _enqueue, _acknowledge)
_add("named messages are deleted", "queue_v2_messages", _MESSAGE, _queue_type, _enqueue_named, _acknowledge_named)
