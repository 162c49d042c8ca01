"""`index advise` reports what each preset would reveal of a namespace's own runs."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from strongroom.storage import VisibilityEpochs
from strongroom.visibility import IndexAdviser, new_layout
from tests.support.plaintext_copy import random_documents
from tests.support.sealed_namespace import sealed

pytestmark = pytest.mark.integration

RUNS = 900


@pytest.mark.parametrize("preset", ["compatible", "strict"])
async def test_the_advice_follows_the_distribution_of_the_namespace(config_path, elasticsearch, preset):
    """Counts and shares are those of the runs, whatever the present preset; a sample is a part of them, and says so."""
    documents = random_documents(random.Random(5), RUNS)  # noqa: S311 - repeatable
    async with sealed(config_path, elasticsearch, "PostgreSQL", index_layout=str(new_layout(preset))) as ours:
        await ours.write(documents)
        records = VisibilityEpochs(ours.strongroom.database, ours.strongroom.journal.journal, outbox=False)
        whole = await IndexAdviser(records, ours.strongroom.keyring).advise(ours.namespace_id, ours.types)
        part = await IndexAdviser(records, ours.strongroom.keyring, sample=200).advise(ours.namespace_id, ours.types)
    assert (whole.runs, whole.sampled, whole.unreadable, whole.preset) == (RUNS, RUNS, 0, preset)
    assert (part.runs, part.sampled) == (RUNS, 200)
    found = {each.name: each for each in whole.attributes}
    statuses = Counter(document["ExecutionStatus"] for document in documents)
    assert found["ExecutionStatus"].values == len(statuses)
    assert found["ExecutionStatus"].commonest == max(statuses.values()) / RUNS
    named = {preset: each.recovered for preset, each in found["ExecutionStatus"].presets.items()}
    assert named == {"compatible": 1.0, "strict": found["ExecutionStatus"].commonest}
    types = found["WorkflowType"].presets
    assert (types["compatible"].opened, types["strict"].opened) == (0, RUNS)
    assert types["strict"].recovered == found["WorkflowType"].commonest <= types["compatible"].recovered
    assert whole.attributes != part.attributes
    assert (found["WorkflowId"].prefixes, found["Pieces"].prefixes) == (None, None)
    customer = found["Customer"].prefixes
    assert not customer.chosen
    assert found["Customer"].presets["compatible"].recovered <= customer.recovered <= 1.0
    assert 1 < customer.tokens <= 18
    assert customer.bytes == pytest.approx(14 * customer.tokens * found["Customer"].present)
    closed = RUNS - sum("CloseTime" not in document for document in documents)
    assert {each.size for each in whole.buckets} == {"1h", "6h", "1d"}
    assert all(0 < each.mean <= each.greatest <= closed for each in whole.buckets)
    lengths = {each.shortest: each for each in whole.lengths}
    assert lengths["64KiB"].classes == 1
    assert lengths["compatible"].mean < lengths["1KiB"].mean < lengths["64KiB"].mean


async def test_an_empty_namespace_has_no_advice(config_path, elasticsearch):
    """Nothing is divided by zero runs."""
    async with sealed(config_path, elasticsearch, "PostgreSQL") as ours:
        records = VisibilityEpochs(ours.strongroom.database, ours.strongroom.journal.journal, outbox=False)
        advice = await IndexAdviser(records, ours.strongroom.keyring).advise(ours.namespace_id, ours.types)
    assert (advice.runs, advice.attributes, advice.lengths) == (0, (), ())
