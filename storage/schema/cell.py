"""The cell that a database belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import CellMismatch

if TYPE_CHECKING:
    from strongroom.storage.engine.database import Database

_OTHER_SHARDS = "set cell.shards to the number of the database, because it never changes"
_OTHER_CELL = "use the configuration of that cell, or another database for a new cell"


@dataclass(frozen=True, slots=True)
class Cell:
    """A deployment.

    Attributes:
        cell_id: Its id, which is in the associated data of every sealed value.
        shard_count: The number of shards of the history service, which never changes.
        distributed: Whether the tables are distributed over a Citus cluster.
        region: The region that it is bound to, which never changes. None for no region.
    """

    cell_id: UUID
    shard_count: int
    distributed: bool = False
    region: str | None = None


async def claim_cell(database: Database, cell: Cell) -> None:
    """Record that a database belongs to a cell, unless it belongs to one already.

    Raises:
        CellMismatch: The database belongs to another cell.
    """
    async with database.connection(NO_NAMESPACE) as connection:
        await connection.execute(
            "INSERT INTO strongroom.cell (cell_id, shard_count, created_at, region) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            cell.cell_id,
            cell.shard_count,
            datetime.now(UTC),
            cell.region,
        )
    await check_cell(database, cell)


async def check_cell(database: Database, cell: Cell) -> None:
    """Check that a database belongs to a cell.

    Raises:
        CellMismatch: The database belongs to no cell, or to another one.
    """
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT cell_id, shard_count, distributed, region FROM strongroom.cell")
    if row is None:
        msg = "the database belongs to no cell yet; run `strongroom init`"
        raise CellMismatch(msg)
    stored = Cell(UUID(bytes=row["cell_id"].bytes), row["shard_count"], row["distributed"], row["region"])
    if stored.distributed != cell.distributed:
        msg = f"the configuration must say so: distributed = {str(stored.distributed).lower()} under [database]"
        raise CellMismatch(msg)
    if stored.region != cell.region:
        msg = f"this database belongs to {_bound(stored)}, the configuration names {_bound(cell)}; {_advice(stored)}"
        raise CellMismatch(msg)
    if stored != cell:
        msg = (
            f"the database belongs to cell {stored.cell_id} with {stored.shard_count} shards, "
            f"the configuration names cell {cell.cell_id} with {cell.shard_count}; "
        )
        raise CellMismatch(msg + (_OTHER_SHARDS if stored.cell_id == cell.cell_id else _OTHER_CELL))


def _bound(cell: Cell) -> str:
    return "a cell of no region" if cell.region is None else f"a cell of region {cell.region}"


def _advice(stored: Cell) -> str:
    if stored.region is None:
        return "remove cell.region from the configuration: a cell gets a region when it is created, by `strongroom init --region`"
    return f'set cell.region = "{stored.region}", or use the database of the other region: the region of a cell never changes'
