"""Authorise the calls of one principal, and encode the audit record that they share.

Most calls repeat an earlier one: the same operation and namespace, under the same policy and keys. For those calls, the
decision is cached, and so is the encoded record, except the request's id and the arguments. `Authoriser.repeated` awaits nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from strongroom.driver.audit.encoding import members, timestamp
from strongroom.kms import KeyClass, StrongroomError
from strongroom.storage import InvalidPersistenceRequest, NamespaceNotFound

from .argument_hashes import ArgumentHashes, hashes_of
from .arguments import identifying
from .authorization import Decision
from .errors import PermissionDenied, no_role
from .grants import missing_approval

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from strongroom.driver.audit import AuditLog
    from strongroom.driver.operations import Operation
    from strongroom.kms import Keyring, NamespaceKeys

    from .authorization import Decide
    from .control import AccessControl
    from .policy import Policy


@dataclass(slots=True, eq=False)
class AllowedCall:
    """A call that is allowed.

    Attributes:
        policy: The policy that allowed it.
        caller: The caller's fields, for records that the call causes.
        fields: The fields of the call's audit records, as members of a JSON object.
        needs_audit: Whether the call's record must be on disk before the call has an effect.
    """

    policy: Policy
    caller: Mapping[str, object]
    fields: bytes
    needs_audit: bool


@dataclass(slots=True, eq=False)
class _Allowance:
    """A decision that holds for an operation in one namespace, or in the cell, until the policy changes.

    Attributes:
        version: The version of the policy.
        fields: The fields that the records of all such calls share.
        needs_audit: See `AllowedCall`.
    """

    version: int
    fields: bytes
    needs_audit: bool


@dataclass(slots=True, eq=False)
class _Remembered:
    """The cached decisions and encodings of a namespace, or of the cell. They are dropped together with its keys.

    Attributes:
        hashes: The hashes of arguments.
        allowances: The decisions, by the name of the operation.
    """

    hashes: ArgumentHashes
    allowances: dict[str, _Allowance]


class Authoriser:
    """Authorises the calls of one principal.

    Args:
        access: The cell's access policy.
        keyring: The cell's keys.
        find_namespace: Returns the id of a namespace by its name; see `NamespaceStore.find`.
        log: The audit log, which records refusals.
        caller: The caller's fields of an audit record; `principal` is one of them.
        decide: Decides whether an operation is allowed.
    """

    def __init__(
        self,
        access: AccessControl,
        keyring: Keyring,
        find_namespace: Callable[..., Awaitable[UUID]],
        log: AuditLog,
        *,
        caller: Mapping[str, str],
        decide: Decide,
    ) -> None:
        self._principal = caller["principal"]
        self._access, self._keyring, self._find_namespace = access, keyring, find_namespace
        self._log, self._decide = log, decide
        self._caller, self._caller_fields = caller, members(caller)
        self._request_prefix, self._calls = secrets.token_hex(8), 0
        self._remembered: WeakKeyDictionary[NamespaceKeys, _Remembered] = WeakKeyDictionary()

    def repeated(self, operation: Operation, arguments: Mapping[str, Any]) -> AllowedCall | None:
        """Return the call if one like it was allowed under the same policy and keys, else None."""
        policy = self._access.kept()
        namespaces, values = identifying(arguments)
        owner = self._keyring.cell_id
        if operation.scope == "namespace":
            if len(namespaces) != 1:
                return None
            owner = namespaces[0]
        keys = self._keyring.kept(owner)
        if policy is None or keys is None:
            return None
        remembered = self._remembered.get(keys)
        allowance = None if remembered is None else remembered.allowances.get(operation.name)
        if remembered is None or allowance is None or allowance.version != policy.version:
            return None
        request_id = self._next_request_id()
        fields = _call_fields(request_id, allowance.fields, remembered.hashes.members(values, operation.recorded))
        return AllowedCall(policy, {**self._caller, "request_id": request_id}, fields, allowance.needs_audit)

    async def authorised(self, operation: Operation, arguments: Mapping[str, Any]) -> AllowedCall:
        """Return the call if it is allowed; else record the refusal and raise.

        Args:
            operation: The operation.
            arguments: All arguments of the call, by name.

        Raises:
            PermissionDenied: The caller may not do this.
            NamespaceNotFound: There is no such namespace, or the caller has no role in it.
            AuditUnavailable: The refusal could not be recorded.
        """
        policy = await self._access.policy()
        named, values = identifying(arguments)
        namespaces, is_missing = await self._namespaces(operation, named, arguments)
        needs_audit = not namespaces or not policy.availability_first.issuperset(namespaces)
        request_id = self._next_request_id()
        shared = self._shared_fields(operation, namespaces)
        keys_and_hashes = await self._keys_and_hashes(namespaces)
        if keys_and_hashes is None:
            fields = _call_fields(request_id, shared, None)
        else:
            keys, hashes = keys_and_hashes
            shared += b',"data_key":%d' % keys.active_version(KeyClass.DATA)
            fields = _call_fields(request_id, shared, hashes.members(values, operation.recorded))
        if is_missing:
            # A missing namespace is treated like a hidden one: same work, same record except its id, same answer.
            decision = Decision(allowed=False, hidden=True, reason="no role")
        else:
            decision = self._decide(policy, self._principal, operation, namespaces, now=self._access.now())
        if not decision.allowed:
            await self._refuse(policy, operation, namespaces, fields, decision)
        if decision.grant:  # A grant expires, so its decision is not cached.
            fields += b"," + members({"grant": decision.grant})
        elif keys_and_hashes is not None and len(namespaces) < 2:  # noqa: PLR2004 - see `repeated`
            keys, hashes = keys_and_hashes
            remembered = self._remembered.setdefault(keys, _Remembered(hashes, {}))
            remembered.allowances[operation.name] = _Allowance(policy.version, shared, needs_audit)
        return AllowedCall(policy, {**self._caller, "request_id": request_id}, fields, needs_audit)

    async def _refuse(
        self, policy: Policy, operation: Operation, namespaces: Sequence[UUID], fields: bytes, decision: Decision
    ) -> None:
        reason = members({"reason": decision.reason})
        await self._log.record(b'"event":"denied","at":"%b",%b,%b' % (timestamp(), fields, reason))
        if decision.hidden:
            raise NamespaceNotFound
        if decision.needs_grant:
            msg = missing_approval(policy, self._principal, operation.name, namespaces, now=self._access.now())
            raise PermissionDenied(msg)
        raise PermissionDenied(no_role(self._principal, operation.name))

    async def _namespaces(
        self, operation: Operation, named: tuple[UUID, ...], arguments: Mapping[str, Any]
    ) -> tuple[tuple[UUID, ...], bool]:
        """Return the namespaces that an operation is about, and whether it names one that does not exist."""
        if operation.scope != "namespace":
            return (), False
        if not named and arguments.get("name") is not None:
            try:
                unavailable = bool(arguments.get("unavailable"))
                return (await self._find_namespace(arguments["name"], unavailable=unavailable),), False
            except (NamespaceNotFound, InvalidPersistenceRequest):  # The latter: no namespace can have this name.
                return (), True
        return named, not named

    def _next_request_id(self) -> str:
        self._calls += 1
        return f"{self._request_prefix}{self._calls:08x}"

    def _shared_fields(self, operation: Operation, namespaces: Sequence[UUID]) -> bytes:
        fields: dict[str, object] = {"operation": operation.name}
        if len(namespaces) == 1:
            fields["namespace_id"] = namespaces[0]
        elif namespaces:
            fields["namespace_ids"] = list(namespaces)
        return self._caller_fields + b"," + members(fields)

    async def _keys_and_hashes(self, namespaces: Sequence[UUID]) -> tuple[NamespaceKeys, ArgumentHashes] | None:
        """Return the keys under which a call's arguments are hashed, and the hashes.

        They are the namespace's own keys, so that nobody can link a hash to a workflow after the namespace is shredded.

        Returns:
            None if there is no such namespace or its keys are unavailable. The record then has no arguments.
        """
        try:
            keys = await self._keyring.open(namespaces[0] if len(namespaces) == 1 else self._keyring.cell_id)
            keys.active_version(KeyClass.DATA)
            return keys, hashes_of(keys)
        except StrongroomError:
            return None


def _call_fields(request_id: str, shared: bytes, arguments: bytes | None) -> bytes:
    """Return the fields of a call's audit record; without arguments if there is no key to hash them under."""
    fields = b'"request_id":"%b",%b' % (request_id.encode(), shared)
    return fields if arguments is None else b'%b,"arguments":{%b}' % (fields, arguments)
