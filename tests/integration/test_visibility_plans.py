"""What PostgreSQL reads for the lists and counts that are asked most, while runs open and close."""

from __future__ import annotations

import json

import pytest

from strongroom.visibility.backends import postgres
from tests.support.fixtures.driver_role import owner_connection
from tests.support.search_cell import BASE, SECOND, new_cell, record

pytestmark = pytest.mark.integration

RUNS = 1000
FEW = 40
"""Blocks of 8 KiB that a statement may read. All runs take some 200."""


class Noted:
    """A connection that notes the statements that are sent."""

    def __init__(self, connection, sent):
        self._connection, self._sent = connection, sent

    async def fetch(self, statement, *parameters):
        """Note a statement, and run it."""
        self._sent.append((statement, parameters))
        return await self._connection.fetch(statement, *parameters)

    async def fetchrow(self, statement, *parameters):
        """Note a statement, and run it."""
        self._sent.append((statement, parameters))
        return await self._connection.fetchrow(statement, *parameters)


@pytest.fixture
async def busy_cell(strongroom, monkeypatch):
    """A cell whose runs have opened and closed, and the statements that its searches send. Its table was not analyzed."""
    cell, sent = await new_cell(strongroom), []
    async with owner_connection(strongroom) as connection:
        await connection.execute("ALTER TABLE visibility_records SET (autovacuum_enabled = false)")
    for first in range(0, RUNS, 50):
        runs = [record(number)._replace(start_time=BASE + number * SECOND) for number in range(first, first + 50)]
        await cell.write(*runs)
        closed = [run._replace(execution_status="Completed", close_time=run.start_time + SECOND) for run in runs]
        await cell.write(*closed, version=2)
    made = postgres.PostgresReader.__init__

    def noting(self, connection, *arguments, **options):
        made(self, Noted(connection, sent), *arguments, **options)

    monkeypatch.setattr(postgres.PostgresReader, "__init__", noting)
    return cell, sent


async def plan_of(cell, statement, parameters):
    """Run a statement, and return its plan as text and the number of blocks that it read."""
    async with owner_connection(cell.strongroom) as connection:
        (row,) = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *parameters)
    plan = json.loads(row[0])[0]["Plan"]
    return json.dumps(plan), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_list_of_open_runs_does_not_read_the_closed_ones(busy_cell, analyzed):
    """Not even before PostgreSQL has statistics of the table. The second list, because the first one marks the dead entries."""
    cell, sent = busy_cell
    if analyzed:
        async with owner_connection(cell.strongroom) as connection:
            await connection.execute("ANALYZE visibility_records")
    for _ in range(2):
        assert await cell.listed("ExecutionStatus = 'Running'") == []
        text, blocks = await plan_of(cell, *sent[-1])
    assert blocks < FEW, text


@pytest.mark.parametrize(
    "query",
    [
        "WorkflowType = 'ship' AND ExecutionStatus = 'Completed'",
        "ExecutionStatus = 'Completed'",
        "ExecutionStatus IN ('Completed', 'Failed')",
        "TaskQueue = 'q'",
    ],
)
async def test_a_count_reads_the_index_alone(busy_cell, query):
    """After a vacuum no row is read, also for statuses of closed runs."""
    cell, sent = busy_cell
    async with owner_connection(cell.strongroom) as connection:
        await connection.execute("VACUUM ANALYZE visibility_records")
    assert await cell.count(query) == RUNS
    text, blocks = await plan_of(cell, *sent[-1])
    assert "Index Only Scan" in text
    assert blocks < FEW, text
