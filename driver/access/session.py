"""What a service holds for a caller: every call is authorised, then told to the audit log, and only then done.

A call goes: `_Guard` (finds its line in the catalogue) → `Session.call` (namespaces and arguments) → `authorization.decide` →
the audit log → the store. What is not in the catalogue is no attribute of a session.
"""

from __future__ import annotations

import inspect
import secrets
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.audit.events import DENIED, INTENT, OUTCOME, now
from strongroom.driver.telemetry_stores import unwatched, watched_guard
from strongroom.kms import KeyClass, StrongroomError
from strongroom.storage import InvalidPersistenceRequest, NamespaceNotFound

from . import changes
from .arguments import hashed, identifying, namespaces_of
from .authorization import Decision, decide
from .caller import CALLER
from .catalogue import OPERATIONS, STORES
from .errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from strongroom.driver.audit import AuditLog, Event
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

    from .authorization import Decide
    from .catalogue import Operation
    from .policy import Policy

_MAKERS = {"namespaces.create", "metadata.create_namespace"}
_REMEMBERED = 4096
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
        self._request_prefix, self._calls = secrets.token_hex(8), 0
        self._allowed: dict[tuple[str, tuple[UUID, ...]], int] = {}
        self._said: dict[str, object] = {"principal": principal, "credential": credential}
        if source is not None:
            self._said["source"] = source
        for store in (*STORES, "fair_tasks"):
            inner, telemetry = getattr(cell, store), cell.telemetry
            if telemetry is None:
                guard = _Guard(self, store, inner)
            else:
                guard = watched_guard(_Guard(self, store, unwatched(inner)), store, telemetry)
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
        call = await self._authorised(line, given)
        if not line.reads:
            await self._record({"event": INTENT, "at": now(), **call.said}, call)
        began = time.perf_counter()
        token = CALLER.set(call.said)
        try:
            yield self._cell
        except BaseException as error:
            self._failed(call, began, error)
            raise
        finally:
            CALLER.reset(token)
        await self._done(line, call, began)

    async def call(
        self, operation: Operation, method: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Authorise a call of a store, have it told to the audit log, and do it.

        Raises:
            PermissionDenied: the caller may not do this.
            NamespaceNotFound: there is no such namespace, or the caller has no role in it: nobody learns which.
            AuditUnavailable: the audit log can't be written, so nothing was done.
        """
        given = dict(zip(_parameters(method.__func__), args, strict=False)) | kwargs  # type: ignore[attr-defined]
        call = await self._authorised(operation, given)
        if not operation.reads:
            await self._record({"event": INTENT, "at": now(), **call.said}, call)
        began = time.perf_counter()
        token = CALLER.set(call.said)
        try:
            answer = await method(*args, **kwargs)
            if operation.name in _MAKERS:
                await self._own(given.get("namespace_id") or answer.namespace_id)
        except BaseException as error:
            self._failed(call, began, error)
            raise
        finally:
            CALLER.reset(token)
        await self._done(operation, call, began)
        return self._filtered(answer, call) if operation.scope == "filtered" else answer

    async def _own(self, namespace_id: UUID) -> None:
        """Give the maker of a namespace the role `admin` in it."""
        await self._cell.access.change(
            lambda policy: changes.made_namespace(policy, self.principal, namespace_id, now=changes.utc_now())
        )

    def _filtered(self, answer: Sequence[Any], call: _Call) -> list[Any]:
        """Return what the caller may see of a list of namespaces."""
        at = changes.utc_now()
        if self._decide(call.policy, self.principal, _LIST_ALL, (), now=at).allowed:
            return list(answer)
        return [
            each
            for each in answer
            if self._decide(call.policy, self.principal, _GET, (each.namespace_id,), now=at).allowed
        ]

    async def _authorised(self, operation: Operation, given: Mapping[str, Any]) -> _Call:
        policy = await self._cell.access.policy()
        namespaces, missing = await self._namespaces(operation, given)
        said = await self._described(operation, namespaces, given)
        if self._allowed.get((operation.name, namespaces)) == policy.version and not missing:
            return _Call(policy, said, self._must_be_told(policy, namespaces))
        if not missing:
            decision = self._decide(policy, self.principal, operation, namespaces, now=changes.utc_now())
            if decision.allowed:
                if decision.grant:
                    said["grant"] = decision.grant  # which ends by the clock, so it is looked at each time
                else:
                    self._remember(operation, namespaces, policy.version)
                return _Call(policy, said, self._must_be_told(policy, namespaces))
        else:
            # As for one that is there and hidden: the same work, the same record but for its id, the same answer.
            decision = Decision(allowed=False, hidden=True, reason="no role")
        await self._log.record({"event": DENIED, "at": now(), **said, "reason": decision.reason})
        if decision.hidden:
            raise NamespaceNotFound
        if decision.needs_grant:
            msg = f"this needs two people: strongroom access request --operation {operation.name}"
            raise PermissionDenied(msg)
        raise PermissionDenied

    def _remember(self, operation: Operation, namespaces: tuple[UUID, ...], version: int) -> None:
        """Remember what a policy allows for good: it is the same until there is another policy."""
        if len(self._allowed) >= _REMEMBERED:
            self._allowed.clear()
        self._allowed[operation.name, namespaces] = version

    @staticmethod
    def _must_be_told(policy: Policy, namespaces: tuple[UUID, ...]) -> bool:
        return not namespaces or not policy.availability_first.issuperset(namespaces)

    async def _namespaces(self, operation: Operation, given: Mapping[str, Any]) -> tuple[tuple[UUID, ...], bool]:
        """Return what an operation is about, and whether it names a namespace that is not there."""
        if operation.scope != "namespace":
            return (), False
        found = namespaces_of(given)
        if not found and given.get("name") is not None:
            try:
                return (await self._cell.namespaces.find(given["name"]),), False
            except (NamespaceNotFound, InvalidPersistenceRequest):  # a name that no namespace can have
                return (), True
        return found, not found

    async def _described(
        self, operation: Operation, namespaces: Sequence[UUID], given: Mapping[str, Any]
    ) -> dict[str, object]:
        """Return what the audit log is told of a call: nothing that a tenant wrote, but keyed hashes of it."""
        self._calls += 1
        said = {"request_id": f"{self._request_prefix}{self._calls:08x}", **self._said, "operation": operation.name}
        if len(namespaces) == 1:
            said["namespace_id"] = owner = namespaces[0]
        else:
            if namespaces:
                said["namespace_ids"] = list(namespaces)
            owner = self._cell.keyring.cell_id
        try:
            # A namespace's own key, so that shredding it leaves hashes that nobody can link to anything.
            keys = await self._cell.keyring.open(owner)
            said["arguments"] = hashed(identifying(given), keys.identity("audit").token)
            said["data_key"] = keys.active_version(KeyClass.DATA)
        except StrongroomError:
            pass  # a call about nothing that is there, or whose keys are out of reach: it is told without
        return said

    def _failed(self, call: _Call, began: float, error: BaseException) -> None:
        """Tell how a call failed: its intent is on disk, or nothing was shown."""
        ended = self._outcome(call, began) | {"outcome": "failed", "error": type(error).__name__}
        with suppress(AuditUnavailable):
            self._log.note(ended)

    async def _done(self, operation: Operation, call: _Call, began: float) -> None:
        """Tell that a call was done; of one that only reads before the answer is handed out."""
        ended = self._outcome(call, began)
        if operation.reads:
            await self._record(ended, call)
        else:
            with suppress(AuditUnavailable):  # its intent is on disk
                self._log.note(ended)

    def _outcome(self, call: _Call, began: float) -> dict[str, object]:
        seconds = round(time.perf_counter() - began, 6)
        return {"event": OUTCOME, "at": now(), **call.said, "outcome": "done", "seconds": seconds}

    async def _record(self, event: Event, call: _Call) -> None:
        """Have a record on disk; of a namespace that puts availability first, only if that can be had at once."""
        if not call.must_be_told and not self._log.is_healthy:
            with suppress(AuditUnavailable):
                self._log.note(event)
            return
        try:
            await self._log.record(event)
        except AuditUnavailable:
            if call.must_be_told:
                raise


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that is allowed.

    Attributes:
        policy: that allowed it.
        said: what the audit log is told of it.
        must_be_told: whether nothing may come of it that is not on disk there.
    """

    policy: Policy
    said: dict[str, object]
    must_be_told: bool


class _Guard:
    """A store whose methods are authorised and audited; it has no others, and nothing else."""

    __slots__ = ("_methods",)

    def __init__(self, session: Session, name: str, store: object) -> None:
        line = "tasks" if name == "fair_tasks" else name

        def guarded(method: str) -> Callable[..., Awaitable[Any]]:
            operation = OPERATIONS[f"{line}.{method}"]  # KeyError: not in the catalogue
            inner = getattr(store, method)
            return lambda *args, **kwargs: session.call(operation, inner, args, kwargs)

        self._methods = guarded

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        try:
            return self._methods(method)
        except KeyError:
            msg = f"a session has no operation {method!r}; the catalogue of operations lists those that there are"
            raise AttributeError(msg) from None

    def __repr__(self) -> str:
        return "a store of a session"


@cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)[1:]
