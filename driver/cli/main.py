"""The command line.

Every command ends with 0 on success, 1 if a check failed, and 2 if the input or the set-up is wrong.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
from rich.markup import escape

from strongroom.driver.config import load_config, write_config
from strongroom.driver.demo import run_demo, stop_demo
from strongroom.driver.doctor import examine
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import StrongroomError
from strongroom.storage import current_version

from .access import access
from .audit import audit
from .codec import codec_server
from .data import history, import_, query
from .index import index
from .keys import keys
from .namespace import namespace
from .schema import schema
from .show import doctor as show_doctor
from .show.demo import RichTerminal
from .show.output import console, errors
from .shred import certificate_key, verify


def main() -> None:
    """Run the command line. An error of the driver is printed without a traceback, and the exit code is 2."""
    try:
        # Without its stand-alone mode click returns the code of an `Exit`.
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        errors.print("stopped; what was committed is kept, and the command can be run again")
        sys.exit(130)
    except StrongroomError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="See the README for a first walk, and `strongroom COMMAND --help` for examples.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("strongroom.toml"),
    envvar="STRONGROOM_CONFIG",
    show_default=True,
    show_envvar=True,
    help="Configuration file of the cell.",
)
@click.version_option(package_name="strongroom")
@click.pass_context
def cli(context: click.Context, config_path: Path) -> None:
    """Encrypted-at-rest persistence for workflow services, searchable while it is sealed."""
    context.obj = config_path


@cli.command(epilog="\b\nExamples:\n  strongroom demo\n  strongroom demo --keep /tmp/strongroom")
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
        stop_demo(stop)
        console.print(f"stopped; {stop} can be deleted")
    elif not asyncio.run(run_demo(keep, RichTerminal())):
        raise click.exceptions.Exit(1)


@cli.command(epilog="\b\nExample:\n  strongroom init --dsn postgresql://strongroom@db.example.com/strongroom")
@click.option("--dsn", envvar="STRONGROOM_DSN", help="PostgreSQL connection string of a new configuration.")
@click.option(
    "--shards",
    type=click.IntRange(1, 16384),
    default=512,
    show_default=True,
    help="Number of shards of a new cell. It never changes.",
)
@click.option(
    "--region",
    help="Region that a new cell is bound to. It never changes: rows and keys open in no cell of another region.",
)
@click.pass_obj
def init(config_path: Path, dsn: str | None, shards: int, region: str | None) -> None:
    """Make the configuration, the keyring and the schema, or bring the schema up to date. It can be run again."""
    if not config_path.exists():
        if not dsn:
            msg = f"{config_path} does not exist; give --dsn to make it"
            raise click.UsageError(msg)
        write_config(config_path, dsn=dsn, shards=shards, region=region)
        console.print(
            f"wrote {config_path} (keep it and the keyring in a safe place: without the keyring nothing can be opened)"
        )
    config = load_config(config_path)
    if region not in (None, config.cell.region):
        msg = f"{config_path} names another region or none, and the region of a cell never changes; leave --region out"
        raise click.UsageError(msg)
    for step in asyncio.run(Strongroom.init(config)):
        console.print(f"applied {step.name}")
    bound = "" if config.cell.region is None else f" of region {config.cell.region}"
    console.print(f"cell {config.cell.cell_id}{bound} is ready, schema version {current_version()}")


@cli.command(epilog="\b\nExamples:\n  strongroom doctor\n  strongroom --config /etc/strongroom.toml doctor --use-keys")
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
    findings = asyncio.run(examine(config_path, use_keys=use_keys))
    show_doctor.findings(findings)
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(1)


for command in (
    *(schema, namespace, import_, history, query, index, keys),
    *(access, audit, verify, certificate_key, codec_server),
):
    cli.add_command(command)
