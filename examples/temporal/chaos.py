"""Kill the parts of a running stack while workflows of all kinds run: `python -m examples.temporal.chaos`.

A worker process, `strongroom serve`, PostgreSQL, the Temporal server and, where Java is, Elasticsearch are killed with SIGKILL at
random, and started again. At the end every workflow must have the result that it has without kills, every history must replay, no
result of an activity may be lost, and the list of runs must equal the truth.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .binaries import SERVER, build
from .chaos_load import Load, check
from .chaos_targets import Target, kept_running, targets
from .processes import StackError
from .run import scene
from .sealed import sealed_cell, search_node
from .server import TemporalServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sealed import SealedCell


@click.command(help=__doc__)
@click.option("--kills", default=50, show_default=True, help="Kills of each part.")
@click.option("--workflows", default=200, show_default=True, help="Workflows that run at least.")
@click.option("--at-once", default=30, show_default=True, help="Workflows that run at once.")
@click.option("--workers", default=2, show_default=True, help="Worker processes of `strongroom serve`.")
@click.option("--shards", default=8, show_default=True, help="History shards.")
@click.option(
    "--part", "only", multiple=True, help="Kill only this part: worker, serve, postgres, server, elasticsearch."
)
@click.option("--elasticsearch/--no-elasticsearch", default=True, help="Use a search index if Java is installed.")
@click.option("--seed", default=None, type=int, help="Seed of the order of kills.")
def main(
    *,
    kills: int,
    workflows: int,
    at_once: int,
    workers: int,
    shards: int,
    only: tuple[str, ...],
    elasticsearch: bool,
    seed: int | None,
) -> None:
    """Run the load, kill, and check."""
    logging.disable(logging.WARNING)
    seed = secrets.randbelow(2**32) if seed is None else seed
    click.echo(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder, ExitStack() as stack:
        try:
            node = search_node(stack, own=True) if elasticsearch else None
            cell = sealed_cell(
                stack, Path(folder) / "sealed", shards=shards, workers=workers, elasticsearch=node and node.url
            )
            cell.serve()
            server = TemporalServer(build(SERVER, "temporal-server-strongroom"), cell.folder, cell.datastores())
            stack.callback(server.stop)
            server.start()
            parts = [part for part in targets(cell, server, node) if not only or part.name in only]
            faults = asyncio.run(_run(cell, server, parts, kills, Load(workflows, at_once), random.Random(seed)))  # noqa: S311 - no secret
        except StackError as error:
            raise click.ClickException(str(error)) from None
    sys.exit(1 if faults else 0)


async def _run(
    cell: SealedCell, server: TemporalServer, parts: Sequence[Target], kills: int, load: Load, order: random.Random
) -> list[str]:
    async with scene(server.address, "chaos", "chaos", config=cell.config) as the_scene:
        running = asyncio.create_task(load.run(the_scene))
        with kept_running(cell, server):
            await _kill(parts, kills, order)
            load.enough.set()
            await running
        faults = await check(the_scene, load)
    click.echo(f"\n{len(load.expected)} workflows, {kills * len(parts)} kills, {len(faults)} faults")
    for fault in faults:
        click.echo(f"  {fault}")
    return faults


async def _kill(parts: Sequence[Target], kills: int, order: random.Random) -> None:
    """Kill each part as often as asked, in a random order. The next kill may come before the stack has recovered from the last one."""
    plan = [part for part in parts for _ in range(kills)]
    order.shuffle(plan)
    with click.progressbar(plan, label="kills", item_show_func=lambda part: part.name if part else None) as shown:
        for part in shown:
            await asyncio.sleep(order.uniform(0.5, 4.0))
            with suppress(ProcessLookupError):  # a part that was killed before is not up again
                await asyncio.to_thread(part.kill)


if __name__ == "__main__":
    main()
