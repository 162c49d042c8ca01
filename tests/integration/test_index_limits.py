"""The largest filters and answers, with Elasticsearch's limits at their defaults: max_buckets, max_clause_count, max_result_window."""

from __future__ import annotations

import pytest

from strongroom.visibility import QueryBudgetExceeded
from strongroom.visibility.search.searcher import MAX_GROUPS
from tests.support.sealed_namespace import sealed
from tests.support.searches import BASE, SECOND, run

pytestmark = pytest.mark.integration

GROUPED = "TemporalLowCardinalityKeyword01"
FILTER = 64_000
"""Characters of a list of values, below the longest filter."""


def grouped_run(number):
    """Return the document of a run, whose value of `GROUPED` no other run has."""
    return run(number, start=BASE + number * SECOND, **{GROUPED: f"{number:05}"})


async def test_the_largest_searches_stay_below_the_limits_of_a_node(config_path, elasticsearch):
    """10,000 groups and runs, and a filter of 64 KiB. One group more is refused by name."""
    async with sealed(config_path, elasticsearch, "Elasticsearch", attributes={GROUPED: "Keyword"}) as namespace:
        for first in range(0, MAX_GROUPS, 2000):
            await namespace.write(map(grouped_run, range(first, first + 2000)), settled=first + 2000 == MAX_GROUPS)
        count, groups = await namespace.count(f"GROUP BY {GROUPED}")
        assert (count, len(groups), set(groups.values())) == (MAX_GROUPS, MAX_GROUPS, {1})
        wanted = ",".join(f"'{number:05}'" for number in range(MAX_GROUPS))[:FILTER].rpartition(",")[0]
        values = wanted.count(",") + 1
        assert (await namespace.count(f"{GROUPED} IN ({wanted})"))[0] == values
        assert (await namespace.count(f"{GROUPED} NOT IN ({wanted})"))[0] == MAX_GROUPS - values
        pages = await namespace.pages("", 1000)
        listed = [each for page in pages for each in page]
        assert listed == [grouped_run(number)["RunId"] for number in reversed(range(MAX_GROUPS))]
        nested = "(" * 100 + f"{GROUPED} = '00001'" + ")" * 100
        assert (await namespace.count(nested))[0] == 1
        many = " OR ".join(f"({GROUPED} = '{number:05}' AND WorkflowType = 'ship')" for number in range(500))
        assert (await namespace.count(many))[0] == 500
        await namespace.write([grouped_run(MAX_GROUPS)])
        with pytest.raises(QueryBudgetExceeded, match="groups"):
            await namespace.count(f"GROUP BY {GROUPED}")
