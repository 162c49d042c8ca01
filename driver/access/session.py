"""What a service holds for a caller: every call is authorised, then told to the audit log, and only then done.

A call goes: `Guard` (finds its line in the catalogue) → `Session.call` (namespaces and arguments) → `authorization.decide` →
the audit log → the store. What is not in the catalogue is no attribute of a session.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.audit.encoding import timestamp
from strongroom.driver.telemetry.stores import unwatched, watched_guard

from . import changes
from .authorising import Authoriser
from .authorization import decide
from .caller import CALLER
from .catalogue import OPERATIONS, STORES
from .guard import Guard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from uuid import UUID

    from strongroom.driver.audit import AuditLog, Batch
    from strongroom.driver.strongroom import Strongroom
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

    from .authorising import Call
    from .authorization import Decide
    from .catalogue import Operation

_MAKERS = {"namespaces.create", "metadata.create_namespace"}
_WITH_BARRIER = frozenset(
    {
        "executions.create_workflow_execution",
        "executions.update_workflow_execution",
        "executions.conflict_resolve_workflow_execution",
        "executions.set_workflow_execution",
        "history.append_history_nodes",
        "tasks.create_tasks",
    }
)
"""Operations whose statement waits for the audit record (`strongroom.storage.Barrier`), once for all calls that share it."""
_LIST_ALL, _GET = OPERATIONS["metadata.list_namespaces"], OPERATIONS["namespaces.get"]


class Session:
    """The stores of a cell as one caller may use them; each has the methods of the store of its name.

    Args:
        cell: that is open.
        log: the audit log.
        principal: who calls.
        credential: how that is known, for the audit log: `service`, `certificate` or `api-key:ID`.
        source: from where, as the service knows it: an address, say.
        decide: whether something is allowed.
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
        cell: Strongroom,
        log: AuditLog,
        *,
        principal: str,
        credential: str = "service",
        source: str | None = None,
        decide: Decide = decide,
    ) -> None:
        self.principal = principal
        self._cell, self._log, self._decide = cell, log, decide
        said = {"principal": principal, "credential": credential} | ({} if source is None else {"source": source})
        self._authoriser = Authoriser(cell, log, principal=principal, said=said, decide=decide)
        for store in (*STORES, "fair_tasks"):
            inner, telemetry = getattr(cell, store), cell.telemetry
            if telemetry is None:
                guard = Guard(self, store, inner)
            else:
                guard = watched_guard(Guard(self, store, unwatched(inner)), store, telemetry)
            setattr(self, store, guard)

    @asynccontextmanager
    async def performing(
        self, operation: str, /, *, namespace_id: UUID | None = None, **arguments: object
    ) -> AsyncIterator[Strongroom]:
        """Authorise and audit something that is no call of a store; the block does it, with the cell itself.

        Args:
            operation: its name in the catalogue.
            namespace_id: that it is about; those that are about one need this, or its `name`.
            arguments: told to the audit log, hashed.

        Raises:
            PermissionDenied, NamespaceNotFound, AuditUnavailable: as `call`.
        """
        line = OPERATIONS[operation]
        given = arguments if namespace_id is None else {"namespace_id": namespace_id, **arguments}
        call = await self._authoriser.authorised(line, given)
        batch = await self._begun(line, call)
        if batch is not None:
            await batch.wait()
        began = time.perf_counter()
        token = CALLER.set(call.who)
        try:
            yield self._cell
        except BaseException as error:
            self._ended(call, began, error)
            raise
        finally:
            CALLER.reset(token)
        if not line.reads:
            self._ended(call, began)

    async def call(
        self,
        operation: Operation,
        method: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: dict[str, Any],
    ) -> Any:
        """Authorise a call of a store, have it told to the audit log, and do it.

        Args:
            operation: what it is in the catalogue.
            method: of the store.
            args: of the call.
            kwargs: of the call.
            given: all arguments by name.

        Raises:
            PermissionDenied: the caller may not do this.
            NamespaceNotFound: there is no such namespace, or the caller has no role in it: nobody learns which.
            AuditUnavailable: the audit log can't be written, so nothing was done.
        """
        call = self._authoriser.at_once(operation, given) or await self._authoriser.authorised(operation, given)
        batch = await self._begun(operation, call)
        # A statement that waits keeps others waiting: not where the log is known to fail.
        barrier = batch if operation.name in _WITH_BARRIER and self._log.is_healthy else None
        if operation.name in _WITH_BARRIER:
            kwargs = {**kwargs, "barrier": barrier}  # replaces one that the caller gave
        if batch is not None and barrier is None and not operation.reads:
            await batch.wait()
        began = time.perf_counter()
        token = CALLER.set(call.who)
        try:
            answer = await method(*args, **kwargs)
            if operation.name in _MAKERS:
                await self._own(given.get("namespace_id") or answer.namespace_id)
        except BaseException as error:
            self._ended(call, began, error)
            if batch is not None and not batch.passed and isinstance(error, Exception):
                await batch.wait()  # an error is an answer too
            raise
        finally:
            CALLER.reset(token)
        if not operation.reads:
            self._ended(call, began)
        if batch is not None and not batch.passed:  # it was written meanwhile, or nothing was sent
            await batch.wait()
        return self._filtered(answer, call) if operation.scope == "filtered" else answer

    async def _own(self, namespace_id: UUID) -> None:
        """Give the maker of a namespace the role `admin` in it."""
        await self._cell.access.change(
            lambda policy: changes.made_namespace(policy, self.principal, namespace_id, now=changes.utc_now())
        )

    def _filtered(self, answer: Sequence[Any], call: Call) -> list[Any]:
        """Return what the caller may see of a list of namespaces."""
        at = changes.utc_now()
        if self._decide(call.policy, self.principal, _LIST_ALL, (), now=at).allowed:
            return list(answer)
        return [
            each
            for each in answer
            if self._decide(call.policy, self.principal, _GET, (each.namespace_id,), now=at).allowed
        ]

    async def _begun(self, operation: Operation, call: Call) -> Batch | None:
        """Have the first record of a call written; None for one that goes on without, as its namespace puts availability first."""
        event = _first(operation, call)
        if call.must_be_told:
            return self._log.begin(event)
        with suppress(AuditUnavailable):
            if self._log.is_healthy:
                await self._log.record(event)
            else:
                self._log.note(event)
        return None

    def _ended(self, call: Call, began: float, error: BaseException | None = None) -> None:
        """Tell how a call ended: its first record is on disk, or nothing was done."""
        seconds = time.perf_counter() - began
        how = b'"done"' if error is None else b'"failed","error":"%b"' % type(error).__name__.encode()
        with suppress(AuditUnavailable):
            self._log.note(
                b'"event":"outcome","at":"%b",%b,"outcome":%b,"seconds":%.6f' % (timestamp(), call.said, how, seconds)
            )


def _first(operation: Operation, call: Call) -> bytes:
    kind = b"read" if operation.reads else b"intent"
    return b'"event":"%b","at":"%b",%b' % (kind, timestamp(), call.said)
