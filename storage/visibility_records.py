"""The newest sealed visibility record of each run: rows only. `strongroom.visibility` knows what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from .database import Connection, Row

_SQL = load_queries("visibility_records")


@dataclass(frozen=True, slots=True)
class VisibilityRow:
    """A row of `visibility_records`; the columns' meaning is in visibility/DESIGN.md.

    Attributes:
        shard_id: of the workflow.
        id: 16 bytes, keyed token of workflow and run.
        version: of the record; only a newer one replaces it.
        k: epoch of the index key that the tokens were made with.
        b1: second of the close time; a maximum while the run is open.
        b2: second of the start time.
        t: index tokens, sorted, so that their order tells nothing.
        s: the sealed record.
    """

    shard_id: int
    id: bytes
    version: int
    k: int
    b1: int
    b2: int
    t: tuple[int, ...]
    s: bytes


async def put_visibility_records(connection: Connection, namespace_id: UUID, rows: Sequence[VisibilityRow]) -> int:
    """Write records in the caller's transaction, each unless a version as new is stored.

    Returns:
        How many were written.
    """
    # In the order of their key, so that two writers never wait for each other in a circle; the newest alone of equal keys.
    newest = {(row.shard_id, row.id): row for row in sorted(rows, key=lambda row: row.version)}
    ordered = [newest[key] for key in sorted(newest)]
    written = await connection.fetch(
        _SQL["put"],
        namespace_id,
        [row.shard_id for row in ordered],
        [row.id for row in ordered],
        [row.version for row in ordered],
        [row.k for row in ordered],
        [row.b1 for row in ordered],
        [row.b2 for row in ordered],
        ["{" + ",".join(map(str, row.t)) + "}" for row in ordered],
        [row.s for row in ordered],
    )
    return len(written)


async def get_visibility_record(connection: Connection, namespace_id: UUID, *, shard_id: int, id: bytes) -> Row | None:  # noqa: A002 - the column's name
    """Return one row, without its tokens; None where there is none."""
    return await connection.fetchrow(_SQL["get"], shard_id, namespace_id, id)
