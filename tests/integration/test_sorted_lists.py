"""A list whose order the index does not have: sorted in several requests if that takes long, complete, and without repeated runs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from strongroom.kms import activate_index_key, begin_index_rotation
from strongroom.visibility import AttributeType, InvalidPageToken, new_layout
from strongroom.visibility.backends.postgres import PostgresIndex
from strongroom.visibility.filter.tree import Attribute
from strongroom.visibility.search.cost import SearchLimits
from strongroom.visibility.search.limits import LimitedSearcher
from strongroom.visibility.search.page_token import ListState
from strongroom.visibility.search.prepared import PreparedFilters
from strongroom.visibility.search.scanning import Scanner
from strongroom.visibility.search.searcher import Searcher
from tests.support.sealed_namespace import sealed
from tests.support.searches import BASE, SECOND, Opened, run, searching

pytestmark = pytest.mark.integration

KINDS = ("PostgreSQL", "Elasticsearch")
_CHANGES = 12
"""Number of times that other runs start and close while a list is sorted."""
AT_ONCE = SearchLimits(sorting=0.0)
"""Limits with which each request opens one chunk of documents only."""
IN_ONE = SearchLimits(seconds=120.0, sorting=120.0)
"""Limits with which one request sorts everything, also on a slow machine."""


def some(count):
    """Return runs, open and closed, whose amounts have another order than their times."""
    rng = random.Random(5)  # noqa: S311 - repeatable
    return [
        run(
            number,
            start=BASE + number * SECOND // 3,
            close=None if number % 4 == 0 else BASE + number * SECOND,
            **({} if number % 10 == 0 else {"Amount": rng.randrange(count)}),
        )
        for number in range(count)
    ]


def in_order(documents):
    """Return the run ids of documents by amount. Runs without one are last, and equal ones are by run id, descending."""
    by_run_id = sorted(documents, key=lambda each: each["RunId"], reverse=True)
    return [each["RunId"] for each in sorted(by_run_id, key=lambda each: each.get("Amount", 2**63))]


async def listed(ours, visibility, query, size, *, between=None):
    """Return the pages of a list; `between` is awaited after each one."""
    pages, token = [], None
    while True:
        page = await visibility.list_workflow_executions(
            ours.namespace_id, query, ours.types, page_size=size, page_token=token
        )
        pages.append([record.run_id for record in page.executions])
        token = page.next_page_token
        if token is None:
            return pages
        if between is not None:
            await between(len(pages))


@pytest.mark.parametrize("preset", ["compatible", "strict"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_list_that_can_not_be_sorted_in_time_continues_where_it_stopped(
    config_path, elasticsearch, kind, preset
):
    """Requests that have opened some of the documents return no runs and a token. The list is the same as without a limit of time."""
    documents = some(700)
    async with sealed(
        config_path, elasticsearch, kind, index_layout=str(new_layout(preset)), attributes={"Amount": "Int"}
    ) as ours:
        await ours.write(documents)
        expected = in_order(documents)
        pages = await listed(ours, searching(ours.strongroom, limits=AT_ONCE), "ORDER BY Amount", 300)
        assert [run_id for page in pages for run_id in page] == expected
        assert [] in pages[:2], "the first requests only sort"
        assert all(40 < len(page) < 90 for page in pages[:-1] if page), "a page is what a token carries"
        descending = await listed(
            ours, searching(ours.strongroom, limits=AT_ONCE), "Amount > 10 ORDER BY Amount DESC", 1000
        )
        assert descending[-1]
        costs = Opened()
        whole = await listed(ours, searching(ours.strongroom, costs=costs, limits=IN_ONE), "ORDER BY Amount", 100)
        assert [run_id for page in whole for run_id in page] == expected
        assert {len(page) for page in whole[:-1:2]} == {100}
        assert costs.documents < 6 * len(documents), "one scan sorts the runs of two pages"


async def test_the_wait_for_a_slot_is_a_part_of_the_time_for_sorting(config_path, elasticsearch):
    """Clients give a list 10 s in all. So a list that has waited returns its token early, and the next request continues it."""
    documents, now = some(30), 0.0
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes={"Amount": "Int"}) as ours:
        await ours.write(documents)
        cell, namespace_id = ours.strongroom, ours.namespace_id
        scanner = Scanner(PostgresIndex(cell.database), cell.keyring, SearchLimits(), clock=lambda: now)
        searches = LimitedSearcher(Searcher(scanner), 1, wait=60.0)
        prepared = PreparedFilters().prepare(await cell.keyring.open(namespace_id), "ORDER BY Amount", ours.types)
        async with searches.slots.slot(namespace_id):
            waiting = asyncio.create_task(searches.page(prepared, after=ListState(None), page_size=20))
            await asyncio.sleep(0)
            now = 3.0
        runs, state = await waiting
        assert runs == []
        runs, _ = await searches.page(prepared, after=state, page_size=20)
        assert [record.run_id for record in runs] == in_order(documents)[:20]


@pytest.mark.parametrize("kind", KINDS)
async def test_no_unchanged_run_is_skipped_or_repeated_while_a_list_is_sorted(config_path, elasticsearch, kind):
    """Hundreds of runs start and close between the requests. Each run that was there before is listed once, in its place."""
    still = some(300)
    moving = [run(5000 + number, start=BASE + number * SECOND // 7, Amount=number) for number in range(300)]
    async with sealed(config_path, elasticsearch, kind, attributes={"Amount": "Int"}) as ours:
        await ours.write([*still, *moving])
        number = 0

        async def between(_):
            nonlocal number
            number += 1
            if number > _CHANGES:
                return
            started = [run(20_000 + 50 * number + each, start=BASE + each, Amount=each) for each in range(50)]
            closing = [
                each | {"CloseTime": BASE + 10**6 * SECOND + number, "ExecutionStatus": "Failed"}
                for each in moving[25 * number : 25 * number + 25]
            ]
            await ours.write(started, settled=False)
            await ours.write(closing, version=2)

        for limits in (AT_ONCE, SearchLimits()):
            number = 0
            pages = await listed(
                ours, searching(ours.strongroom, limits=limits), "ORDER BY Amount", 170, between=between
            )
            found = Counter(run_id for page in pages for run_id in page)
            there = {each["RunId"] for each in (*still, *moving)}
            assert {run_id: found[run_id] for run_id in there} == dict.fromkeys(there, 1)
            assert [run_id for page in pages for run_id in page if run_id in there] == in_order([*still, *moving])


async def test_a_run_that_changed_after_it_was_sorted_is_listed_in_its_new_place_once(config_path, elasticsearch):
    """The token of a page has the next runs. One that was deleted meanwhile is left out, and one whose value changed moves."""
    documents = [run(number, start=BASE + number, close=BASE + number + 1, Amount=number) for number in range(300)]
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes={"Amount": "Int"}) as ours:
        await ours.write(documents)
        by_number = [each["RunId"] for each in documents]

        async def between(page):
            if page == 1:
                await ours.write([documents[120] | {"Amount": 250}, documents[250] | {"Amount": -1}], version=2)
                gone = documents[130]
                await ours.strongroom.visibility.delete_workflow_execution(
                    ours.namespace_id,
                    shard_id=await ours.strongroom.shards.shard_of(ours.namespace_id, gone["WorkflowId"]),
                    workflow_id=gone["WorkflowId"],
                    run_id=gone["RunId"],
                    version=9,
                )

        pages = await listed(ours, searching(ours.strongroom, limits=IN_ONE), "ORDER BY Amount", 100, between=between)
        wanted = [each for number, each in enumerate(by_number) if number not in (120, 130, 250)]
        at = wanted.index(by_number[249]) + 1
        assert [run_id for page in pages for run_id in page] == [*wanted[:at], by_number[120], *wanted[at:]]


async def test_a_run_that_moves_forward_among_the_sorted_runs_is_missing(config_path, elasticsearch):
    """Only the next scan opens it, and lists the runs after those of the token. One that moves behind these is listed in its place."""
    documents = [run(number, start=BASE + number, close=BASE + number + 1, Amount=number) for number in range(400)]
    changed = {300: 110, 350: 250}
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes={"Amount": "Int"}) as ours:
        await ours.write(documents)

        async def between(page):
            if page == 1:
                moved = [documents[number] | {"Amount": amount} for number, amount in changed.items()]
                await ours.write(moved, version=2)

        pages = await listed(ours, searching(ours.strongroom, limits=IN_ONE), "ORDER BY Amount", 100, between=between)
        found = [run_id for page in pages for run_id in page]
        assert sorted(found) == sorted(each["RunId"] for number, each in enumerate(documents) if number != 300)
        places = {run_id: place for place, run_id in enumerate(found)}
        assert places[documents[249]["RunId"]] < places[documents[350]["RunId"]] < places[documents[251]["RunId"]]


async def test_a_rotation_to_other_buckets_makes_a_sorted_list_begin_again(config_path, elasticsearch):
    """Documents move in the order of the index, so a scan can't continue. It is not ended early while they move, and loses no run."""
    documents = some(700)
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes={"Amount": "Int"}) as ours:
        await ours.write(documents)
        cell = ours.strongroom

        async def between(page):
            if page == 1:
                begun = await begin_index_rotation(cell.keyring, ours.namespace_id, layout=str(new_layout("strict")))
                await activate_index_key(cell.keyring, ours.namespace_id, begun.version)
                await ours.write(documents[::2], version=2)

        pages = await listed(ours, searching(ours.strongroom, limits=AT_ONCE), "ORDER BY Amount", 400, between=between)
        assert list(map(len, pages))[:2] == [0, 400]
        assert [run_id for page in pages for run_id in page] == in_order(documents)


