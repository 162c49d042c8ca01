"""Every public call that names a namespace, made for one namespace with the ids of another namespace's rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from strongroom.storage import HistoryNode, HistoryTask, Task, TaskKey, TaskQueueKey, UserDataUpdate
from strongroom.storage.executions.modes import ConflictResolveMode, UpdateMode
from strongroom.storage.executions.tasks import TRANSFER
from tests.support.every_table import RUNNING, TYPES
from tests.support.fixtures.executions import blob, tasks

BY_THE_NAMESPACE_ALONE = frozenset(
    {
        *(
            "namespaces.get",
            "namespaces.find",
            "namespaces.add_search_attributes",
            "namespaces.set_aliases",
        ),
        *("metadata.get_namespace", "metadata.update_namespace", "metadata.rename_namespace"),
        *("metadata.delete_namespace", "metadata.delete_namespace_by_name"),
        *("shards.shard_of", "visibility.seal_workflow_executions"),
    }
)
"""Calls that name a namespace and no row of it, so there is no id to cross. Sessions authorize them."""


def crossed_calls(table, namespace_id):
    """Return the calls by operation, reads first.

    Args:
        table: The `EveryTable` of the namespace whose ids are used.
        namespace_id: The namespace that calls.
    """
    cell, shard_id = table.cell, table.shard_id
    run_id = table.expected["run 0"][0]
    workflow = replace(table.workflow(), namespace_id=namespace_id)
    branch = workflow.branch(run_id)
    queue, _ = table.expected["queue 0"]
    own = replace(queue, queue=TaskQueueKey(namespace_id, queue.queue.name, queue.queue.task_type))
    queues = queue_calls(cell, own)
    data, visibility, history = cell.task_queue_user_data, cell.visibility, cell.history
    place = {"shard_id": shard_id}
    run = (namespace_id, workflow.workflow_id, run_id)
    record = table.expected["record 0"]
    document = {"shard_id": table.expected["record shard"], "workflow_id": record.workflow_id, "run_id": record.run_id}
    reads = {
        "executions.get_workflow_execution": lambda: cell.executions.get_workflow_execution(*run, **place),
        "executions.get_current_execution": lambda: cell.executions.get_current_execution(*run[:2], **place),
        "history.read_history_branch": lambda: history.read_history_branch(namespace_id, branch),
        "history.read_history_nodes": lambda: history.read_history_nodes(
            namespace_id,
            tree_id=branch.tree_id,
            branch_id=branch.branch_id,
            min_node_id=1,
            max_node_id=9,
            page_size=9,
            **place,
        ),
        "history.get_history_tree": lambda: history.get_history_tree(namespace_id, tree_id=run_id, **place),
        "history.get_history_tree_containing_branch": lambda: history.get_history_tree_containing_branch(
            namespace_id, branch
        ),
        **queues["read"],
        "task_queue_user_data.get_task_queue_user_data": lambda: data.get_task_queue_user_data(namespace_id, "orders"),
        "task_queue_user_data.list_task_queue_user_data_entries": lambda: data.list_task_queue_user_data_entries(
            namespace_id, page_size=10
        ),
        "task_queue_user_data.get_task_queues_by_build_id": lambda: data.get_task_queues_by_build_id(
            namespace_id, "build 1"
        ),
        "task_queue_user_data.count_task_queues_by_build_id": lambda: data.count_task_queues_by_build_id(
            namespace_id, "build 1"
        ),
        "visibility.get_workflow_execution": lambda: visibility.get_workflow_execution(namespace_id, **document),
        "visibility.list_workflow_executions": lambda: visibility.list_workflow_executions(namespace_id, "", TYPES),
        "visibility.count_workflow_executions": lambda: visibility.count_workflow_executions(namespace_id, "", TYPES),
        "visibility.explain": lambda: visibility.explain(namespace_id, "ExecutionStatus = 'Running'", TYPES),
    }
    node = HistoryNode(2, 9, 1, blob())
    task = HistoryTask(TaskKey(0, 77), blob())
    writes = {
        "executions.create_workflow_execution": lambda: workflow.create(workflow.full(run_id)),
        "executions.update_workflow_execution": lambda: workflow.update(
            workflow.mutation(run_id, db_record_version=3), UpdateMode.UPDATE_CURRENT
        ),
        "executions.conflict_resolve_workflow_execution": lambda: workflow.resolve(
            workflow.full(run_id, RUNNING, db_record_version=3), ConflictResolveMode.UPDATE_CURRENT
        ),
        "executions.set_workflow_execution": lambda: workflow.set(workflow.full(run_id, RUNNING, db_record_version=3)),
        "history.append_history_nodes": lambda: history.append_history_nodes(namespace_id, branch, [node]),
        "history.fork_history_branch": lambda: history.fork_history_branch(namespace_id, branch, fork_node_id=2),
        "history_tasks.add_history_tasks": lambda: cell.history_tasks.add_history_tasks(
            namespace_id, tasks(TRANSFER), range_id=1, **place
        ),
        "history_tasks.put_replication_task_to_dlq": lambda: cell.history_tasks.put_replication_task_to_dlq(
            namespace_id, task, source_cluster_name="west", **place
        ),
        **queues["write"],
        "task_queue_user_data.update_task_queue_user_data": lambda: data.update_task_queue_user_data(
            namespace_id, {"orders": UserDataUpdate(1, blob(), (), ("build 1",))}
        ),
        "visibility.record_workflow_executions": lambda: visibility.record_workflow_executions(
            namespace_id, [(document["shard_id"], 9, record)], TYPES
        ),
    }
    deletes = {
        **queues["delete"],
        "history.delete_history_nodes": lambda: history.delete_history_nodes(namespace_id, branch, node_id=1, txn_id=1),
        "history.trim_history_branch": lambda: history.trim_history_branch(namespace_id, branch, node_id=1, txn_id=1),
        "history.delete_history_branch": lambda: history.delete_history_branch(namespace_id, branch),
        "executions.delete_current_workflow_execution": lambda: cell.executions.delete_current_workflow_execution(
            *run, **place
        ),
        "executions.delete_workflow_execution": lambda: cell.executions.delete_workflow_execution(*run, **place),
        "visibility.delete_workflow_execution": lambda: visibility.delete_workflow_execution(
            namespace_id, version=99, **document
        ),
    }
    return reads | writes | deletes


def queue_calls(cell, own):
    """Return the calls of both stores of task queues by operation: those that read, write and delete."""
    calls = {"read": {}, "write": {}, "delete": {}}
    for name, store, task_pass in (("tasks", cell.tasks, 0), ("fair_tasks", cell.fair_tasks, 1)):
        task = Task(9, blob(), task_pass)
        calls["read"] |= {
            f"{name}.get_task_queue": partial(store.get_task_queue, own.queue),
            f"{name}.get_tasks": partial(store.get_tasks, own.queue, page_size=10, min_pass=task_pass),
        }
        calls["write"] |= {
            f"{name}.create_task_queue": partial(store.create_task_queue, own),
            f"{name}.update_task_queue": partial(
                store.update_task_queue, replace(own, range_id=8), previous_range_id=7
            ),
            f"{name}.create_tasks": partial(store.create_tasks, own.queue, [task], range_id=7),
        }
        calls["delete"] |= {
            f"{name}.complete_tasks_less_than": partial(
                store.complete_tasks_less_than,
                own.queue,
                max_task_id=99,
                max_pass=9 * task_pass,
                limit=99,
                range_id=7 if store is cell.fair_tasks else None,
            ),
            f"{name}.delete_task_queue": partial(store.delete_task_queue, own.queue, range_id=7),
        }
    return calls
