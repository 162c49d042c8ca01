"""Lists by conditions on the token set choose between a walk of the order and a look-up by what they find, on each PostgreSQL."""

from __future__ import annotations

import json
import random
import re

import pytest

from strongroom.visibility import AttributeType
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.driver_role import owner_connection
from tests.support.search_cell import BASE, SECOND, record
from tests.support.search_statements import indexes_of, noted_searches, plan_of, rows_read

pytestmark = pytest.mark.integration

RUNS, RARE, PAGE = 2000, 12, 5
TYPES = {"Amount": AttributeType.DOUBLE, "Customer": AttributeType.KEYWORD}
FEW = 150
"""Number of runs that a short walk may read."""
_BY_NUMBER = random.Random(24)  # noqa: S311 - the same numbers each time
AMOUNTS = [2001.0 + number if number < RARE else _BY_NUMBER.uniform(1, 1000) for number in range(RUNS)]
CUSTOMERS = [f"c{_BY_NUMBER.randrange(200)}" for _ in range(RUNS)]


def run_of(number):
    """Return a closed run. The rare amounts belong to the runs that closed first, so a list comes to them last."""
    at = BASE + number * SECOND
    closed = record(number, status="Completed", close_time=at + SECOND)
    attributes = {"Amount": AMOUNTS[number], "Customer": CUSTOMERS[number]}
    return closed._replace(start_time=at, execution_time=at, search_attributes=attributes)


class Listed:
    """A namespace with runs, and the statements of its lists."""

    def __init__(self, strongroom, namespace_id, sent):
        self.strongroom, self.namespace_id, self.sent = strongroom, namespace_id, sent
        # On a cluster each node plans its part, so only the answers and steps of lists are compared. Row-level security there leaves
        # the index of tokens out (docs/how-to/citus.md).
        self.has_plans = not strongroom.config.cell.distributed

    async def plan(self, statement, parameters):
        """Run a statement; return its plan and the number of blocks that it read."""
        return await plan_of(self.strongroom, self.namespace_id, statement, parameters)

    async def pages(self, query, size=PAGE):
        """Return the numbers of the runs of each page of a list."""
        found, token = [], None
        while True:
            page = await self.strongroom.visibility.list_workflow_executions(
                self.namespace_id, query, TYPES, page_size=size, page_token=token
            )
            found.append([int(run.workflow_id[-5:]) for run in page.executions])
            if (token := page.next_page_token) is None:
                return found


async def listed(cell, monkeypatch, runs):
    """Write runs into a new namespace, and give its table statistics."""
    attributes = {name: type_.value for name, type_ in TYPES.items()}
    namespace = await cell.namespaces.create("runs", kek=KEK, search_attributes=attributes)
    for first in range(0, len(runs), 500):
        some = runs[first : first + 500]
        shards = [await cell.shards.shard_of(namespace.namespace_id, run.workflow_id) for run in some]
        rows = [(shard, 1, run) for shard, run in zip(shards, some, strict=True)]
        await cell.visibility.record_workflow_executions(namespace.namespace_id, rows, TYPES)
    async with owner_connection(cell) as connection:
        await connection.execute("ANALYZE visibility_records")
    return Listed(cell, namespace.namespace_id, noted_searches(monkeypatch))


@pytest.fixture
async def many_runs(own_cell, monkeypatch):
    """A namespace with many closed runs."""
    return await listed(own_cell, monkeypatch, [run_of(number) for number in range(RUNS)])


@pytest.fixture
async def open_runs(own_cell, monkeypatch):
    """A namespace with as many open runs as closed ones."""
    runs = [run_of(number) for number in range(RUNS)]
    opened = [run._replace(execution_status="Running", close_time=None) for run in runs[::2]]
    return await listed(own_cell, monkeypatch, [*opened, *runs[1::2]])


def steps(sent):
    """Return the steps of a list, from its statements."""
    return ["look-up" if "bounded AS MATERIALIZED" in statement else "walk" for statement, _ in sent]


async def test_a_rare_range_is_looked_up_after_short_walks(many_runs):
    """Twelve of 2,000 runs, the last ones of the order. The page comes from the index of tokens; a walk would read all runs."""
    assert await many_runs.pages("Amount > 2000", RARE) == [list(range(RARE))[::-1]]
    assert steps(many_runs.sent) == ["walk", "walk", "look-up"]
    if not many_runs.has_plans:
        return
    plan, _ = await many_runs.plan(*many_runs.sent[2])
    assert "visibility_records_tokens" in indexes_of(plan)
    assert rows_read(plan) <= 2 * RARE
    # The control: a walk with a greater bound reads every run before it has all twelve.
    statement, parameters = many_runs.sent[0]
    plan, _ = await many_runs.plan(re.sub(r"LIMIT \d+\) AS w", f"LIMIT {2 * RUNS}) AS w", statement), parameters)
    assert rows_read(plan) >= RUNS


