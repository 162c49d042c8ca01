"""Lists, counts and groups of namespaces with many runs: complete, in order, and without a limit on the number of documents."""

from __future__ import annotations

from collections import Counter

import pytest

from strongroom.kms import activate_index_key, begin_index_rotation
from strongroom.visibility import Layout, QueryBudgetExceeded, new_layout
from strongroom.visibility.search.cost import CostModel, SearchLimits
from strongroom.visibility.search.listing import SORTED_RUNS
from tests.support.sealed_namespace import sealed
from tests.support.searches import BASE, SECOND, Opened, run, searching

pytestmark = pytest.mark.integration

KINDS = ("PostgreSQL", "Elasticsearch")


def many(count, *, first=0, close=BASE):
    """Return runs that close in one second and start in two."""
    return [
        run(number, start=BASE - SECOND * (1 + number % 2) + number, close=close + number)
        for number in range(first, first + count)
    ]


def in_list_order(documents):
    """Return the run ids of documents in the exact order of a list."""
    ordered = sorted(
        documents, key=lambda each: (each.get("CloseTime", 2**63), each["StartTime"], each["RunId"]), reverse=True
    )
    return [each["RunId"] for each in ordered]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_second_of_any_size_is_listed_completely(config_path, elasticsearch, kind):
    """More runs closed in one second than are sorted in memory. Each run is listed once, and other seconds keep their exact order."""
    later = [run(10_000 + number, start=BASE, close=BASE + SECOND + number) for number in range(5)]
    earlier = [run(20_000 + number, start=BASE - 9 * SECOND, close=BASE - SECOND + number) for number in range(5)]
    full = many(SORTED_RUNS + 700)
    async with sealed(config_path, elasticsearch, kind) as ours:
        await ours.write([*earlier, *full, *later])
        pages = await ours.pages("", 400)
        listed = [run_id for page in pages for run_id in page]
        assert Counter(map(len, pages[:-1])) == {400: len(pages) - 1}
        assert listed[:5] == in_list_order(later)
        assert listed[-5:] == in_list_order(earlier)
        assert Counter(listed) == Counter(each["RunId"] for each in (*earlier, *full, *later))
        starts = {each["RunId"]: each["StartTime"] // SECOND for each in full}
        seconds = [starts[run_id] for run_id in listed[5:-5]]
        assert seconds == sorted(seconds, reverse=True), "within the second the order is that of the index"
        assert await ours.pages("", 400) == pages, "the order is stable"


async def test_a_page_may_end_between_two_large_seconds(config_path, elasticsearch):
    """Two adjacent seconds have more runs than are sorted in memory. A page that ends with the first repeats nothing after it."""
    count = SORTED_RUNS + 500
    later = many(count, close=BASE)
    earlier = many(count + 1000, first=count, close=BASE - SECOND - count)
    async with sealed(config_path, elasticsearch, "PostgreSQL") as ours:
        await ours.write([*later, *earlier])
        for page_size in (500, 625):
            pages = await ours.pages("", page_size)
            listed = [run_id for page in pages for run_id in page]
            assert Counter(listed) == Counter(each["RunId"] for each in (*later, *earlier))
            assert {*listed[:count]} == {each["RunId"] for each in later}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_second_may_grow_beyond_memory_between_two_pages(config_path, elasticsearch, kind):
    """A list that began in exact order goes on so. No run is skipped or repeated when the second becomes too large to be sorted."""
    documents = many(300, close=BASE + SECOND // 2)
    async with sealed(config_path, elasticsearch, kind) as ours:
        await ours.write(documents)
        visibility = ours.strongroom.visibility

        async def page(token):
            return await visibility.list_workflow_executions(
                ours.namespace_id, "", ours.types, page_size=100, page_token=token
            )

        first = await page(None)
        await ours.write(many(SORTED_RUNS + 500, first=1000))  # all of them come later in the order
        listed, token = [*first.executions], first.next_page_token
        for _ in range(2):
            following = await page(token)
            listed, token = [*listed, *following.executions], following.next_page_token
        assert [record.run_id for record in listed] == in_list_order(documents)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "order", ["StartTime", "StartTime DESC", "ExecutionTime", "CloseTime", "CloseTime DESC", "CloseTime, WorkflowId"]
)
async def test_a_list_in_an_order_of_the_index_opens_no_more_than_its_page(config_path, elasticsearch, kind, order):
    """ORDER BY StartTime and CloseTime read the index in its order, so a page of any namespace opens about as many runs as it has."""
    documents = [run(number, start=BASE + number * SECOND, close=BASE + number * 3 * SECOND) for number in range(600)]
    documents += [run(1000 + number, start=BASE + number * SECOND // 4) for number in range(40)]
    key = order.split()[0].rstrip(",")
    descending = order.endswith("DESC")
    farthest = -1 if descending else 2**63
    by_run_id = sorted(documents, key=lambda each: each["RunId"], reverse=True)
    if "WorkflowId" in order:
        by_run_id = sorted(documents, key=lambda each: each["WorkflowId"])
    expected = sorted(by_run_id, key=lambda each: each.get(key, farthest), reverse=descending)
    async with sealed(config_path, elasticsearch, kind) as ours:
        await ours.write(documents)
        pages = await ours.pages(f"ORDER BY {order}", 50)
        assert [run_id for page in pages for run_id in page] == [each["RunId"] for each in expected]
        cell, costs = ours.strongroom, Opened()
        visibility = searching(cell, costs=costs)
        await visibility.list_workflow_executions(ours.namespace_id, f"ORDER BY {order}", ours.types, page_size=50)
        assert costs.documents < 100


@pytest.mark.parametrize("kind", KINDS)
async def test_no_unchanged_run_is_skipped_or_repeated_while_others_start_and_close(config_path, elasticsearch, kind):
    """Runs start and close on every page. Each run that does not change is listed exactly once, in every order."""
    still = [*many(400), *(run(2000 + number, start=BASE - number * SECOND // 3) for number in range(200))]
    async with sealed(config_path, elasticsearch, kind) as ours:
        await ours.write(still)
        number = 10_000
        for query in ("", "ORDER BY StartTime", "ORDER BY CloseTime DESC", "ORDER BY WorkflowId"):
            found, token = Counter(), None
            while True:
                page = await ours.strongroom.visibility.list_workflow_executions(
                    ours.namespace_id, query, ours.types, page_size=70, page_token=token
                )
                found.update(record.run_id for record in page.executions)
                token = page.next_page_token
                if token is None:
                    break
                started = [run(number + each, start=BASE + number + each) for each in range(20)]
                number += 20
                await ours.write(started)
                await ours.write(
                    [each | {"CloseTime": BASE + number, "ExecutionStatus": "Failed"} for each in started[:10]],
                    version=2,
                )
            assert {run_id: found[run_id] for run_id in (each["RunId"] for each in still)} == dict.fromkeys(
                (each["RunId"] for each in still), 1
            ), query


@pytest.mark.parametrize("kind", KINDS)
async def test_counts_and_groups_of_sealed_conditions_have_no_limit_on_documents(config_path, elasticsearch, kind):
    """A condition that needs every document opened is counted exactly, in one pass, and so are its groups."""
    documents = [
        run(number, start=BASE + number, close=BASE + number + 1, TemporalNamespaceDivision=f"d{number % 1500}")
        for number in range(3000)
    ]
    async with sealed(config_path, elasticsearch, kind) as ours:
        await ours.write(documents)
        everywhere = "(TemporalNamespaceDivision IS NULL OR TemporalNamespaceDivision IS NOT NULL)"
        half = f"WorkflowId < 'order/001500' AND {everywhere}"
        assert await ours.count(half) == (1500, {})
        assert await ours.count(f"TaskQueue STARTS_WITH 'ord' AND {everywhere}") == (3000, {})
        count, groups = await ours.count(f"{half} GROUP BY TemporalNamespaceDivision")
        assert (count, groups) == (1500, {f"d{number}": 1 for number in range(1500)})
        count, groups = await ours.count("GROUP BY TemporalNamespaceDivision")
        assert (count, groups) == (3000, {f"d{number}": 2 for number in range(1500)})


@pytest.mark.parametrize("kind", KINDS)
async def test_groups_are_counted_in_the_index_also_while_the_key_rotates(config_path, elasticsearch, kind):
    """The index counts each value, and one document of each is opened. Tokens of two epochs are of one group if their value is one."""
    tier = "TemporalLowCardinalityKeywordTier"
    documents = [
        run(number, start=BASE + number, **({tier: f"t{number % 700}"} if number % 3 else {})) for number in range(2100)
    ]
    wanted = Counter(each.get(tier, "") for each in documents)
    async with sealed(config_path, elasticsearch, kind, attributes={tier: "Keyword"}) as ours:
        cell = ours.strongroom
        await ours.write(documents)
        costs = Opened()
        visibility = searching(cell, costs=costs)

        async def grouped(query=""):
            found = await visibility.count_workflow_executions(
                ours.namespace_id, f"{query} GROUP BY {tier}", ours.types
            )
            assert found.count == sum(dict(found.groups).values())
            assert list(found.groups) == sorted(found.groups, key=lambda group: (-group[1], group[0]))
            return dict(found.groups)

        assert await grouped() == wanted
        assert await grouped(f"{tier} IN ('t1', 't2')") == {"t1": wanted["t1"], "t2": wanted["t2"]}
        begun = await begin_index_rotation(cell.keyring, ours.namespace_id, layout=str(Layout()))
        await activate_index_key(cell.keyring, ours.namespace_id, begun.version)
        await ours.write(documents[::2], version=2)
        assert await grouped() == wanted
        assert costs.documents == 0, "no document was scanned"


@pytest.mark.parametrize("kind", KINDS)
async def test_groups_under_strict_are_tallied_in_one_pass(config_path, elasticsearch, kind):
    """Without group tokens, each document is opened once, and the groups are the same."""
    documents = [run(number, start=BASE + number, TemporalNamespaceDivision=f"d{number % 40}") for number in range(600)]
    async with sealed(config_path, elasticsearch, kind, index_layout=str(new_layout("strict"))) as ours:
        await ours.write(documents)
        cell, costs = ours.strongroom, Opened()
        visibility = searching(cell, costs=costs)
        found = await visibility.count_workflow_executions(
            ours.namespace_id, "GROUP BY TemporalNamespaceDivision", ours.types
        )
        assert (found.count, dict(found.groups)) == (600, {f"d{number}": 15 for number in range(40)})
        assert costs.documents == 600


@pytest.mark.parametrize("kind", KINDS)
async def test_an_in_of_a_thousand_values_is_answered(config_path, elasticsearch, kind):
    """Programs ask for a thousand ids at once, by IN or by OR, and deeply nested filters are answered too."""
    documents = many(1200)
    async with sealed(config_path, elasticsearch, kind) as ours:
        await ours.write(documents)
        wanted = [each["WorkflowId"] for each in documents[100:1100]]
        found = sorted(each["RunId"] for each in documents[100:1100])
        for query in (
            f"WorkflowId IN ({', '.join(map(repr, wanted))})",
            " OR ".join(f"WorkflowId = {workflow_id!r}" for workflow_id in wanted),
            f"{'(' * 100}WorkflowId IN ({', '.join(map(repr, wanted))}){')' * 100}",
            'TaskQueue = "orders" AND (' * 90 + f"WorkflowId IN ({', '.join(map(repr, wanted))})" + ")" * 90,
            "TaskQueue = 'x' OR (TaskQueue = 'orders' AND (" * 49
            + f"WorkflowId IN ({', '.join(map(repr, wanted))})"
            + "))" * 49,
        ):
            assert await ours.count(query) == (1000, {})
            assert sorted(run_id for page in await ours.pages(query, 300) for run_id in page) == found
        assert await ours.count(f"WorkflowId NOT IN ({', '.join(map(repr, wanted))})") == (200, {})


async def test_a_list_of_a_thousand_values_of_a_token_set_has_each_run_once(config_path, elasticsearch):
    """The tokens of each row are compared one by one. A run with several of the values is listed once."""
    documents = [
        run(
            number,
            start=BASE + number * SECOND,
            Customer=f"c-{number % 700}",
            Tags=[f"t-{number}", f"t-{number % 9}", "all"],
        )
        for number in range(1500)
    ]
    attributes = {"Customer": "Keyword", "Tags": "KeywordList"}
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes=attributes) as ours:
        await ours.write(documents)
        for name, head in (("Customer", "c"), ("Tags", "t")):
            values = {f"{head}-{number}" for number in range(0, 2000, 2)}
            wanted = [
                each["RunId"]
                for each in reversed(documents)
                if not values.isdisjoint([*each["Tags"], each["Customer"]])
            ]
            assert 500 < len(wanted) < len(documents)
            listed = await ours.pages(f"{name} IN ({', '.join(map(repr, sorted(values)))})", 100)
            assert [run_id for page in listed for run_id in page] == wanted, name


async def test_a_search_that_can_not_end_in_time_is_refused_beforehand(config_path, elasticsearch):
    """The error has the estimate, the limit, the expensive condition and what to add, but no value of the filter."""
    async with sealed(config_path, elasticsearch, "PostgreSQL") as ours:
        await ours.write(many(2500))
        cell = ours.strongroom
        slow = searching(cell, costs=_Fixed(seconds=1.0), limits=SearchLimits(seconds=60.0))
        message = r"needs 2500 opened documents, .* 2500 s .* expensive are: WorkflowType < .*WorkflowId or StartTime"
        with pytest.raises(QueryBudgetExceeded, match=message) as refused:
            await slow.count_workflow_executions(ours.namespace_id, "WorkflowType < 'zzz'", ours.types)
        assert "zzz" not in str(refused.value)
        assert (
            await slow.list_workflow_executions(ours.namespace_id, "ORDER BY TaskQueue", ours.types)
        ).next_page_token
        await begin_index_rotation(cell.keyring, ours.namespace_id, layout=str(new_layout("strict")))
        with pytest.raises(QueryBudgetExceeded, match="needs 2500 opened documents"):  # a token could not continue it
            await slow.list_workflow_executions(ours.namespace_id, "ORDER BY TaskQueue", ours.types)
        small = searching(cell, limits=SearchLimits(bytes=1000))
        with pytest.raises(QueryBudgetExceeded, match="more than 1000 bytes of sealed records"):
            await small.list_workflow_executions(ours.namespace_id, "WorkflowType > 'zzz'", ours.types)


class _Fixed(CostModel):
    """A model that learns nothing."""

    def learn(self, documents, seconds, size):
        pass
