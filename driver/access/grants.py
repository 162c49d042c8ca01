"""Break-glass grants: a role for some hours, or one operation that needs two people; asked for by one and approved by another."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.driver.stores import OPERATIONS

from .authorization import permissions_of, role_permissions
from .changes import REASON, check_role, known
from .errors import InvalidPolicyChange, PermissionDenied
from .policy import Grant

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.operations import Permission

    from .policy import Policy

LONGEST_GRANT = timedelta(hours=8)
UNAPPROVED = timedelta(hours=24)
"""How long a request waits for a second person."""


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
    """Ask for a role for some hours, or for one operation that needs two people. It counts once somebody else approves it."""
    known(policy, by)
    if bool(role) == bool(operation):
        raise InvalidPolicyChange("a grant is of a role or of an operation")
    if role:
        check_role(role, namespace_id)
    elif operation not in OPERATIONS or not OPERATIONS[operation].dual_control:
        named = ", ".join(sorted(each.name for each in OPERATIONS.values() if each.dual_control))
        raise InvalidPolicyChange(f"operations that need two people are {named}")
    elif (OPERATIONS[operation].scope == "cell") != (namespace_id is None):
        raise InvalidPolicyChange("this operation is about a namespace: name it; or it is about the cell: name none")
    if not reason.strip() or len(reason) > REASON or not reason.isprintable():
        raise InvalidPolicyChange(f"a grant needs a reason, of at most {REASON} characters")
    seconds = int(lifetime.total_seconds())
    if not 0 < seconds <= LONGEST_GRANT.total_seconds():
        raise InvalidPolicyChange("a grant lasts from a second to 8 hours")
    grant = Grant(secrets.token_hex(6), by, role, operation, namespace_id, reason, now, seconds)
    kept = tuple(each for each in policy.grants if not _is_over(each, now))
    return replace(policy, grants=(*kept, grant)), grant


def approve_grant(policy: Policy, grant_id: str, *, by: str, now: datetime) -> Policy:
    """Agree to somebody else's grant; it counts from now on. Who agrees must have all that it gives."""
    grant = _open_grant(policy, grant_id, now)
    if grant.principal == by:
        raise PermissionDenied("a grant is approved by somebody else than who asked for it")
    if grant.approved_by:
        raise InvalidPolicyChange("this grant is approved already")
    known(policy, by)
    own = permissions_of(replace(policy, grants=()), by, grant.namespace_id, now=now)
    if not _needed(grant) <= own:
        raise PermissionDenied("who approves a grant must have all that it gives, without a grant")
    return _replaced(policy, replace(grant, approved_by=by, approved_at=now, expires_at=now + _lifetime(grant)))


def end_grant(policy: Policy, grant_id: str, *, by: str, now: datetime) -> Policy:
    """End a grant early: by whoever asked, or whoever may approve it."""
    grant = _open_grant(policy, grant_id, now)
    if grant.principal != by and not _needed(grant) <= permissions_of(policy, by, grant.namespace_id, now=now):
        raise PermissionDenied
    return _replaced(policy, replace(grant, ended_at=now))


def _needed(grant: Grant) -> frozenset[Permission]:
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
    raise InvalidPolicyChange("there is no such grant, or it is over; `strongroom access grants` shows them")


def _replaced(policy: Policy, grant: Grant) -> Policy:
    return replace(policy, grants=tuple(grant if each.grant_id == grant.grant_id else each for each in policy.grants))
