"""The access review: who has what, since when, by whom, and when it was last used."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from strongroom.driver.audit.events import DENIED, INTENT, OUTCOME, POLICY, READ
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.stream import parse

from .catalogue import OPERATIONS
from .changes import utc_now
from .roles import ACCOUNT_ROLES, NAMESPACE_ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom

    from .policy import Grant, Policy
    from .roles import Permission


@dataclass(frozen=True, slots=True)
class ReviewedRole:
    """A role that somebody has.

    Attributes:
        last_used: when the audit log last saw a call that this role allows; None for never.
        is_stale: whether that is too long ago, or never was and the role is as old.
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
        cell_id: the deployment.
        at: when it was made; UTC.
        policy_version: how often rights were changed.
        policy_matches: whether the audit log holds this very policy as the last one; another one was put there past it.
        records: of the audit log that were read.
        roles: by principal.
        without_role: principals that have none.
        expired_keys: API keys that count no more and are still there, by principal.
        grants: of the last 90 days.
    """

    cell_id: UUID
    at: datetime
    policy_version: int
    policy_matches: bool
    records: int
    roles: Sequence[ReviewedRole]
    without_role: Sequence[str]
    expired_keys: Mapping[str, Sequence[str]]
    grants: Sequence[Grant]


@dataclass(slots=True)
class _Seen:
    """What the audit log says: the last use of each permission, and the last policy."""

    records: int
    used: dict[tuple[str, str | None, Permission], datetime]
    policies: set[tuple[int, str]]


async def review_access(strongroom: Strongroom, *, stale: timedelta) -> AccessReview:
    """Make a report; reads the whole audit log of this host."""
    assert strongroom.audit is not None  # noqa: S101 - there is no policy without
    policy = await strongroom.access.latest()
    held = await strongroom.access.digest()
    seen = await asyncio.to_thread(_read, strongroom.audit.root, policy.version)
    at = utc_now()
    roles = list(_roles(policy, seen, at, stale))
    return AccessReview(
        cell_id=strongroom.config.cell.cell_id,
        at=at,
        policy_version=policy.version,
        policy_matches=held in seen.policies,
        records=seen.records,
        roles=roles,
        without_role=[person.name for person in policy.principals.values() if not person.bindings],
        expired_keys={
            person.name: expired
            for person in policy.principals.values()
            if (expired := [key.key_id for key in person.api_keys if key.expires_at <= at])
        },
        grants=policy.grants,
    )


def _roles(policy: Policy, seen: _Seen, at: datetime, stale: timedelta) -> list[ReviewedRole]:
    found = []
    for person in policy.principals.values():
        for binding in person.bindings:
            namespace = None if binding.namespace_id is None else str(binding.namespace_id)
            given = (ACCOUNT_ROLES if namespace is None else NAMESPACE_ROLES)[binding.role]
            uses = [
                when
                for (name, place, permission), when in seen.used.items()
                if name == person.name and permission in given and namespace in (None, place)
            ]
            last = max(uses, default=None)
            found.append(
                ReviewedRole(
                    person.name,
                    binding.role,
                    binding.namespace_id,
                    binding.since,
                    binding.by,
                    last,
                    (last or binding.since) < at - stale,
                )
            )
    return found


def _read(root: Path, version: int) -> _Seen:
    seen = _Seen(0, {}, set())
    for line in read_lines(root):
        parsed = parse(line)
        if parsed is None:
            continue
        fields = parsed[0]
        seen.records += 1
        event = fields.get("event")
        if event == POLICY and fields.get("policy_version") == version:
            seen.policies.add((version, str(fields.get("policy_digest"))))
        elif event in (INTENT, READ, OUTCOME, DENIED):
            operation = OPERATIONS.get(str(fields.get("operation")))
            if event == DENIED or operation is None or operation.permission is None:
                continue
            at = datetime.fromisoformat(fields["at"])
            for place in fields.get("namespace_ids", [fields.get("namespace_id")]):
                key = (str(fields.get("principal")), place, operation.permission)
                if key not in seen.used or seen.used[key] < at:
                    seen.used[key] = at
    return seen
