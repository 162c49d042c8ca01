"""Every operation that a session can do, and what it needs: the one table that a security reviewer reads.

What is not here can't be done through a session. A test holds the table against the stores and the command line: a public operation
without a line fails it, and so does a line without an operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from .roles import Permission

if TYPE_CHECKING:
    from collections.abc import Mapping

Activity: TypeAlias = Literal["create", "read", "update", "delete"]
Scope: TypeAlias = Literal["cell", "namespace", "filtered"]

# Operation, the permission that it needs ("-": any principal), what it does, what it is about: the cell, the namespaces that its
# arguments name by id or by `name`, or a list that is cut down to what the caller may see. "two": a second person must have approved
# it (break-glass).
STORE_OPERATIONS = """
shards.get_or_create_shard                              cell.service              update cell
shards.update_shard                                     cell.service              update cell
shards.assert_shard_ownership                           cell.service              read   cell
executions.create_workflow_execution                    namespace.write           create namespace
executions.update_workflow_execution                    namespace.write           update namespace
executions.conflict_resolve_workflow_execution          namespace.write           update namespace
executions.set_workflow_execution                       namespace.write           update namespace
executions.get_workflow_execution                       namespace.read            read   namespace
executions.get_current_execution                        namespace.read            read   namespace
executions.delete_workflow_execution                    namespace.write           delete namespace
executions.delete_current_workflow_execution            namespace.write           delete namespace
history.append_history_nodes                            namespace.write           create namespace
history.read_history_branch                             namespace.read            read   namespace
history.fork_history_branch                             namespace.write           create namespace
history.trim_history_branch                             namespace.write           delete namespace
history.delete_history_branch                           namespace.write           delete namespace
history.delete_history_nodes                            namespace.write           delete namespace
history.get_history_tree                                namespace.read            read   namespace
history.get_history_tree_containing_branch              namespace.read            read   namespace
history.get_all_history_tree_branches                   cell.service              read   cell
history_tasks.add_history_tasks                         namespace.write           create namespace
history_tasks.get_history_tasks                         cell.service              read   cell
history_tasks.complete_history_task                     cell.service              delete cell
history_tasks.range_complete_history_tasks              cell.service              delete cell
history_tasks.put_replication_task_to_dlq               namespace.write           create namespace
history_tasks.get_replication_tasks_from_dlq            cell.service              read   cell
history_tasks.delete_replication_task_from_dlq          cell.service              delete cell
history_tasks.range_delete_replication_tasks_from_dlq   cell.service              delete cell
history_tasks.is_replication_dlq_empty                  cell.service              read   cell
tasks.create_task_queue                                 namespace.write           create namespace
tasks.get_task_queue                                    namespace.read            read   namespace
tasks.update_task_queue                                 namespace.write           update namespace
tasks.list_task_queue                                   cell.service              read   cell
tasks.delete_task_queue                                 namespace.write           delete namespace
tasks.create_tasks                                      namespace.write           create namespace
tasks.get_tasks                                         namespace.read            read   namespace
tasks.complete_tasks_less_than                          namespace.write           delete namespace
task_queue_user_data.get_task_queue_user_data           namespace.read            read   namespace
task_queue_user_data.update_task_queue_user_data        namespace.write           update namespace
task_queue_user_data.list_task_queue_user_data_entries  namespace.read            read   namespace
task_queue_user_data.get_task_queues_by_build_id        namespace.read            read   namespace
task_queue_user_data.count_task_queues_by_build_id      namespace.read            read   namespace
namespaces.create                                       account.create_namespace  create cell
namespaces.get                                          namespace.read            read   namespace
namespaces.find                                         namespace.read            read   namespace
namespaces.list_namespaces                              -                         read   filtered
namespaces.add_search_attributes                        namespace.admin           update namespace
namespaces.set_aliases                                  namespace.admin           update namespace
namespaces.shred                                        shred                     delete namespace  two
namespaces.ensure_cell_keys                             keys                      create cell
metadata.create_namespace                               account.create_namespace  create cell
metadata.get_namespace                                  namespace.read            read   namespace
metadata.update_namespace                               namespace.admin           update namespace
metadata.rename_namespace                               namespace.admin           update namespace
metadata.delete_namespace                               namespace.admin           delete namespace
metadata.delete_namespace_by_name                       namespace.admin           delete namespace
metadata.list_namespaces                                account.read              read   cell
metadata.get_metadata                                   account.read              read   cell
cluster_metadata.list_cluster_metadata                  account.read              read   cell
cluster_metadata.get_cluster_metadata                   account.read              read   cell
cluster_metadata.save_cluster_metadata                  cell.service              update cell
cluster_metadata.delete_cluster_metadata                cell.service              delete cell
cluster_metadata.get_cluster_members                    account.read              read   cell
cluster_metadata.upsert_cluster_membership              cell.service              update cell
cluster_metadata.prune_cluster_membership               cell.service              delete cell
namespace_replication_queue.enqueue_message             cell.service              create cell
namespace_replication_queue.read_messages               cell.service              read   cell
namespace_replication_queue.delete_messages_before      cell.service              delete cell
namespace_replication_queue.update_ack_level            cell.service              update cell
namespace_replication_queue.get_ack_levels              cell.service              read   cell
namespace_replication_queue.enqueue_message_to_dlq      cell.service              create cell
namespace_replication_queue.read_messages_from_dlq      cell.service              read   cell
namespace_replication_queue.delete_message_from_dlq     cell.service              delete cell
namespace_replication_queue.range_delete_messages_from_dlq cell.service           delete cell
namespace_replication_queue.update_dlq_ack_level        cell.service              update cell
namespace_replication_queue.get_dlq_ack_levels          cell.service              read   cell
queues.create_queue                                     cell.service              create cell
queues.enqueue_message                                  cell.service              create cell
queues.read_messages                                    cell.service              read   cell
queues.range_delete_messages                            cell.service              delete cell
queues.list_queues                                      cell.service              read   cell
nexus_endpoints.create_or_update_nexus_endpoint         account.admin             update cell
nexus_endpoints.delete_nexus_endpoint                   account.admin             delete cell
nexus_endpoints.get_nexus_endpoint                      account.read              read   cell
nexus_endpoints.list_nexus_endpoints                    account.read              read   cell
visibility.record_workflow_executions                   namespace.write           update namespace
visibility.delete_workflow_execution                    namespace.write           delete namespace
visibility.get_workflow_execution                       namespace.read            read   namespace
visibility.list_workflow_executions                     namespace.read            read   namespace
visibility.count_workflow_executions                    namespace.read            read   namespace
visibility.explain                                      namespace.read            read   namespace
"""

CONTROL_OPERATIONS = """
namespaces.purge          shred           delete namespace
import.run                namespace.write create namespace
keys.list                 account.read    read   cell
keys.rotate               keys            update cell
keys.rotate_kek           keys            update cell
keys.rewrap               keys            update cell
keys.retire               keys            delete cell
keys.reseal               keys            update cell
keys.destroy              keys            delete cell
shredding.request         shred           update namespace
shredding.cancel          shred           update namespace
shredding.finish          shred           delete namespace  two
shredding.certificate     account.read    read   cell
index.build               account.admin   create cell
index.status              account.read    read   cell
index.run                 cell.service    update cell
index.reconcile           account.admin   update cell
index.rotate              keys            update cell
codec_server.run          cell.service    read   cell
access.list               audit           read   cell
access.list_grants        -               read   cell
access.review             audit           read   cell
access.change             account.admin   update cell
access.bind               namespace.admin update namespace
access.request_grant      -               create cell
access.approve_grant      -               update cell
access.end_grant          -               update cell
audit.verify              audit           read   cell
audit.export              audit           read   cell
audit.hash                audit           read   namespace
audit.hold                audit           update cell
audit.lift_hold           account.owner   delete cell
audit.prune               audit           delete cell
audit.lengthen_retention  account.owner   update cell
audit.shorten_retention   account.owner   delete cell       two
audit.availability_first  account.owner   update namespace
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that can be done.

    Attributes:
        name: store and method, or area and verb.
        permission: that it needs; None for one that every known principal may do.
        activity: what it does. One that reads tells the audit log once, or twice if it fails; any other twice.
        scope: what it is about.
        dual_control: whether a second person must have approved it.
    """

    name: str
    permission: Permission | None
    activity: Activity
    scope: Scope
    dual_control: bool

    @property
    def reads(self) -> bool:
        """Whether nothing but the answer comes of it."""
        return self.activity == "read"


def _parsed(table: str) -> dict[str, Operation]:
    operations = {}
    for line in table.strip().splitlines():
        name, permission, activity, scope, *two = line.split()
        needed = None if permission == "-" else Permission(permission)
        operations[name] = Operation(name, needed, activity, scope, dual_control=two == ["two"])  # type: ignore[arg-type]
    return operations


OPERATIONS: Mapping[str, Operation] = MappingProxyType(_parsed(STORE_OPERATIONS) | _parsed(CONTROL_OPERATIONS))
STORES = tuple(dict.fromkeys(name.partition(".")[0] for name in _parsed(STORE_OPERATIONS)))
"""Attributes of `Strongroom` whose methods are operations."""
