"""The command that builds the search index: a new one, or one in place of the present one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from strongroom.driver.config import ConfigError
from strongroom.driver.index_rebuild import index_rebuild
from strongroom.storage.visibility_rows.builds import IndexBuilds

from .cell import with_cell
from .commands import Command, refuse
from .show.output import busy, progress_bar, result

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage.visibility_rows.builds import IndexBuild
    from strongroom.visibility import Indexer
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex, IndexSettings


@click.command(
    "build",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom index build\n  strongroom index build --shards 3     # online, in place of the present index\n"
    "  strongroom index build --replicas 2   # only sets the replicas of the present index",
)
@click.option("--rebuild", is_flag=True, help="Delete the index first. Searches fail until it is built.")
@click.option(
    "--shards",
    type=click.IntRange(1, 1024),
    help="Primary shards. An index with another number is replaced online. Its own number stops an interrupted build.",
)
@click.option("--replicas", type=click.IntRange(0, 10), help="Replicas of each shard.")
@click.pass_obj
def build(config_path: Path, rebuild: bool, shards: int | None, replicas: int | None) -> None:
    """Make the index, and write all runs to it from PostgreSQL. Searches fail until it has all of them.

    With another number of shards, the new index is built next to the present one, compared with all records, and then takes its
    place. Services may keep writing and searching. An interrupted build continues when the command is run again.

    Without --shards and --replicas, the section [elasticsearch] has the settings of a new index. By default it has one
    shard for each data node, up to 8, and one replica of each shard if there are at least two data nodes.
    """

    async def run(strongroom: Strongroom) -> None:
        index, indexer = configured_index(strongroom)
        await index.check_addresses()
        settings = _settings(strongroom, shards, replicas)
        building = await index_rebuild(strongroom).current()
        if rebuild:
            if building is not None:
                await IndexBuilds(strongroom.database).end(building.build)
                building = None
            await index.drop()
        if shards is None and building is not None:
            settings = replace(settings, shards=None)  # whatever number the interrupted build has
        present = await index.client.find()
        if present is None:
            await _replace(strongroom, index, settings)
        elif (
            shards is not None
            and shards == present.shards
            and building is not None
            and building.target != present.index
        ):
            stopped = await index_rebuild(strongroom).stop()
            what = f"is stopped; {present.index} is unchanged" if stopped else "has ended already"
            result(_document(index), f"the build of {building.target} {what}")
        elif replicas is not None and shards is None:
            await _set_replicas(index, building, replicas)
        elif building is not None or shards not in (None, present.shards):
            await _replace(strongroom, index, settings)
        elif shards is not None:
            refuse(f"--shards would have no effect: index {index.name} has {shards} shards already. Leave it out")
        else:
            await _write_all(strongroom, index, indexer)

    with_cell(config_path, run, "index.build")


async def _write_all(strongroom: Strongroom, index: ElasticsearchIndex, indexer: Indexer) -> None:
    """Write all runs to the present index."""
    with busy("listing runs ...") as update:
        async for listed in strongroom.outbox.add_all():
            update(f"listing runs: {listed} ...")
    waiting = await strongroom.outbox.waiting()
    with progress_bar("documents", waiting) as show:
        written = await indexer.drain(show)
    await index.refresh()
    await _written(strongroom, index, "exists already", written, made=False)


async def _written(strongroom: Strongroom, index: ElasticsearchIndex, what: str, written: int, *, made: bool) -> None:
    """Show how many documents were written, and what is left."""
    left = await strongroom.outbox.counts()
    advice = ": see `strongroom index status`" if left.refused else ": run `strongroom index run`"
    result(
        _document(index, made=made, written=written, left=left.waiting, refused=left.refused),
        f"index {index.name}: {what}",
        f"{written} documents written, {left.waiting} left" + (advice if left.waiting else ""),
    )


async def _set_replicas(index: ElasticsearchIndex, building: IndexBuild | None, replicas: int) -> None:
    """Set the replicas of the present index, and of the one that is being built."""
    await index.change(replicas=replicas)
    if building is not None:
        await index.at(building.target).change(replicas=replicas)
    result(_document(index), f"index {index.name}: {replicas} replica{'s' * (replicas != 1)} of each shard")


async def _replace(strongroom: Strongroom, index: ElasticsearchIndex, settings: IndexSettings) -> None:
    """Build a new index, and put it in place of the present one if there is one."""
    with busy("building the search index ...") as update:
        done = await index_rebuild(strongroom).run(settings, progress=lambda what, count: update(f"{count} {what} ..."))
    if done.before is None:
        await _written(strongroom, index, "made", done.written, made=True)
        return
    layout, left = await index.check(), await strongroom.outbox.counts()
    result(
        _document(index, made=True, written=done.written, left=left.waiting, refused=left.refused),
        f"index {index.name}: {done.after} with {layout.shards} shards is in place of {done.before}",
        f"{done.written} documents written, all compared with their records",
    )


def _document(
    index: ElasticsearchIndex,
    *,
    made: bool = False,
    written: int = 0,
    left: int | None = None,
    refused: int | None = None,
) -> dict[str, object]:
    return {"index": index.name, "made": made, "written": written, "left": left, "refused": refused}


def _settings(strongroom: Strongroom, shards: int | None, replicas: int | None) -> IndexSettings:
    """Return the settings of a new index: of the command line, or else of the configuration."""
    from strongroom.visibility.backends.elasticsearch import IndexSettings  # noqa: PLC0415 - an extra

    cluster = strongroom.config.elasticsearch
    assert cluster is not None  # noqa: S101 - there is an index
    return IndexSettings(
        shards=cluster.shards if shards is None else shards,
        replicas=cluster.replicas if replicas is None else replicas,
        refresh_interval=cluster.refresh_interval,
    )


def configured_index(strongroom: Strongroom) -> tuple[ElasticsearchIndex, Indexer]:
    """Return the search index and its indexer.

    Raises:
        ConfigError: The configuration has none.
    """
    if strongroom.search_index is None or strongroom.indexer is None:
        msg = "no search index is configured; add a section [elasticsearch] with a url to the configuration"
        raise ConfigError(msg)
    return strongroom.search_index, strongroom.indexer
