"""The one object that a service opens."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from strongroom.kms import NO_KEY_EVENTS, KekRef, Keyring, LocalProvider, ResilientProvider, StrongroomError
from strongroom.storage import (
    AccessPolicyStore,
    AuditCheckpoint,
    AuditCheckpointStore,
    ClusterMetadataStore,
    Database,
    ExecutionStore,
    HistoryManager,
    HistoryTaskStore,
    MetadataStore,
    NamespaceStore,
    NexusEndpointStore,
    OutboxBell,
    PostgresDataKeyStore,
    Queue,
    QueueV2,
    Reseal,
    ShardStore,
    ShreddingStore,
    TaskQueueUserDataStore,
    TaskStore,
    VisibilityEpochs,
    VisibilityOutbox,
    VisibilityTruth,
    apply_schema,
    check_cell,
    check_schema,
    claim_cell,
    follow_key_changes,
)
from strongroom.visibility import (
    MARGIN,
    IndexCopies,
    Indexer,
    IndexRotation,
    Reconciler,
    TokenAudit,
    VisibilityManager,
    new_layout,
)

from .access import CALLER, AccessControl, NotAuthenticated, Session, by_api_key, by_certificate
from .audit import AuditLog, KeyRecords
from .audit.events import DENIED, now
from .audit.log import opened
from .config import ADD_AUDIT, ConfigError
from .providers import make_providers
from .shredding import Shredding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from strongroom.kms import KeyEventSink, NamespaceKeys, SigningKey
    from strongroom.storage import Migration
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

    from .audit import Checkpoint
    from .config import StrongroomConfig
    from .telemetry.telemetry import Telemetry

CELL_KEK = "cell"
"""The KEK of the cell's own keys, in the first provider."""
_LAST_WORDS = 0.4
"""Seconds that the registry has, when a cell is closed, to hear how many rows were sealed."""
LOCK_TIMEOUT = 2.0
"""Seconds that a statement of many callers waits for a row that another process holds; then its members go one by one."""


