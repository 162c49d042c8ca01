"""Changes of the access policy. Each function returns the next policy.

Each takes the policy, the principal that makes the change (`by`) and the time. An invalid change raises `InvalidPolicyChange`. A
change that gives or takes more permissions than the principal has raises `PermissionDenied`.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from .authorization import permissions_of, role_permissions
from .errors import InvalidPolicyChange, PermissionDenied
from .policy import Binding, LegalHold, Policy, Principal
from .reasons import check_reason
from .roles import ACCOUNT_ROLES, NAMESPACE_ROLES

if TYPE_CHECKING:
    from uuid import UUID

    from .policy import ApiKey

LONGEST_KEY = timedelta(days=400)
LIVE_KEYS = 2
"""Maximum number of API keys of a principal: the current one and the next one."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}")
MOST_PRINCIPALS = 5_000
MOST_DAYS = 36_500


def first_owner(name: str, *, now: datetime, policy: Policy | None = None) -> Policy:
    """Return the first policy of a cell with principals: one owner.

    Args:
        name: The owner.
        now: The time, in UTC.
        policy: A policy without principals, whose retention and holds are kept; None for none.
    """
    _check_name(name)
    owner = Principal(name, now, name, bindings=(Binding("owner", None, now, name),))
    return replace(policy or Policy(), principals=MappingProxyType({name: owner}))


def add_principal(policy: Policy, name: str, *, by: str, now: datetime) -> Policy:
    """Add a principal without any role."""
    _check_name(name)
    if name in policy.principals:
        raise InvalidPolicyChange("a principal of this name exists already")
    if len(policy.principals) >= MOST_PRINCIPALS:
        raise InvalidPolicyChange(f"a cell has at most {MOST_PRINCIPALS} principals; remove those that are not used")
    return _with(policy, Principal(name, now, by))


def remove_principal(policy: Policy, name: str, *, by: str, now: datetime) -> Policy:
    """Remove a principal with its keys, roles and grants."""
    principal = principal_named(policy, name)
    for binding in principal.bindings:
        _may_give(policy, by, binding.role, binding.namespace_id, now=now)
    remaining = {other: each for other, each in policy.principals.items() if other != name}
    grants = tuple(grant for grant in policy.grants if grant.principal != name)
    return _with_owner(replace(policy, principals=MappingProxyType(remaining), grants=grants))


def bind(policy: Policy, name: str, role: str, *, namespace_id: UUID | None, by: str, now: datetime) -> Policy:
    """Give a principal a role, in a namespace or in the whole cell (None)."""
    principal = principal_named(policy, name)
    check_role(role, namespace_id)
    _may_give(policy, by, role, namespace_id, now=now)
    if any((each.role, each.namespace_id) == (role, namespace_id) for each in principal.bindings):
        return policy
    return _with(policy, replace(principal, bindings=(*principal.bindings, Binding(role, namespace_id, now, by))))


def unbind(policy: Policy, name: str, role: str, *, namespace_id: UUID | None, by: str, now: datetime) -> Policy:
    """Take a role from a principal."""
    principal = principal_named(policy, name)
    _may_give(policy, by, role, namespace_id, now=now)
    remaining = tuple(each for each in principal.bindings if (each.role, each.namespace_id) != (role, namespace_id))
    if remaining == principal.bindings:
        raise InvalidPolicyChange(f"{name} does not have this role there")
    return _with_owner(_with(policy, replace(principal, bindings=remaining)))


def made_namespace(policy: Policy, name: str, namespace_id: UUID, *, now: datetime) -> Policy:
    """Give the creator of a namespace the role `admin` in it, unless the creator already has its permissions."""
    if role_permissions("admin", namespace_id) <= permissions_of(policy, name, namespace_id, now=now):
        return policy
    principal = principal_named(policy, name)
    return _with(policy, replace(principal, bindings=(*principal.bindings, Binding("admin", namespace_id, now, name))))


def add_subject(policy: Policy, name: str, subject: str, *, by: str, now: datetime) -> Policy:
    """Add a certificate subject with which a principal authenticates."""
    principal = _changeable(policy, name, by=by, now=now)
    if any(subject in each.subjects for each in policy.principals.values()):
        raise InvalidPolicyChange("a principal has this certificate subject already")
    if not subject or len(subject) > 1000 or not subject.isprintable():  # noqa: PLR2004 - no real subject is longer
        raise InvalidPolicyChange(
            "a certificate subject is a text such as CN=worker-1,O=Example, of at most 1,000 characters"
        )
    return _with(policy, replace(principal, subjects=(*principal.subjects, subject)))


def remove_subject(policy: Policy, name: str, subject: str, *, by: str, now: datetime) -> Policy:
    """Remove the subject of a certificate from a principal."""
    principal = _changeable(policy, name, by=by, now=now)
    remaining = tuple(each for each in principal.subjects if each != subject)
    if remaining == principal.subjects:
        raise InvalidPolicyChange(f"{name} has no such certificate subject")
    return _with(policy, replace(principal, subjects=remaining))