@pytest.mark.parametrize("presets", [("compatible", "strict"), ("strict", "compatible")])
async def test_no_run_is_lost_when_the_index_begins_or_ends_to_order_most_runs(config_path, elasticsearch, presets):
    """With `compatible` only runs that were not due at their start are sorted, because the index orders the others."""
    documents = [
        run(number, start=BASE + number * SECOND, close=BASE + 10**6 * SECOND + number) for number in range(300)
    ]
    for number in (7, 150, 290):
        documents[number]["ExecutionTime"] += SECOND // 2
    async with sealed(
        config_path, elasticsearch, "PostgreSQL", index_layout=str(new_layout(presets[0])), attributes={}
    ) as ours:
        await ours.write(documents)
        cell = ours.strongroom

        async def between(page):
            if page == 1:
                begun = await begin_index_rotation(cell.keyring, ours.namespace_id, layout=str(new_layout(presets[1])))
                await activate_index_key(cell.keyring, ours.namespace_id, begun.version)
            elif page == 2:
                await ours.write(documents[::2], version=2)
            elif page == 3:
                await cell.index_rotation(wait=0).rotate(ours.namespace_id, ours.types)

        pages = await listed(ours, ours.strongroom.visibility, "ORDER BY ExecutionTime", 60, between=between)
        assert [run_id for page in pages for run_id in page] == [each["RunId"] for each in documents]


