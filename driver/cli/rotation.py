"""The command that rotates a namespace's index key, or changes its preset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from strongroom.visibility import (
    BUCKETS,
    LENGTHS,
    PRESETS,
    active_layout,
    attribute_types,
    new_layout,
    newest_layout,
    with_prefixes,
)

from .cell import with_cell
from .commands import MOST_WAIT, Command, FiniteRange, refuse
from .show.output import busy, result

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Namespace
    from strongroom.visibility import Layout

_STEPS = {
    "check": "{} records opened, to know the types of their attributes",
    "wait": "waiting until every process uses the new key: {} s (can be interrupted and run again)",
    "rewrite": "{} records written with new tokens",
    "index": "{} documents of the old key left in the search index",
}


@click.command(
    "rotate",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom index rotate payments\n  strongroom index rotate payments --preset strict\n"
    "  strongroom index rotate payments --preset strict --bucket 15m\n"
    "  strongroom index rotate payments --prefixes CustomerId --prefixes OrderNumber\n"
    "  strongroom index rotate payments --wait 0   # only if no other process has the cell open",
)
@click.argument("namespace_name", metavar="NAMESPACE")
@click.option("--preset", type=click.Choice(PRESETS), help="Preset of the index. Default: the current one.")
@click.option(
    "--bucket",
    type=click.Choice(list(BUCKETS)),
    help="With --preset strict: size of the time buckets in clear. A page of a list opens all runs of its buckets. Default: 1h.",
)
@click.option(
    "--record-length",
    type=click.Choice(list(LENGTHS)),
    help="With --preset strict: shortest length of a sealed record. `strongroom index advise` compares them. Default: 1KiB.",
)
@click.option(
    "--prefixes",
    multiple=True,
    metavar="NAME",
    help="Custom Keyword whose prefixes and ranges the index answers, or an alias of it. In the namespace of a Temporal server, name "
    "the field, for example Keyword01. The index then reveals which values share a prefix (see `strongroom index advise`). Repeat it "
    "for more Keywords. It replaces the present choice, which is the default.",
)
@click.option("--no-prefixes", is_flag=True, help="Remove the prefixes of all custom Keywords.")
@click.option(
    "--wait",
    type=FiniteRange(0, MOST_WAIT),
    metavar="SECONDS",
    help="Time until every process has read the registry again. Default: encrypt_ttl_seconds and 100 s.",
)
@click.pass_obj
def rotate_index(
    config_path: Path,
    namespace_name: str,
    preset: str | None,
    bucket: str | None,
    record_length: str | None,
    prefixes: tuple[str, ...],
    no_prefixes: bool,
    wait: float | None,
) -> None:
    """Make a new index key, and write all tokens of a namespace with it. Services keep reading and writing.

    While two keys are in use every search asks for both. The old key is destroyed when no document of it is left.
    An interrupted rotation continues where it stopped.
    """
    if preset != "strict" and (bucket is not None or record_length is not None):
        refuse("--bucket and --record-length belong to the preset strict; add --preset strict, or leave them out")
    if prefixes and no_prefixes:
        refuse("--prefixes and --no-prefixes contradict each other; leave one of them out")

    async def run(strongroom: Strongroom) -> None:
        namespace = await strongroom.namespaces.get(namespace_name)
        types = attribute_types(namespace)
        layout = None
        if preset is not None or prefixes or no_prefixes:
            layout = await _layout(strongroom, namespace, preset, bucket=bucket, length=record_length)
            if prefixes or no_prefixes:
                keys = await strongroom.keyring.open(namespace.namespace_id)
                layout = with_prefixes(layout, keys, prefixes, types)
        with busy("rotating the index key ...") as update:
            done = await strongroom.index_rotation(wait=wait).rotate(
                namespace.namespace_id,
                types,
                layout=layout,
                progress=lambda step, count: update(_STEPS[step].format(count)),
            )
        gone = ", ".join(map(str, done.destroyed)) or "none"
        result(
            {
                "epoch": done.epoch,
                "preset": done.layout.preset,
                "prefixes": len(done.layout.prefixed),
                "resumed": done.resumed,
                "rewritten": done.rewritten,
                "destroyed": done.destroyed,
            },
            f"{'resumed and ' if done.resumed else ''}finished: all documents are in epoch {done.epoch}, preset {done.layout.preset}",
            f"{done.rewritten} records rewritten; keys destroyed: {gone}",
        )

    with_cell(config_path, run, "index.rotate", name=namespace_name)


async def _layout(
    strongroom: Strongroom, namespace: Namespace, preset: str | None, *, bucket: str | None, length: str | None
) -> Layout:
    """Return the layout of the new epoch: the newest version of the present one, or a new one of a preset with the same Keywords."""
    present = active_layout(await strongroom.keyring.open(namespace.namespace_id))
    if preset is None:
        return newest_layout(present)
    shares = await strongroom.visibility.count_workflow_executions(
        namespace.namespace_id, "GROUP BY ExecutionStatus", attribute_types(namespace)
    )
    return replace(new_layout(preset, dict(shares.groups), bucket=bucket, length=length), prefixed=present.prefixed)