@dataclass(frozen=True, slots=True)
class Strongroom:
    """An open cell: `async with Strongroom.open(config) as strongroom: ...`.

    Attributes:
        config: what it was opened with.
        database: its connections, for anything.
        by_key: connections for statements that look rows up by key and nothing else, with a limit for waiting for locks.
        keyring: unwrapped keys by namespace.
        shards: who owns which shard.
        executions: mutable state of runs.
        history: append, read, fork, trim, delete.
        history_tasks: what is to be done for runs.
        tasks: matching's task queues and their tasks.
        fair_tasks: the same in the fair form.
        task_queue_user_data: user data of task queues, and build ids.
        namespaces: create, list, shred.
        metadata: namespaces as a service's metadata store has them.
        cluster_metadata: clusters, and the membership of hosts.
        namespace_replication_queue: changes of namespaces on their way to other clusters.
        queues: named queues.
        nexus_endpoints: of the cell.
        visibility: record, list, count.
        outbox: runs that the search index is yet to hear of; always empty without one.
        search_index: what answers searches, if not PostgreSQL.
        indexer: tells it what changed, while somebody runs it; None without a search index.
        access: who may do what.
        audit: the audit log; None where the configuration names none.
        audit_checkpoints: how far each process's audit log was.
        telemetry: what the cell is watched by; None for nothing.
    """

    config: StrongroomConfig
    database: Database
    by_key: Database
    keyring: Keyring
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
    telemetry: Telemetry | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: StrongroomConfig, *, audit: KeyEventSink | None = None, telemetry: Telemetry | None = None
    ) -> AsyncIterator[Strongroom]:
        """Open a cell whose database `Strongroom.init` has prepared.

        Args:
            config: of the cell.
            audit: is told of changes of keys and calls of a KMS; None for the audit log.
            telemetry: metrics and traces (`driver/telemetry/telemetry.md`); None for none.

        Raises:
            SchemaMismatch: the database is older or newer than this version.
            CellMismatch: it belongs to another cell, or to one of another region.
            Unavailable: it can't be reached.
            KeyringFileError: a local keyring can't be used.
        """
        async with assembled(config, audit=audit, telemetry=telemetry) as strongroom:
            # The cell's own provider; one of a single namespace is asked when that namespace is, and stops no other.
            await strongroom.keyring.provider(next(iter(config.kms))).check()
            await check_schema(strongroom.database)
            await check_cell(strongroom.database, config.cell)
            background: list[asyncio.Task[None]] = [
                asyncio.create_task(follow_key_changes(strongroom.database, strongroom.keyring))
            ]
            if telemetry is not None:
                background.append(asyncio.create_task(telemetry.watch()))
            try:
                yield strongroom
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)

    @classmethod
    async def init(cls, config: StrongroomConfig) -> list[Migration]:
        """Prepare keyring and database, or bring them up to date; doing it again changes nothing.

        Returns:
            The migrations that were run.
        """
        async with assembled(config) as strongroom:
            steps = await apply_schema(strongroom.database)
            await claim_cell(strongroom.database, config.cell)
            await _create_keyrings(strongroom, await PostgresDataKeyStore(strongroom.database).providers_in_use())
            if config.cell_kek is not None:
                kek = KekRef.parse(config.cell_kek)
            else:
                kek = await strongroom.create_kek(KekRef(next(iter(config.kms)), CELL_KEK))
            await strongroom.namespaces.ensure_cell_keys(kek)
            return steps

    def needed_audit(self, why: str = "there is no audit log") -> AuditLog:
        """Return the audit log.

        Args:
            why: it is needed: what the error begins with.

        Raises:
            ConfigError: there is none.
        """
        if self.audit is None:
            msg = f"{why}; {ADD_AUDIT}"
            raise ConfigError(msg)
        return self.audit

    def session(self, principal: str, *, credential: str = "service", source: str | None = None) -> Session:
        """Return the stores as a caller may use them: each call is authorised and audited.

        Args:
            principal: who calls. The service vouches for it; `authenticated` is for callers that bring a key or a certificate.
            credential: how it is known, for the audit log.
            source: from where it calls, for the audit log.

        Raises:
            ConfigError: there is no audit log.
        """
        log = self.needed_audit("sessions need an audit log")
        return Session(self, log, principal=principal, credential=credential, source=source)

    async def authenticated(
        self, *, api_key: str | None = None, certificate: str | None = None, source: str | None = None
    ) -> Session:
        """Return a session for a caller that brings an API key or a certificate; one that nobody has is told to the audit log.

        Args:
            api_key: that the caller brought.
            certificate: subject of a certificate that was verified already, as RFC 4514 writes it.
            source: from where it calls, for the audit log.

        Raises:
            NotAuthenticated: nobody has it, or it has expired or was revoked.
            ConfigError: there is no audit log.
        """
        policy = await self.access.policy()
        try:
            if api_key is not None:
                principal, key_id = by_api_key(policy, api_key)
                return self.session(principal, credential=f"api-key:{key_id}", source=source)
            return self.session(by_certificate(policy, certificate or ""), credential="certificate", source=source)
        except NotAuthenticated:
            if self.audit is not None:
                said = {"credential": "certificate" if api_key is None else "api-key", "reason": "not authenticated"}
                await self.audit.record(
                    {"event": DENIED, "at": now(), **said, **({} if source is None else {"source": source})}
                )
            raise

    def index_rotation(self, *, wait: float | None = None) -> IndexRotation:
        """Return what rotates index keys.

        Args:
            wait: seconds after which every process has read the registry again; None for what the configuration says.
        """
        return IndexRotation(
            self._records(),
            self.keyring,
            index=self.search_index,
            tell=self.indexer.sweep if self.indexer is not None else None,
            wait=self.config.cache.encrypt_ttl + MARGIN if wait is None else wait,
        )

    def shredding(self) -> Shredding:
        """Return what shreds namespaces, with a time to take it back, and certifies it."""
        return Shredding(
            ShreddingStore(self.database, self.keyring),
            self.keyring,
            index=self.search_index,
            eviction_seconds=ceil(self.config.cache.encrypt_ttl + MARGIN),
        )

    def reseal(self, *, wait: float | None = None) -> Reseal:
        """Return what seals old rows anew, and knows when a data key is in use no more.

        Args:
            wait: as for `index_rotation`.
        """
        return Reseal(
            self.by_key,
            self.keyring,
            copies=self._copies(),
            wait=self.config.cache.encrypt_ttl + MARGIN if wait is None else wait,
            distributed=self.config.cell.distributed,
        )

    def _copies(self) -> IndexCopies | None:
        if self.search_index is None or self.indexer is None:
            return None
        from strongroom.visibility.backends.elasticsearch import ElasticsearchAudit  # noqa: PLC0415 - only where it is installed

        audit = ElasticsearchAudit(self.search_index)
        return IndexCopies(audit, VisibilityTruth(self.database), self.indexer.sweep)

    def token_audit(self) -> TokenAudit:
        """Return what holds the tokens of records against what is sealed of them."""
        audit = TokenAudit(self._records(), self.keyring)
        return audit if self.telemetry is None else self.telemetry.token_audit(audit)

    def reconciler(self) -> Reconciler:
        """Return what holds the search index against the records.

        Raises:
            ConfigError: there is no search index.
        """
        if self.search_index is None or self.indexer is None:
            msg = "no search index is configured"
            raise ConfigError(msg)
        from strongroom.visibility.backends.elasticsearch import ElasticsearchAudit  # noqa: PLC0415 - only where it is installed

        reconciler = Reconciler(VisibilityTruth(self.database), ElasticsearchAudit(self.search_index), self.indexer)
        return reconciler if self.telemetry is None else self.telemetry.reconciler(reconciler)

    def _records(self) -> VisibilityEpochs:
        return VisibilityEpochs(self.database, outbox=self.search_index is not None)

    async def create_kek(self, kek: KekRef) -> KekRef:
        """Make a KEK; an existing one is left as it is.

        Returns:
            What it is called by: a KMS that gives ids itself takes the id for a name.

        Raises:
            KmsError: no such provider, or it can't or may not make keys, or makes them in another region than the cell's.
            KeyringFileError: a local keyring can't be written.
        """
        return await self.keyring.provider_of(kek).create_kek(kek.key_id)


