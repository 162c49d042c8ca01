"""Pages, page tokens and the limits of a query."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import MappingProxyType
from unittest.mock import ANY
from uuid import UUID, uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import rotate_data_key
from strongroom.storage import InvalidPersistenceRequest
from strongroom.visibility import (
    InvalidPageToken,
    VisibilityManager,
    VisibilityRecord,
)
from strongroom.visibility.backends.postgres import PostgresIndex
from strongroom.visibility.filter.parser import SCHEDULER_ARCHETYPE_ID
from tests.support.visibility.namespace import populated
from tests.support.visibility.records import BASE, SECOND, changed, generated_record, generator, opened_again

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("page_size", [1, 2, 3])
async def test_no_run_is_skipped_or_repeated_where_times_are_equal(strongroom, page_size):
    """Runs with equal seconds or times of start or close come once each, and in order."""
    rng = generator()
    template = opened_again(generated_record(rng))
    records = [
        changed(
            template,
            run_id=str(uuid4()),
            start_time=BASE + start,
            close_time=close,
            execution_status="Running" if close is None else "Completed",
            search_attributes=MappingProxyType({}),
        )
        for start in (0, 0, 1, SECOND - 1, SECOND)
        for close in (None, BASE, BASE, BASE + 1, BASE + SECOND - 1, BASE + SECOND)
    ]
    searched = await populated(strongroom, "equal", [], records)
    listed = await searched.listed("", page_size=page_size)
    assert listed == searched.expected("")
    assert len(listed) == len(records)


QUERY = "Pieces IS NOT NULL OR Pieces IS NULL"


async def test_a_page_token_of_another_place_is_refused(strongroom, small):
    """A page token is valid for its own query in its own namespace only."""
    rng = generator()
    other = await populated(strongroom, "other", [], [generated_record(rng) for _ in range(5)])
    page = await strongroom.visibility.list_workflow_executions(small.namespace_id, QUERY, small.types, page_size=3)
    token = page.next_page_token

    async def go_on(namespace_id=small.namespace_id, query=QUERY, token=token):
        return await strongroom.visibility.list_workflow_executions(
            namespace_id, query, small.types, page_size=1000, page_token=token
        )

    assert [*page.executions, *(await go_on()).executions] == small.expected(QUERY)
    for wrong in ({"query": ""}, {"query": QUERY + " "}, {"namespace_id": other.namespace_id}):
        with pytest.raises(InvalidPageToken):
            await go_on(**wrong)
    altered = [token[:place] + bytes([token[place] ^ 1]) + token[place + 1 :] for place in range(len(token) - 4)]
    altered += [token[:-1], token[4:], token + b"AAAA", token * 2, b"A", b"AAAA", b"\xff\xfe", b"x" * 10_000]
    for wrong in altered:
        with pytest.raises(InvalidPageToken):
            await go_on(token=wrong)


async def test_a_page_token_outlives_a_rotation(strongroom, small):
    """A list can be continued after the data key rotated, also in a process that has not noticed the rotation."""
    query = ""
    size = 3
    async with Strongroom.open(strongroom.config) as elsewhere:
        first = await elsewhere.visibility.list_workflow_executions(
            small.namespace_id, query, small.types, page_size=size
        )
        await rotate_data_key(strongroom.keyring, small.namespace_id)
        second = await strongroom.visibility.list_workflow_executions(
            small.namespace_id, query, small.types, page_size=size, page_token=first.next_page_token
        )
        third = await elsewhere.visibility.list_workflow_executions(
            small.namespace_id, query, small.types, page_size=1000, page_token=second.next_page_token
        )
    assert [*first.executions, *second.executions, *third.executions] == small.expected(query)


@pytest.mark.parametrize("page_size", [0, -1, 1001, 2**31 - 1])
async def test_a_page_size_out_of_range_is_the_largest(small, page_size):
    """A gRPC client that sets no page size sends 0, and an empty token for the first page."""
    page = await small.strongroom.visibility.list_workflow_executions(
        small.namespace_id, "", small.types, page_size=page_size, page_token=b""
    )
    assert [*page.executions] == small.expected("")
    with pytest.raises(InvalidPersistenceRequest, match="integer"):
        await small.strongroom.visibility.list_workflow_executions(small.namespace_id, "", small.types, page_size="9")


async def test_executions_of_an_archetype_are_listed_by_themselves(strongroom, namespace):
    """Lists, counts and pages of an archetype have only its executions, and their page tokens open nothing else."""
    runs = [
        VisibilityRecord(
            f"schedule-{number}",
            str(UUID(int=number + 1)),
            "scheduler",
            "Running",
            "system",
            number,
            number,
            search_attributes={"TemporalNamespaceDivision": str(SCHEDULER_ARCHETYPE_ID)} if number else {},
        )
        for number in range(4)
    ]
    visibility, namespace_id = strongroom.visibility, namespace.namespace_id
    await visibility.record_workflow_executions(namespace_id, [(1, 1, run) for run in runs], {})
    query = "TemporalSystemExecutionStatus = 'Running'"
    asked = {"page_size": 2, "archetype_id": SCHEDULER_ARCHETYPE_ID}
    first = await visibility.list_workflow_executions(namespace_id, query, {}, **asked)
    rest = await visibility.list_workflow_executions(namespace_id, query, {}, **asked, page_token=first.next_page_token)
    assert [*first.executions, *rest.executions] == runs[:0:-1]
    counted = await visibility.count_workflow_executions(namespace_id, query, {}, archetype_id=SCHEDULER_ARCHETYPE_ID)
    assert counted.count == len(runs) - 1
    (workflow,) = (await visibility.list_workflow_executions(namespace_id, "", {})).executions
    assert workflow == runs[0]
    asked = {"page_size": 2, "archetype_id": 7}
    page = await visibility.list_workflow_executions(namespace_id, "", {}, **asked)
    assert page.executions == ()
    page = await visibility.list_workflow_executions(
        namespace_id, "", {}, page_size=2, archetype_id=SCHEDULER_ARCHETYPE_ID
    )
    with pytest.raises(InvalidPageToken):
        await visibility.list_workflow_executions(namespace_id, "", {}, **asked, page_token=page.next_page_token)


class _CountingIndex(PostgresIndex):
    """Notes how many documents each statement of a list returns."""

    def __init__(self, database):
        super().__init__(database)
        self.fetched = []

    @asynccontextmanager
    async def reading(self, namespace_id, *, snapshot):
        async with super().reading(namespace_id, snapshot=snapshot) as reader:
            pages = reader.pages

            async def noted(*arguments, **options):
                async for page in pages(*arguments, **options):
                    self.fetched.append(len(page))
                    yield page

            reader.pages = noted
            yield reader


@pytest.mark.parametrize("full", [40, 30])
async def test_a_list_fetches_a_full_second_at_once_if_an_earlier_list_of_the_filter_met_one(strongroom, full):
    """A page of 20 of 40 runs ends in a full second, so it needs all runs. Only the first list needs a second statement for it."""
    template = opened_again(generated_record(generator()))
    records = [
        changed(
            template,
            run_id=str(uuid4()),
            start_time=BASE + number + SECOND * (number >= full),
            close_time=None,
            execution_status="Running",
            search_attributes=MappingProxyType({}),
        )
        for number in range(40)
    ]
    searched = await populated(strongroom, "burst", [], records)
    index = _CountingIndex(strongroom.database)
    manager = VisibilityManager(strongroom.database, strongroom.keyring, strongroom.journal.journal, index=index)
    expected = searched.expected("")

    async def listed(page_token=None):
        page = await manager.list_workflow_executions(
            searched.namespace_id, "", searched.types, page_size=20, page_token=page_token
        )
        return list(page.executions), page.next_page_token

    assert len(expected) == 40
    first, token = await listed()
    assert first == expected[:20]
    assert index.fetched == [36, 4]
    assert await listed() == (expected[:20], ANY)
    assert await listed(token) == (expected[20:], None)
    assert index.fetched == [36, 4, 40, full]
