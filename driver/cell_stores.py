"""The stores of a cell, by their names in the table of stores and operations (`stores.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.storage import (
    ClusterMetadataStore,
    ExecutionStore,
    HistoryManager,
    HistoryTaskStore,
    MetadataStore,
    NamespaceStore,
    NexusEndpointStore,
    Queue,
    QueueV2,
    ShardStore,
    TaskQueueUserDataStore,
    TaskStore,
)
from strongroom.visibility import VisibilityManager, new_layout

from .namespace_keks import kek_rule

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage import Database, OutboxNotifier
    from strongroom.storage.journal.writer import Journal
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

    from .config import StrongroomConfig
    from .deletions import Deletions


def make_stores(
    config: StrongroomConfig,
    database: Database,
    by_key: Database,
    keyring: Keyring,
    journal: Journal,
    deletions: Deletions,
    search_index: ElasticsearchIndex | None,
    notifier: OutboxNotifier | None,
) -> dict[str, Any]:
    """Return the stores of a cell.

    Args:
        config: The cell's configuration.
        database: Connections for any statement.
        by_key: Connections for statements that look rows up by key only.
        keyring: Unwrapped keys by namespace.
        journal: The journal of this process.
        deletions: The job that shreds the namespaces that their service deleted.
        search_index: The search index; None if PostgreSQL answers searches.
        notifier: Notifies the indexer of visibility records; None without a search index.
    """
    distributed = config.cell.distributed
    made: Any = {"index_layout": str(new_layout("compatible")), "kek_rule": kek_rule(config.namespaces, keyring)}
    executions = ExecutionStore(by_key, keyring, journal, distributed=distributed, notifier=notifier)
    return {
        "shards": ShardStore(by_key, keyring, journal, shard_count=config.cell.shard_count),
        "executions": executions,
        "history": HistoryManager(by_key, keyring, journal, ends=executions.ends, distributed=distributed),
        "history_tasks": HistoryTaskStore(by_key, keyring, journal, distributed=distributed),
        "tasks": TaskStore(by_key, keyring, journal, distributed=distributed),
        "fair_tasks": TaskStore(by_key, keyring, journal, fair=True, distributed=distributed),
        "task_queue_user_data": TaskQueueUserDataStore(by_key, keyring, journal),
        "namespaces": NamespaceStore(database, keyring, journal, **made),
        "metadata": MetadataStore(database, keyring, journal, delete=deletions.delete, **made),
        "cluster_metadata": ClusterMetadataStore(database, keyring, journal),
        "namespace_replication_queue": Queue(database, keyring, journal),
        "queues": QueueV2(database, keyring, journal),
        "nexus_endpoints": NexusEndpointStore(database, keyring, journal),
        "visibility": VisibilityManager(database, keyring, journal, index=search_index, notifier=notifier),
    }
