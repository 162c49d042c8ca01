"""The command line.

Every command ends with 0 when done, 1 when a check did not hold, 2 when the input or the set-up is wrong.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click
from rich.markup import escape

from strongroom.kms import KekRef, KeyClass, StrongroomError, Suite, refuse_rotation, rotate_data_key
from strongroom.storage import current_version
from strongroom.visibility import AttributeType, InvalidQuery, registrable

from . import cli_show
from .config import load_config, write_config
from .demo import run_demo, stop_demo
from .doctor import examine
from .import_file import read_import_file
from .importer import import_executions
from .output import console, errors, progress_bar
from .strongroom import Strongroom

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SUITES = {"xaes-256-gcm": Suite.XAES_256_GCM, "aes-256-gcm": Suite.AES_256_GCM}


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
    elif not asyncio.run(run_demo(keep)):
        raise click.exceptions.Exit(1)


@cli.command(epilog="\b\nExample:\n  strongroom init --dsn postgresql://strongroom@db.example.com/strongroom")
@click.option(
    "--dsn", envvar="STRONGROOM_DSN", help="PostgreSQL connection string, for a configuration that is not there yet."
)
@click.option(
    "--shards", type=click.IntRange(1, 16384), default=512, show_default=True, help="Of a new cell; fixed for ever."
)
@click.pass_obj
def init(config_path: Path, dsn: str | None, shards: int) -> None:
    """Make configuration, keyring and schema, or bring the schema up to date. Safe to run again."""
    if not config_path.exists():
        if not dsn:
            msg = f"{config_path} is not there yet; give --dsn to make it"
            raise click.UsageError(msg)
        write_config(config_path, dsn=dsn, shards=shards)
        console.print(f"wrote {config_path} (keep it with the keyring; without the keyring nothing opens)")
    config = load_config(config_path)
    for step in asyncio.run(Strongroom.init(config)):
        console.print(f"applied {step.name}")
    console.print(f"cell {config.cell.cell_id} is ready, schema version {current_version()}")


@cli.command(epilog="\b\nExample:\n  strongroom --config /etc/strongroom.toml doctor")
@click.pass_obj
def doctor(config_path: Path) -> None:
    """Check configuration, keyrings, database, schema and keys, and say what to do about what is wrong."""
    findings = asyncio.run(examine(config_path))
    cli_show.findings(findings)
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(1)


@cli.group()
def namespace() -> None:
    """Create, list and shred namespaces."""


@namespace.command(
    "create",
    epilog="\b\nExamples:\n  strongroom namespace create payments\n"
    "  strongroom namespace create payments --kek local:payments --create-kek -a CustomerId=Keyword -a Amount=Double",
)
@click.argument("name")
@click.option(
    "--kek", "uri", help="KEK for its keys, PROVIDER:KEY. Default: a new one of its own in the first provider."
)
@click.option("--create-kek", is_flag=True, help="Make the KEK if it is not there (local providers).")
@click.option(
    "-a", "--search-attribute", "pairs", multiple=True, metavar="NAME=TYPE", help="Register; may be given often."
)
@click.option(
    "--suite", type=click.Choice(list(SUITES)), default="xaes-256-gcm", show_default=True, help="Cipher of its rows."
)
@click.pass_obj
def create_namespace(
    config_path: Path, name: str, uri: str | None, create_kek: bool, pairs: tuple[str, ...], suite: str
) -> None:
    """Create a namespace with data keys of its own."""
    attributes = dict(_search_attribute(pair) for pair in pairs)

    async def run(strongroom: Strongroom) -> None:
        # Not the namespace's name: a KEK's id stands in clear in the registry and in the KMS's logs.
        kek = KekRef.parse(uri or f"{next(iter(strongroom.config.kms))}:ns-{uuid4().hex[:12]}")
        if create_kek or uri is None:
            await strongroom.create_local_kek(kek)
        created = await strongroom.namespaces.create(name, kek=kek, search_attributes=attributes, suite=SUITES[suite])
        console.print(f"created {created.namespace_id}, its keys wrapped by {kek}")

    _with(config_path, run)


@namespace.command("list")
@click.pass_obj
def list_namespaces(config_path: Path) -> None:
    """Show all namespaces. One whose KMS refuses is listed with the reason, and hides no other."""

    async def run(strongroom: Strongroom) -> None:
        cli_show.namespaces(await strongroom.namespaces.list_namespaces())

    _with(config_path, run)


@namespace.command("shred", epilog="\b\nExample:\n  strongroom namespace shred payments --confirm payments")
@click.argument("name")
@click.option("--confirm", help="The name once more, so that nobody is asked for it.")
@click.pass_obj
def shred_namespace(config_path: Path, name: str, confirm: str | None) -> None:
    """Destroy a namespace's keys and delete its rows. Nothing brings them back.

    Backups made before still open for whoever holds them and may use the KEK: destroy the KEK too.
    """
    if confirm is None:
        confirm = click.prompt("This can't be undone. Type the name of the namespace to shred it")
    if confirm != name:
        msg = "the confirmation is not the name; nothing was changed"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        cli_show.shredded(await strongroom.namespaces.shred(await strongroom.namespaces.find(name)))

    _with(config_path, run)


@cli.command("import", epilog="\b\nExample:\n  strongroom import payments workflows.jsonl.gz")
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def import_(config_path: Path, namespace_name: str, file: Path) -> None:
    """Import exported executions: one JSON object a line, plain or gzip.

    The whole file is checked before anything is written. An import that was interrupted can be run again.
    """

    async def run(strongroom: Strongroom) -> None:
        found = await strongroom.namespaces.get(namespace_name)
        with console.status("checking the file ..."):
            executions = await asyncio.to_thread(read_import_file, file)
        with progress_bar("Sealing histories", len(executions)) as advance:
            done = await import_executions(strongroom, found, executions, progress=advance)
        console.print(
            f"{done.executions} executions: {done.nodes} history nodes, "
            f"{done.records} visibility records new or newer, {done.executions - done.records} as they were"
        )

    _with(config_path, run)


@cli.command(epilog="\b\nExample:\n  strongroom history payments order/web/00157")
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("workflow_id")
@click.option("--run-id", help="Of one run; default: the latest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, the event in base64.")
@click.pass_obj
def history(config_path: Path, namespace_name: str, workflow_id: str, run_id: str | None, as_json: bool) -> None:
    """Read a history back."""

    async def run(strongroom: Strongroom) -> None:
        await cli_show.history(strongroom, namespace_name, workflow_id, run_id, as_json=as_json)

    _with(config_path, run)


@cli.command(
    epilog="\b\nExamples:\n  strongroom query payments \"WorkflowType = 'OrderWorkflow' AND CustomerId = 'cust-00001'\"\n"
    '  strongroom query payments "GROUP BY ExecutionStatus" --count'
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.argument("filter_", metavar="[FILTER]", default="")
@click.option("--count", is_flag=True, help="How many match, exactly; also with GROUP BY ExecutionStatus.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Runs to a page.")
@click.option("--page-token", help="From the page before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def query(
    config_path: Path,
    namespace_name: str,
    filter_: str,
    count: bool,
    limit: int,
    page_token: str | None,
    as_json: bool,
) -> None:
    """List or count the runs that match a list filter; without one, all of them."""

    async def run(strongroom: Strongroom) -> None:
        if count:
            await cli_show.count(strongroom, namespace_name, filter_, as_json=as_json)
        else:
            token = page_token.encode() if page_token else None
            await cli_show.executions(
                strongroom, namespace_name, filter_, limit=limit, page_token=token, as_json=as_json
            )

    try:
        _with(config_path, run)
    except InvalidQuery as error:
        if error.position is not None and filter_.isprintable():
            errors.print(f"  {escape(filter_)}\n  {' ' * error.position}^", soft_wrap=True, highlight=False)
        raise


@cli.group()
def keys() -> None:
    """Show and rotate the keys of a namespace."""


@keys.command("list", epilog="\b\nExample:\n  strongroom keys list payments")
@click.argument("namespace_name", metavar="NAMESPACE")
@click.pass_obj
def list_keys(config_path: Path, namespace_name: str) -> None:
    """Show the registry of a namespace's keys."""

    async def run(strongroom: Strongroom) -> None:
        namespace_id = await strongroom.namespaces.find(namespace_name)
        cli_show.keys(await strongroom.keyring.store.list_data_keys(namespace_id))

    _with(config_path, run)


