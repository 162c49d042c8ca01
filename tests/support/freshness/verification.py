"""Verification of a cell, as the tests of attacks use it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.executions.binding import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

RUNS_ARE_BOUND = hasattr(Refusal, "STALE")
"""Whether a run's sealed state binds its maps and the end of its history."""
JOURNAL = importlib.util.find_spec("strongroom.storage.journal") is not None
REASON = "no verification yet: strongroom.storage.journal does not exist"


class Difference(NamedTuple):
    """A difference that a verification names.

    Attributes:
        partition: The shard, range hash or queue type; None for a table without partitions.
        table: The table.
        key: The key of the row; None if the table is known only.
    """

    partition: int | None
    table: str
    key: object = None


async def differences(cell) -> set[Difference]:
    """Verify the whole cell, and return every difference."""
    raise NotImplementedError


def tables(found: Iterable[Difference]) -> set[str]:
    """Return the tables of differences."""
    return {difference.table for difference in found}
