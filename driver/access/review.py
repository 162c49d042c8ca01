"""The access review: each principal's roles, since when they have them, from whom, and when they last used them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from strongroom.driver.audit.events import INTENT, OUTCOME, POLICY, READ
from strongroom.driver.audit.newest_policy import policy_version_of
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.stream import parse
from strongroom.driver.stores import OPERATIONS

from .grants import permissions_of_grant
from .roles import ACCOUNT_ROLES, NAMESPACE_ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path
    from uuid import UUID

    from strongroom.driver.operations import Permission

    from .control import AccessControl
    from .policy import Grant, Policy


@dataclass(frozen=True, slots=True)
class ReviewedRole:
    """A role that a principal has.

    Attributes:
        principal: The principal's name.
        role: The role's name.
        namespace_id: The namespace; None for the whole cell.
        since: When the role was given.
        by: The principal that gave it.
        last_used: The time of the last call in the audit log that this role allows, or of the last approval of a grant for which
            it was needed; None if there is none.
        is_stale: Whether the role was not used for too long; a role that was never used counts from when it was given.
    """

    principal: str
    role: str
    namespace_id: UUID | None
    since: datetime
    by: str
    last_used: datetime | None
    is_stale: bool


@dataclass(frozen=True, slots=True)
class AccessReview:
    """A report.

    Attributes:
        cell_id: The cell.
        at: When the report was made, in UTC.
        policy_version: The version of the policy.
        policy_matches: Whether the audit log has this policy. If not, it was changed without a record.
        newest_policy: The highest version of the policy in the audit log and its checkpoints. If it is higher than the policy's
            version, an older policy was put back.
        records: The number of audit records that were read.
        roles: Roles by principal.
        without_role: Principals that have no role.
        expired_keys: API keys that have expired and are still listed, by principal.
        grants: Grants of the last 90 days.
    """

    cell_id: UUID
    at: datetime
    policy_version: int
    policy_matches: bool
    newest_policy: int
    records: int
    roles: Sequence[ReviewedRole]
    without_role: Sequence[str]
    expired_keys: Mapping[str, Sequence[str]]
    grants: Sequence[Grant]

    @property
    def ok(self) -> bool:
        """Whether the policy is the newest one, and the audit log has it."""
        return self.policy_matches and self.newest_policy <= self.policy_version


@dataclass(slots=True)
class _Evidence:
    """The findings from the audit log.

    Attributes:
        records: The number of records.
        used: The last use of a permission, by principal and namespace.
        policies: Version and digest of each recorded policy of the current version.
        newest_policy: The highest version of the policy.
    """

    records: int
    used: dict[tuple[str, str | None, Permission], datetime]
    policies: set[tuple[int, str]]
    newest_policy: int = 0

    def add(self, principal: str, namespace: str | None, permission: Permission, at: datetime) -> None:
        """Add a use of a permission."""
        key = (principal, namespace, permission)
        if key not in self.used or self.used[key] < at:
            self.used[key] = at


async def review_access(access: AccessControl, audit_root: Path, *, cell_id: UUID, stale: timedelta) -> AccessReview:
    """Read all audit records of this host, and return a report.

    Args:
        access: The cell's access policy.
        audit_root: The folder of the audit log.
        cell_id: The cell.
        stale: Age from which an unused role is stale.
    """
    policy = await access.latest()
    digest = await access.digest()
    evidence = await asyncio.to_thread(_read, audit_root, policy.version)
    _add_approvals(evidence, policy)
    now = access.now()
    return AccessReview(
        cell_id=cell_id,
        at=now,
        policy_version=policy.version,
        policy_matches=digest in evidence.policies,
        newest_policy=max(evidence.newest_policy, access.newest_known),
        records=evidence.records,
        roles=list(_roles(policy, evidence, now, stale)),
        without_role=[principal.name for principal in policy.principals.values() if not principal.bindings],
        expired_keys={
            principal.name: expired
            for principal in policy.principals.values()
            if (expired := [key.key_id for key in principal.api_keys if key.expires_at <= now])
        },
        grants=policy.grants,
    )


def _add_approvals(evidence: _Evidence, policy: Policy) -> None:
    """Add the approvals of grants, which the policy keeps for 90 days. The log has a hash of the grant and not its permissions."""
    for grant in policy.grants:
        if grant.approved_at is None:
            continue
        namespace = None if grant.namespace_id is None else str(grant.namespace_id)
        for permission in permissions_of_grant(grant):
            evidence.add(grant.approved_by, namespace, permission, grant.approved_at)


def _roles(policy: Policy, evidence: _Evidence, now: datetime, stale: timedelta) -> Iterator[ReviewedRole]:
    for principal in policy.principals.values():
        for binding in principal.bindings:
            namespace = None if binding.namespace_id is None else str(binding.namespace_id)
            permissions = (ACCOUNT_ROLES if namespace is None else NAMESPACE_ROLES)[binding.role]
            uses = [
                used_at
                for (name, namespace_used, permission), used_at in evidence.used.items()
                if name == principal.name and permission in permissions and namespace in (None, namespace_used)
            ]
            last = max(uses, default=None)
            yield ReviewedRole(
                principal.name,
                binding.role,
                binding.namespace_id,
                binding.since,
                binding.by,
                last,
                is_stale=(last or binding.since) < now - stale,
            )


def _read(root: Path, version: int) -> _Evidence:
    evidence = _Evidence(0, {}, set())
    for line in read_lines(root):
        parsed = parse(line)
        if parsed is None:
            continue
        fields = parsed[0]
        evidence.records += 1
        event = fields.get("event")
        evidence.newest_policy = max(evidence.newest_policy, policy_version_of(fields))
        if event == POLICY and fields.get("policy_version") == version:
            evidence.policies.add((version, str(fields.get("policy_digest"))))
        elif event in (INTENT, READ, OUTCOME):
            operation = OPERATIONS.get(str(fields.get("operation")))
            if operation is None or operation.permission is None:
                continue
            used_at = datetime.fromisoformat(fields["at"])
            for namespace in fields.get("namespace_ids", [fields.get("namespace_id")]):
                evidence.add(str(fields.get("principal")), namespace, operation.permission, used_at)
    return evidence
