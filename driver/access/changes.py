"""Changes of the access policy, as functions from a policy to the next one. Nobody gives what they do not have.

Each takes the policy, who makes the change (`by`) and the time. A change that can't be made is `InvalidPolicyChange`, or
`PermissionDenied` where somebody else could make it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from .authorization import permissions_of, role_permissions
from .catalogue import OPERATIONS
from .errors import InvalidPolicyChange, PermissionDenied
from .policy import Binding, Grant, LegalHold, Policy, Principal
from .roles import ACCOUNT_ROLES, NAMESPACE_ROLES, Permission

if TYPE_CHECKING:
    from uuid import UUID

    from .policy import ApiKey

LONGEST_GRANT = timedelta(hours=8)
UNAPPROVED = timedelta(hours=24)
"""How long a request waits for a second person."""
LONGEST_KEY = timedelta(days=400)
LIVE_KEYS = 2
"""API keys that a principal may have at once: one, and the next."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}")
_REASON = 500
MOST_PRINCIPALS = 5_000
MOST_DAYS = 36_500


def first_owner(name: str, *, now: datetime) -> Policy:
    """Return the policy of a cell that had none: one owner."""
    _check_name(name)
    owner = Principal(name, now, name, bindings=(Binding("owner", None, now, name),))
    return Policy(principals=MappingProxyType({name: owner}))


def add_principal(policy: Policy, name: str, *, by: str, now: datetime) -> Policy:
    """Make somebody known, with no right at all."""
    _check_name(name)
    if name in policy.principals:
        raise InvalidPolicyChange("a principal of this name is there already")
    if len(policy.principals) >= MOST_PRINCIPALS:
        raise InvalidPolicyChange(f"there are {MOST_PRINCIPALS} principals; remove those that are not used")
    return _with(policy, Principal(name, now, by))


def remove_principal(policy: Policy, name: str, *, by: str, now: datetime) -> Policy:
    """Forget somebody, with keys, roles and grants."""
    known = _known(policy, name)
    for binding in known.bindings:
        _may_give(policy, by, binding.role, binding.namespace_id, now=now)
    left = {other: each for other, each in policy.principals.items() if other != name}
    grants = tuple(grant for grant in policy.grants if grant.principal != name)
    return _with_owner(replace(policy, principals=MappingProxyType(left), grants=grants))


def bind(policy: Policy, name: str, role: str, *, namespace_id: UUID | None, by: str, now: datetime) -> Policy:
    """Give somebody a role, in a namespace or in the whole cell."""
    known = _known(policy, name)
    _check_role(role, namespace_id)
    _may_give(policy, by, role, namespace_id, now=now)
    if any((each.role, each.namespace_id) == (role, namespace_id) for each in known.bindings):
        return policy
    return _with(policy, replace(known, bindings=(*known.bindings, Binding(role, namespace_id, now, by))))


def unbind(policy: Policy, name: str, role: str, *, namespace_id: UUID | None, by: str, now: datetime) -> Policy:
    """Take a role away."""
    known = _known(policy, name)
    _may_give(policy, by, role, namespace_id, now=now)
    left = tuple(each for each in known.bindings if (each.role, each.namespace_id) != (role, namespace_id))
    if left == known.bindings:
        raise InvalidPolicyChange(f"{name} does not have this role there")
    return _with_owner(_with(policy, replace(known, bindings=left)))


def made_namespace(policy: Policy, name: str, namespace_id: UUID, *, now: datetime) -> Policy:
    """Give the maker of a namespace the role `admin` in it, unless it has as much already."""
    if role_permissions("admin", namespace_id) <= permissions_of(policy, name, namespace_id, now=now):
        return policy
    known = _known(policy, name)
    return _with(policy, replace(known, bindings=(*known.bindings, Binding("admin", namespace_id, now, name))))


def add_subject(policy: Policy, name: str, subject: str, *, by: str, now: datetime) -> Policy:
    """Let somebody be known by a certificate's subject."""
    known = _touchable(policy, name, by=by, now=now)
    if any(subject in each.subjects for each in policy.principals.values()):
        raise InvalidPolicyChange("this certificate subject is somebody's already")
    if not subject or len(subject) > 1000 or not subject.isprintable():  # noqa: PLR2004 - longer than any that is meant
        raise InvalidPolicyChange("a certificate subject is text such as CN=worker-1,O=Example")
    return _with(policy, replace(known, subjects=(*known.subjects, subject)))


def remove_subject(policy: Policy, name: str, subject: str, *, by: str, now: datetime) -> Policy:
    """Know somebody by a certificate no more."""
    known = _touchable(policy, name, by=by, now=now)
    left = tuple(each for each in known.subjects if each != subject)
    if left == known.subjects:
        raise InvalidPolicyChange(f"{name} has no such certificate subject")
    return _with(policy, replace(known, subjects=left))


