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
from .errors import InvalidPolicyChange, PermissionDenied
from .policy import Binding, LegalHold, Policy, Principal
from .roles import ACCOUNT_ROLES, NAMESPACE_ROLES

if TYPE_CHECKING:
    from uuid import UUID

    from .policy import ApiKey

LONGEST_KEY = timedelta(days=400)
LIVE_KEYS = 2
"""API keys that a principal may have at once: one, and the next."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}")
REASON = 500
"""Characters that a reason may have."""
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
    person = known(policy, name)
    for binding in person.bindings:
        _may_give(policy, by, binding.role, binding.namespace_id, now=now)
    left = {other: each for other, each in policy.principals.items() if other != name}
    grants = tuple(grant for grant in policy.grants if grant.principal != name)
    return _with_owner(replace(policy, principals=MappingProxyType(left), grants=grants))


def bind(policy: Policy, name: str, role: str, *, namespace_id: UUID | None, by: str, now: datetime) -> Policy:
    """Give somebody a role, in a namespace or in the whole cell."""
    person = known(policy, name)
    check_role(role, namespace_id)
    _may_give(policy, by, role, namespace_id, now=now)
    if any((each.role, each.namespace_id) == (role, namespace_id) for each in person.bindings):
        return policy
    return _with(policy, replace(person, bindings=(*person.bindings, Binding(role, namespace_id, now, by))))


def unbind(policy: Policy, name: str, role: str, *, namespace_id: UUID | None, by: str, now: datetime) -> Policy:
    """Take a role away."""
    person = known(policy, name)
    _may_give(policy, by, role, namespace_id, now=now)
    left = tuple(each for each in person.bindings if (each.role, each.namespace_id) != (role, namespace_id))
    if left == person.bindings:
        raise InvalidPolicyChange(f"{name} does not have this role there")
    return _with_owner(_with(policy, replace(person, bindings=left)))


def made_namespace(policy: Policy, name: str, namespace_id: UUID, *, now: datetime) -> Policy:
    """Give the maker of a namespace the role `admin` in it, unless it has as much already."""
    if role_permissions("admin", namespace_id) <= permissions_of(policy, name, namespace_id, now=now):
        return policy
    person = known(policy, name)
    return _with(policy, replace(person, bindings=(*person.bindings, Binding("admin", namespace_id, now, name))))


def add_subject(policy: Policy, name: str, subject: str, *, by: str, now: datetime) -> Policy:
    """Let somebody be known by a certificate's subject."""
    person = _touchable(policy, name, by=by, now=now)
    if any(subject in each.subjects for each in policy.principals.values()):
        raise InvalidPolicyChange("this certificate subject is somebody's already")
    if not subject or len(subject) > 1000 or not subject.isprintable():  # noqa: PLR2004 - longer than any that is meant
        raise InvalidPolicyChange("a certificate subject is text such as CN=worker-1,O=Example")
    return _with(policy, replace(person, subjects=(*person.subjects, subject)))


def remove_subject(policy: Policy, name: str, subject: str, *, by: str, now: datetime) -> Policy:
    """Know somebody by a certificate no more."""
    person = _touchable(policy, name, by=by, now=now)
    left = tuple(each for each in person.subjects if each != subject)
    if left == person.subjects:
        raise InvalidPolicyChange(f"{name} has no such certificate subject")
    return _with(policy, replace(person, subjects=left))


def add_api_key(policy: Policy, name: str, key: ApiKey, *, by: str, now: datetime) -> Policy:
    """Give somebody an API key, beside one other that still counts; those that expired go."""
    person = _touchable(policy, name, by=by, now=now)
    live = tuple(each for each in person.api_keys if each.expires_at > now)
    if len(live) >= LIVE_KEYS:
        raise InvalidPolicyChange(f"{name} has {LIVE_KEYS} API keys; revoke one of them first")
    if not now < key.expires_at <= now + LONGEST_KEY:
        raise InvalidPolicyChange(f"an API key lives for at most {LONGEST_KEY.days} days")
    return _with(policy, replace(person, api_keys=(*live, key)))


def revoke_api_key(policy: Policy, key_id: str, *, by: str, now: datetime) -> Policy:
    """Let an API key count no more."""
    for person in policy.principals.values():
        left = tuple(each for each in person.api_keys if each.key_id != key_id)
        if left != person.api_keys:
            return _with(policy, replace(_touchable(policy, person.name, by=by, now=now), api_keys=left))
    raise InvalidPolicyChange("there is no such API key; `strongroom access list` shows their ids")


def add_hold(policy: Policy, reason: str, *, by: str, now: datetime) -> Policy:
    """Keep the whole audit log until the hold is lifted."""
    if not reason.strip() or len(reason) > REASON or not reason.isprintable():
        raise InvalidPolicyChange(f"a legal hold needs a reason, of at most {REASON} characters")
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


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidPolicyChange(
            "a principal's name is 1 to 128 letters, digits and . _ @ : + -, such as ana@example.com"
        )


def check_role(role: str, namespace_id: UUID | None) -> None:
    """Refuse a role that there is not."""
    roles = ACCOUNT_ROLES if namespace_id is None else NAMESPACE_ROLES
    if role not in roles:
        where = "the whole cell" if namespace_id is None else "a namespace"
        raise InvalidPolicyChange(f"roles in {where} are {', '.join(roles)}")


def known(policy: Policy, name: str) -> Principal:
    """Return a principal."""
    if name not in policy.principals:
        raise InvalidPolicyChange("there is no such principal; `strongroom access list` shows them")
    return policy.principals[name]


def _touchable(policy: Policy, name: str, *, by: str, now: datetime) -> Principal:
    """Return a principal whose keys somebody may change: who can take its place must have all that it has."""
    person = known(policy, name)
    for binding in person.bindings:
        _may_give(policy, by, binding.role, binding.namespace_id, now=now)
    return person


def _may_give(policy: Policy, by: str, role: str, namespace_id: UUID | None, *, now: datetime) -> None:
    if not role_permissions(role, namespace_id) <= permissions_of(policy, by, namespace_id, now=now):
        raise PermissionDenied("nobody gives or takes a role that has more than their own")


def _with(policy: Policy, principal: Principal) -> Policy:
    return replace(policy, principals=MappingProxyType({**policy.principals, principal.name: principal}))


def _with_owner(policy: Policy) -> Policy:
    if not any(policy.holders("owner")):
        raise InvalidPolicyChange("the last owner can't be removed; make another owner first")
    return policy
