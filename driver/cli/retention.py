"""Commands on the retention of audit records."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from strongroom.driver.access import changes
from strongroom.driver.audit.retention import prune as prune_streams
from strongroom.driver.config import ConfigError
from strongroom.driver.freshness import forget_streams
from strongroom.storage.errors import number_of

from .cell import caller_name, named, namespace_id_of, with_cell
from .commands import Command
from .show import access as cli_show_access
from .show.output import json_wanted, line, result, table

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.access import Policy
    from strongroom.driver.strongroom import Strongroom


@click.command("holds", cls=Command, epilog="\b\nExample:\n  strongroom audit holds")
@click.pass_obj
def holds(config_path: Path) -> None:
    """Show legal holds, the retention of records, and the namespaces that work without the log."""

    async def run(strongroom: Strongroom) -> None:
        cli_show_access.retention(await strongroom.access.latest(), await strongroom.namespaces.list_namespaces())

    with_cell(config_path, run, "access.list")


@click.command("hold", cls=Command, epilog='\b\nExample:\n  strongroom audit hold --reason "case 2026-17"')
@click.option("--reason", required=True, help="Reason. It is recorded and shown.")
@click.pass_obj
def hold(config_path: Path, reason: str) -> None:
    """Keep every record until the hold is lifted."""

    async def run(strongroom: Strongroom) -> None:
        by, access = caller_name(), strongroom.access
        policy = await access.change(lambda p: changes.add_hold(p, reason, by=by, now=access.now()))
        made = policy.holds[-1].hold_id
        result({"hold_id": made}, f"no record is pruned from now on; lift the hold with: strongroom audit lift {made}")

    with_cell(config_path, run, "audit.hold", reason=reason)


@click.command("lift", cls=Command, epilog="\b\nExample:\n  strongroom audit lift 5f0c3d2a")
@click.argument("hold_id")
@click.pass_obj
def lift(config_path: Path, hold_id: str) -> None:
    """Lift a legal hold."""

    async def run(strongroom: Strongroom) -> None:
        left = (await strongroom.access.change(lambda p: changes.lift_hold(p, hold_id))).holds
        result(
            {"hold_id": hold_id, "holds_left": len(left)},
            f"lifted; {len(left)} holds are left" if left else "lifted; records may be pruned again",
        )

    with_cell(config_path, run, "audit.lift_hold", hold_id=hold_id)


@click.command("retention", cls=Command, epilog="\b\nExample:\n  strongroom audit retention 730")
@click.argument("days", type=click.IntRange(1, changes.MOST_DAYS))
@click.option("--shorten", is_flag=True, help="Confirm that it is less than before. It needs a second person.")
@click.pass_obj
def retention(config_path: Path, days: int, shorten: bool) -> None:
    """Set the retention of records in days. Shortening it needs a grant of audit.shorten_retention; see `access request`."""

    async def run(strongroom: Strongroom) -> None:
        def edit(policy: Policy) -> Policy:
            if shorten != (days < policy.retention_days):
                msg = (
                    f"records are kept for {policy.retention_days} days now: "
                    f"{'this is no less' if shorten else 'to keep them for less, add --shorten'}"
                )
                raise ConfigError(msg)
            return changes.keep_for(policy, days)

        await strongroom.access.change(edit)
        result(
            {"retention_days": days},
            f"records are kept for {days} days; `strongroom audit prune` deletes what is older",
        )

    with_cell(config_path, run, "audit.shorten_retention" if shorten else "audit.lengthen_retention", days=days)


@click.command(
    "prune", cls=Command, epilog="\b\nExamples:\n  strongroom audit prune --dry-run\n  strongroom audit prune"
)
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.pass_obj
def prune(config_path: Path, dry_run: bool) -> None:
    """Delete this host's records past their retention, and leave a signed statement, so that the rest still verifies.

    Whole days of a stream are deleted at once. A legal hold prevents it. Export the records that you want to keep first.
    """

    async def run(strongroom: Strongroom) -> None:
        policy, log = await strongroom.access.latest(), strongroom.needed_audit()
        if policy.holds:
            holds = "a legal hold is" if len(policy.holds) == 1 else f"{len(policy.holds)} legal holds are"
            msg = f"{holds} in force, so nothing is deleted; run `strongroom audit holds` to see the reason"
            raise ConfigError(msg)
        # The records have times of this host, whose clock may be wrong now, and so may the server's. A record is old if both say so.
        before = min(strongroom.access.now(), datetime.now(UTC)) - timedelta(days=policy.retention_days)
        key = await strongroom.audit_key()
        try:
            done = await asyncio.to_thread(prune_streams, log.root, before=before, key=key, dry_run=dry_run)
            if not dry_run:
                await forget_streams(strongroom, key, before=before)
        except OSError as error:
            msg = (
                f"the audit log's files can't be deleted: {error.strerror}; check the rights of this user on its folder"
            )
            raise ConfigError(msg) from None
        if json_wanted():
            streams = [{"stream": each.stream_id, "through": each.through, "files": each.segments} for each in done]
            result({"dry_run": dry_run, "before": before, "streams": streams})
            return
        if not done:
            line(f"nothing to delete: no file has only records from before {before:%Y-%m-%d %H:%M} UTC")
            return
        table("stream", "records up to", "files", rows=((each.stream_id, each.through, each.segments) for each in done))
        files = sum(each.segments for each in done)
        verb = "would be deleted" if dry_run else "deleted"
        line(f"{verb}: {number_of(files, 'file')} with records from before {before:%Y-%m-%d %H:%M} UTC")

    with_cell(config_path, run, "audit.prune")


@click.command(
    "availability-first",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom audit availability-first payments on\n  strongroom audit availability-first payments off",
)
@click.argument("namespace")
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.pass_obj
def availability_first(config_path: Path, namespace: str, switch: str) -> None:
    """Let calls about a namespace continue while the audit log can't be written. It is off by default.

    The missing records are written when the log works again. They are lost if the process ends before that.
    """

    async def run(strongroom: Strongroom) -> None:
        found = await namespace_id_of(strongroom, namespace)
        await strongroom.access.change(lambda p: changes.put_availability_first(p, found, on=switch == "on"))
        result(
            {"namespace_id": found, "availability_first": switch == "on"},
            f"calls about {namespace} {'continue' if switch == 'on' else 'are refused'} while the audit log can't be written",
        )

    with_cell(config_path, run, "audit.availability_first", **named(namespace))
