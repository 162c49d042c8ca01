"""Commands that make a cell and check it: init, doctor, demo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from strongroom.driver import preparation
from strongroom.driver.demo import run_demo, stop_demo
from strongroom.driver.doctor import examine
from strongroom.storage import addresses, current_version

from .commands import Command, is_given, refuse, refuse_unused
from .interrupts import INTERRUPTS
from .show import doctor as show_doctor
from .show.demo import TextTerminal
from .show.output import busy, line, result

if TYPE_CHECKING:
    from strongroom.driver.preparation import Preparation
    from strongroom.kms import CellPin

_DSN = "STRONGROOM_DSN"
_SHARDS = 512


@click.command(
    cls=Command,
    without_json="It shows claims to people; its exit code says whether all of them held.",
    epilog="\b\nExamples:\n  strongroom demo\n  strongroom demo --keep /tmp/strongroom",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the database in this new folder, with its server running.",
)
@click.option(
    "--stop", type=click.Path(file_okay=False, path_type=Path), help="Stop the server of a kept demonstration."
)
def demo(keep: Path | None, stop: Path | None) -> None:
    """Seal real histories in a throw-away PostgreSQL, search, rotate and shred them, and check seven claims."""
    if stop is not None:
        refuse_unused({"keep": "--keep"}, "--stop runs no demonstration; leave one of them out")
        stop_demo(stop)
        line(f"stopped; {stop} can be deleted")
    elif not INTERRUPTS.run(run_demo(keep, TextTerminal())):
        raise click.exceptions.Exit(1)


@click.command(
    cls=Command, epilog="\b\nExample:\n  strongroom init --dsn postgresql://strongroom@db.example.com/strongroom"
)
@click.option("--dsn", help=f"PostgreSQL connection string of a new configuration.  [env var: {_DSN}]")
@click.option(
    "--shards",
    type=click.IntRange(1, 16384),
    default=_SHARDS,
    show_default=True,
    help="Number of shards of a new cell. It never changes.",
)
@click.option(
    "--region",
    help="Region that a new cell is bound to. It never changes: rows and keys open in no cell of another region.",
)
@click.pass_obj
def init(config_path: Path, dsn: str | None, shards: int, region: str | None) -> None:
    """Make the configuration, the keyring and the schema, or bring the schema up to date. It can be run again.

    Everything is checked first: the connection, rights, the schema, keyrings and folders. If a check fails, nothing is written.
    Options that differ from an existing configuration are refused.
    """
    environment = os.environ.get(_DSN)
    if dsn is not None and environment and environment != dsn:
        refuse(
            f"--dsn names {_server(dsn)}, and the environment variable {_DSN}, which takes precedence, names "
            f"{_server(environment)}{_only_password(dsn, environment)}; unset the variable, or leave --dsn out"
        )
    with preparation.one_at_a_time(config_path.parent):
        if config_path.exists():
            prepared = preparation.existing(config_path)
            _refuse_other_options(prepared, dsn, shards, region)
        else:
            if not (dsn or environment):
                refuse(f"{config_path} does not exist; give --dsn to make it")
            prepared = preparation.new(config_path, dsn=dsn or environment or "", shards=shards, region=region)
        steps, pin = INTERRUPTS.run(_prepare(prepared))
    cell = prepared.config.cell
    is_new = prepared.content is not None
    document = {"config": config_path, "created": is_new, "cell_id": cell.cell_id, "region": cell.region}
    lines = [f"applied {step}" for step in steps]
    if is_new:
        lines.insert(
            0,
            f"wrote {config_path} (keep it and the keyring in a safe place: without the keyring nothing can be opened)",
        )
    bound = "" if cell.region is None else f" of region {cell.region}"
    if prepared.config.cell_commitment is None:
        lines.append(f"pinned the cell's own keys in {config_path}: {pin.kek}, commitment {pin.commitment.hex()}")
    lines.append(f"cell {cell.cell_id}{bound} is ready, schema version {current_version()}")
    document |= {"kek": str(pin.kek), "commitment": pin.commitment.hex()}
    result({**document, "shards": cell.shard_count, "applied": steps, "schema_version": current_version()}, *lines)


async def _prepare(prepared: Preparation) -> tuple[list[str], CellPin]:
    await prepared.check()
    steps = [step.name for step in await prepared.run()]
    return steps, await prepared.pin()


def _refuse_other_options(prepared: Preparation, dsn: str | None, shards: int, region: str | None) -> None:
    """Refuse options that differ from an existing configuration, because they would have no effect."""
    path, config = prepared.path, prepared.config
    if dsn is not None and dsn != config.dsn:
        refuse(
            f"--dsn names {_server(dsn)}, and database.dsn in {path} names {_server(config.dsn)}"
            f"{_only_password(dsn, config.dsn)}. To use the other one, change database.dsn in {path}; for a new cell, name "
            "another file with --config"
        )
    cell = config.cell
    if is_given("shards") and shards != cell.shard_count:
        refuse(
            f"--shards is {shards}, and cell.shards in {path} is {cell.shard_count}. The number of shards of a cell never changes; "
            "leave --shards out, or name another file with --config for a new cell"
        )
    if is_given("region") and region != cell.region:
        named = "names no region" if cell.region is None else f"names {cell.region}"
        refuse(
            f"--region is {region}, and {path} {named}. The region of a cell never changes; leave --region out, or name another "
            "file with --config for a new cell"
        )


def _server(dsn: str) -> str:
    """Return the servers, the database and the role of a dsn, without a password."""
    parts = urlsplit(dsn)
    servers = ", ".join(host if port is None else f"{host}:{port}" for host, port in addresses(dsn))
    role = "" if parts.username is None else f" as {parts.username}"
    return f"{servers}{parts.path}{role}"


def _only_password(one: str, other: str) -> str:
    """Explain two dsns that look the same without their passwords and parameters."""
    return " with another password or other parameters" if _server(one) == _server(other) else ""


@click.command(
    cls=Command,
    epilog="\b\nExamples:\n  strongroom doctor\n  strongroom --config /etc/strongroom.toml doctor --use-keys",
)
@click.option(
    "--use-keys",
    is_flag=True,
    help="Also wrap and unwrap once with each KEK, to check the rights. A KMS may bill the calls.",
)
@click.pass_obj
def doctor(config_path: Path, use_keys: bool) -> None:
    """Check the configuration, the database, the KMSs, keys, namespaces and the search index, and give advice.

    Ends with 1 if a check failed. A note is advice about something that works; it does not change the exit code.
    """
    with busy("checking the cell ..."):
        findings = INTERRUPTS.run(examine(config_path, use_keys=use_keys))
    show_doctor.findings(findings)
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(1)
