"""The command line.

Every command ends with 0 when done, 1 when a check did not hold, 2 when the input or the set-up is wrong.
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
    """Run the command line, and turn every error of ours into one line and exit code 2."""
    try:
        # Outside its stand-alone mode click returns the code of an `Exit` instead of ending with it.
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        errors.print("stopped; what was committed stays, and the command can be run again")
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
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Leave database and server in this new folder."
)
@click.option("--stop", type=click.Path(file_okay=False, path_type=Path), help="Stop the server that --keep left.")
def demo(keep: Path | None, stop: Path | None) -> None:
    """Seal real histories in a throw-away PostgreSQL, search, rotate and shred them, and check each claim."""
    if stop is not None:
        stop_demo(stop)
        console.print(f"stopped; {stop} can be deleted")
    elif not asyncio.run(run_demo(keep, RichTerminal())):
        raise click.exceptions.Exit(1)


@cli.command(epilog="\b\nExample:\n  strongroom init --dsn postgresql://strongroom@db.example.com/strongroom")
@click.option(
    "--dsn", envvar="STRONGROOM_DSN", help="PostgreSQL connection string, for a configuration that is not there yet."
)
@click.option(
    "--shards", type=click.IntRange(1, 16384), default=512, show_default=True, help="Of a new cell; fixed for ever."
)
@click.option(
    "--region", help="That a new cell is bound to, for ever: its rows and keys open in no cell of another region."
)
@click.pass_obj
def init(config_path: Path, dsn: str | None, shards: int, region: str | None) -> None:
    """Make configuration, keyring and schema, or bring the schema up to date. Safe to run again."""
    if not config_path.exists():
        if not dsn:
            msg = f"{config_path} is not there yet; give --dsn to make it"
            raise click.UsageError(msg)
        write_config(config_path, dsn=dsn, shards=shards, region=region)
        console.print(f"wrote {config_path} (keep it with the keyring; without the keyring nothing opens)")
    config = load_config(config_path)
    if region not in (None, config.cell.region):
        msg = f"{config_path} has another region, or none; the region of a cell never changes"
        raise click.UsageError(msg)
    for step in asyncio.run(Strongroom.init(config)):
        console.print(f"applied {step.name}")
    bound = "" if config.cell.region is None else f" of region {config.cell.region}"
    console.print(f"cell {config.cell.cell_id}{bound} is ready, schema version {current_version()}")


@cli.command(epilog="\b\nExamples:\n  strongroom doctor\n  strongroom --config /etc/strongroom.toml doctor --use-keys")
@click.option(
    "--use-keys", is_flag=True, help="Also wrap and unwrap once with each KEK, which shows rights; a KMS may bill it."
)
@click.pass_obj
def doctor(config_path: Path, use_keys: bool) -> None:
    """Check configuration, database, KMSs, keys, namespaces and search index, and say what to do about what is wrong.

    Ends with 1 if something is wrong. A note is for what works and yet is to be seen to; it changes nothing in the outcome.
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
