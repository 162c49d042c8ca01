"""Sessions. A session gives one caller access to the stores, and authorises and records each call before it runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from strongroom.driver.proxy import chained, proxied
from strongroom.driver.stores import OPERATIONS, STORES

from .authoriser import Authoriser
from .authorization import decide
from .errors import PermissionDenied, no_role
from .interceptor import AccessInterceptor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from uuid import UUID

    from strongroom.driver.audit import AuditLog
    from strongroom.driver.proxy import Interceptor
    from strongroom.kms import Keyring
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
    from strongroom.visibility import VisibilityManager

    from .authorization import Decide
    from .control import AccessControl


class Session:
    """The stores of a cell for one caller. Each store has only the operations that the table (`driver/stores.py`) lists for it.

    `Strongroom.session` returns a session.

    Args:
        stores: The cell's stores, by their names in the table.
        access: The cell's access policy.
        keyring: The cell's keys.
        log: The audit log.
        principal: The principal's name.
        credential: The way in which the principal authenticated, for the audit log: `service`, `certificate` or `api-key:ID`.
        source: The origin of the call, for the audit log; for example an address.
        decide: The function that decides whether an operation is allowed.
        outermost: Interceptors that run around authorisation and audit.
    """

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

    def __init__(
        self,
        stores: Mapping[str, Any],
        access: AccessControl,
        keyring: Keyring,
        log: AuditLog,
        *,
        principal: str,
        credential: str = "service",
        source: str | None = None,
        decide: Decide = decide,
        outermost: Sequence[Interceptor] = (),
    ) -> None:
        self.principal = principal
        self._policy, self._decide = access, decide
        caller = {"principal": principal, "credential": credential} | ({} if source is None else {"source": source})
        authoriser = Authoriser(access, keyring, stores["namespaces"].find, log, caller=caller, decide=decide)
        self._access = AccessInterceptor(authoriser, access, log, principal=principal, decide=decide)
        # Telemetry is the outermost interceptor, so that it includes the time of authorisation and audit, and counts refusals.
        chain = chained((*outermost, self._access))
        for entry in STORES:
            setattr(self, entry.name, proxied(entry, stores[entry.name], chain))

    @asynccontextmanager
    async def performing(
        self, operation: str, /, *, namespace_id: UUID | None = None, **arguments: object
    ) -> AsyncIterator[None]:
        """Authorise and record the `async with` block as an operation that is not a call of a store.

        Args:
            operation: The name of the operation in the table (`driver/stores.py`).
            namespace_id: The namespace of the operation; the argument `name` can give its name instead.
            arguments: The arguments for the audit log, which stores hashes of those that the table lists.

        Raises:
            PermissionDenied: The caller may not do this.
            NamespaceNotFound: There is no such namespace, or the caller has no role in it.
            AuditUnavailable: The audit log can't be written, so the block did not run.
        """
        entry = OPERATIONS[operation]
        named = arguments if namespace_id is None else {"namespace_id": namespace_id, **arguments}
        running = await self._access.begin(entry, named)
        try:
            yield
        except BaseException as error:
            self._access.end(entry, running, error)
            raise
        self._access.end(entry, running)

    async def permits(self, operation: str, /) -> None:
        """Authorise an operation on the cell, without a record. `audit verify` uses it, because it must not change what it verifies.

        Args:
            operation: The name of the operation in the table (`driver/stores.py`).

        Raises:
            PermissionDenied: The caller may not do this.
        """
        policy = await self._policy.policy()
        if not self._decide(policy, self.principal, OPERATIONS[operation], (), now=self._policy.now()).allowed:
            raise PermissionDenied(no_role(self.principal, operation))