@pytest.mark.parametrize("query", ["Amount > 500", "Amount > 100 AND Amount < 900 AND WorkflowType = 'ship'"])
async def test_a_frequent_range_is_only_walked(many_runs, query):
    """A walk ends when the page is full, and the tokens are not looked up."""
    (first, *_) = await many_runs.pages(query)
    assert len(first) == PAGE
    assert steps(many_runs.sent)[0] == "walk"
    if not many_runs.has_plans:
        return
    plan, _ = await many_runs.plan(*many_runs.sent[0])
    assert "visibility_records_order" in indexes_of(plan)
    assert rows_read(plan) < FEW


async def test_a_rare_condition_next_to_a_frequent_range_ends_the_walk(many_runs):
    """The walk reads the runs of one workflow, and knows that it has all of them. Nothing is looked up."""
    assert AMOUNTS[700] > 500, "control: the run matches both conditions"
    assert await many_runs.pages("Amount > 500 AND WorkflowId = 'order/00700'") == [[700]]
    assert steps(many_runs.sent) == ["walk"]


WANTED = {
    "Amount > 2000": lambda amount, _: amount > 2000,
    "Amount > 990": lambda amount, _: amount > 990,
    "Amount BETWEEN 300 AND 310": lambda amount, _: 300 <= amount <= 310,
    "Amount < 100": lambda amount, _: amount < 100,
    "Amount > 2000 OR Amount < 3": lambda amount, _: amount > 2000 or amount < 3,
    "Amount > 2000 OR WorkflowId = 'order/01999'": lambda amount, _: amount > 2000 or amount == AMOUNTS[1999],
    "Amount > 500 AND Customer IN ('c1', 'c2', 'c3', 'c4', 'c5', 'c6')": lambda amount, customer: (
        amount > 500 and customer in {"c1", "c2", "c3", "c4", "c5", "c6"}
    ),
    "Customer IN ('c1', 'c2', 'c3', 'c4', 'c5') AND Amount > 2000": lambda amount, customer: (
        amount > 2000 and customer in {"c1", "c2", "c3", "c4", "c5"}
    ),
    "NOT Amount > 3": lambda amount, _: amount <= 3,
}


async def test_each_way_lists_the_same_runs_in_the_same_order(many_runs):
    """Every run once, in the order of the list, whatever the size of a page and however many runs match."""
    for query, is_wanted in WANTED.items():
        expected = [number for number in range(RUNS)[::-1] if is_wanted(AMOUNTS[number], CUSTOMERS[number])]
        for size in (7, 1000):
            found = await many_runs.pages(query, size if len(expected) < FEW else 1000)
            assert [number for page in found for number in page] == expected, (query, size)
        upwards = await many_runs.pages(f"{query} ORDER BY StartTime", 40)
        assert [number for page in upwards for number in page] == expected[::-1], query


async def test_more_documents_than_a_bound_are_no_complete_answer(many_runs):
    """Eleven of twelve documents are not a page, and twelve are."""
    await many_runs.pages("Amount > 2000")
    statement, parameters = many_runs.sent[2]
    bound = re.search(r"FROM found LIMIT (\d+)\)", statement)[1]
    for most, is_complete in ((RARE, True), (RARE - 1, False)):
        smaller = statement.replace(f"FROM found LIMIT {bound}", f"FROM found LIMIT {most + 1}")
        smaller = smaller.replace(f"<= {int(bound) - 1}", f"<= {most}")
        async with many_runs.strongroom.database.connection(many_runs.namespace_id) as connection:
            rows = await connection.fetch(smaller, *parameters)
        assert {row["is_complete"] for row in rows} == {is_complete}


async def test_a_page_of_open_runs_reads_no_other_open_runs(open_runs):
    """All open runs have the same bucket of the close. The index has that of the start, so a page does not sort all of them."""
    first, second, *_ = await open_runs.pages("ExecutionStatus = 'Running'", 50)
    assert [*first, *second] == list(range(0, RUNS, 2))[:-101:-1]
    for statement, parameters in open_runs.sent[: 2 * open_runs.has_plans]:
        plan, _ = await open_runs.plan(statement, parameters)
        assert rows_read(plan) < FEW


async def test_a_count_of_many_tokens_compares_no_run_with_all_of_them(many_runs):
    """The tokens are looked up, even if PostgreSQL takes that for dear. It would compare each run with all tokens."""
    query = f"Customer IN ({', '.join(repr(f'c{number}') for number in range(100, 200))})"
    count = await many_runs.strongroom.visibility.count_workflow_executions(many_runs.namespace_id, query, TYPES)
    assert count.count == sum(int(customer[1:]) >= 100 for customer in CUSTOMERS)
    ((statement, parameters),) = many_runs.sent
    if not many_runs.has_plans:
        return
    plan, _ = await many_runs.plan(statement, parameters)
    assert indexes_of(plan) == {"visibility_records_tokens"}
    async with many_runs.strongroom.database.connection(many_runs.namespace_id) as connection:
        await connection.execute("SET enable_bitmapscan = off")
        (row,) = await connection.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *parameters)
        await connection.execute("RESET enable_bitmapscan")
    step = json.loads(row[0])[0]["Plan"]
    while outer := [each for each in step.get("Plans", []) if each["Parent Relationship"] in {"Outer", "Subquery"}]:
        (step,) = outer
    assert step.get("Function Name") == "generate_series", (
        "each part of the tokens selects runs, and not each run a part"
    )
