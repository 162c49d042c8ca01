"""What PostgreSQL reads for the lists and counts that are asked most, while runs open and close."""

from __future__ import annotations

import pytest

from tests.support.fixtures.driver_role import owner_connection
from tests.support.search_cell import BASE, SECOND, new_cell, record
from tests.support.search_statements import noted_searches, plan_of

pytestmark = pytest.mark.integration

RUNS = 1000
FEW = 40
"""Blocks of 8 KiB that a statement may read. All runs take some 200."""


@pytest.fixture
async def busy_cell(strongroom, monkeypatch):
    """A cell whose runs have opened and closed, and the statements that its searches send. Its table was not analyzed."""
    cell = await new_cell(strongroom)
    async with owner_connection(strongroom) as connection:
        await connection.execute("ALTER TABLE visibility_records SET (autovacuum_enabled = false)")
    for first in range(0, RUNS, 50):
        runs = [record(number)._replace(start_time=BASE + number * SECOND) for number in range(first, first + 50)]
        await cell.write(*runs)
        closed = [run._replace(execution_status="Completed", close_time=run.start_time + SECOND) for run in runs]
        await cell.write(*closed, version=2)
    sent = noted_searches(monkeypatch)
    return cell, sent


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_list_of_open_runs_does_not_read_the_closed_ones(busy_cell, analyzed):
    """Not even before PostgreSQL has statistics of the table. The second list, because the first one marks the dead entries."""
    cell, sent = busy_cell
    if analyzed:
        async with owner_connection(cell.strongroom) as connection:
            await connection.execute("ANALYZE visibility_records")
    for _ in range(2):
        assert await cell.listed("ExecutionStatus = 'Running'") == []
        plan, blocks = await plan_of(cell.strongroom, cell.namespace_id, *sent[-1])
    assert blocks < FEW, plan


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
    plan, blocks = await plan_of(cell.strongroom, cell.namespace_id, *sent[-1])
    assert "Index Only Scan" in str(plan)
    assert blocks < FEW, plan
