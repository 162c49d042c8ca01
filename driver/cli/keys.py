"""Commands on keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.kms import KeyClass, refuse_rotation, rotate_data_key, rotate_due_keys

from .cell import SUITES, with_cell
from .commands import Group
from .kek import retire, rewrap, rotate_kek
from .keyring import keyring
from .pin import pin
from .reseal import destroy_key, reseal
from .show import cell as cli_show
from .show.output import busy, result

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom keys rotate payments")
def keys() -> None:
    """Show, rotate, re-wrap, retire and destroy keys, and reseal old rows."""


@keys.command("list", epilog="\b\nExamples:\n  strongroom keys list\n  strongroom keys list payments")
@click.argument("namespace_name", metavar="[NAMESPACE]", required=False)
@click.pass_obj
def list_keys(config_path: Path, namespace_name: str | None) -> None:
    """List the keys of a namespace. Without NAMESPACE, list the KEKs and the number of keys under each version."""

    async def run(strongroom: Strongroom) -> None:
        store = strongroom.keyring.store
        policy = strongroom.config.cache
        if namespace_name is None:
            cli_show.kek_usage(await store.list_kek_usage(), policy)
        else:
            namespace_id = await strongroom.namespaces.find(namespace_name)
            cli_show.keys(await store.list_data_keys(namespace_id), policy)

    with_cell(config_path, run, "keys.list", name=namespace_name)


@keys.command("rotate", epilog="\b\nExamples:\n  strongroom keys rotate payments\n  strongroom keys rotate --due")
@click.argument("namespace_name", metavar="[NAMESPACE]", required=False)
@click.option(
    "--due",
    is_flag=True,
    help="Rotate the keys of all namespaces that are due by the configuration's [keys]. For a timer.",
)
@click.option(
    "--class",
    "class_name",
    type=click.Choice([key_class.value for key_class in KeyClass]),
    default="data",
    show_default=True,
    help="Class of the key. Only data keys can be rotated.",
)
@click.option("--suite", type=click.Choice(list(SUITES)), help="Cipher suite of new rows. Default: the current one.")
@click.pass_obj
def rotate_keys(config_path: Path, namespace_name: str | None, due: bool, class_name: str, suite: str | None) -> None:
    """Make a new active data key. Older versions still open the rows that they sealed."""
    refuse_rotation(KeyClass(class_name))
    if due == (namespace_name is not None) or (due and suite):
        msg = "give either NAMESPACE or --due; --suite needs NAMESPACE"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        if namespace_name is None:
            await _rotate_due(strongroom)
            return
        namespace_id = await strongroom.namespaces.find(namespace_name)
        successor = await rotate_data_key(strongroom.keyring, namespace_id, suite=SUITES[suite] if suite else None)
        result(
            {"rotated": [{"namespace_id": namespace_id, "version": successor.version}], "failed": []},
            f"new rows are sealed with version {successor.version}; older versions still open the rows that they sealed",
        )

    with_cell(config_path, run, "keys.rotate", name=namespace_name)


async def _rotate_due(strongroom: Strongroom) -> None:
    with busy("finding keys that are due ...") as update:
        done = await rotate_due_keys(
            strongroom.keyring,
            strongroom.config.rotation,
            progress=lambda number, total: update(f"{number} of {total} keys that are due ..."),
        )
    result(
        {
            "rotated": [{"namespace_id": each, "version": None} for each in done.rotated],
            "failed": [{"namespace_id": each, "error": str(error)} for each, error in done.failed],
        },
        f"{len(done.rotated)} data keys rotated",
        *(f"  namespace {each}: {error}" for each, error in done.failed),
    )
    if done.failed:
        raise click.exceptions.Exit(1)


for command in (rotate_kek, rewrap, retire, pin, keyring, reseal, destroy_key):
    keys.add_command(command)
