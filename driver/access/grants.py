"""Break-glass grants: a role for some hours, or one operation that needs two people. A second principal approves each grant."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.driver.stores import OPERATIONS

from .authorization import permissions_of, role_permissions
from .changes import check_role, principal_named
from .errors import InvalidPolicyChange, PermissionDenied
from .policy import Grant
from .reasons import check_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.operations import Permission

    from .policy import Policy

LONGEST_GRANT = timedelta(hours=8)
"""The maximum lifetime of a grant."""
ACCEPT = "restore.accept"
"""The operation whose grant names a state."""
_STATE = re.compile(r"[0-9a-f]{32}")
APPROVAL_PERIOD = timedelta(hours=24)
"""The time within which a requested grant must be approved. After that the request has expired."""


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
    state: str = "",
) -> tuple[Policy, Grant]:
    """Request a role for some hours, or one operation that needs two people.

    Args:
        policy: The cell's policy.
        role: The role; "" for an operation.
        operation: The operation; "" for a role.
        namespace_id: The namespace; None for the whole cell.
        reason: The reason, which `access review` shows.
        lifetime: The time for which the grant is valid after its approval.
        by: The principal that requests it.
        now: The time, in UTC.
        state: The state that the operation accepts, as its dry run showed it. Only `restore.accept` has one, and needs it.

    Returns:
        The changed policy and the grant. The grant gives no permission until it is approved.

    Raises:
        InvalidPolicyChange: The request is invalid.
    """
    principal_named(policy, by)
    if bool(role) == bool(operation):
        raise InvalidPolicyChange("a grant is for either a role or an operation; name one of them")
    if role:
        check_role(role, namespace_id)
    elif operation not in OPERATIONS or not OPERATIONS[operation].dual_control:
        names = ", ".join(sorted(each.name for each in OPERATIONS.values() if each.dual_control))
        raise InvalidPolicyChange(
            f"this operation does not need two people, so it can't be granted; the operations that do are {names}"
        )
    elif (OPERATIONS[operation].scope == "cell") != (namespace_id is None):
        raise InvalidPolicyChange(
            "an operation on a namespace needs a namespace, and an operation on the cell must not have one"
        )
    if (operation == ACCEPT) != bool(_STATE.fullmatch(state)):
        raise InvalidPolicyChange(
            f"only a grant of {ACCEPT} has a --state, and it needs the one that 'strongroom restore accept --dry-run' shows"
        )
    check_reason(reason, "a grant")
    seconds = int(lifetime.total_seconds())
    if not 0 < seconds <= LONGEST_GRANT.total_seconds():
        raise InvalidPolicyChange("the lifetime of a grant must be between 1 second and 8 hours")
    grant = Grant(secrets.token_hex(6), by, role, operation, namespace_id, reason, now, seconds, state=state)
    others = tuple(each for each in policy.grants if not _was_never_used(each, now))
    return replace(policy, grants=(*others, grant)), grant


def approve_grant(policy: Policy, grant_id: str, *, by: str, now: datetime) -> Policy:
    """Approve another principal's grant. It is valid from then on.

    Raises:
        PermissionDenied: `by` requested the grant, or lacks one of its permissions. Permissions from other grants don't count.
        InvalidPolicyChange: The grant is over, or already approved.
    """
    grant = _open_grant(policy, grant_id, now)
    if grant.principal == by:
        raise PermissionDenied("you requested this grant, so another principal must approve it")
    if grant.approved_by:
        raise InvalidPolicyChange("this grant is already approved")
    principal_named(policy, by)
    own = permissions_of(replace(policy, grants=()), by, grant.namespace_id, now=now)
    if not permissions_of_grant(grant) <= own:
        raise PermissionDenied(
            "to approve a grant you need all of its permissions from your own roles, not from another grant"
        )
    return _replaced(policy, replace(grant, approved_by=by, approved_at=now, expires_at=now + _lifetime(grant)))


def missing_approval(
    policy: Policy, principal: str, operation: str, namespaces: Sequence[UUID], *, now: datetime
) -> str:
    """Return the message for an operation that lacks a second person's approval.

    It names the principal's requests that can still be approved, or else the command that makes one.
    """
    waiting = [
        f"strongroom access approve {grant.grant_id}"
        for grant in policy.grants
        if (grant.principal, grant.operation) == (principal, operation)
        and grant.namespace_id in (namespaces or (None,))
        and not (grant.approved_by or grant.ended_at or _was_never_used(grant, now))
    ]
    if waiting:
        return (
            f"{operation} needs two people, and your request is not approved yet; another person approves it with "
            + " or ".join(f"'{command}'" for command in waiting)
        )
    state = "--state STATE " if operation == ACCEPT else ""
    namespace = "-n NAMESPACE " if OPERATIONS[operation].scope == "namespace" else ""
    return (
        f"{operation} needs two people; request it with 'strongroom access request --operation {operation} {namespace}{state}"
        "--reason TEXT'. Another person then approves it"
    )


def end_grant(policy: Policy, grant_id: str, *, by: str, now: datetime) -> Policy:
    """End a grant early.

    Raises:
        PermissionDenied: `by` did not request the grant, and may not approve it.
        InvalidPolicyChange: The grant is over.
    """
    grant = _open_grant(policy, grant_id, now)
    if grant.principal != by and not permissions_of_grant(grant) <= permissions_of(
        policy, by, grant.namespace_id, now=now
    ):
        raise PermissionDenied
    return _replaced(policy, replace(grant, ended_at=now))


def is_approved(policy: Policy, *, principal: str, state: str, now: datetime) -> bool:
    """Return whether a second person approved that a principal accepts a state. A policy without principals needs no approval."""
    approved = (
        grant.state == state and grant.operation == ACCEPT and grant.principal == principal and grant.counts(now)
        for grant in policy.grants
    )
    return not policy.principals or any(approved)


def permissions_of_grant(grant: Grant) -> frozenset[Permission]:
    """Return the permissions that a grant gives, or that its operation needs. Its approver needs all of them."""
    if grant.role:
        return role_permissions(grant.role, grant.namespace_id)
    permission = OPERATIONS[grant.operation].permission
    return frozenset() if permission is None else frozenset({permission})


def _lifetime(grant: Grant) -> timedelta:
    return timedelta(seconds=grant.seconds)


def _was_never_used(grant: Grant, now: datetime) -> bool:
    """Return whether a grant ended or expired without an approval. An approved grant stays in the policy for reviews."""
    return grant.expires_at is None and (grant.ended_at is not None or grant.requested_at + APPROVAL_PERIOD <= now)


def _open_grant(policy: Policy, grant_id: str, now: datetime) -> Grant:
    for grant in policy.grants:
        running = grant.ended_at is None and (grant.expires_at is None or grant.expires_at > now)
        if grant.grant_id == grant_id and running and not _was_never_used(grant, now):
            return grant
    raise InvalidPolicyChange(
        "this grant does not exist, or it has ended or expired; run 'strongroom access grants' to list all grants"
    )


def _replaced(policy: Policy, grant: Grant) -> Policy:
    return replace(policy, grants=tuple(grant if each.grant_id == grant.grant_id else each for each in policy.grants))
