"""Commands on rows of queues that did not open."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from strongroom.storage.cell.damaged_rows import DamagedRows

from .cell import with_cell
from .commands import Group
from .show.output import json_wanted, line, result, table

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage.cell.damaged_rows import KeptRow

_MOST = 10_000
_SHARDED = ("history_tasks", "replication_dlq_tasks")
"""The tables whose partition is a shard."""


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom damaged list")
def damaged() -> None:
    """Show the rows of queues that were altered, moved or written by another version, so that they did not open.

    A queue goes on without such a row, and a copy of the row is kept.
    """


@damaged.command("list", epilog="\b\nExamples:\n  strongroom damaged list\n  strongroom damaged list --limit 10 --json")
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST),
    default=100,
    show_default=True,
    help="Number of rows to show, the newest first.",
)
@click.pass_obj
def list_(config_path: Path, limit: int) -> None:
    """List the rows by table, shard and key. Names of a tenant are tokens, as in the database."""

    async def run(strongroom: Strongroom) -> None:
        kept = DamagedRows(strongroom.database)
        rows, total = await kept.newest(limit), sum((await kept.counts()).values())
        temporal = (await strongroom.bare_stores()["shards"].numbers.get()).temporal
        shards = [_shard(row, temporal) for row in rows]
        if json_wanted():
            result({"total": total, "rows": [_as_json(row, shard) for row, shard in zip(rows, shards, strict=True)]})
            return
        table(
            "found (UTC)",
            "table",
            "shard",
            "namespace id",
            "key",
            "bytes",
            "reason",
            rows=(
                (
                    f"{row.found_at:%Y-%m-%d %H:%M:%S}",
                    row.table,
                    "" if shard is None else shard,
                    row.namespace_id,
                    row.key,
                    row.size,
                    row.reason,
                )
                for row, shard in zip(rows, shards, strict=True)
            ),
        )
        line(f"{len(rows)} of {total} rows" if total else "no row is kept; every row of a queue that was read did open")

    with_cell(config_path, run, "damaged.list")


@damaged.command("forget", epilog="\b\nExample:\n  strongroom damaged forget --before 2026-12-01T08:00:00")
@click.option(
    "--before",
    required=True,
    type=click.DateTime(),
    help="Time in UTC. Rows that were found later are kept.",
)
@click.pass_obj
def forget(config_path: Path, before: datetime) -> None:
    """Delete kept rows, after you know why they did not open. They are deleted permanently."""
    before = before.replace(tzinfo=UTC)

    async def run(strongroom: Strongroom) -> None:
        deleted = await DamagedRows(strongroom.database).forget(before)
        result({"deleted": deleted}, f"{deleted} rows deleted")

    with_cell(config_path, run, "damaged.forget", before=before.isoformat())


def _shard(row: KeptRow, temporal: tuple[int, ...]) -> int | None:
    """Return Temporal's number of a row's shard; None if the table is not one of the history service."""
    is_shard = row.table in _SHARDED and 0 < row.partition < len(temporal)
    return temporal[row.partition] if is_shard else None


def _as_json(row: KeptRow, shard: int | None) -> dict[str, object]:
    return {
        "found_at": row.found_at,
        "table": row.table,
        "shard": shard,
        "partition": row.partition,
        "namespace_id": row.namespace_id,
        "key": row.key,
        "size": row.size,
        "reason": row.reason,
    }
