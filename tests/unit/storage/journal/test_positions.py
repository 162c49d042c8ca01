"""Work of a process that starts: it grows with the anchored shards, not with all shards of the cell."""

from __future__ import annotations

from contextlib import asynccontextmanager

from strongroom.storage.cell.positions import POLICY, UNKNOWN, Position
from strongroom.storage.journal.images import CELL, in_random_order, journal_shards
from strongroom.storage.journal.position import JournalPositions

SHARDS = 100


class SumsOfOneShard:
    """A database with the sums of shard 1 only. It counts the statements."""

    def __init__(self):
        self.statements = 0

    @asynccontextmanager
    async def connection(self, _scope):
        """Yield this object in place of a connection."""
        yield self

    async def fetch(self, _statement):
        """Return the numbers of all sums."""
        self.statements += 1
        return [{"shard_id": 1, "number": 7}]


def source(database):
    """Return the source of the shards' positions in a database. What is not needed to read numbers is missing."""
    return JournalPositions(database, None, None, shard_count=SHARDS)


async def test_each_shard_comes_once_in_an_order_of_its_own():
    """All shards are verified in each round, and two rounds have different orders."""
    shards = journal_shards(SHARDS)
    first, second = list(in_random_order(shards)), list(in_random_order(shards))
    assert sorted(first) == sorted(second) == sorted(shards)
    assert first != second


async def test_a_position_is_stated_for_each_named_shard_of_the_cell():
    """A named shard without sums, which someone may have deleted, has the number 0. Names of other parts are left out."""
    database = SumsOfOneShard()
    found = await source(database).stored(
        ["shard/1", "shard/2", f"shard/{CELL}", "shard/-1", f"shard/{SHARDS + 1}", POLICY, "shard/x"]
    )
    assert found == [
        Position(f"shard/{CELL}", 0, UNKNOWN),
        Position("shard/1", 7, UNKNOWN),
        Position("shard/2", 0, UNKNOWN),
        Position("shard/-1", 0, UNKNOWN),
    ]
    assert database.statements == 1


async def test_no_statement_is_sent_without_a_named_shard():
    """A process whose anchors name no shard doesn't read the numbers of all shards."""
    database = SumsOfOneShard()
    assert await source(database).stored([POLICY]) == []
    assert database.statements == 0
