"""Decide whether a principal may do something now. An operation that no role or grant allows is denied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .roles import ACCOUNT_ROLES, IN_NAMESPACE, NAMESPACE_ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.operations import Operation, Permission

    from .policy import Policy


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision.

    Attributes:
        allowed: Whether the operation may be done.
        hidden: For a denial: whether the caller must not learn that the namespace exists.
        needs_grant: For a denial: whether only a second person's approval is missing.
        grant: The id of the break-glass grant that allows the operation; "" if none is needed.
        reason: For a denial: what is missing, for the audit log.
    """

    allowed: bool
    hidden: bool = False
    needs_grant: bool = False
    grant: str = ""
    reason: str = ""


class Decide(Protocol):
    """Decides whether a principal may do something."""

    def __call__(
        self, policy: Policy, principal: str, operation: Operation, namespaces: Sequence[UUID], *, now: datetime
    ) -> Decision:
        """See `decide`."""


def decide(
    policy: Policy, principal: str, operation: Operation, namespaces: Sequence[UUID], *, now: datetime
) -> Decision:
    """Return a decision.

    Args:
        policy: The cell's policy.
        principal: The principal's name. A principal that is not in the policy may do nothing.
        operation: The operation.
        namespaces: Every namespace that the operation is about; none for an operation on the cell.
        now: The time, in UTC.
    """
    used = ""
    scopes: Sequence[UUID | None] = namespaces or (None,)
    for namespace_id in scopes:
        own = _permissions(policy, principal, namespace_id)
        granted = dict(_granted(policy, principal, namespace_id, now))
        if operation.permission is not None and operation.permission not in own:
            used = next((grant for grant, given in granted.items() if operation.permission in given), "")
            if not used:
                known = own.union(*granted.values())
                hidden = namespace_id is not None and not known & IN_NAMESPACE
                return Decision(allowed=False, hidden=hidden, reason="no role")
        if operation.dual_control:
            used = _approved(policy, principal, operation.name, namespace_id, now)
            if not used:
                return Decision(allowed=False, needs_grant=True, reason="needs a grant that a second person approved")
    return Decision(allowed=principal in policy.principals, grant=used, reason="unknown principal")


def permissions_of(
    policy: Policy, principal: str, namespace_id: UUID | None, *, now: datetime
) -> frozenset[Permission]:
    """Return a principal's permissions in a namespace, or in the whole cell (None), with those from grants."""
    return _permissions(policy, principal, namespace_id).union(
        *(given for _, given in _granted(policy, principal, namespace_id, now))
    )


def role_permissions(role: str, namespace_id: UUID | None) -> frozenset[Permission]:
    """Return the permissions that a role gives; none for an unknown role."""
    return (ACCOUNT_ROLES if namespace_id is None else NAMESPACE_ROLES).get(role, frozenset())


def _permissions(policy: Policy, name: str, namespace_id: UUID | None) -> frozenset[Permission]:
    principal = policy.principals.get(name)
    if principal is None:
        return frozenset()
    return frozenset().union(
        *(
            role_permissions(binding.role, binding.namespace_id)
            for binding in principal.bindings
            if binding.namespace_id is None or binding.namespace_id == namespace_id
        )
    )


def _granted(
    policy: Policy, principal: str, namespace_id: UUID | None, now: datetime
) -> Iterator[tuple[str, frozenset[Permission]]]:
    """Yield each role grant that is in force, with its permissions."""
    if principal not in policy.principals:
        return
    for grant in policy.grants:
        applies = grant.namespace_id is None or grant.namespace_id == namespace_id
        if applies and grant.principal == principal and grant.role and grant.counts(now):
            yield grant.grant_id, role_permissions(grant.role, grant.namespace_id)


def _approved(policy: Policy, principal: str, operation: str, namespace_id: UUID | None, now: datetime) -> str:
    """Return the grant by which a second person approved exactly this operation; "" if there is none."""
    for grant in policy.grants:
        fits = grant.principal == principal and grant.operation == operation and grant.namespace_id == namespace_id
        if fits and grant.counts(now) and grant.approved_by not in ("", principal):
            return grant.grant_id
    return ""
