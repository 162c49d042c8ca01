"""Counts that open documents: exact for any number of them, in as few requests as the earlier counts of the filter suggest."""

from __future__ import annotations

import pytest

from strongroom.visibility.backends.elasticsearch.reader import ElasticsearchReader
from strongroom.visibility.backends.postgres import PostgresReader
from tests.support.sealed_namespace import sealed
from tests.support.searches import BASE, run

pytestmark = pytest.mark.integration

READERS = {"PostgreSQL": PostgresReader, "Elasticsearch": ElasticsearchReader}
SIZES = (1, 99, 100, 101, 999, 1000, 1001)


def documents(size):
    """Return runs of one size, of which every third has a type that does not match."""
    kinds = ("ship", "sync", "void")
    return [
        run(10_000 * size + number, start=BASE + number, Size=f"s{size}") | {"WorkflowType": kinds[number % 3]}
        for number in range(size)
    ]


def counting(size):
    """Return a filter whose order comparison the index can't decide, so that all runs of the size are opened."""
    return f"Size = 's{size}' AND WorkflowType < 'u'"


def matching(size):
    """Return the number of runs that match."""
    return sum(document["WorkflowType"] < "u" for document in documents(size))


@pytest.fixture
def asked_limits(monkeypatch):
    """Return the limit of each request that counts and fetches."""
    asked = []

    def record(reader):
        answer = reader.count_and_first

        async def count_and_first(self, counted, listed, *, limit):
            asked.append(limit)
            return await answer(self, counted, listed, limit=limit)

        monkeypatch.setattr(reader, "count_and_first", count_and_first)

    for reader in READERS.values():
        record(reader)
    return asked


@pytest.mark.parametrize("kind", READERS)
async def test_a_count_is_exact_for_any_number_of_opened_documents(config_path, elasticsearch, kind, asked_limits):
    """The numbers around the sizes of both pages are counted exactly, again with what the first count showed, and negated."""
    async with sealed(config_path, elasticsearch, kind, attributes={"Size": "Keyword"}) as ours:
        for size in SIZES:
            await ours.write(documents(size), settled=size == SIZES[-1])
        for size in SIZES:
            asked_limits.clear()
            wanted = matching(size)
            assert (await ours.count(counting(size)))[0] == wanted
            assert asked_limits == ([100] if size < 100 else [100, 1000] if size < 1000 else [100, 1000, 1000])
            asked_limits.clear()
            assert (await ours.count(counting(size)))[0] == wanted
            assert asked_limits == ([100] if size < 100 else [1000]), "the first count showed how many are opened"
        everything = f"Size = 's99' OR NOT (Size = 's1001' AND WorkflowType >= 'u') AND {counting(1001)}"
        assert (await ours.count(everything))[0] == 99 + matching(1001)


@pytest.mark.parametrize("kind", READERS)
async def test_a_count_follows_the_number_of_opened_documents(config_path, elasticsearch, kind, asked_limits):
    """A filter that begins to open many documents is counted exactly, and so is one that opens few again."""
    async with sealed(config_path, elasticsearch, kind, attributes={"Size": "Keyword"}) as ours:
        runs = documents(1001)
        for written in (runs[:50], runs[50:300], runs[300:]):
            await ours.write(written)
            done = runs[: runs.index(written[-1]) + 1]
            assert (await ours.count(counting(1001)))[0] == sum(each["WorkflowType"] < "u" for each in done)
        assert asked_limits == [100, 100, 1000, 1000, 1000]
        await ours.write([each | {"Size": "other"} for each in runs[40:]], version=2)
        asked_limits.clear()
        for _ in range(2):
            assert (await ours.count(counting(1001)))[0] == sum(each["WorkflowType"] < "u" for each in runs[:40])
        assert asked_limits == [1000, 100]
