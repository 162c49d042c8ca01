"""The same runs, sealed and in clear: random filters get the same answers from both.

`FILTERS=5000 pytest tests/integration/test_differential.py` asks for as many filters.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from strongroom.driver.config import ElasticsearchConfig, load_config
from strongroom.driver.importer import attribute_types
from strongroom.driver.strongroom import Strongroom, shard_of
from strongroom.kms import KekRef
from tests.twin import CUSTOM, Attributes, Twin, random_documents, random_filter
from tests.twin.records import record_of

pytestmark = pytest.mark.integration

FILTERS = int(os.environ.get("FILTERS", "150"))
DOCUMENTS = 400
ATTRIBUTES = Attributes(CUSTOM)
GROUPS = ("ExecutionStatus", "TemporalNamespaceDivision")


class Sealed:
    """A namespace that answers as the twin does."""

    def __init__(self, strongroom, namespace):
        self.strongroom = strongroom
        self.namespace_id = namespace.namespace_id
        self.types = attribute_types(namespace)

    async def write(self, documents, *, version=1):
        """Write documents as records."""
        keys = await self.strongroom.keyring.open(self.namespace_id)
        shards = self.strongroom.config.cell.shard_count
        records = [record_of(document) for document in documents]
        rows = [(shard_of(keys, record.workflow_id, shards), version, record) for record in records]
        await self.strongroom.visibility.record_workflow_executions(self.namespace_id, rows, self.types)
        if self.strongroom.search_index is not None:
            await self.strongroom.indexer.drain()
            await self.strongroom.search_index.refresh()

    async def pages(self, text, size):
        """Return the run ids of each page of a list."""
        found, token = [], None
        while True:
            page = await self.strongroom.visibility.list_workflow_executions(
                self.namespace_id, text, self.types, page_size=size, page_token=token
            )
            found.append([record.run_id for record in page.executions])
            token = page.next_page_token
            if token is None:
                return found

    async def count(self, text):
        """Return a count, and groups."""
        found = await self.strongroom.visibility.count_workflow_executions(self.namespace_id, text, self.types)
        return found.count, dict(found.groups)


@asynccontextmanager
async def sealed(config_path, elasticsearch, kind):
    """Open a cell behind a search index of a kind, with an empty namespace."""
    config = load_config(config_path)
    if kind == "Elasticsearch":
        cluster = ElasticsearchConfig(elasticsearch.url, index=f"{elasticsearch.prefix}sealed")
        config = replace(config, elasticsearch=cluster)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        if strongroom.search_index is not None:
            await strongroom.search_index.create()
        kek = KekRef.parse("local:twin")
        await strongroom.create_local_kek(kek)
        yield Sealed(strongroom, await strongroom.namespaces.create("twin", kek=kek, search_attributes=CUSTOM))


@pytest.mark.parametrize("kind", ["PostgreSQL", "Elasticsearch"])
async def test_sealed_answers_are_those_of_the_plaintext_twin(config_path, elasticsearch, kind):
    """Same runs, same order, same page borders, same counts and groups; also after every second run was written anew."""
    rng = random.Random(20_261_124)  # noqa: S311 - repeatable
    twin = await asyncio.to_thread(Twin.create, elasticsearch.client, f"{elasticsearch.prefix}twin", ATTRIBUTES)
    documents = random_documents(rng, DOCUMENTS)
    some = 0
    async with sealed(config_path, elasticsearch, kind) as ours:
        for version in (1, 2):
            if version > 1:
                fresh = random_documents(rng, DOCUMENTS)
                kept = ("WorkflowId", "RunId", "StartTime")
                documents = [
                    {**new, **{name: old[name] for name in kept}} for old, new in zip(documents, fresh, strict=True)
                ][::2]
            await asyncio.to_thread(twin.write, documents)
            await ours.write(documents, version=version)
            for number in range(FILTERS):
                text = random_filter(rng, ATTRIBUTES, order_by=0.3)
                wanted = await asyncio.to_thread(twin.run_ids, text)
                size = rng.choice((1, 7, 50, 1000)) if len(wanted) < 60 else rng.choice((50, 99, 1000))
                pages = await ours.pages(text, size)
                borders = [wanted[start : start + size] for start in range(0, len(wanted), size)] or [[]]
                assert pages == borders, text
                some += 0 < len(wanted) < DOCUMENTS
                where = re.split(r"\border\s+by\b", text, flags=re.IGNORECASE)[0]
                if number % 2:
                    assert await ours.count(where) == (len(wanted), {}), text
                if number % 10 == 0 and not re.search(r"Division|;|--|/\*", where):
                    grouped = f"{where.rstrip()} GROUP BY {GROUPS[number // 10 % 2]}"
                    groups = await asyncio.to_thread(twin.groups, grouped)
                    assert await ours.count(grouped) == (sum(groups.values()), groups), grouped
    assert some > FILTERS // 3, "the filters tell runs apart, so that the comparison means something"
