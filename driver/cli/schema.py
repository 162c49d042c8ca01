"""Commands on the database schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.driver.config import load_config
from strongroom.storage import Database, apply_schema, schema_status
from strongroom.storage.schema.citus import distribute_schema, distribution_statements

from .commands import Group, refuse_unused
from .interrupts import INTERRUPTS
from .show.output import busy, json_wanted, line, result, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


_APPLIED: dict[str, object] = {
    "version": None,
    "applied": [],
    "statements": [],
    "distributed": False,
    "driver_role": None,
}


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom schema status")
def schema() -> None:
    """Bring the database schema up to date, and show its state."""


@schema.command(
    "apply",
    epilog="\b\nExamples:\n  strongroom schema apply\n"
    "  strongroom schema apply --dsn postgresql://owner@db.example.com/strongroom --driver-role strongroom_driver\n"
    "  strongroom schema apply --distributed\n  strongroom schema apply --distributed --print",
)
@click.option(
    "--driver-role",
    metavar="NAME",
    help="Role that services connect as. It gets the rights that they need, and row-level security applies to it.",
)
@click.option(
    "--dsn",
    envvar="STRONGROOM_OWNER_DSN",
    help="Connect as the owner of the tables, if the configuration names another role.",
)
@click.option("--distributed", is_flag=True, help="Then distribute the tables over a Citus cluster, by shard.")
@click.option("--print", "only_print", is_flag=True, help="With --distributed: print the statements and run nothing.")
@click.pass_obj
def apply(config_path: Path, driver_role: str | None, dsn: str | None, distributed: bool, only_print: bool) -> None:
    """Run missing migrations, and create the functions. It can be run again, and by several processes at once."""
    if only_print:
        if not distributed:
            msg = "--print needs --distributed; add it"
            raise click.UsageError(msg)
        refuse_unused(
            {"driver_role": "--driver-role", "dsn": "--dsn"}, "--print runs nothing; leave --print or the others out"
        )
        statements = distribution_statements()
        result({**_APPLIED, "distributed": True, "statements": statements}, *(f"{each};" for each in statements))
        return

    async def run(database: Database) -> None:
        with busy("bringing the schema up to date ..."):
            steps = [step.name for step in await apply_schema(database, driver_role=driver_role)]
            statements = list(await distribute_schema(database)) if distributed else []
            found = await schema_status(database)
        document = {
            "version": found.version,
            "applied": steps,
            "statements": statements,
            "distributed": found.distributed,
        }
        lines = [f"applied {step}" for step in steps] + [f"ran {statement}" for statement in statements]
        if distributed:
            lines.append("next, set distributed = true under [database] in the configuration of every host")
        lines.append(f"schema version {found.version}, {'distributed' if found.distributed else 'on one server'}")
        if driver_role is not None:
            lines.append(
                f"{driver_role} has the rights that services need; connect as this role in the dsn of their configuration"
            )
        result({**document, "driver_role": driver_role}, *lines)

    INTERRUPTS.run(_on_database(config_path, run, dsn, distributed=distributed))


@schema.command("status", epilog="\b\nExample:\n  strongroom schema status")
@click.pass_obj
def status(config_path: Path) -> None:
    """Show the migrations that were run. Ends with 1 if something is missing."""

    async def run(database: Database) -> None:
        found = await schema_status(database)
        if json_wanted():
            result(
                {
                    "version": found.version,
                    "migrations": found.migrations,
                    "missing_functions": found.missing_functions,
                    "distributed": found.distributed,
                    "is_current": found.is_current,
                    "advice": found.advice,
                }
            )
            raise click.exceptions.Exit(0 if found.is_current else 1)
        table(
            "version",
            "migration",
            "applied (UTC)",
            rows=(
                (step.version, step.name, f"{step.applied_at:%Y-%m-%d %H:%M}" if step.applied_at else "missing")
                for step in found.migrations
            ),
        )
        spread = "distributed over Citus" if found.distributed else "on one server"
        line(f"{spread}; missing functions: {', '.join(found.missing_functions) or 'none'}")
        if not found.is_current:
            line(found.advice)
            raise click.exceptions.Exit(1)

    INTERRUPTS.run(_on_database(config_path, run))


async def _on_database(
    config_path: Path, run: Callable[[Database], Awaitable[None]], dsn: str | None = None, *, distributed: bool = False
) -> None:
    """Run a command on the configured database, or with another dsn. The schema is not checked."""
    config = load_config(config_path)
    on_citus = distributed or config.cell.distributed
    database = Database(dsn or config.dsn, size=2, distributed=on_citus, **config.database_transport())
    try:
        await run(database)
    finally:
        await database.aclose()
