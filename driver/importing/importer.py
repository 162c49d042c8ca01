"""Write exported executions into a namespace, as sealed history nodes, history trees and visibility records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid5

from strongroom.kms import commits_several_times
from strongroom.storage import DataBlob, HistoryBranch, HistoryNode
from strongroom.visibility import attribute_types
from strongroom.visibility.index.document import imported_version

from .history_event import batches, encode_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Namespace

    from .import_file import Execution

PER_TRANSACTION = 32
_BRANCH_NAMESPACE = uuid5(NAMESPACE_OID, "strongroom import")


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    Attributes:
        executions: The number of executions in the file.
        nodes: The number of history nodes that were written.
        records: The number of visibility records that are new, or newer than the stored ones. The others were not changed.
    """

    executions: int
    nodes: int
    records: int


def imported_branch(run_id: str, shard_id: int) -> HistoryBranch:
    """Return the branch of an imported run. It is the same for every import of the run, so that a second import overwrites it."""
    tree_id = UUID(run_id)
    return HistoryBranch(shard_id, tree_id, uuid5(_BRANCH_NAMESPACE, run_id))


def history_nodes(execution: Execution) -> list[HistoryNode]:
    """Return an execution's events as history nodes, grouped as the service wrote them. Transaction ids count the writes."""
    return [
        HistoryNode(batch[0].event_id, txn_id, txn_id - 1, DataBlob(encode_batch(batch)))
        for txn_id, batch in enumerate(batches(execution.events), start=1)
    ]


@commits_several_times
async def import_executions(
    strongroom: Strongroom,
    namespace: Namespace,
    executions: Sequence[Execution],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Write executions, 32 in a transaction. An interrupted import can be run again, and ends with the same rows.

    Missing custom search attributes are registered in the namespace first.

    Args:
        strongroom: The cell.
        namespace: The namespace.
        executions: The executions.
        progress: Is called with the number of executions committed so far.

    Returns:
        The numbers of written rows.

    Raises:
        InvalidPersistenceRequest: A search attribute is registered with another type. Nothing is written.
    """
    named = {name: kind for execution in executions for name, kind in execution.attribute_types.items()}
    added = {name: kind.value for name, kind in named.items()}
    namespace = await strongroom.namespaces.add_search_attributes(namespace.namespace_id, added)
    types = attribute_types(namespace)
    keys = await strongroom.keyring.open(namespace.namespace_id)
    written = nodes = done = 0
    for start in range(0, len(executions), PER_TRANSACTION):
        batch = executions[start : start + PER_TRANSACTION]
        records = []
        async with strongroom.database.transaction(namespace.namespace_id) as transaction:
            for execution in batch:
                record = execution.record
                shard_id = await strongroom.shards.shard_of(namespace.namespace_id, record.workflow_id)
                history = history_nodes(execution)
                await strongroom.history.append_history_nodes(
                    namespace.namespace_id,
                    imported_branch(record.run_id, shard_id),
                    history,
                    is_new_branch=True,
                    info=f"{record.workflow_id}:{record.run_id}",
                    transaction=transaction,
                )
                nodes += len(history)
                version = imported_version(keys, record.workflow_id, record.run_id, len(execution.events))
                records.append((shard_id, version, record))
            written += await strongroom.visibility.record_workflow_executions(
                namespace.namespace_id, records, types, transaction=transaction
            )
        done += len(batch)
        progress(done)
    return Imported(len(executions), nodes, written)
