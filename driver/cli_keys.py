"""Commands on keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.kms import KeyClass, refuse_rotation, rotate_data_key

from . import cli_show
from .cli_cell import SUITES, with_cell
from .cli_reseal import destroy_key, reseal
from .output import console

if TYPE_CHECKING:
    from pathlib import Path

    from .strongroom import Strongroom


@click.group()
def keys() -> None:
    """Show and rotate the keys of a namespace, seal old rows anew, destroy keys that nothing uses."""


@keys.command("list", epilog="\b\nExample:\n  strongroom keys list payments")
@click.argument("namespace_name", metavar="NAMESPACE")
@click.pass_obj
def list_keys(config_path: Path, namespace_name: str) -> None:
    """Show the registry of a namespace's keys."""

    async def run(strongroom: Strongroom) -> None:
        namespace_id = await strongroom.namespaces.find(namespace_name)
        cli_show.keys(await strongroom.keyring.store.list_data_keys(namespace_id))

    with_cell(config_path, run)


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

    with_cell(config_path, run)


for command in (reseal, destroy_key):
    keys.add_command(command)
