"""The command that compares the rows of the database with the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import click

from strongroom.storage.journal.images import CELL, journal_shards, task_queue_groups

from .cell import named, with_cell
from .commands import Command, refuse
from .show.output import json_wanted, line, progress_bar, result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage.journal.reading import ShardVerification

_ADVICE = (
    "Stop the services, keep a copy of the database, and compare it with backups: docs/explanation/freshness.md. "
    "After a restore on purpose, see 'strongroom restore accept --help'"
)


@click.command(
    "verify",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom verify\n  strongroom verify --shard 17\n  strongroom verify --namespace payments\n"
    "  strongroom verify --from 200 --rate 20000   # continue an interrupted verification, at most 20,000 rows a second",
)
@click.option("--shard", "shards", type=int, multiple=True, metavar="N", help="Only this shard; may be repeated.")
@click.option(
    "--namespace",
    metavar="NAME",
    help="Only the shards that have rows of this namespace, by name or id. A shard that lost all of its rows needs --all.",
)
@click.option("--all", "everything", is_flag=True, help="All shards. This is the default.")
@click.option("--from", "first", type=int, metavar="N", help="Begin with this shard: the rest of all shards.")
@click.option("--rate", type=click.IntRange(min=1), metavar="ROWS", help="At most this many rows a second.")
@click.pass_obj
def verify_rows(
    config_path: Path,
    shards: tuple[int, ...],
    namespace: str | None,
    everything: bool,
    first: int | None,
    rate: int | None,
) -> None:
    """Find rows that were put back, deleted or brought back in the database.

    It compares all rows with the sealed sums of their shard and with the journal, and names each shard and table that differs.
    It opens no row, so it does not find altered bytes: such a row is refused when it is read. Services may keep writing. It
    changes nothing. Shards have the numbers of rows; 0 is the cell's own tables, and negative numbers are groups of task queues.
    An interrupted run prints how to continue. Its exit code is 1 if a shard differs.
    """
    if sum((bool(shards), namespace is not None, everything, first is not None)) > 1:
        msg = "--shard, --namespace, --all and --from exclude each other; give one of them"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        known = journal_shards(strongroom.config.cell.shard_count)
        if unknown := [each for each in (*shards, *(() if first is None else (first,))) if each not in known]:
            refuse(f"the cell has no shard {unknown[0]}; it has {min(known)} to {max(known)}")
        wanted = list(shards) or (known if first is None else known[known.index(first) :])
        if namespace is not None:
            wanted = await _shards_of(strongroom, namespace)
        found = await _verify(strongroom, sorted(set(wanted), key=_place), rate)
        _report(found)
        if not all(each.ok for each in found):
            raise click.exceptions.Exit(1)

    with_cell(config_path, run, "rows.verify")


def _place(shard_id: int) -> tuple[bool, int]:
    """Return the place of a shard among all shards. An interrupted run goes on with all shards from a place on."""
    return shard_id < 0, abs(shard_id)


async def _shards_of(strongroom: Strongroom, namespace: str) -> list[int]:
    given = named(namespace).get("namespace_id")
    namespace_id = given if isinstance(given, UUID) else await strongroom.namespaces.find(namespace)
    return [CELL, *task_queue_groups(), *await strongroom.journal.shards_of(namespace_id)]


async def _verify(strongroom: Strongroom, shards: Sequence[int], rate: int | None) -> list[ShardVerification]:
    found: list[ShardVerification] = []
    try:
        with progress_bar("verifying shards", len(shards)) as show:
            for done, shard_id in enumerate(shards):
                found.append(await strongroom.journal.verify(shard_id))
                show(done + 1)
                if rate is not None and found[-1].rows:
                    await asyncio.sleep(found[-1].rows / rate)
    except BaseException:
        if len(shards) > len(found) and not json_wanted():
            _print(found)
            line(
                f"{len(found)} of {len(shards)} shards were compared; continue with: strongroom verify --from {shards[len(found)]}"
            )
        raise
    return found


def _report(found: Sequence[ShardVerification]) -> None:
    rows = sum(each.rows for each in found)
    altered = [each for each in found if not each.ok]
    if json_wanted():
        result(
            {
                "ok": not altered,
                "shards": len(found),
                "rows": rows,
                "pending": sum(each.pending for each in found),
                "altered": [
                    {"shard": each.shard_id, "tables": each.tables, "problems": each.problems} for each in altered
                ],
            }
        )
        return
    _print(altered)
    outcome = "something was changed" if altered else "nothing was put back, deleted or brought back"
    line(f"{rows} rows in {len(found)} shards: {outcome}")
    if altered:
        line(_ADVICE)


def _print(found: Sequence[ShardVerification]) -> None:
    for each in found:
        for text in each.texts:
            line(text, style="red")