def shard_of(keys: NamespaceKeys, workflow_id: str, shard_count: int) -> int:
    """Return the shard of a workflow, from 1: keyed, so that a shard tells nothing of the id."""
    return int.from_bytes(keys.identity("shard").token(workflow_id.encode())[:8], "big") % shard_count + 1


@asynccontextmanager
async def assembled(
    config: StrongroomConfig, *, audit: KeyEventSink | None = None, telemetry: Telemetry | None = None
) -> AsyncIterator[Strongroom]:
    """Put a cell together without checking anything, and take it apart at the end."""
    distributed = config.cell.distributed
    transport = config.database_transport()
    database = Database(config.dsn, size=config.connections, **transport)
    # For the stores' hot paths, which look rows up by key and nothing else.
    by_key = Database(
        config.dsn,
        size=config.connections,
        lock_timeout=LOCK_TIMEOUT,
        by_key=True,
        distributed=distributed,
        **transport,
    )
    # Keys are read while transactions hold all other connections; waiting for one of those would be waiting for oneself.
    registry = Database(config.dsn, size=1, **transport)
    log = None if config.audit_folder is None else _audit_log(config.audit_folder, database, lambda: keyring)
    if audit is None:
        audit = NO_KEY_EVENTS if log is None else KeyRecords(log, CALLER.get)
    if telemetry is not None:
        telemetry.watch_pools({"transactions": database, "by_key": by_key, "registry": registry})
        audit = telemetry.audit(audit, config.kms)
    providers = make_providers(config.kms, key_events=audit)
    keyring = Keyring(
        cell_id=config.cell.cell_id,
        providers=providers,
        store=PostgresDataKeyStore(registry),
        region=config.cell.region,
        kek_regions=config.kek_regions,
        policy=config.cache,
        key_events=audit,
        watch=telemetry,
    )
    index_layout = str(new_layout("compatible"))
    search_index, outbox = _search_index(config), VisibilityOutbox(database)
    bell = OutboxBell(database) if search_index is not None else None
    executions = ExecutionStore(by_key, keyring, distributed=distributed, bell=bell)
    history = HistoryManager(by_key, keyring, distributed=distributed)
    tasks = TaskStore(by_key, keyring, distributed=distributed)
    fair_tasks = TaskStore(by_key, keyring, fair=True, distributed=distributed)
    try:
        async with AsyncExitStack() as stack:
            if log is not None:
                await stack.enter_async_context(opened(log))
            strongroom = Strongroom(
                config=config,
                database=database,
                by_key=by_key,
                keyring=keyring,
                shards=ShardStore(by_key, keyring),
                executions=executions,
                history=history,
                history_tasks=HistoryTaskStore(by_key, keyring, distributed=distributed),
                tasks=tasks,
                fair_tasks=fair_tasks,
                task_queue_user_data=TaskQueueUserDataStore(by_key, keyring),
                namespaces=NamespaceStore(database, keyring, index_layout=index_layout),
                metadata=MetadataStore(database, keyring, index_layout=index_layout),
                cluster_metadata=ClusterMetadataStore(database, keyring),
                namespace_replication_queue=Queue(database, keyring),
                queues=QueueV2(database, keyring),
                nexus_endpoints=NexusEndpointStore(database, keyring),
                visibility=VisibilityManager(database, keyring, index=search_index, bell=bell),
                outbox=outbox,
                search_index=search_index,
                indexer=Indexer(outbox, search_index) if search_index is not None else None,
                access=AccessControl(AccessPolicyStore(database, keyring), log=log),
                audit=log,
                audit_checkpoints=AuditCheckpointStore(database),
            )
            if telemetry is not None:
                strongroom = telemetry.opened_cell(strongroom)
            yield strongroom
    finally:
        if telemetry is not None:
            telemetry.closed_cell()
        for store in (executions, history, tasks, fair_tasks):
            await store.aclose()
        if bell is not None:
            await bell.aclose()
        if search_index is not None:
            await search_index.aclose()
        # A count of rows sealed is no reason to fail, nor to wait for a server that fell silent.
        with suppress(StrongroomError, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await keyring.aclose()
        for provider in providers.values():
            await provider.aclose()
        await registry.aclose()
        await by_key.aclose()
        await database.aclose()


def _audit_log(folder: Path, database: Database, keyring: Callable[[], Keyring]) -> AuditLog:
    """Return the audit log of this process: signed with the cell's key, its checkpoints kept in the database."""
    checkpoints = AuditCheckpointStore(database)

    async def key() -> SigningKey:
        return (await keyring().open(keyring().cell_id)).audit_key()

    async def witness(at: Checkpoint, signature: bytes) -> None:
        await checkpoints.put(AuditCheckpoint(at.stream_id, at.sequence, at.chain, signature, now()))

    return AuditLog(folder, sign=key, witness=witness)


def _search_index(config: StrongroomConfig) -> ElasticsearchIndex | None:
    cluster = config.elasticsearch
    if cluster is None:
        return None
    try:
        from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex  # noqa: PLC0415 - only where it is installed
    except ModuleNotFoundError:
        msg = "[elasticsearch] needs its client: pip install 'strongroom[elasticsearch]'"
        raise ConfigError(msg) from None
    return ElasticsearchIndex(
        cluster.url,
        name=cluster.index,
        timeout=cluster.timeout,
        api_key=cluster.api_key,
        tls=cluster.tls,
        insecure=cluster.insecure,
    )


async def _create_keyrings(strongroom: Strongroom, in_use: set[str]) -> None:
    """Make the keyrings that nothing depends on yet; one that is in use and missing must come from a backup."""
    for provider_id, provider in strongroom.keyring.providers.items():
        inner = provider.inner if isinstance(provider, ResilientProvider) else provider
        if provider_id not in in_use and isinstance(inner, LocalProvider):
            await inner.create_keyring()
        await provider.check()
