"""The command that rotates a namespace's index key, or changes what its index shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.driver.importing.importer import attribute_types
from strongroom.visibility import PRESETS, new_layout

from .cell import with_cell
from .show.output import console

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom

_STEPS = {
    "wait": "waiting until every process knows the new key: {} s (can be broken off, and run again)",
    "rewrite": "{} records written with new tokens",
    "index": "{} documents of the old key left in the search index",
}


@click.command(
    "rotate",
    epilog="\b\nExamples:\n  strongroom index rotate payments\n  strongroom index rotate payments --preset strict\n"
    "  strongroom index rotate payments --wait 0   # only where no other process has the cell open",
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.option("--preset", type=click.Choice(PRESETS), help="What the index holds from now on. Default: as before.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="After which every process has read the registry again. Default: the encrypt_ttl of the configuration and half a minute.",
)
@click.pass_obj
def rotate_index(config_path: Path, namespace_name: str, preset: str | None, wait: float | None) -> None:
    """Make a new index key, and all tokens of a namespace anew. Services may go on reading and writing meanwhile.

    While two keys are in use every search asks for both. The old one is destroyed when no document is left that was made with it.
    A rotation that broke off goes on where it was.
    """

    async def run(strongroom: Strongroom) -> None:
        namespace = await strongroom.namespaces.get(namespace_name)
        types = attribute_types(namespace)
        layout = None
        if preset is not None:
            shares = await strongroom.visibility.count_workflow_executions(
                namespace.namespace_id, "GROUP BY ExecutionStatus", types
            )
            layout = new_layout(preset, dict(shares.groups))
        with console.status("") as status:
            done = await strongroom.index_rotation(wait=wait).rotate(
                namespace.namespace_id,
                types,
                layout=layout,
                progress=lambda step, count: status.update(_STEPS[step].format(count)),
            )
        console.print(
            f"{'resumed and ' if done.resumed else ''}finished: all documents are in epoch {done.epoch}, preset {done.layout.preset}"
        )
        gone = ", ".join(map(str, done.destroyed)) or "none"
        console.print(f"{done.rewritten} records rewritten; keys destroyed: {gone}")

    with_cell(config_path, run, "index.rotate", name=namespace_name)
