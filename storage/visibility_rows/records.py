"""The newest sealed visibility record of each run: rows only. `strongroom.visibility` knows what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.engine.queries import load_queries

from .outbox import announce

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection, Row

_SQL = load_queries("visibility_rows/records")

HASHED_COLUMNS = ("h_workflow", "h_run", "h_type", "h_status", "h_queue", "h_division")
"""Columns that hold one token of one attribute each; NULL where a record has all of its tokens in `t`, or no value."""
_NO_COLUMNS = (None,) * len(HASHED_COLUMNS)


class VisibilityRow(NamedTuple):
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
        h: index tokens that stand in columns of their own, in the order of `HASHED_COLUMNS`.
    """

    shard_id: int
    id: bytes
    version: int
    k: int
    b1: int
    b2: int
    t: tuple[int, ...]
    s: bytes
    h: tuple[int | None, ...] = _NO_COLUMNS

    @property
    def token_array(self) -> str:
        """The tokens as an array literal: arrays of arrays must be rectangular, so they travel as text."""
        return "{" + ",".join(map(str, self.t)) + "}"


def hashed_columns(rows: Sequence[VisibilityRow]) -> list[list[int | None]]:
    """Return the hashed columns of rows, each as a list."""
    return [[row.h[place] for row in rows] for place in range(len(HASHED_COLUMNS))]


def all_tokens(row: Row) -> list[int]:
    """Return the tokens of a row of `visibility_records`, wherever they stand, ascending, so that their order tells nothing."""
    hashed = [token for column in HASHED_COLUMNS if (token := row[column]) is not None]
    return sorted([*row["t"], *hashed]) if hashed else list(row["t"])


async def put_visibility_records(
    connection: Connection, namespace_id: UUID, rows: Sequence[VisibilityRow], *, outbox: bool = False
) -> int:
    """Write records in the caller's transaction, each unless a version as new is stored, or the run was deleted since.

    Args:
        connection: in a transaction.
        namespace_id: whose.
        rows: in any order.
        outbox: whether a search index outside the database is to hear of them.

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
        [row.token_array for row in ordered],
        [row.s for row in ordered],
        *hashed_columns(ordered),
    )
    if outbox and written:
        ids = {row["id"] for row in written}
        await announce(connection, [(row.shard_id, namespace_id, row.id) for row in ordered if row.id in ids])
    return len(written)


async def get_visibility_record(connection: Connection, namespace_id: UUID, *, shard_id: int, id: bytes) -> Row | None:  # noqa: A002 - the column's name
    """Return one row, without its tokens; None where there is none."""
    return await connection.fetchrow(_SQL["get"], shard_id, namespace_id, id)


async def delete_visibility_record(
    connection: Connection,
    namespace_id: UUID,
    *,
    shard_id: int,
    id: bytes,  # noqa: A002 - the column's name
    version: int,
    outbox: bool = False,
) -> bool:
    """Delete a record in the caller's transaction, and remember that: a write of this version or an older one changes nothing then.

    Returns:
        Whether the run has no record now. A newer one stays.
    """
    key = (shard_id, namespace_id, id)
    deleted = await connection.fetch(_SQL["delete"], *key, version)
    if not deleted and await connection.fetchrow(_SQL["newer"], *key) is not None:
        return False
    await connection.execute(_SQL["bury"], *key, version)
    if outbox:
        await announce(connection, [key])
    return True
