"""The same runs, sealed and in clear: random filters get the same answers from both.

`FILTERS=5000 pytest tests/integration/test_differential.py` asks for as many filters.
"""

from __future__ import annotations

import asyncio
import os
import random
import re

import pytest

from tests.sealed_namespace import sealed
from tests.twin import CUSTOM, Attributes, Twin, random_documents, random_filter

pytestmark = pytest.mark.integration

FILTERS = int(os.environ.get("FILTERS", "150"))
DOCUMENTS = 400
ATTRIBUTES = Attributes(CUSTOM)
GROUPS = ("ExecutionStatus", "TemporalNamespaceDivision")


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