@keys.command("rotate", epilog="\b\nExample:\n  strongroom keys rotate payments")
@click.argument("namespace_name", metavar="NAMESPACE")
@click.option(
    "--class",
    "class_name",
    type=click.Choice([key_class.value for key_class in KeyClass]),
    default="data",
    show_default=True,
    help="Only data keys rotate in this version.",
)
@click.option("--suite", type=click.Choice(list(SUITES)), help="Cipher of rows from now on. Default: as before.")
@click.pass_obj
def rotate_keys(config_path: Path, namespace_name: str, class_name: str, suite: str | None) -> None:
    """Make a new data key the active one. Older versions go on opening what they sealed."""
    refuse_rotation(KeyClass(class_name))

    async def run(strongroom: Strongroom) -> None:
        namespace_id = await strongroom.namespaces.find(namespace_name)
        successor = await rotate_data_key(strongroom.keyring, namespace_id, suite=SUITES[suite] if suite else None)
        console.print(f"new rows are sealed with version {successor.version}; older versions open what they sealed")

    _with(config_path, run)


def _with(config_path: Path, run: Callable[[Strongroom], Awaitable[None]]) -> None:
    """Open the configured cell, and run a command in it."""

    async def opened() -> None:
        async with Strongroom.open(load_config(config_path)) as strongroom:
            await run(strongroom)

    asyncio.run(opened())


def _search_attribute(pair: str) -> tuple[str, str]:
    name, _, kind = pair.partition("=")
    kinds = [attribute_type.value for attribute_type in AttributeType]
    if kind not in kinds:
        msg = f"a search attribute is given as NAME=TYPE, with a type of {', '.join(kinds)}"
        raise click.UsageError(msg)
    if not registrable(name):
        msg = "this name is a system attribute or reserved, or is empty or longer than 255 bytes"
        raise click.UsageError(msg)
    return name, kind
