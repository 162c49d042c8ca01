"""Lists, counts and groups are exact: they are those of the same filter on plaintext records.

`FILTERS=160 pytest tests/integration/test_visibility_search.py` sets the number of random filters.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import floor
from types import MappingProxyType
from uuid import uuid4

import pytest

from strongroom.driver.config import ElasticsearchConfig, load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.visibility import (
    AttributeType,
    UnknownAttribute,
    UnsupportedQuery,
)
from strongroom.visibility.search.compiler import compile_filter
from tests.support.counts import count_of
from tests.support.visibility.filters import SEARCHED, every_condition, random_filter
from tests.support.visibility.namespace import one_sided, populated, wrong_sides
from tests.support.visibility.records import INT64_MAX, INT64_MIN, changed, generated_record, generator

pytestmark = pytest.mark.integration


GENERATED = 150
FILTERS = count_of("FILTERS")


@pytest.fixture(scope="module", params=["PostgreSQL", "Elasticsearch"])
async def searched(request, databases, tmp_path_factory, sample):
    """A namespace with the sample and random records, on each search index. Tests must not change it."""
    rng = generator()
    path = tmp_path_factory.mktemp("searched") / "strongroom.toml"
    async with databases.database(is_prepared=True) as dsn:
        write_config(path, dsn=dsn)
        config = load_config(path)
        if request.param == "Elasticsearch":
            url = request.getfixturevalue("elasticsearch_server").url
            config = replace(
                config, elasticsearch=ElasticsearchConfig(url, index=f"searched-{uuid4().hex[:8]}", insecure=True)
            )
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            index = strongroom.search_index
            if index is not None:
                await index.create()
            searched = await populated(
                strongroom, "searched", sample, [generated_record(rng) for _ in range(GENERATED)]
            )
            if index is not None:
                assert await strongroom.indexer.drain() == len(searched.records)
                await index.refresh()
            yield searched
            if index is not None:
                await index.drop()


async def test_random_filters_answer_as_on_plaintext(searched):
    """Every list, count and group is the same as that of the filter on the plaintext records."""
    rng = generator()
    queries = ["", *every_condition(rng), *(random_filter(rng) for _ in range(FILTERS))]
    found_some = 0
    for number, query in enumerate(queries):
        expected = searched.expected(query)
        found_some += 0 < len(expected) < len(searched.records)
        assert await searched.listed(query, rng) == expected, query
        assert (await searched.count(query)).count == len(expected), query
        if number % 5 == 0:
            grouped = await searched.count(f"{query} GROUP BY ExecutionStatus")
            sizes = Counter(record.execution_status for record in expected)
            assert grouped.count == len(expected), query
            assert grouped.groups == tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))), query
    assert found_some > len(queries) // 3, "the filters distinguish records, so that the comparison means something"


async def test_the_two_sides_of_a_compiled_filter_hold(searched):
    """Sure documents match, and matching documents are possible. Control: a wrong negation is found."""
    rng = generator()
    queries = [random_filter(rng) for _ in range(FILTERS // 2)]
    for query in queries:
        assert not await wrong_sides(searched, query, compile_filter), query
    assert await wrong_sides(searched, "NOT WorkflowId STARTS_WITH 'order/web'", one_sided)


@pytest.mark.parametrize(
    "query", ["Price = 1e308", "Price IN (-1e305, 1)", "Price != 1e308", "Price < 1e308", "Pieces = 1e308"]
)
async def test_a_number_beyond_every_stored_one_is_answered(searched, query):
    """A literal of any finite size may be in a filter: it is compared, and does not crash."""
    assert await searched.listed(query, page_size=1000) == searched.expected(query)


def sorted_by(name, descending, records):
    """Sort runs by an attribute, stably, with runs without a value last.

    A missing number or time is the last possible one, as in Elasticsearch.
    """
    farthest = INT64_MIN if descending else INT64_MAX
    missing = (0, farthest) if SEARCHED[name] in (AttributeType.INT, AttributeType.DATETIME) else (1 - 2 * descending,)

    def value(record):
        found = record.attributes().get(name)
        if found is None:
            return missing
        if isinstance(found, tuple):
            found = max(found) if descending else min(found)
        if name == "Price":
            found = floor(Fraction(repr(float(found))) * 10_000 + Fraction(1, 2))
        return (0, found)

    return sorted(records, key=value, reverse=descending)


def by_run_id(records):
    """Sort runs in the order of equal runs."""
    return sorted(records, key=lambda record: record.run_id, reverse=True)


async def test_order_by_sorts_by_any_attribute_and_then_by_run_id(searched):
    """ORDER BY works for every attribute in both directions, in pages. Runs without a value come last."""
    rng = generator()
    for name in (name for name, kind in SEARCHED.items() if kind is not AttributeType.TEXT):
        query = rng.choice(("", "Pieces IS NOT NULL", "ExecutionStatus != 'Running'"))
        for direction in ("", "DESC"):
            spelt = f"`{name}`" if not name.isascii() else name
            listed = await searched.listed(f"{query} ORDER BY {spelt} {direction}", page_size=97)
            assert listed == sorted_by(name, bool(direction), by_run_id(searched.expected(query))), (name, direction)
    listed = await searched.listed("ORDER BY ExecutionStatus DESC, Paid, StartTime", page_size=50)
    expected = by_run_id(searched.expected(""))
    for name, descending in (("StartTime", False), ("Paid", False), ("ExecutionStatus", True)):
        expected = sorted_by(name, descending, expected)
    assert listed == expected


async def test_group_by_finds_unknown_values(strongroom):
    """Each value of a division or Keyword has its exact count; runs without a value have the empty text, as in Temporal."""
    rng = generator()
    tiers = (None, "gold", "silver", "it's", "")
    records = [
        changed(
            generated_record(rng),
            search_attributes=MappingProxyType(
                {
                    **({} if (tier := tiers[number % 5]) is None else {"TemporalLowCardinalityKeywordTier": tier}),
                    **({"TemporalNamespaceDivision": "batch"} if number % 3 == 0 else {}),
                }
            ),
        )
        for number in range(40)
    ]
    tier = {"TemporalLowCardinalityKeywordTier": AttributeType.KEYWORD}
    searched = await populated(strongroom, "groups", [], records, custom=tier)
    ordinary = [record for number, record in enumerate(records) if number % 3]
    counted = Counter(record.attributes().get("TemporalLowCardinalityKeywordTier", "") for record in ordinary)
    grouped = await searched.count("GROUP BY TemporalLowCardinalityKeywordTier")
    assert (grouped.count, dict(grouped.groups)) == (len(ordinary), dict(counted))
    grouped = await searched.count("GROUP BY TemporalNamespaceDivision")
    assert dict(grouped.groups) == {"": len(ordinary), "batch": 40 - len(ordinary)}
    assert (await searched.count("HistoryLength = -1 GROUP BY TemporalNamespaceDivision")).groups == ()


async def test_an_explanation_says_what_is_exact_and_what_is_opened(searched):
    """An explanation has the counts of both sides and the profile of each condition, but no value of the filter."""
    query = "WorkflowId STARTS_WITH 'order/w' AND NOT (Customer = 'abc') OR Pieces > 5000 ORDER BY Pieces"
    found = await searched.strongroom.visibility.explain(searched.namespace_id, query, searched.types)
    matching = len(searched.expected(query))
    assert found.sure <= matching <= found.possible
    assert found.sure < found.possible, "the index can't decide these conditions alone"
    assert (found.exact, found.sorted_here, found.opened) == (False, found.possible, found.possible - found.sure)
    assert [(each.attribute, each.operator, each.exact) for each in found.conditions] == [
        ("WorkflowId", "STARTS_WITH", False),
        ("Customer", "=", True),
        ("Pieces", ">", False),
        ("TemporalNamespaceDivision", "IS NULL", True),
    ]
    assert "abc" not in repr(found)
    assert "order" not in repr(found)
    exact = await searched.strongroom.visibility.explain(searched.namespace_id, "Customer = 'abc'", searched.types)
    assert exact.exact
    assert exact.possible == len(searched.expected("Customer = 'abc'"))


@pytest.mark.parametrize(
    "query",
    [
        "ORDER BY Notes",
        "GROUP BY Customer",
    ],
)
async def test_an_unsupported_clause_is_refused(searched, query):
    """Neither list nor count ignores a sort key or group that is not supported."""
    with pytest.raises(UnsupportedQuery):
        await searched.strongroom.visibility.list_workflow_executions(searched.namespace_id, query, searched.types)
    with pytest.raises(UnsupportedQuery):
        await searched.count(query)


async def test_a_sort_key_has_no_effect_on_groups(searched):
    """A count may end with ORDER BY, as in Temporal. The groups are the same as without."""
    grouped = await searched.count("GROUP BY ExecutionStatus")
    assert grouped.groups
    assert await searched.count("GROUP BY ExecutionStatus ORDER BY StartTime") == grouped


async def test_a_list_does_not_group(searched):
    """GROUP BY is for counts. A list refuses it."""
    with pytest.raises(UnsupportedQuery):
        await searched.strongroom.visibility.list_workflow_executions(
            searched.namespace_id, "GROUP BY ExecutionStatus", searched.types
        )


async def test_an_unknown_attribute_is_refused(searched):
    """A name that the namespace has not registered is an error, so that nothing is found by it."""
    with pytest.raises(UnknownAttribute):
        await searched.count("Nobody = 'x'")


@pytest.mark.parametrize(("order", "is_opened"), [("StartTime", False), ("ExecutionTime", True)])
async def test_an_explanation_counts_only_the_runs_that_a_page_opens_to_sort(searched, order, is_opened):
    """The index orders runs by ExecutionTime if their first task was due at their start."""
    explain = searched.strongroom.visibility.explain
    found = await explain(searched.namespace_id, f"ORDER BY {order}", searched.types)
    later = [run for run in searched.expected("") if run.execution_time != run.start_time]
    assert 0 < len(later) < found.possible
    assert found.sorted_here == found.cost.documents == (len(later) if is_opened else 0)
