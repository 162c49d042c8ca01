"""Authorise calls of one principal, and say what the audit log is told of them.

Most calls are as one a moment ago: the same operation, namespace, policy and keys. For those the decision stands, and all of the
record but the request's id and its arguments is encoded already; `Authoriser.at_once` awaits nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from strongroom.driver.audit.encoding import members, timestamp
from strongroom.kms import KeyClass, StrongroomError
from strongroom.storage import InvalidPersistenceRequest, NamespaceNotFound

from . import changes
from .argument_hashes import ArgumentHashes, hashes_of
from .arguments import about
from .authorization import Decision
from .errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.driver.audit import AuditLog
    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import NamespaceKeys

    from .authorization import Decide
    from .catalogue import Operation
    from .policy import Policy


@dataclass(slots=True, eq=False)
class Call:
    """A call that is allowed.

    Attributes:
        policy: that allowed it.
        who: whose it is, for records that are made beneath it.
        said: what the audit log is told of it, as members of a JSON object.
        must_be_told: whether nothing may come of it that is not on disk there.
    """

    policy: Policy
    who: Mapping[str, object]
    said: bytes
    must_be_told: bool


@dataclass(slots=True, eq=False)
class _Standing:
    """What a policy allows for good, of one operation in one place: it is the same until there is another policy.

    Attributes:
        version: of the policy.
        said: members of the record that all such calls share.
    """

    version: int
    said: bytes
    must_be_told: bool


@dataclass(slots=True, eq=False)
class _Place:
    """What is remembered of a namespace, or of the cell, while its keys are used.

    Attributes:
        standing: by the name of the operation.
    """

    hashes: ArgumentHashes
    standing: dict[str, _Standing]


class Authoriser:
    """Authorises calls of one principal.

    Args:
        cell: that is open.
        log: is told of what is refused.
        principal: who calls.
        said: of the principal, for the audit log.
        decide: whether something is allowed.
    """

    def __init__(
        self, cell: Strongroom, log: AuditLog, *, principal: str, said: Mapping[str, object], decide: Decide
    ) -> None:
        self.principal = principal
        self._cell, self._log, self._decide = cell, log, decide
        self._who, self._said = said, members(said)
        self._request_prefix, self._calls = secrets.token_hex(8), 0
        self._places: WeakKeyDictionary[NamespaceKeys, _Place] = WeakKeyDictionary()

    def at_once(self, operation: Operation, given: Mapping[str, Any]) -> Call | None:
        """Return the call if one like it was allowed under the same policy and keys; None if `authorised` must be asked."""
        cell = self._cell
        policy = cell.access.kept()
        namespaces, found = about(given)
        owner = cell.keyring.cell_id
        if operation.scope == "namespace":
            if len(namespaces) != 1:
                return None
            owner = namespaces[0]
        keys = cell.keyring.kept(owner)
        if policy is None or keys is None:
            return None
        place = self._places.get(keys)
        standing = None if place is None else place.standing.get(operation.name)
        if place is None or standing is None or standing.version != policy.version:
            return None
        self._calls += 1
        request_id = f"{self._request_prefix}{self._calls:08x}"
        said = _told(request_id, standing.said, place.hashes.members(found))
        return Call(policy, {**self._who, "request_id": request_id}, said, standing.must_be_told)

    async def authorised(self, operation: Operation, given: Mapping[str, Any]) -> Call:
        """Return the call if it is allowed; else tell the audit log, and refuse.

        Raises:
            PermissionDenied, NamespaceNotFound, AuditUnavailable: as `Session.call`.
        """
        policy = await self._cell.access.policy()
        named, found = about(given)
        namespaces, missing = await self._namespaces(operation, named, given)
        must_be_told = not namespaces or not policy.availability_first.issuperset(namespaces)
        self._calls += 1
        request_id = f"{self._request_prefix}{self._calls:08x}"
        shared = self._shared(operation, namespaces)
        keyed = await self._keyed(namespaces)
        if keyed is None:
            said = _told(request_id, shared, None)
        else:
            keys, hashes = keyed
            shared += b',"data_key":%d' % keys.active_version(KeyClass.DATA)
            said = _told(request_id, shared, hashes.members(found))
        if missing:
            # As for one that is there and hidden: the same work, the same record but for its id, the same answer.
            decision = Decision(allowed=False, hidden=True, reason="no role")
        else:
            decision = self._decide(policy, self.principal, operation, namespaces, now=changes.utc_now())
        if decision.allowed:
            if decision.grant:  # which ends by the clock, so it is looked at each time
                said += b"," + members({"grant": decision.grant})
            elif keyed is not None and len(namespaces) < 2:  # noqa: PLR2004 - see `at_once`
                keys, hashes = keyed
                place = self._places.setdefault(keys, _Place(hashes, {}))
                place.standing[operation.name] = _Standing(policy.version, shared, must_be_told)
            return Call(policy, {**self._who, "request_id": request_id}, said, must_be_told)
        reason = members({"reason": decision.reason})
        await self._log.record(b'"event":"denied","at":"%b",%b,%b' % (timestamp(), said, reason))
        if decision.hidden:
            raise NamespaceNotFound
        if decision.needs_grant:
            msg = f"this needs two people: strongroom access request --operation {operation.name}"
            raise PermissionDenied(msg)
        raise PermissionDenied

    async def _namespaces(
        self, operation: Operation, named: tuple[UUID, ...], given: Mapping[str, Any]
    ) -> tuple[tuple[UUID, ...], bool]:
        """Return what an operation is about, and whether it names a namespace that is not there."""
        if operation.scope != "namespace":
            return (), False
        if not named and given.get("name") is not None:
            try:
                return (await self._cell.namespaces.find(given["name"]),), False
            except (NamespaceNotFound, InvalidPersistenceRequest):  # a name that no namespace can have
                return (), True
        return named, not named

    def _shared(self, operation: Operation, namespaces: Sequence[UUID]) -> bytes:
        said: dict[str, object] = {"operation": operation.name}
        if len(namespaces) == 1:
            said["namespace_id"] = namespaces[0]
        elif namespaces:
            said["namespace_ids"] = list(namespaces)
        return self._said + b"," + members(said)

    async def _keyed(self, namespaces: Sequence[UUID]) -> tuple[NamespaceKeys, ArgumentHashes] | None:
        """Return the keys that a call's arguments are hashed under, and what hashes.

        They are the namespace's own, so that nobody can link the hashes to anything after it was shredded.
        """
        try:
            keys = await self._cell.keyring.open(namespaces[0] if len(namespaces) == 1 else self._cell.keyring.cell_id)
            keys.active_version(KeyClass.DATA)
            return keys, hashes_of(keys)
        except StrongroomError:
            return None  # a call about nothing that is there, or whose keys are out of reach: it is told without


def _told(request_id: str, shared: bytes, arguments: bytes | None) -> bytes:
    """Return what the audit log is told of a call; without its arguments where there is no key to hash them under."""
    said = b'"request_id":"%b",%b' % (request_id.encode(), shared)
    return said if arguments is None else b'%b,"arguments":{%b}' % (said, arguments)
