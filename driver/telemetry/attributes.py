"""What each attribute of the telemetry may be; which instrument has which is in `telemetry_instruments.py`.

Attributes come from closed lists. What a value could be that no list has (an error of another library, say) becomes `_OTHER`, so no
identifier, and nothing that a tenant or an operator chose, can stand in a metric or a span.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING

from strongroom.driver.config import AwsKms, AzureKms, GcpKms, LocalKms, MultiKms, Pkcs11Kms, TransitKms
from strongroom.kms import StrongroomError
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
    sealed_columns,
)
from strongroom.visibility import Drift, Reconciler, TokenAudit, VisibilityManager

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.driver.config import KmsConfig

OTHER = "_OTHER"
CANCELLED = "cancelled"

STORES: Mapping[str, type] = {
    "shards": ShardStore,
    "executions": ExecutionStore,
    "history": HistoryManager,
    "history_tasks": HistoryTaskStore,
    "tasks": TaskStore,
    "fair_tasks": TaskStore,
    "task_queue_user_data": TaskQueueUserDataStore,
    "namespaces": NamespaceStore,
    "metadata": MetadataStore,
    "cluster_metadata": ClusterMetadataStore,
    "namespace_replication_queue": Queue,
    "queues": QueueV2,
    "nexus_endpoints": NexusEndpointStore,
    "visibility": VisibilityManager,
}
"""Stores of a cell, by the name of its attribute; `index` besides stands for reconciling the search index."""
INDEX = "index"
POOLS = ("transactions", "by_key", "registry")
"""Lists of connections of a cell."""
BATCHES = (
    "write_executions",
    "get_executions",
    "get_current_executions",
    "append_history_nodes",
    "create_tasks",
    "get_tasks",
)
"""Functions of the database that several calls go into."""
_KMS_TYPES: Mapping[type, str] = {
    LocalKms: "local",
    TransitKms: "vault",
    AwsKms: "aws-kms",
    GcpKms: "gcp-kms",
    AzureKms: "azure-keyvault",
    Pkcs11Kms: "pkcs11",
    MultiKms: "multi",
}
_KMS_OPERATIONS = (
    "generate_data_key",
    "wrap",
    "unwrap",
    "rewrap",
    "describe",
    "create_kek",
    "rotate_kek",
    "retire_version",
    "delete_kek",
    "check",
)
_KEY_OPERATIONS = (
    "key.create",
    "key.activate",
    "key.rotate",
    "key.destroy",
    "kek.rotate",
    "kek.rewrap",
    "kek.retire",
    "kek.delete",
    "namespace.request_shredding",
    "namespace.cancel_shredding",
    "namespace.destroy_keys",
    "namespace.shred",
)
DONE, FAILED, DENIED = "done", "failed", "denied"
_OTHER_KINDS = ("page_token", "temporal_payload")
ORPHAN, TOKENS = "orphan", "record_tokens"
"""Drift that is not of a document with a record: a document without one, and tokens in PostgreSQL that are not the record's."""


@cache
def operations_of(store: type) -> tuple[str, ...]:
    """Return the operations of a store: its public coroutines."""
    return tuple(
        name
        for name, member in inspect.getmembers(store, inspect.iscoroutinefunction)
        if not name.startswith("_") and name != "aclose"
    )


def kms_type(config: KmsConfig) -> str:
    """Return the type of a KMS, as the configuration has it: ids of sections are the operator's, and may name a customer."""
    return _KMS_TYPES.get(type(config), OTHER)


def error_type(error: BaseException) -> str:
    """Return the kind of an error of ours; anything else is `_OTHER` or `cancelled`."""
    return named_error(type(error).__name__)


def named_error(name: str) -> str:
    """Return the kind of an error whose class has this name."""
    return CANCELLED if name == "CancelledError" else closed("error.type", name)


@cache
def attribute_values() -> Mapping[str, frozenset[str]]:
    """Return what each attribute may be, besides `_OTHER`."""
    operations = {name for store in (*STORES.values(), Reconciler, TokenAudit) for name in operations_of(store)}
    kinds = {column.kind.name for column in sealed_columns()}
    return {
        "strongroom.store": frozenset((*STORES, INDEX)),
        "strongroom.operation": frozenset(operations),
        "strongroom.outcome": frozenset((DONE, FAILED, DENIED)),
        "strongroom.record.kind": frozenset((*kinds, *_OTHER_KINDS)),
        "strongroom.kms.type": frozenset(_KMS_TYPES.values()),
        "strongroom.kms.operation": frozenset(_KMS_OPERATIONS),
        "strongroom.key.operation": frozenset(_KEY_OPERATIONS),
        "strongroom.key_cache.result": frozenset(("hit", "aged", "miss")),
        "strongroom.drift": frozenset((*(drift.name.lower() for drift in Drift), ORPHAN, TOKENS)),
        "db.system.name": frozenset(("postgresql",)),
        "db.operation.name": frozenset(BATCHES),
        "db.client.connection.pool.name": frozenset(POOLS),
        "db.client.connection.state": frozenset(("used", "idle")),
        "error.type": frozenset((*_names_below(StrongroomError), CANCELLED)),
    }


def closed(key: str, value: str) -> str:
    """Return an attribute's value if its list has it, else `_OTHER`."""
    return value if value in attribute_values()[key] else OTHER


def _names_below(error: type[StrongroomError]) -> set[str]:
    ours = error.__module__.startswith("strongroom.")  # a service's own are named by who knows whom
    names = {error.__name__} if ours else set()
    for each in error.__subclasses__():
        names |= _names_below(each)
    return names
