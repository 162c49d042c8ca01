"""Put a cell together from its configuration, and take it apart in reverse order.

Each part that must be closed is pushed on one exit stack as soon as it exists. So the parts are closed in the reverse order of
construction.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from strongroom.kms import NO_KEY_EVENTS, Background, StrongroomError
from strongroom.storage import (
    AccessPolicyStore,
    AuditCheckpointStore,
    ClusterMetadataStore,
    Database,
    ExecutionStore,
    HistoryManager,
    HistoryTaskStore,
    MetadataStore,
    NamespaceStore,
    NexusEndpointStore,
    OutboxNotifier,
    PostgresKeyringLedger,
    Queue,
    QueueV2,
    ShardStore,
    TaskQueueUserDataStore,
    TaskStore,
    VisibilityOutbox,
)
from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.position import JournalPositions
from strongroom.storage.journal.writer import Journal
from strongroom.storage.keys.registry_position import RegistryPosition
from strongroom.storage.keys.store import heads_of
from strongroom.storage.visibility_rows.marks import IndexMarks
from strongroom.visibility import Indexer, VisibilityManager

from .access import CALLER, AccessControl
from .access.position import PolicyPosition
from .anchor.configured import configured_anchors
from .audit import AuditLog, KeyRecords, LogSettings, Witness
from .audit.log import opened
from .background import background_work
from .cell_keys import audit_key, new_keyring
from .cell_stores import make_stores
from .deletions import new_deletions
from .providers import make_providers
from .proxy import bare, chained, proxied
from .search_index import new_search_index
from .stores import STORES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.kms import KeyEventSink, Keyring
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

    from .anchor import Anchors
    from .config import StrongroomConfig
    from .deletions import Deletions
    from .telemetry.telemetry import Telemetry

REGISTRY_LOCK_TIMEOUT = 5.0
"""Seconds that a change of the key registry waits for a lock of another one."""
LOCK_TIMEOUT = 2.0
"""Time that a statement of several calls waits for a row lock, in seconds. After that its calls are sent one by one."""
LAST_COUNT_SECONDS = 0.4
"""Timeout for reporting the number of sealed rows when a cell is closed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The parts of an open cell.

    Attributes:
        config: The cell's configuration.
        database: Connections for any statement.
        by_key: Connections for statements that look rows up by key only. They wait for locks for a limited time.
        registry: The connection of the key registry.
        keyring: Unwrapped keys by namespace.
        journal: Folds and verifies what this process and others wrote.
        shards: The owner of each shard.
        executions: Mutable state of workflow runs.
        history: Histories: append, read, fork, trim, delete.
        history_tasks: Tasks of the history service.
        tasks: Task queues of the matching service, and their tasks.
        fair_tasks: Task queues with fairness, and their tasks.
        task_queue_user_data: User data of task queues, and build ids.
        namespaces: Namespaces, their keys and their search attributes.
        metadata: Namespaces in the form of a service's metadata store.
        cluster_metadata: Clusters, and the membership of hosts.
        namespace_replication_queue: Changes of namespaces that other clusters apply.
        queues: Named queues.
        nexus_endpoints: The cell's Nexus endpoints.
        visibility: Visibility records: write, list, count.
        outbox: Changes that the search index has not received yet; always empty without a search index.
        search_index: The search index; None if PostgreSQL answers searches.
        indexer: Sends changes to the search index while it runs; None without a search index.
        access: The access policy.
        audit: The audit log; None if the configuration names none.
        audit_checkpoints: The checkpoints of all audit logs of the cell.
        anchors: The newest positions that are known outside of the database.
        deletions: The job that shreds the namespaces that their service deleted.
        telemetry: Metrics and traces; None for none.
        background: The work in the background of this process. Each outlives every exception, and counts them.
        key_notifications: The part of it that listens for changes of keys.
    """

    config: StrongroomConfig
    database: Database
    by_key: Database
    registry: Database
    keyring: Keyring
    journal: JournalKeeper
    shards: ShardStore
    executions: ExecutionStore
    history: HistoryManager
    history_tasks: HistoryTaskStore
    tasks: TaskStore
    fair_tasks: TaskStore
    task_queue_user_data: TaskQueueUserDataStore
    namespaces: NamespaceStore
    metadata: MetadataStore
    cluster_metadata: ClusterMetadataStore
    namespace_replication_queue: Queue
    queues: QueueV2
    nexus_endpoints: NexusEndpointStore
    visibility: VisibilityManager
    outbox: VisibilityOutbox
    search_index: ElasticsearchIndex | None
    indexer: Indexer | None
    access: AccessControl
    audit: AuditLog | None
    audit_checkpoints: AuditCheckpointStore
    anchors: Anchors
    deletions: Deletions
    telemetry: Telemetry | None = None
    background: tuple[Background, ...] = ()
    key_notifications: Background = field(default_factory=lambda: Background("key notifications"))

    def bare_stores(self) -> dict[str, Any]:
        """Return the stores without telemetry, by their names in the table."""
        return {entry.name: bare(getattr(self, entry.name)) for entry in STORES}


C = TypeVar("C", bound=Cell)


@asynccontextmanager
async def assembled(
    cell_type: type[C],
    config: StrongroomConfig,
    *,
    key_events: KeyEventSink | None = None,
    telemetry: Telemetry | None = None,
    log_settings: LogSettings | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
) -> AsyncIterator[C]:
    """Put a cell together without checking anything, and take it apart at the end.

    Args:
        cell_type: The class of the cell.
        config: The cell's configuration.
        key_events: Receives changes of keys and calls of a KMS; None for the audit log.
        telemetry: Metrics and traces; None for none.
        log_settings: Deadlines and limits of the audit log; None for the defaults.
        lock_timeout: See `LOCK_TIMEOUT`, in seconds.
    """
    async with AsyncExitStack() as stack:
        new_database = partial(Database, config.dsn, distributed=config.cell.distributed, **config.database_transport())
        database = new_database(size=config.connections)
        by_key = new_database(size=config.connections, lock_timeout=lock_timeout, by_key=True)
        # Keys are read while transactions hold all other connections. Waiting for one of those connections would be a deadlock.
        # A change that waits for a lock must not keep it from loads of keys for long.
        registry = new_database(size=1, lock_timeout=REGISTRY_LOCK_TIMEOUT)
        stack.push_async_callback(_close_databases, database, by_key, registry)

        log, checkpoints = None, AuditCheckpointStore(database)
        if config.audit_folder is not None:
            log = AuditLog(
                config.audit_folder,
                sign=lambda: audit_key(keyring),
                witness=Witness(checkpoints),
                settings=log_settings,
            )
        if key_events is None:
            key_events = NO_KEY_EVENTS if log is None else KeyRecords(log, CALLER.get)
        if telemetry is not None:
            stack.callback(telemetry.cell_closed)
            telemetry.watch_pools({"transactions": database, "by_key": by_key, "registry": registry})
            key_events = telemetry.key_events(key_events, config.kms)
        providers = make_providers(config.kms, key_events=key_events, ledger=PostgresKeyringLedger(database))
        for provider in providers.values():
            stack.push_async_callback(provider.aclose)
        keyring = new_keyring(config, registry, providers=providers, key_events=key_events, watch=telemetry)
        stack.push_async_callback(_close_keyring, keyring)
        if log is not None:
            await stack.enter_async_context(opened(log))

        key_notifications = Background("key notifications")
        search_index, notifier = new_search_index(config), None
        if search_index is not None:
            stack.push_async_callback(search_index.aclose)
            notifier = OutboxNotifier(database)
            stack.push_async_callback(notifier.aclose)
        journal = Journal(keyring)
        deletions = new_deletions(config, database, keyring, journal, search_index)
        keeper = JournalKeeper(database, keyring, journal)
        stores = make_stores(config, database, by_key, keyring, journal, deletions, search_index, notifier)
        for store in stores.values():
            if hasattr(store, "aclose"):
                stack.push_async_callback(store.aclose)
        access = AccessControl(policies := AccessPolicyStore(database, keyring), log=log)
        shards = JournalPositions(database, keyring, keeper, shard_count=config.cell.shard_count)
        sources = (RegistryPosition(database, heads_of(keyring)), PolicyPosition(policies, access), shards)
        anchors = configured_anchors(config, sources, log)
        stack.push_async_callback(anchors.aclose)
        outbox = VisibilityOutbox(database)
        marks = IndexMarks(database)
        indexer = None if search_index is None else Indexer(outbox, search_index, marks=marks)
        background = background_work(key_notifications, deletions, keeper, notifier, indexer, log, anchors)
        if telemetry is not None:
            chain = chained((telemetry.calls,))
            stores = {entry.name: proxied(entry, stores[entry.name], chain) for entry in STORES}
            telemetry.cell_opened(
                keyring=keyring,
                outbox=outbox,
                indexer=indexer,
                audit=log,
                journal=keeper,
                background=background,
                access=access,
                anchors=anchors,
            )
        yield cell_type(
            config=config,
            database=database,
            by_key=by_key,
            registry=registry,
            keyring=keyring,
            journal=keeper,
            **stores,
            outbox=outbox,
            search_index=search_index,
            indexer=indexer,
            access=access,
            audit=log,
            audit_checkpoints=checkpoints,
            anchors=anchors,
            deletions=deletions,
            telemetry=telemetry,
            background=background,
            key_notifications=key_notifications,
        )


async def _close_databases(*databases: Database) -> None:
    """Close all at once, so that a server that does not answer is waited for once."""
    await asyncio.gather(*(database.aclose() for database in databases))


async def _close_keyring(keyring: Keyring) -> None:
    """Close the keyring. A count of sealed rows that can't be reported is not an error, and must not delay the end."""
    with suppress(StrongroomError, TimeoutError):
        async with asyncio.timeout(LAST_COUNT_SECONDS):
            await keyring.aclose()
