"""Commands on principals, roles and API keys."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from strongroom.driver.access import changes
from strongroom.driver.access.api_keys import make_api_key
from strongroom.driver.config import ConfigError

from .cell import caller_name, named, namespace_id_of, with_cell, with_older_database
from .commands import Group
from .grants import approve, end, list_grants, request
from .show import access as cli_show_access
from .show.output import busy, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from strongroom.driver.access import Policy
    from strongroom.driver.access.policy import ApiKey
    from strongroom.driver.strongroom import Strongroom

_NAMESPACE = click.option(
    "-n", "--namespace", help="Namespace of the role, by its name or id. Default: the whole cell."
)
_DAYS = click.option(
    "--days", type=click.IntRange(1, 400), default=90, show_default=True, help="Lifetime of the key, in days."
)


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom access init ana@example.com")
def access() -> None:
    """Manage principals, roles, API keys and break-glass grants, and review them.

    Before `access init`, every user who can read the configuration may do anything. After it, each command needs an API key in the
    environment variable STRONGROOM_API_KEY, and services must use sessions.
    """


@access.command("init", epilog="\b\nExample:\n  strongroom access init ana@example.com")
@click.argument("name")
@_DAYS
@click.pass_obj
def init(config_path: Path, name: str, days: int) -> None:
    """Turn access control on with one owner, and print the owner's API key once."""
    made: list[tuple[str, ApiKey]] = []

    def edit(policy: Policy, now: datetime) -> Policy:
        if policy.principals:
            msg = "access control is already on; to add a principal, run 'strongroom access add NAME'"
            raise ConfigError(msg)
        made[:] = [make_api_key(now=now, lifetime=timedelta(days=days))]
        created = changes.first_owner(name, now=now, policy=policy)
        return changes.add_api_key(created, name, made[0][1], by=name, now=now)

    async def run(strongroom: Strongroom) -> None:
        strongroom.needed_audit("access control needs an audit log")
        await strongroom.access.change(lambda policy: edit(policy, strongroom.access.now()))
        cli_show_access.api_key(
            name,
            *made[0],
            "next, add a second owner, because the last owner can't be removed and shredding needs two people",
            "then add these two lines to every configuration of this cell:",
            "[access]",
            "enforce = true",
        )

    with_cell(config_path, run, "access.change", principal=name)


@access.command("list", epilog="\b\nExamples:\n  strongroom access list\n  strongroom access list --json")
@click.pass_obj
def list_principals(config_path: Path) -> None:
    """List principals with their roles, certificates and API keys."""

    async def run(strongroom: Strongroom) -> None:
        cli_show_access.principals(await strongroom.access.latest(), await strongroom.namespaces.list_namespaces())

    with_cell(config_path, run, "access.list")


@access.command("add", epilog="\b\nExample:\n  strongroom access add worker-pool-1")
@click.argument("name")
@click.pass_obj
def add(config_path: Path, name: str) -> None:
    """Add a principal: a person or a process. It has no role yet."""
    _change(config_path, lambda p, by, now: changes.add_principal(p, name, by=by, now=now), name)
    result(
        {"principal": name},
        f"{name} is added and has no role yet; to give it one, run 'strongroom access bind {name} ROLE'",
    )


@access.command("remove", epilog="\b\nExample:\n  strongroom access remove worker-pool-1")
@click.argument("name")
@click.pass_obj
def remove(config_path: Path, name: str) -> None:
    """Remove a principal with its keys, roles and grants."""
    _change(config_path, lambda p, by, now: changes.remove_principal(p, name, by=by, now=now), name)
    result({"principal": name}, f"{name} is removed; every process refuses it within ten seconds")


@access.command(
    "bind",
    epilog="\b\nExamples:\n  strongroom access bind worker-pool-1 write -n payments\n  strongroom access bind eve@example.com auditor",
)
@click.argument("name")
@click.argument("role")
@_NAMESPACE
@click.pass_obj
def bind(config_path: Path, name: str, role: str, namespace: str | None) -> None:
    """Give a principal a role. You can only give roles whose permissions you have.

    Roles in the whole cell: owner, admin, developer, read-only, key-custodian, auditor, service. Roles in a namespace: admin, write,
    read.
    """
    _bind(config_path, changes.bind, name, role, namespace)
    result({"principal": name, "role": role, "namespace": namespace}, f"{name} has the role {role} {_in(namespace)}")


@access.command("unbind", epilog="\b\nExample:\n  strongroom access unbind worker-pool-1 write -n payments")
@click.argument("name")
@click.argument("role")
@_NAMESPACE
@click.pass_obj
def unbind(config_path: Path, name: str, role: str, namespace: str | None) -> None:
    """Remove a role from a principal."""
    _bind(config_path, changes.unbind, name, role, namespace)
    result(
        {"principal": name, "role": role, "namespace": namespace},
        f"{name} no longer has the role {role} {_in(namespace)}",
    )


