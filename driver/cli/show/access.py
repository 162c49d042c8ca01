"""Print principals, roles, grants and reviews."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from .output import json_wanted, line, result, table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.access import Policy
    from strongroom.driver.access.policy import ApiKey, Grant
    from strongroom.driver.access.review import AccessReview
    from strongroom.storage import Namespace


def api_key(name: str, key: str, stored: ApiKey, *advice: str) -> None:
    """Print a new API key, and advice. The key can't be printed again."""
    result(
        {"principal": name, "key_id": stored.key_id, "api_key": key, "expires_at": stored.expires_at},
        f"API key of {name}, valid until {_day(stored.expires_at)}; store it now, because it can't be shown again:",
        key,
        *advice,
    )


def principals(policy: Policy, namespaces: Iterable[Namespace]) -> None:
    """Print the principals."""
    names = {each.namespace_id: each.name for each in namespaces}
    if json_wanted():
        people = [_without_hashes(asdict(each)) for each in policy.principals.values()]
        result({"version": policy.version, "principals": people})
        return
    rows = []
    for person in sorted(policy.principals.values(), key=lambda each: each.name):
        roles = [
            each.role if each.namespace_id is None else f"{each.role} in {_place(each.namespace_id, names)}"
            for each in person.bindings
        ]
        keys = [f"{key.key_id} until {_day(key.expires_at)}" for key in person.api_keys]
        rows.append((person.name, ", ".join(roles) or "none", ", ".join(keys), " | ".join(person.subjects)))
    if not rows:
        line("this cell has no access policy: every user who can read its configuration may do anything")
        line("turn access control on with: strongroom access init NAME")
        return
    table("principal", "roles", "API keys", "certificates", rows=rows)


def grants(policy: Policy, *, at: datetime, show_all: bool) -> None:
    """Print break-glass grants, in their state at a time."""
    shown = [each for each in policy.grants if show_all or _state(each, at) in ("waiting", "valid")]
    if json_wanted():
        result({"grants": [{**asdict(each), "state": _state(each, at)} for each in shown]})
        return
    table(
        *("grant", "for", "what", "where", "reason", "asked", "state", "approved by", "until"),
        rows=(
            (
                each.grant_id,
                each.principal,
                each.role or f"{each.operation} {each.state}".rstrip(),
                each.namespace_id or "cell",
                each.reason,
                _minute(each.requested_at),
                _state(each, at),
                each.approved_by,
                "" if each.expires_at is None else _minute(each.expires_at),
            )
            for each in shown
        ),
    )


def review(report: AccessReview) -> None:
    """Print an access review."""
    if json_wanted():
        result({**asdict(report), "ok": report.ok})
        return
    line(f"cell {report.cell_id}, {_minute(report.at)} UTC, policy version {report.policy_version}")
    table(
        *("principal", "role", "where", "since", "by", "last used", ""),
        rows=(
            (
                each.principal,
                each.role,
                each.namespace_id or "cell",
                _day(each.since),
                each.by,
                "never" if each.last_used is None else _minute(each.last_used),
                "stale" if each.is_stale else "",
            )
            for each in report.roles
        ),
    )
    if report.without_role:
        line(f"without any role: {', '.join(report.without_role)}")
    for name, keys in report.expired_keys.items():
        line(f"expired API keys of {name}: {', '.join(keys)}")
    line(f"{len(report.grants)} break-glass grants in the last 90 days: strongroom access grants --all")
    line(
        f"the last use is from {report.records} records of this host's audit log, and from approvals in the last 90 days"
    )
    if not report.policy_matches:
        line(
            ": rights were changed on another host, or without the audit log. Run the review on the other host",
            label="the audit log does not have this policy",
            style="red",
        )
    if report.newest_policy > report.policy_version:
        line(
            f": version {report.newest_policy} was in force. See 'strongroom access accept-older --help'",
            label="this policy is older than one in the audit log",
            style="red",
        )


def retention(policy: Policy, namespaces: Iterable[Namespace]) -> None:
    """Print the retention of audit records, and the legal holds."""
    if json_wanted():
        result(
            {
                "retention_days": policy.retention_days,
                "holds": [asdict(each) for each in policy.holds],
                "availability_first": sorted(policy.availability_first),
            }
        )
        return
    names = {each.namespace_id: each.name for each in namespaces}
    line(f"records are kept for {policy.retention_days} days")
    rows = ((each.hold_id, each.reason, _minute(each.since), each.by) for each in policy.holds)
    table("legal hold", "reason", "since", "by", rows=rows)
    for namespace_id in sorted(policy.availability_first):
        line(f"calls about {_place(namespace_id, names)} continue while the audit log can't be written")


def _state(grant: Grant, at: datetime) -> str:
    if grant.ended_at is not None:
        return "ended"
    if grant.expires_at is None:
        return "waiting"
    return "valid" if grant.counts(at) else "expired"


def _without_hashes(person: dict[str, object]) -> dict[str, object]:
    keys = person["api_keys"]
    assert isinstance(keys, tuple)  # noqa: S101 - `Principal.api_keys` is a tuple
    return {**person, "api_keys": [{name: value for name, value in key.items() if name != "hash"} for key in keys]}


def _place(namespace_id: UUID, names: dict[UUID, str | None]) -> str:
    return names.get(namespace_id) or str(namespace_id)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
