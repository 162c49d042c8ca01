"""Break-glass grants: a role for some hours, or one operation that needs two people. Another principal approves them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.driver.stores import OPERATIONS

from .authorization import permissions_of, role_permissions
from .changes import REASON, check_role, principal_named
from .errors import InvalidPolicyChange, PermissionDenied
from .policy import Grant

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.operations import Permission

    from .policy import Policy

LONGEST_GRANT = timedelta(hours=8)
"""The longest time that a grant counts."""
UNAPPROVED = timedelta(hours=24)
"""Time after which a request that nobody approved has expired."""


def request_grant(
    policy: Policy,
    *,
    role: str = "",
    operation: str = "",
    namespace_id: UUID | None,
    reason: str,
    lifetime: timedelta,
    by: str,
    now: datetime,
) -> tuple[Policy, Grant]:
    """Request a role for some hours, or one operation that needs two people.

    Args:
        policy: The cell's policy.
        role: The role; "" for an operation.
        operation: The operation; "" for a role.
        namespace_id: The namespace; None for the whole cell.
        reason: The reason, for reviews.
        lifetime: How long the grant counts after its approval.
        by: The principal that requests it.
        now: The time, in UTC.

    Returns:
        The next policy, and the grant, which does not count before it is approved.

    Raises:
        InvalidPolicyChange: The request is invalid.
    """
    principal_named(policy, by)
    if bool(role) == bool(operation):
        raise InvalidPolicyChange("a grant is for a role or for an operation, not for both")
    if role:
        check_role(role, namespace_id)
    elif operation not in OPERATIONS or not OPERATIONS[operation].dual_control:
        names = ", ".join(sorted(each.name for each in OPERATIONS.values() if each.dual_control))
        raise InvalidPolicyChange(f"operations that need two people are {names}")
    elif (OPERATIONS[operation].scope == "cell") != (namespace_id is None):
        raise InvalidPolicyChange(
            "name the namespace of an operation on a namespace, and none for an operation on the cell"
        )
    if not reason.strip() or len(reason) > REASON or not reason.isprintable():
        raise InvalidPolicyChange(f"a grant needs a reason, of at most {REASON} characters")
    seconds = int(lifetime.total_seconds())
    if not 0 < seconds <= LONGEST_GRANT.total_seconds():
        raise InvalidPolicyChange("a grant lasts from a second to 8 hours")
    grant = Grant(secrets.token_hex(6), by, role, operation, namespace_id, reason, now, seconds)
    others = tuple(each for each in policy.grants if not _is_over(each, now))
    return replace(policy, grants=(*others, grant)), grant


def approve_grant(policy: Policy, grant_id: str, *, by: str, now: datetime) -> Policy:
    """Approve another principal's grant, which then counts.

    Raises:
        PermissionDenied: `by` requested it, or does not have all of its permissions without a grant.
        InvalidPolicyChange: The grant is over, or already approved.
    """
    grant = _open_grant(policy, grant_id, now)
    if grant.principal == by:
        raise PermissionDenied("a grant must be approved by another principal than the one that requested it")
    if grant.approved_by:
        raise InvalidPolicyChange("this grant is already approved")
    principal_named(policy, by)
    own = permissions_of(replace(policy, grants=()), by, grant.namespace_id, now=now)
    if not _permissions(grant) <= own:
        raise PermissionDenied("to approve a grant you need all of its permissions, and not by a grant")
    return _replaced(policy, replace(grant, approved_by=by, approved_at=now, expires_at=now + _lifetime(grant)))


def end_grant(policy: Policy, grant_id: str, *, by: str, now: datetime) -> Policy:
    """End a grant early.

    Raises:
        PermissionDenied: `by` did not request the grant, and may not approve it.
        InvalidPolicyChange: The grant is over.
    """
    grant = _open_grant(policy, grant_id, now)
    if grant.principal != by and not _permissions(grant) <= permissions_of(policy, by, grant.namespace_id, now=now):
        raise PermissionDenied
    return _replaced(policy, replace(grant, ended_at=now))


def _permissions(grant: Grant) -> frozenset[Permission]:
    if grant.role:
        return role_permissions(grant.role, grant.namespace_id)
    permission = OPERATIONS[grant.operation].permission
    return frozenset() if permission is None else frozenset({permission})


def _lifetime(grant: Grant) -> timedelta:
    return timedelta(seconds=grant.seconds)


def _is_over(grant: Grant, now: datetime) -> bool:
    return grant.expires_at is None and (grant.ended_at is not None or grant.requested_at + UNAPPROVED <= now)


def _open_grant(policy: Policy, grant_id: str, now: datetime) -> Grant:
    for grant in policy.grants:
        running = grant.ended_at is None and (grant.expires_at is None or grant.expires_at > now)
        if grant.grant_id == grant_id and running and not _is_over(grant, now):
            return grant
    raise InvalidPolicyChange("there is no such grant, or it is over; run 'strongroom access grants' to see them")


def _replaced(policy: Policy, grant: Grant) -> Policy:
    return replace(policy, grants=tuple(grant if each.grant_id == grant.grant_id else each for each in policy.grants))