@access.command(
    "certificate",
    epilog="\b\nExamples:\n  strongroom access certificate worker-pool-1 'CN=worker-1,O=Example'\n"
    "  strongroom access certificate worker-pool-1 'CN=worker-1,O=Example' --remove",
)
@click.argument("name")
@click.argument("subject")
@click.option("--remove", "is_removal", is_flag=True, help="Remove the subject.")
@click.pass_obj
def certificate(config_path: Path, name: str, subject: str, is_removal: bool) -> None:
    """Let a principal authenticate with the certificates of a subject.

    Write the subject as `openssl x509 -subject -nameopt RFC2253` prints it.
    """
    edit = changes.remove_subject if is_removal else changes.add_subject
    _change(config_path, lambda p, by, now: edit(p, name, subject, by=by, now=now), name)
    result(
        {"principal": name, "subject": subject, "removed": is_removal},
        f"certificates of this subject {'no longer ' if is_removal else ''}authenticate {name}",
    )


@access.command("api-key", epilog="\b\nExample:\n  strongroom access api-key worker-pool-1 --days 30")
@click.argument("name")
@_DAYS
@click.pass_obj
def api_key(config_path: Path, name: str, days: int) -> None:
    """Create an API key and print it once. A principal may have two keys at a time, so that a new one can replace the old one."""
    made: list[tuple[str, ApiKey]] = []

    def edit(policy: Policy, by: str, now: datetime) -> Policy:
        made[:] = [make_api_key(now=now, lifetime=timedelta(days=days))]
        return changes.add_api_key(policy, name, made[0][1], by=by, now=now)

    _change(config_path, edit, name)
    cli_show_access.api_key(name, *made[0])


@access.command("revoke", epilog="\b\nExample:\n  strongroom access revoke 0f2c1e5e7c1b")
@click.argument("key_id")
@click.pass_obj
def revoke(config_path: Path, key_id: str) -> None:
    """Revoke an API key by its id, which is the part of the key after `sr_`. `access list` shows it too."""
    _change(config_path, lambda p, by, now: changes.revoke_api_key(p, key_id, by=by, now=now), key_id)
    result({"key_id": key_id}, "revoked; every process refuses it within ten seconds")


@access.command(
    "review", epilog="\b\nExamples:\n  strongroom access review\n  strongroom access review --json > 2026-q4.json"
)
@click.option(
    "--stale-days",
    type=click.IntRange(1, 36_500),
    default=90,
    show_default=True,
    help="Number of days without use after which a role is reported as stale.",
)
@click.pass_obj
def review(config_path: Path, stale_days: int) -> None:
    """Report each role with its holder, the principal that gave it, its age and its last use, and each grant with its reason.

    The last use comes from the audit log of this host, and from approvals of grants in the last 90 days. The exit code is 1 if the
    policy in the log differs from the database's, or is newer.
    """

    async def run(strongroom: Strongroom) -> None:
        from strongroom.driver.access.review import review_access  # noqa: PLC0415 - used by this command only

        with busy("reading the audit log ..."):
            report = await review_access(
                strongroom.access,
                strongroom.needed_audit().root,
                cell_id=strongroom.config.cell.cell_id,
                stale=timedelta(days=stale_days),
            )
        cli_show_access.review(report)
        if not report.ok:
            raise click.exceptions.Exit(1)

    with_older_database(config_path, run, "access.review")


@access.command(
    "accept-older",
    epilog="\b\nExample:\n  strongroom access accept-older --version 3 --reason 'backup of 2 May restored'",
)
@click.option(
    "--version", type=click.IntRange(0), required=True, help="Version of the older policy; 0 if there is none."
)
@click.option("--reason", required=True, help="Reason. It is recorded.")
@click.pass_obj
def accept_older(config_path: Path, version: int, reason: str) -> None:
    """Accept an older access policy after a database was restored from a backup. Only an owner can do this.

    Every process refuses a policy that is older than one in the audit log, its checkpoints or the bucket. This command stores the
    older policy again as the newest version, and records who did it and why. Run `strongroom access review` afterwards, because
    principals that were removed since the backup have their roles again.
    """

    async def run(strongroom: Strongroom) -> None:
        strongroom.needed_audit("access control needs an audit log")
        accepted = await strongroom.access.accept_older(version, reason=reason)
        result(
            {"accepted_version": version, "version": accepted},
            f"the policy of version {version} is in force as version {accepted}; review it with 'strongroom access review'",
        )

    with_older_database(config_path, run, "access.accept_older", version=version, reason=reason)


def _change(config_path: Path, edit: Callable[[Policy, str, datetime], Policy], subject: str) -> None:
    async def run(strongroom: Strongroom) -> None:
        await strongroom.access.change(lambda policy: edit(policy, caller_name(), strongroom.access.now()))

    with_cell(config_path, run, "access.change", principal=subject)


def _in(namespace: str | None) -> str:
    return "in the whole cell" if namespace is None else f"in namespace {namespace}"


def _bind(config_path: Path, edit: Callable[..., Policy], name: str, role: str, namespace: str | None) -> None:
    async def run(strongroom: Strongroom) -> None:
        namespace_id = None if namespace is None else await namespace_id_of(strongroom, namespace)
        by, access = caller_name(), strongroom.access
        await access.change(lambda p: edit(p, name, role, namespace_id=namespace_id, by=by, now=access.now()))

    if namespace is None:
        with_cell(config_path, run, "access.change", principal=name, role=role)
    else:
        with_cell(config_path, run, "access.bind", **named(namespace), principal=name, role=role)


for command in (request, list_grants, approve, end):
    access.add_command(command)