def add_api_key(policy: Policy, name: str, key: ApiKey, *, by: str, now: datetime) -> Policy:
    """Add an API key to a principal that has at most one valid key; expired keys are removed."""
    principal = _changeable(policy, name, by=by, now=now)
    live = tuple(each for each in principal.api_keys if each.expires_at > now)
    if len(live) >= LIVE_KEYS:
        raise InvalidPolicyChange(f"{name} has {LIVE_KEYS} API keys; revoke one of them first")
    if not now < key.expires_at <= now + LONGEST_KEY:
        raise InvalidPolicyChange(f"an API key lives for at most {LONGEST_KEY.days} days")
    return _with(policy, replace(principal, api_keys=(*live, key)))


def revoke_api_key(policy: Policy, key_id: str, *, by: str, now: datetime) -> Policy:
    """Revoke an API key."""
    for principal in policy.principals.values():
        remaining = tuple(each for each in principal.api_keys if each.key_id != key_id)
        if remaining != principal.api_keys:
            return _with(policy, replace(_changeable(policy, principal.name, by=by, now=now), api_keys=remaining))
    raise InvalidPolicyChange("there is no such API key; run 'strongroom access list' to see their ids")


def add_hold(policy: Policy, reason: str, *, by: str, now: datetime) -> Policy:
    """Place a legal hold. The audit log is not pruned until the hold is lifted."""
    check_reason(reason, "a legal hold")
    return replace(policy, holds=(*policy.holds, LegalHold(secrets.token_hex(4), reason, now, by)))


def lift_hold(policy: Policy, hold_id: str) -> Policy:
    """Lift a legal hold."""
    remaining = tuple(each for each in policy.holds if each.hold_id != hold_id)
    if remaining == policy.holds:
        raise InvalidPolicyChange("there is no such legal hold; run 'strongroom audit holds' to see them")
    return replace(policy, holds=remaining)


def put_availability_first(policy: Policy, namespace_id: UUID, *, on: bool) -> Policy:
    """Set whether calls about a namespace continue while the audit log can't be written."""
    others = policy.availability_first - {namespace_id}
    return replace(policy, availability_first=others | {namespace_id} if on else others)


def keep_for(policy: Policy, days: int) -> Policy:
    """Set the retention of audit records, in days."""
    if not 1 <= days <= MOST_DAYS:
        raise InvalidPolicyChange(f"audit records are kept for 1 to {MOST_DAYS} days")
    return replace(policy, retention_days=days)


def without_expired(policy: Policy, *, now: datetime) -> Policy:
    """Remove grants that ended more than 90 days ago. Until then `access review` lists them."""
    oldest = now - timedelta(days=90)
    remaining = tuple(
        grant
        for grant in policy.grants
        if max(grant.ended_at or grant.requested_at, grant.expires_at or grant.requested_at) > oldest
    )
    return replace(policy, grants=remaining)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidPolicyChange(
            "a principal's name is 1 to 128 letters, digits and . _ @ : + -, such as ana@example.com"
        )


def check_role(role: str, namespace_id: UUID | None) -> None:
    """Raise `InvalidPolicyChange` for an unknown role."""
    roles = ACCOUNT_ROLES if namespace_id is None else NAMESPACE_ROLES
    if role not in roles:
        where = "the whole cell" if namespace_id is None else "a namespace"
        raise InvalidPolicyChange(f"roles in {where} are {', '.join(roles)}")


def principal_named(policy: Policy, name: str) -> Principal:
    """Return a principal.

    Raises:
        InvalidPolicyChange: There is no such principal.
    """
    if name not in policy.principals:
        raise InvalidPolicyChange("there is no such principal; run 'strongroom access list' to see them")
    return policy.principals[name]


def _changeable(policy: Policy, name: str, *, by: str, now: datetime) -> Principal:
    """Return a principal whose credentials `by` may change.

    Raises:
        PermissionDenied: `by` lacks a permission of the principal. New credentials would let `by` act as the principal.
    """
    principal = principal_named(policy, name)
    for binding in principal.bindings:
        _may_give(policy, by, binding.role, binding.namespace_id, now=now)
    return principal


def _may_give(policy: Policy, by: str, role: str, namespace_id: UUID | None, *, now: datetime) -> None:
    if not role_permissions(role, namespace_id) <= permissions_of(policy, by, namespace_id, now=now):
        raise PermissionDenied("you can't give or take a role that has more permissions than your own")


def _with(policy: Policy, principal: Principal) -> Policy:
    return replace(policy, principals=MappingProxyType({**policy.principals, principal.name: principal}))


def _with_owner(policy: Policy) -> Policy:
    if not any(policy.holders("owner")):
        raise InvalidPolicyChange("the last owner can't be removed; make another owner first")
    return policy
