"""Authorise and record each call of a session before it runs, and record its outcome."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.audit.encoding import timestamp
from strongroom.driver.stores import OPERATIONS
from strongroom.kms import StrongroomError

from . import changes
from .caller import CALLER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Token
    from uuid import UUID

    from strongroom.driver.audit import AuditLog, PendingRecords
    from strongroom.driver.operations import Operation
    from strongroom.driver.proxy import Invocation

    from .authoriser import AllowedCall, Authoriser
    from .authorization import Decide
    from .control import AccessControl

_LIST_ALL, _GET = OPERATIONS["metadata.list_namespaces"], OPERATIONS["namespaces.get"]


@dataclass(slots=True, eq=False)
class Running:
    """A call that is allowed and runs.

    Attributes:
        call: The call.
        pending: The call's first record on its way to disk; None if the call does not wait for it.
        began: When the call began to act, in monotonic seconds.
        token: Resets `CALLER`.
    """

    call: AllowedCall
    pending: PendingRecords | None
    began: float
    token: Token[Mapping[str, object]]


class AccessInterceptor:
    """Authorises and records the calls of one principal.

    A write's record is on disk before the write acts: the interceptor waits for it, or passes it to the store as a barrier.
    A read's record is written while the read runs, and is on disk before the caller gets the answer.

    Args:
        authoriser: Authorises the principal's calls.
        access: The cell's access policy.
        log: The audit log.
        principal: The principal's name.
        decide: Decides which namespaces of a list the principal may see.
    """

    def __init__(
        self, authoriser: Authoriser, access: AccessControl, log: AuditLog, *, principal: str, decide: Decide
    ) -> None:
        self._authoriser, self._access, self._log = authoriser, access, log
        self._principal, self._decide = principal, decide

    async def before(self, invocation: Invocation) -> Running:
        """Authorise a call and record it.

        Raises:
            PermissionDenied: The caller may not do this.
            NamespaceNotFound: There is no such namespace, or the caller has no role in it. The caller does not learn which.
            AuditUnavailable: The audit log can't be written, so nothing was done.
        """
        operation, arguments = invocation.operation, invocation.arguments()
        call = self._authoriser.repeated(operation, arguments)
        if call is None:
            call = await self._authoriser.authorised(operation, arguments)
        pending = await self._first_record(operation, call)
        # A statement that waits delays other callers, so it must not wait for a log that is known to fail.
        barrier = pending if operation.barrier and self._log.is_healthy else None
        if operation.barrier:
            invocation.kwargs["barrier"] = barrier  # Replaces a barrier that the caller passed.
        if pending is not None and barrier is None and not operation.reads:
            await pending.wait()
        return Running(call, pending, time.perf_counter(), CALLER.set(call.caller))

    async def begin(self, operation: Operation, arguments: Mapping[str, Any]) -> Running:
        """Authorise and record an operation that is not a call of a store. When this returns, the record is on disk.

        Raises:
            PermissionDenied, NamespaceNotFound, AuditUnavailable: As `before`.
        """
        call = await self._authoriser.authorised(operation, arguments)
        pending = await self._first_record(operation, call)
        if pending is not None:
            await pending.wait()
        return Running(call, pending, time.perf_counter(), CALLER.set(call.caller))

    async def after(self, state: Running, invocation: Invocation, answer: Any) -> Any:
        """Record the end of a write, and return the answer once the call's first record is on disk."""
        operation = invocation.operation
        try:
            if (
                operation.makes_namespace and state.call.policy.principals
            ):  # without a policy there are no roles to give
                await self._make_admin(invocation.arguments().get("namespace_id") or answer.namespace_id)
        except BaseException as error:
            _mark(operation, error)
            await self.error(state, invocation, error)
            raise
        self.end(operation, state)
        if state.pending is not None and not state.pending.passed:
            try:
                await state.pending.wait()
            except AuditUnavailable as error:
                _mark(operation, error)
                raise
        return self._visible(answer, state.call) if operation.scope == "filtered" else answer

    async def error(self, state: Running, invocation: Invocation, error: BaseException) -> None:
        """Record a failure; the caller gets the error once the call's first record is on disk."""
        self.end(invocation.operation, state, error)
        if state.pending is not None and not state.pending.passed and isinstance(error, Exception):
            await state.pending.wait()

    def end(self, operation: Operation, state: Running, error: BaseException | None = None) -> None:
        """Record the outcome of a call. A read that succeeded has no such record."""
        CALLER.reset(state.token)
        if operation.reads and error is None:
            return
        seconds = time.perf_counter() - state.began
        outcome = b'"done"' if error is None else b'"failed","error":"%b"' % type(error).__name__.encode()
        record = b'"event":"outcome","at":"%b",%b,"outcome":%b,"seconds":%.6f'
        with suppress(AuditUnavailable):  # The first record is on disk, or nothing was done.
            self._log.note(record % (timestamp(), state.call.fields, outcome, seconds))

    async def _first_record(self, operation: Operation, call: AllowedCall) -> PendingRecords | None:
        """Write a call's first record; return None if the call goes on without it, because its namespace puts availability first."""
        kind = b"read" if operation.reads else b"intent"
        record = b'"event":"%b","at":"%b",%b' % (kind, timestamp(), call.fields)
        if call.needs_audit:
            return self._log.begin(record)
        with suppress(AuditUnavailable):
            if self._log.is_healthy:
                await self._log.record(record)
            else:
                self._log.note(record)
        return None

    async def _make_admin(self, namespace_id: UUID) -> None:
        """Give the creator of a namespace the role `admin` in it."""
        await self._access.change(
            lambda policy: changes.made_namespace(policy, self._principal, namespace_id, now=self._access.now())
        )

    def _visible(self, namespaces: Sequence[Any], call: AllowedCall) -> list[Any]:
        """Return the namespaces that the caller may see."""
        now = self._access.now()
        if self._decide(call.policy, self._principal, _LIST_ALL, (), now=now).allowed:
            return list(namespaces)
        return [
            namespace
            for namespace in namespaces
            if self._decide(call.policy, self._principal, _GET, (namespace.namespace_id,), now=now).allowed
        ]


def _mark(operation: Operation, error: BaseException) -> None:
    """Mark an error that follows a write that succeeded."""
    if isinstance(error, StrongroomError) and not operation.reads:
        error.may_have_been_committed = True
