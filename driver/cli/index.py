"""Commands on the search index in Elasticsearch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from strongroom.driver.config import ConfigError
from strongroom.driver.index_status import REPAIR, read_index_status
from strongroom.storage.visibility_rows.marks import IndexMarks

from .advise import advise
from .cell import with_cell
from .commands import Group, is_given, refuse
from .reconcile import reconcile
from .rotation import rotate_index
from .show.output import busy, line, progress_bar, result

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.visibility import Indexer
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom index build")
def index() -> None:
    """Build the search index in Elasticsearch, keep it up to date, and show its state."""


@index.command(
    "build",
    epilog="\b\nExamples:\n  strongroom index build\n  strongroom index build --rebuild --shards 3 --replicas 1",
)
@click.option("--rebuild", is_flag=True, help="Delete the index first. Searches fail until it is built.")
@click.option(
    "--shards", type=click.IntRange(1, 1024), default=1, show_default=True, help="Primary shards of a new index."
)
@click.option(
    "--replicas",
    type=click.IntRange(0, 10),
    help="Replicas of each shard. Default: up to two, as the number of nodes allows.",
)
@click.pass_obj
def build(config_path: Path, rebuild: bool, shards: int, replicas: int | None) -> None:
    """Make the index, and write all runs to it from PostgreSQL.

    The runs that are left to index are in the database. After an interrupted build, continue with `index run`, or run this command
    again. Services may keep writing.
    """
    unused = [
        option for parameter, option in {"shards": "--shards", "replicas": "--replicas"}.items() if is_given(parameter)
    ]

    async def run(strongroom: Strongroom) -> None:
        search_index, indexer = _configured(strongroom)
        if rebuild:
            await search_index.drop()
        made = await search_index.create(shards=shards, replicas=replicas)
        if not made and unused:
            refuse(
                f"{' and '.join(unused)} would have no effect: index {search_index.name} exists already. Leave it out, "
                "or add --rebuild to delete the index and make it again"
            )
        if made:
            await IndexMarks(strongroom.database).index_is_empty()
        with busy("listing runs ...") as update:
            async for listed in strongroom.outbox.add_all():
                update(f"listing runs: {listed} ...")
        waiting = await strongroom.outbox.waiting()
        with progress_bar("documents", waiting) as show:
            written = await indexer.drain(show)
        await search_index.refresh()
        left = await strongroom.outbox.counts()
        advice = ": see `strongroom index status`" if left.refused else ": run `strongroom index run`"
        result(
            {
                "index": search_index.name,
                "made": made,
                "written": written,
                "left": left.waiting,
                "refused": left.refused,
            },
            f"index {search_index.name}: {'made' if made else 'exists already'}",
            f"{written} documents written, {left.waiting} left" + (advice if left.waiting else ""),
        )

    with_cell(config_path, run, "index.build")


@index.command("status", epilog="\b\nExample:\n  strongroom index status")
@click.pass_obj
def status(config_path: Path) -> None:
    """Show the search index, the number of runs that are not yet indexed, and the runs whose documents it refuses."""

    async def run(strongroom: Strongroom) -> None:
        if strongroom.search_index is None:
            result(
                dict.fromkeys(("index", "documents", "waiting", "refused", "restored", "refused_runs")),
                "PostgreSQL answers searches: the configuration has no section [elasticsearch]",
            )
            return
        found = await read_index_status(strongroom.search_index, strongroom.outbox, IndexMarks(strongroom.database))
        lines = [
            f"Elasticsearch answers searches, from index {found.index}",
            f"{found.documents} documents; {found.waiting} runs not yet indexed",
        ]
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
        search_index, indexer = _configured(strongroom)
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


index.add_command(reconcile)
index.add_command(rotate_index)
index.add_command(advise)


def _configured(strongroom: Strongroom) -> tuple[ElasticsearchIndex, Indexer]:
    if strongroom.search_index is None or strongroom.indexer is None:
        msg = "no search index is configured; add a section [elasticsearch] with a url to the configuration"
        raise ConfigError(msg)
    return strongroom.search_index, strongroom.indexer
