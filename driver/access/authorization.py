"""Whether a principal may do something now: default deny."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .roles import ACCOUNT_ROLES, IN_NAMESPACE, NAMESPACE_ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from .catalogue import Operation
    from .policy import Policy
    from .roles import Permission


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided.

    Attributes:
        allowed: whether it may be done.
        hidden: where not: whether the caller must not learn that the namespace exists.
        grant: the break-glass grant without which it would not be allowed; "" for none.
        needs_grant: where not: whether all that is missing is a second person's approval.
        reason: where not allowed, what is missing; for the audit log.
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
    """Decide.

    Args:
        policy: of the cell.
        principal: by name; one that is not in the policy may do nothing.
        operation: what is to be done.
        namespaces: all that it is about; none for an operation on the cell.
        now: UTC.
    """
    used = ""
    places: Sequence[UUID | None] = namespaces or (None,)
    for place in places:
        standing = _permissions(policy, principal, place)
        granted = dict(_granted(policy, principal, place, now))
        if operation.permission is not None and operation.permission not in standing:
            used = next((grant for grant, given in granted.items() if operation.permission in given), "")
            if not used:
                seen = standing.union(*granted.values())
                return Decision(allowed=False, hidden=place is not None and not seen & IN_NAMESPACE, reason="no role")
        if operation.dual_control:
            used = _approved(policy, principal, operation.name, place, now)
            if not used:
                return Decision(allowed=False, needs_grant=True, reason="needs a grant that somebody else approved")
    return Decision(allowed=principal in policy.principals, grant=used, reason="unknown principal")


def permissions_of(policy: Policy, principal: str, place: UUID | None, *, now: datetime) -> frozenset[Permission]:
    """Return all that a principal may do somewhere, grants included."""
    return _permissions(policy, principal, place).union(
        *(given for _, given in _granted(policy, principal, place, now))
    )


def role_permissions(role: str, namespace_id: UUID | None) -> frozenset[Permission]:
    """Return what a role gives; nothing for one that is not known."""
    return (ACCOUNT_ROLES if namespace_id is None else NAMESPACE_ROLES).get(role, frozenset())


def _permissions(policy: Policy, principal: str, place: UUID | None) -> frozenset[Permission]:
    known = policy.principals.get(principal)
    if known is None:
        return frozenset()
    return frozenset().union(
        *(
            role_permissions(binding.role, binding.namespace_id)
            for binding in known.bindings
            if binding.namespace_id is None or binding.namespace_id == place
        )
    )


def _granted(
    policy: Policy, principal: str, place: UUID | None, now: datetime
) -> Iterator[tuple[str, frozenset[Permission]]]:
    if principal not in policy.principals:
        return
    for grant in policy.grants:
        here = grant.namespace_id is None or grant.namespace_id == place
        if here and grant.principal == principal and grant.role and grant.counts(now):
            yield grant.grant_id, role_permissions(grant.role, grant.namespace_id)


def _approved(policy: Policy, principal: str, operation: str, place: UUID | None, now: datetime) -> str:
    """Return the grant by which somebody else agreed to just this; "" for none."""
    for grant in policy.grants:
        fits = grant.principal == principal and grant.operation == operation and grant.namespace_id == place
        if fits and grant.counts(now) and grant.approved_by not in ("", principal):
            return grant.grant_id
    return ""