async def test_the_token_of_a_sorted_list_is_bounded_and_bound_to_its_query(config_path, elasticsearch):
    """Long values make pages shorter, and the token of a sort opens for no other query."""
    documents = [
        run(number, start=BASE + number, close=BASE + number + 1, Name=f"{number:04}" * 400) for number in range(30)
    ]
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes={"Name": "Keyword"}) as ours:
        await ours.write(documents)
        visibility = searching(ours.strongroom, limits=AT_ONCE)
        first = await visibility.list_workflow_executions(ours.namespace_id, "ORDER BY Name", ours.types, page_size=20)
        assert not first.executions
        assert len(first.next_page_token) < 6000
        with pytest.raises(InvalidPageToken):
            await visibility.list_workflow_executions(
                ours.namespace_id, "ORDER BY Name DESC", ours.types, page_token=first.next_page_token
            )
        pages = await listed(ours, visibility, "ORDER BY Name", 20)
        assert [run_id for page in pages for run_id in page] == [each["RunId"] for each in documents]


async def test_a_token_is_refused_after_the_alias_that_the_list_is_sorted_by_means_another_attribute(
    config_path, elasticsearch
):
    """Its values are those of another attribute, which may have another type."""
    documents = [run(number, start=BASE + number, Amount=number, Name=f"n{number}") for number in range(9)]
    async with sealed(
        config_path, elasticsearch, "PostgreSQL", attributes={"Amount": "Int", "Name": "Keyword"}
    ) as ours:
        await ours.write(documents)
        visibility = ours.strongroom.visibility
        types = ours.types | {"Size": Attribute("Amount", AttributeType.INT)}
        asked = ours.namespace_id, "ORDER BY Size"
        token = (await visibility.list_workflow_executions(*asked, types, page_size=5)).next_page_token
        rest = await visibility.list_workflow_executions(*asked, types, page_token=token)
        assert [record.run_id for record in rest.executions] == [each["RunId"] for each in documents[5:]]
        for attribute in (Attribute("Name", AttributeType.KEYWORD), Attribute("Amount", AttributeType.KEYWORD)):
            with pytest.raises(InvalidPageToken):
                await visibility.list_workflow_executions(*asked, types | {"Size": attribute}, page_token=token)


@pytest.mark.parametrize("limits", [AT_ONCE, SearchLimits()], ids=["in several requests", "in one request"])
async def test_a_token_fits_into_the_address_of_a_request(config_path, elasticsearch, limits):
    """User interfaces send it there, and proxies take 8 KiB. A run id that is no UUID is in the token as text."""
    documents = [
        run(number, start=BASE + number, close=BASE + number + 1, Amount=10**15 + number) for number in range(600)
    ]
    for number in range(0, 600, 50):
        documents[number]["RunId"] = f"no UUID/{number:03}"
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes={"Amount": "Int"}) as ours:
        await ours.write(documents)
        visibility, found, token = searching(ours.strongroom, limits=limits), [], b""
        while token is not None:
            page = await visibility.list_workflow_executions(
                ours.namespace_id, "ORDER BY Amount", ours.types, page_size=100, page_token=token
            )
            found += [record.run_id for record in page.executions]
            token = page.next_page_token
            assert len(token or b"") < 6000
        assert found == [each["RunId"] for each in documents]
