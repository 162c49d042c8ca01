"""A call of each paged operation of the stores, on the rows of `every_table`."""

from __future__ import annotations

from strongroom.driver.stores import STORES
from strongroom.storage import TaskKey
from strongroom.storage.executions.tasks import TRANSFER
from tests.support.every_table import TYPES

PAGED = {
    f"{store.name}.{operation.method}"
    for store in STORES
    for operation in store.operations
    if "page_token" in operation.arguments
}


def calls(table):
    """Return a call of each paged operation, by name. A call takes the size of a page and its token."""
    cell, namespace_id, shard_id = table.cell, table.namespace_id, table.shard_id
    queue = table.expected["queue 0"][0].queue
    branch = table.workflow().branch(table.expected["run 0"][0])
    end = TaskKey(0, 2**62)
    return {
        "history.read_history_branch": lambda **page: cell.history.read_history_branch(namespace_id, branch, **page),
        "history.read_history_nodes": lambda **page: cell.history.read_history_nodes(
            namespace_id,
            shard_id=branch.shard_id,
            tree_id=branch.tree_id,
            branch_id=branch.branch_id,
            min_node_id=1,
            max_node_id=2**62,
            **page,
        ),
        "history.get_all_history_tree_branches": cell.history.get_all_history_tree_branches,
        "tasks.list_task_queue": cell.tasks.list_task_queue,
        "tasks.get_tasks": lambda **page: cell.tasks.get_tasks(queue, **page),
        "fair_tasks.list_task_queue": cell.fair_tasks.list_task_queue,
        "fair_tasks.get_tasks": lambda **page: cell.fair_tasks.get_tasks(queue, min_pass=1, **page),
        "task_queue_user_data.list_task_queue_user_data_entries": (
            lambda **page: cell.task_queue_user_data.list_task_queue_user_data_entries(namespace_id, **page)
        ),
        "metadata.list_namespaces": cell.metadata.list_namespaces,
        "cluster_metadata.list_cluster_metadata": cell.cluster_metadata.list_cluster_metadata,
        "cluster_metadata.get_cluster_members": cell.cluster_metadata.get_cluster_members,
        "namespace_replication_queue.read_messages_from_dlq": (
            lambda **page: cell.namespace_replication_queue.read_messages_from_dlq(
                first_message_id=-1, last_message_id=2**40, **page
            )
        ),
        "queues.read_messages": lambda **page: cell.queues.read_messages(1, f"{table.name} of the cell", **page),
        "queues.list_queues": lambda **page: cell.queues.list_queues(1, **page),
        "nexus_endpoints.list_nexus_endpoints": cell.nexus_endpoints.list_nexus_endpoints,
        "visibility.list_workflow_executions": (
            lambda **page: cell.visibility.list_workflow_executions(namespace_id, "", TYPES, **page)
        ),
        "history_tasks.get_history_tasks": (
            lambda page_size, page_token=None: cell.history_tasks.get_history_tasks(
                TRANSFER,
                shard_id=shard_id,
                min_key=TaskKey(0, 0),
                max_key=end,
                batch_size=page_size,
                page_token=page_token,
            )
        ),
        "history_tasks.get_replication_tasks_from_dlq": (
            lambda page_size, page_token=None: cell.history_tasks.get_replication_tasks_from_dlq(
                "west", shard_id=shard_id, min_task_id=0, max_task_id=9, batch_size=page_size, page_token=page_token
            )
        ),
    }