def add_api_key(policy: Policy, name: str, key: ApiKey, *, by: str, now: datetime) -> Policy:
    """Give somebody an API key, beside one other that still counts; those that expired go."""
    known = _touchable(policy, name, by=by, now=now)
    live = tuple(each for each in known.api_keys if each.expires_at > now)
    if len(live) >= LIVE_KEYS:
        raise InvalidPolicyChange(f"{name} has {LIVE_KEYS} API keys; revoke one of them first")
    if not now < key.expires_at <= now + LONGEST_KEY:
        raise InvalidPolicyChange(f"an API key lives for at most {LONGEST_KEY.days} days")
    return _with(policy, replace(known, api_keys=(*live, key)))


def revoke_api_key(policy: Policy, key_id: str, *, by: str, now: datetime) -> Policy:
    """Let an API key count no more."""
    for known in policy.principals.values():
        left = tuple(each for each in known.api_keys if each.key_id != key_id)
        if left != known.api_keys:
            return _with(policy, replace(_touchable(policy, known.name, by=by, now=now), api_keys=left))
    raise InvalidPolicyChange("there is no such API key; `strongroom access list` shows their ids")


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
    _known(policy, by)
    if bool(role) == bool(operation):
        raise InvalidPolicyChange("a grant is of a role or of an operation")
    if role:
        _check_role(role, namespace_id)
    elif operation not in OPERATIONS or not OPERATIONS[operation].dual_control:
        named = ", ".join(sorted(each.name for each in OPERATIONS.values() if each.dual_control))
        raise InvalidPolicyChange(f"operations that need two people are {named}")
    elif (OPERATIONS[operation].scope == "cell") != (namespace_id is None):
        raise InvalidPolicyChange("this operation is about a namespace: name it; or it is about the cell: name none")
    if not reason.strip() or len(reason) > _REASON or not reason.isprintable():
        raise InvalidPolicyChange(f"a grant needs a reason, of at most {_REASON} characters")
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
    _known(policy, by)
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


def add_hold(policy: Policy, reason: str, *, by: str, now: datetime) -> Policy:
    """Keep the whole audit log until the hold is lifted."""
    if not reason.strip() or len(reason) > _REASON or not reason.isprintable():
        raise InvalidPolicyChange(f"a legal hold needs a reason, of at most {_REASON} characters")
    return replace(policy, holds=(*policy.holds, LegalHold(secrets.token_hex(4), reason, now, by)))


def lift_hold(policy: Policy, hold_id: str) -> Policy:
    """Lift a hold."""
    left = tuple(each for each in policy.holds if each.hold_id != hold_id)
    if left == policy.holds:
        raise InvalidPolicyChange("there is no such legal hold; `strongroom audit holds` shows them")
    return replace(policy, holds=left)


def put_availability_first(policy: Policy, namespace_id: UUID, *, on: bool) -> Policy:
    """Let calls about a namespace go on while the audit log can't be written, or no longer."""
    kept = policy.availability_first - {namespace_id}
    return replace(policy, availability_first=kept | {namespace_id} if on else kept)


def keep_for(policy: Policy, days: int) -> Policy:
    """Keep audit records for so many days."""
    if not 1 <= days <= MOST_DAYS:
        raise InvalidPolicyChange(f"audit records are kept for 1 to {MOST_DAYS} days")
    return replace(policy, retention_days=days)


def without_expired(policy: Policy, *, now: datetime) -> Policy:
    """Drop grants that ended more than 90 days ago: until then `access review` shows them."""
    long_ago = now - timedelta(days=90)
    kept = tuple(
        grant
        for grant in policy.grants
        if max(grant.ended_at or grant.requested_at, grant.expires_at or grant.requested_at) > long_ago
    )
    return replace(policy, grants=kept)


def utc_now() -> datetime:
    """Return the time that policies are held against."""
    return datetime.now(UTC)


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


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidPolicyChange(
            "a principal's name is 1 to 128 letters, digits and . _ @ : + -, such as ana@example.com"
        )


def _check_role(role: str, namespace_id: UUID | None) -> None:
    roles = ACCOUNT_ROLES if namespace_id is None else NAMESPACE_ROLES
    if role not in roles:
        where = "the whole cell" if namespace_id is None else "a namespace"
        raise InvalidPolicyChange(f"roles in {where} are {', '.join(roles)}")


def _known(policy: Policy, name: str) -> Principal:
    if name not in policy.principals:
        raise InvalidPolicyChange("there is no such principal; `strongroom access list` shows them")
    return policy.principals[name]


def _touchable(policy: Policy, name: str, *, by: str, now: datetime) -> Principal:
    """Return a principal whose keys somebody may change: who can take its place must have all that it has."""
    known = _known(policy, name)
    for binding in known.bindings:
        _may_give(policy, by, binding.role, binding.namespace_id, now=now)
    return known


def _may_give(policy: Policy, by: str, role: str, namespace_id: UUID | None, *, now: datetime) -> None:
    if not role_permissions(role, namespace_id) <= permissions_of(policy, by, namespace_id, now=now):
        raise PermissionDenied("nobody gives or takes a role that has more than their own")


def _with(policy: Policy, principal: Principal) -> Policy:
    return replace(policy, principals=MappingProxyType({**policy.principals, principal.name: principal}))


def _with_owner(policy: Policy) -> Policy:
    if not any(policy.holders("owner")):
        raise InvalidPolicyChange("the last owner can't be removed; make another owner first")
    return policy
