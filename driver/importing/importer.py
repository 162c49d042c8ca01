"""Write exported executions into a namespace: history nodes, history trees and visibility records, sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid5

from strongroom.driver.strongroom import shard_of
from strongroom.storage import DataBlob, HistoryBranch, HistoryNode
from strongroom.visibility import Attribute, AttributeType

from .history_event import batches, encode_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Namespace
    from strongroom.visibility import SearchAttributes

    from .import_file import Execution

PER_TRANSACTION = 32
_BRANCH_NAMESPACE = uuid5(NAMESPACE_OID, "strongroom import")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import wrote.

    Attributes:
        executions: how many were in the file.
        nodes: history nodes written.
        records: visibility records that are new or newer than what was stored; the rest stood there already.
    """

    executions: int
    nodes: int
    records: int


def imported_branch(run_id: str, shard_id: int) -> HistoryBranch:
    """Return the branch of an imported run: the same for every import of it, so that a second one overwrites."""
    tree_id = UUID(run_id)
    return HistoryBranch(shard_id, tree_id, uuid5(_BRANCH_NAMESPACE, run_id))


def history_nodes(execution: Execution) -> list[HistoryNode]:
    """Group an execution's events into nodes as the service wrote them; transaction ids count the writes."""
    return [
        HistoryNode(batch[0].event_id, txn_id, txn_id - 1, DataBlob(encode_batch(batch)))
        for txn_id, batch in enumerate(batches(execution.events), start=1)
    ]


async def import_executions(
    strongroom: Strongroom,
    namespace: Namespace,
    executions: Sequence[Execution],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Write executions, a few dozen to a transaction. Interrupted, it can be run again and ends with the same rows.

    Custom search attributes that the namespace lacks are registered first.

    Args:
        strongroom: the cell.
        namespace: into which.
        executions: what to write.
        progress: called with the number of executions committed so far.

    Raises:
        InvalidPersistenceRequest: a search attribute is registered with another type; nothing is written.
    """
    found = {name: kind for execution in executions for name, kind in execution.attribute_types.items()}
    added = {name: kind.value for name, kind in found.items()}
    namespace = await strongroom.namespaces.add_search_attributes(namespace.namespace_id, added)
    types = attribute_types(namespace)
    written = nodes = done = 0
    for start in range(0, len(executions), PER_TRANSACTION):
        batch = executions[start : start + PER_TRANSACTION]
        keys = await strongroom.keyring.open(namespace.namespace_id)
        records = []
        async with strongroom.database.transaction(namespace.namespace_id) as transaction:
            for execution in batch:
                record = execution.record
                shard_id = shard_of(keys, record.workflow_id, strongroom.config.cell.shard_count)
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
                records.append((shard_id, len(execution.events), record))
            written += await strongroom.visibility.record_workflow_executions(
                namespace.namespace_id, records, types, transaction=transaction
            )
        done += len(batch)
        progress(done)
    return Imported(len(executions), nodes, written)


def attribute_types(namespace: Namespace) -> SearchAttributes:
    """Return the custom search attributes of a namespace with their types, and the aliases of some."""
    types = {name: AttributeType(kind) for name, kind in namespace.search_attributes.items()}
    return {**types, **{alias: Attribute(name, types[name]) for alias, name in namespace.aliases.items()}}
