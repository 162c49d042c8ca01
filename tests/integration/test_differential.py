"""Sealed visibility and a plaintext copy of the same runs give the same answers to random filters.

tests/README.md shows how to compare more filters and more runs. Of more runs than a list sorts by the second alone, only the first
pages of a list are compared, and always with an ORDER BY, because such a second has another order on purpose.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import sys
import time
from contextlib import suppress
from urllib.parse import quote

import pytest

from strongroom.kms import activate_index_key, begin_index_rotation
from strongroom.storage import EVERY_NAMESPACE
from strongroom.visibility import Layout, new_layout, with_prefixes
from strongroom.visibility.search.cost import SearchLimits
from strongroom.visibility.search.listing import SORTED_RUNS
from tests.support.counts import count_of, seconds_of
from tests.support.plaintext_copy import CUSTOM, Attributes, PlaintextCopy, random_documents, random_filter
from tests.support.plaintext_copy.mapping import document_id
from tests.support.plaintext_copy.typed import read
from tests.support.sealed_namespace import sealed
from tests.support.searches import searching

pytestmark = pytest.mark.integration

FILTERS = count_of("FILTERS")
DOCUMENTS = count_of("DOCUMENTS")
SECONDS = seconds_of("SECONDS")
IS_LARGE = DOCUMENTS > SORTED_RUNS
LISTED = 4
"""Of so many filters over many runs one is listed, because a list may sort all runs. All are counted."""
WRITTEN = 2000
"""Number of documents that are written at once."""
PREFIXED = ("Customer", "Größe")
"""Keywords whose prefixes have tokens in one of the layouts."""
ATTRIBUTES = Attributes(CUSTOM)
GROUPS = ("ExecutionStatus", "TemporalNamespaceDivision")


@pytest.mark.parametrize("preset", ["compatible", "strict", "prefixes"])
@pytest.mark.parametrize("kind", ["PostgreSQL", "Elasticsearch"])
async def test_sealed_answers_are_those_of_the_plaintext_copy(config_path, elasticsearch, kind, preset):
    """Same runs, same order, same page borders, same counts and groups; also after every second run was written again."""
    rng = random.Random(20_261_124)  # noqa: S311 - repeatable
    plaintext_copy = await new_plaintext_copy(elasticsearch)
    documents = random_documents(rng, DOCUMENTS)
    layout = new_layout("compatible" if preset == "prefixes" else preset)
    filters = FILTERS // 2 if preset == "prefixes" else FILTERS
    async with sealed(config_path, elasticsearch, kind, index_layout=str(layout)) as ours:
        if preset == "prefixes":
            keys = await ours.strongroom.keyring.open(ours.namespace_id)
            chosen = with_prefixes(layout, keys, PREFIXED, ours.types)
            await ours.strongroom.index_rotation(wait=0).rotate(ours.namespace_id, ours.types, layout=chosen)
        if IS_LARGE:
            ours.visibility = searching(ours.strongroom, limits=SearchLimits(seconds=3600, bytes=2**40))
        for version in (1, 2):
            if version > 1:
                documents = rewritten(documents, rng)[::2]
            for start in range(0, len(documents), WRITTEN):
                await asyncio.to_thread(plaintext_copy.write, documents[start : start + WRITTEN])
                await ours.write(documents[start : start + WRITTEN], version=version)
            if version > 1 or not IS_LARGE:
                await assert_same_answers(ours, plaintext_copy, rng, filters=filters)


@pytest.mark.parametrize("before", ["strict", "compatible 3"])
@pytest.mark.parametrize("kind", ["PostgreSQL", "Elasticsearch"])
async def test_two_layouts_side_by_side_answer_as_one(config_path, elasticsearch, kind, before):
    """A namespace moves from `strict`, or from version 3, to the newest `compatible`: it always answers as the plaintext copy."""
    rng = random.Random(20_261_127)  # noqa: S311 - repeatable
    plaintext_copy = await new_plaintext_copy(elasticsearch)
    documents = random_documents(rng, DOCUMENTS)
    is_hashed = before != "strict"
    layout = before if is_hashed else str(new_layout("strict"))
    async with sealed(config_path, elasticsearch, kind, index_layout=layout) as ours:
        await asyncio.to_thread(plaintext_copy.write, documents)
        await ours.write(documents)
        assert await hashed(ours) == {(1, is_hashed): DOCUMENTS}
        await assert_same_answers(ours, plaintext_copy, rng, filters=FILTERS // 5)
        begun = await begin_index_rotation(ours.strongroom.keyring, ours.namespace_id, layout=str(Layout()))
        await activate_index_key(ours.strongroom.keyring, ours.namespace_id, begun.version)
        await ours.write(documents[::2], version=2)
        assert await hashed(ours) == {(1, is_hashed): DOCUMENTS // 2, (2, True): DOCUMENTS // 2}
        await assert_same_answers(ours, plaintext_copy, rng, filters=FILTERS)
        done = await ours.strongroom.index_rotation(wait=0).rotate(ours.namespace_id, ours.types)
        assert (done.epoch, done.layout) == (2, Layout())
        assert await hashed(ours) == {(2, True): DOCUMENTS}
        if ours.strongroom.search_index is not None:
            await ours.strongroom.search_index.refresh()
        await assert_same_answers(ours, plaintext_copy, rng, filters=FILTERS // 5)


async def hashed(ours):
    """Return how many records there are of each epoch, and whether their tokens are in columns."""
    async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT k, h_type IS NOT NULL AS hashed, count(*) AS records FROM visibility_records GROUP BY 1, 2"
        )
    return {(row["k"], row["hashed"]): row["records"] for row in rows}


async def test_an_index_that_lags_shows_the_state_before_the_last_refresh(config_path, elasticsearch):
    """Before a refresh, lists and counts show the old records of all runs; after it, the new ones. They are never mixed."""
    rng = random.Random(20_261_125)  # noqa: S311 - repeatable
    plaintext_copy = await new_plaintext_copy(elasticsearch)
    documents = random_documents(rng, DOCUMENTS)
    async with sealed(config_path, elasticsearch, "Elasticsearch") as ours:
        indices = (plaintext_copy.index, ours.strongroom.search_index.name)
        await asyncio.to_thread(plaintext_copy.write, documents)
        await ours.write(documents)
        for index in indices:
            settings = {"index": {"refresh_interval": "-1"}}
            await asyncio.to_thread(elasticsearch.client.request, "PUT", f"/{index}/_settings", settings)
        later = rewritten(documents, rng)
        for each in later:
            await asyncio.to_thread(
                elasticsearch.client.request,
                "PUT",
                f"/{plaintext_copy.index}/_doc/{quote(document_id(each), safe='')}",
                plaintext_copy.source(each),
            )
        await ours.write(later, version=2, settled=False)
        await ours.strongroom.indexer.drain()
        before = await ours.pages("", 1000)
        await assert_same_answers(ours, plaintext_copy, rng, filters=FILTERS // 3)
        for index in indices:
            await asyncio.to_thread(elasticsearch.client.request, "POST", f"/{index}/_refresh")
        assert await ours.pages("", 1000) != before, "the refresh must change the answers"
        await assert_same_answers(ours, plaintext_copy, rng, filters=FILTERS // 3)


async def test_a_node_that_was_killed_in_the_middle_of_writing_answers_as_before(config_path, elasticsearch_to_kill):
    """`kill -9` while documents are on their way; when the node is back, the answers are again those of the plaintext copy."""
    node = elasticsearch_to_kill
    rng = random.Random(20_261_126)  # noqa: S311 - repeatable
    plaintext_copy = await new_plaintext_copy(node)
    documents = random_documents(rng, DOCUMENTS)
    later = rewritten(documents, rng)
    await asyncio.to_thread(plaintext_copy.write, documents)
    await asyncio.to_thread(plaintext_copy.write, later)
    async with sealed(config_path, node, "Elasticsearch") as ours:
        await ours.write(documents)
        running = asyncio.create_task(ours.strongroom.indexer.run())
        for start in range(0, DOCUMENTS, 20):
            await ours.write(later[start : start + 20], version=2, settled=False)
            ours.strongroom.indexer.wake()
            if start == DOCUMENTS // 2:
                node.kill()
                plaintext_copy.client.close()
        assert await ours.strongroom.outbox.waiting(), "the node died with work left"
        await asyncio.to_thread(node.start)
        async with asyncio.timeout(90):
            while await ours.strongroom.outbox.waiting():  # noqa: ASYNC110 - there is no notification
                await asyncio.sleep(0.1)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await ours.strongroom.search_index.refresh()
        await assert_same_answers(ours, plaintext_copy, rng, filters=FILTERS // 2)


async def new_plaintext_copy(elasticsearch):
    """Create an index of plaintext documents."""
    return await asyncio.to_thread(
        PlaintextCopy.create, elasticsearch.client, f"{elasticsearch.prefix}plaintext", ATTRIBUTES
    )


def rewritten(documents, rng):
    """Return other documents of the same runs."""
    kept = ("WorkflowId", "RunId", "StartTime")
    fresh = random_documents(rng, len(documents))
    return [{**new, **{name: old[name] for name in kept}} for old, new in zip(documents, fresh, strict=True)]


async def assert_same_beginning(ours, plaintext_copy, text):
    """Assert that the first runs of a list are the same. Only their number is known if many runs of a second come first.

    A page of a list that takes longer than 3 s may be short.
    """
    size, found, token = 50, [], None
    pages = await asyncio.to_thread(lambda: list(itertools.islice(plaintext_copy.pages(text, size=size), 2)))
    wanted = [run_id for page in pages for run_id in page]
    while len(found) < len(wanted):
        page = await ours.visibility.list_workflow_executions(
            ours.namespace_id, text, ours.types, page_size=size, page_token=token
        )
        token = page.next_page_token
        assert len(page.executions) <= size, text
        found += [record.run_id for record in page.executions]
        if token is None:
            break
    keys = [attribute.field for attribute, _ in read(text, ATTRIBUTES).order_by]
    if keys in (["StartTime"], ["CloseTime"]):
        assert len(found) >= len(wanted), text
    else:
        assert found[: len(wanted)] == wanted, text


async def assert_same_answers(ours, plaintext_copy, rng, *, filters):
    """Assert that both give the same answers to random filters."""
    some, until = 0, time.monotonic() + SECONDS
    for number in range(filters):
        text = random_filter(rng, ATTRIBUTES, order_by=1.0 if IS_LARGE else 0.3)
        where = re.split(r"\border\s+by\b", text, flags=re.IGNORECASE)[0]
        if IS_LARGE:
            matching = await asyncio.to_thread(plaintext_copy.count, where)
            if number % LISTED == 0:
                await assert_same_beginning(ours, plaintext_copy, text)
        else:
            wanted = await asyncio.to_thread(plaintext_copy.run_ids, text)
            size = rng.choice((1, 7, 50, 1000)) if len(wanted) < 60 else rng.choice((50, 99, 1000))
            borders = [wanted[start : start + size] for start in range(0, len(wanted), size)] or [[]]
            pages = await ours.pages(text, size)
            if where == text:
                assert pages == borders, text
            else:  # a page of a list whose runs are opened to sort them may be short
                assert [run_id for page in pages for run_id in page] == wanted, text
                assert max(map(len, pages)) <= size, text
            matching = len(wanted)
        some += 0 < matching < DOCUMENTS
        if number % 2 or IS_LARGE:
            assert await ours.count(where) == (matching, {}), text
        if IS_LARGE:
            sys.stdout.write(f"{number + 1} filters without a difference\n")
            if time.monotonic() > until:
                return
        if number % 10 == 0 and not re.search(r"Division|;|--|/\*|#|//", where):
            grouped = f"{where.rstrip()} GROUP BY {GROUPS[number // 10 % 2]}"
            groups = await asyncio.to_thread(plaintext_copy.groups, grouped)
            assert await ours.count(grouped) == (sum(groups.values()), groups), grouped
    assert some > filters // 6, "the filters distinguish runs, so that the comparison means something"
