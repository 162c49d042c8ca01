"""Commands on break-glass grants."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from strongroom.driver.access import grants
from strongroom.driver.anchor import older_than_anchor
from strongroom.storage.cell.positions import POLICY

from .cell import caller_name, namespace_id_of, with_older_database
from .commands import Command, FiniteRange
from .show import access as cli_show_access
from .show.output import result

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.access import Policy
    from strongroom.driver.strongroom import Strongroom


@click.command(
    "request",
    cls=Command,
    epilog='\b\nExamples:\n  strongroom access request --role read -n payments --reason "ticket 4711" --hours 2\n'
    '  strongroom access request --operation shredding.finish -n payments --reason "erasure request 12"',
)
@click.option("--role", default="", help="Role to request.")
@click.option("--operation", default="", help="One operation that needs two people, for example shredding.finish.")
@click.option("-n", "--namespace", help="Namespace of the right, by its name or id. Default: the whole cell.")
@click.option("--state", default="", help="State that 'strongroom restore accept --dry-run' shows, for restore.accept.")
@click.option("--reason", required=True, help="Reason. It is recorded, and shown in each review.")
@click.option(
    "--hours",
    type=FiniteRange(0, 8, min_open=True),
    default=1.0,
    show_default=True,
    help="Lifetime of the right, in hours.",
)
@click.pass_obj
def request(
    config_path: Path, role: str, operation: str, namespace: str | None, state: str, reason: str, hours: float
) -> None:
    """Request a role or one operation for up to 8 hours. Another principal must approve it, and must have the same right."""

    async def run(strongroom: Strongroom) -> None:
        await _refuse_older(strongroom, operation)
        namespace_id = None if namespace is None else await namespace_id_of(strongroom, namespace)
        made: list[str] = []

        def edit(policy: Policy) -> Policy:
            changed, grant = grants.request_grant(
                policy,
                role=role,
                operation=operation,
                namespace_id=namespace_id,
                reason=reason,
                lifetime=timedelta(hours=hours),
                by=caller_name(),
                now=strongroom.access.now(),
                state=state,
            )
            made[:] = [grant.grant_id]
            return changed

        await strongroom.access.change(edit)
        result(
            {"grant_id": made[0]},
            f"requested; another principal has 24 hours to approve it: strongroom access approve {made[0]}",
        )

    with_older_database(config_path, run, "access.request_grant", role=role or operation, reason=reason, state=state)


@click.command(
    "grants", cls=Command, epilog="\b\nExamples:\n  strongroom access grants\n  strongroom access grants --all"
)
@click.option("--all", "show_all", is_flag=True, help="Also show grants that are over. They are kept for 90 days.")
@click.pass_obj
def list_grants(config_path: Path, show_all: bool) -> None:
    """List break-glass grants that are waiting for approval or are valid."""

    async def run(strongroom: Strongroom) -> None:
        policy = await strongroom.access.latest()
        cli_show_access.grants(policy, at=strongroom.access.now(), show_all=show_all)

    with_older_database(config_path, run, "access.list_grants")


@click.command("approve", cls=Command, epilog="\b\nExample:\n  strongroom access approve 5f0c3d2a9b1e")
@click.argument("grant_id")
@click.pass_obj
def approve(config_path: Path, grant_id: str) -> None:
    """Approve the grant of another principal. It is valid from now on."""

    async def run(strongroom: Strongroom) -> None:
        by = caller_name()
        await _refuse_older(strongroom, await _operation_of(strongroom, grant_id))
        policy = await strongroom.access.change(
            lambda p: grants.approve_grant(p, grant_id, by=by, now=strongroom.access.now())
        )
        (grant,) = (each for each in policy.grants if each.grant_id == grant_id)
        result(
            {"grant_id": grant_id, "principal": grant.principal, "expires_at": grant.expires_at},
            f"{grant.principal} has the right until {grant.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        )

    with_older_database(config_path, run, "access.approve_grant", grant_id=grant_id)


async def _operation_of(strongroom: Strongroom, grant_id: str) -> str:
    """Return the operation of a grant; "" for a grant of a role, and if there is no such grant."""
    policy = await strongroom.access.latest()
    return next((each.operation for each in policy.grants if each.grant_id == grant_id), "")


async def _refuse_older(strongroom: Strongroom, operation: str) -> None:
    """Refuse a database that is older than an anchored state, unless the grant is for its acceptance.

    An older access policy is accepted first, by a command of its own, so that no change of the policy makes it the newest one.
    """
    older = await strongroom.anchors.older()
    if older and (operation != grants.ACCEPT or any(each.found.name == POLICY for each in older)):
        raise older_than_anchor(older)


@click.command("end", cls=Command, epilog="\b\nExample:\n  strongroom access end 5f0c3d2a9b1e")
@click.argument("grant_id")
@click.pass_obj
def end(config_path: Path, grant_id: str) -> None:
    """End a grant early, or withdraw a request."""

    async def run(strongroom: Strongroom) -> None:
        by = caller_name()
        await _refuse_older(strongroom, await _operation_of(strongroom, grant_id))
        await strongroom.access.change(lambda p: grants.end_grant(p, grant_id, by=by, now=strongroom.access.now()))
        result({"grant_id": grant_id}, "the grant is over")

    with_older_database(config_path, run, "access.end_grant", grant_id=grant_id)
