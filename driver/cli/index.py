"""Commands on the search index in Elasticsearch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from strongroom.driver.index_status import REPAIR, STATUS_KEYS, read_index_status
from strongroom.storage.visibility_rows.builds import IndexBuilds
from strongroom.storage.visibility_rows.marks import IndexMarks

from .advise import advise
from .cell import with_cell
from .commands import Group
from .index_build import build, configured_index
from .reconcile import reconcile
from .rotation import rotate_index
from .show.output import line, result

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom index build")
def index() -> None:
    """Build the search index in Elasticsearch, keep it up to date, and show its state."""


@index.command("status", epilog="\b\nExample:\n  strongroom index status")
@click.pass_obj
def status(config_path: Path) -> None:
    """Show the search index: its health, shards, replicas, refresh interval, size and documents by epoch of the index keys.

    It also shows the number of runs that are not yet indexed, and the runs whose documents the index refuses.
    """

    async def run(strongroom: Strongroom) -> None:
        if strongroom.search_index is None:
            result(
                dict.fromkeys(STATUS_KEYS),
                "PostgreSQL answers searches: the configuration has no section [elasticsearch]",
            )
            return
        database = strongroom.database
        found = await read_index_status(
            strongroom.search_index, strongroom.outbox, IndexMarks(database), IndexBuilds(database)
        )
        lines = found.lines()
        if found.restored is not None:
            lines.append(f"WRONG: {found.restored}. {REPAIR}")
        if found.refused:
            lines.append(f"{found.refused} of them refused by the search index:")
            lines += [f"  {each}" for each in found.refused_lines()]
        result(found.as_json(), *lines)

    with_cell(config_path, run, "index.status")


@index.command(
    "run",
    without_json="It runs until it is stopped; `index status --json` shows its progress.",
    epilog="\b\nExample:\n  strongroom index run",
)
@click.pass_obj
def run_indexer(config_path: Path) -> None:
    """Keep the index up to date until interrupted. Several processes may run this at once."""

    async def run(strongroom: Strongroom) -> None:
        search_index, indexer = configured_index(strongroom)
        await search_index.check()
        line(f"keeping {search_index.name} up to date; stop with Ctrl-C")
        running = asyncio.create_task(indexer.run())
        shown: object = None
        while not running.done():
            await asyncio.wait([running], timeout=1.0)
            error = indexer.state.last_error
            if str(error) != str(shown):
                line(f"waiting: {error}" if error is not None else "up to date again")
                shown = error
        await running

    with_cell(config_path, run, "index.run")


index.add_command(build)
index.add_command(reconcile)
index.add_command(rotate_index)
index.add_command(advise)
