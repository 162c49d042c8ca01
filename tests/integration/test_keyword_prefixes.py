"""A namespace chooses custom Keywords whose prefixes and ranges the index answers: `index rotate --prefixes`."""

from __future__ import annotations

import itertools
import json

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import activate_index_key, begin_index_rotation, index_keys
from strongroom.storage import InvalidPersistenceRequest, VisibilityEpochs
from strongroom.visibility import (
    IndexAdviser,
    Layout,
    active_layout,
    attribute_types,
    new_layout,
    with_prefixes,
)
from tests.support.fixtures.cell import initialised
from tests.support.fixtures.command_line import run_command
from tests.support.plaintext_copy.records import record_of
from tests.support.sealed_namespace import sealed
from tests.support.searches import BASE, run

pytestmark = pytest.mark.integration

KINDS = ("PostgreSQL", "Elasticsearch")
ATTRIBUTES = {"Customer": "Keyword", "Other": "Keyword", "Pieces": "Int"}
NAMES = (
    *(f"cust-{number:05}" for number in range(180)),
    *("", "c", "cu", "cust-0", "cust-00100", "cust-00100x", "Zürich", "Zü", "日本語", "日本", "\N{GRINNING FACE}"),
    *("a-very-long-name-of-a-customer/1", "a-very-long-name-of-a-customer/2", "a-very-long-name-of-"),
)
QUERIES = (
    *(f"Customer STARTS_WITH '{head}'" for head in ("c", "cust-0001", "cust-00100", "Zü", "日", "", "nobody")),
    *("Customer >= 'cust-00100' AND Customer < 'cust-00120'", "Customer BETWEEN 'c' AND 'cust-00003'"),
    *("Customer > 'cust-00100'", "Customer <= 'cust-00100'", "Customer < ''", "Customer >= ''"),
    *("NOT Customer > 'cust-00100'", "Customer > 'cu' AND Customer <= 'Z'", "Customer >= 'Zü' AND Pieces = 3"),
)


def matching(names, query):
    """Return how many runs satisfy a query of `QUERIES`: the runs have the names in turn, and every fifth has none."""
    conditions = {
        "STARTS_WITH": lambda name, text: name.startswith(text),
        ">=": lambda name, text: name >= text,
        ">": lambda name, text: name > text,
        "<=": lambda name, text: name <= text,
        "<": lambda name, text: name < text,
    }
    if query.startswith("NOT "):
        return len(names) - matching(names, query.removeprefix("NOT "))
    if "BETWEEN" in query:
        _, low, _, high, _ = query.split("'")
        return sum(name is not None and low <= name <= high for name in names)
    parts = [part.split() for part in query.split(" AND ")]
    return sum(
        all(
            number % 7 == int(value)
            if attribute == "Pieces"
            else name is not None and conditions[sign](name, value[1:-1])
            for attribute, sign, value in parts
        )
        for number, name in enumerate(names)
    )


def documents():
    """Return the runs and their names."""
    names = [None if number % 5 == 0 else name for number, name in enumerate(itertools.chain(NAMES, NAMES))]
    return names, [
        run(
            number,
            start=BASE + number,
            Pieces=number % 7,
            **({} if name is None else {"Customer": name, "Other": name}),
        )
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("preset", ["compatible", "strict"])
@pytest.mark.parametrize("kind", KINDS)
async def test_counts_of_prefixes_and_ranges_are_exact_and_open_no_document(config_path, elasticsearch, kind, preset):
    """Before, during and after the rotation to a layout with prefixes all counts are exact. Afterwards the index alone counts."""
    names, runs = documents()
    wanted = {query: (matching(names, query), {}) for query in QUERIES}
    assert len({count for count, _ in wanted.values()}) > 8, "the queries differ in their counts"
    async with sealed(
        config_path, elasticsearch, kind, index_layout=str(new_layout(preset)), attributes=ATTRIBUTES
    ) as ours:
        cell = ours.strongroom
        await ours.write(runs)
        assert {query: await ours.count(query) for query in QUERIES} == wanted
        keys = await cell.keyring.open(ours.namespace_id)
        layout = with_prefixes(active_layout(keys), keys, ["Customer"], ours.types)
        begun = await begin_index_rotation(cell.keyring, ours.namespace_id, layout=str(layout))
        await activate_index_key(cell.keyring, ours.namespace_id, begun.version)
        await ours.write(runs[::2], version=2)
        assert {query: await ours.count(query) for query in QUERIES} == wanted
        done = await cell.index_rotation(wait=0).rotate(ours.namespace_id, ours.types)
        assert done.layout == layout
        if cell.search_index is not None:
            await cell.search_index.refresh()
        for query, (count, _) in wanted.items():
            found = await ours.visibility.explain(ours.namespace_id, query, ours.types)
            assert found.sure + found.opened >= count
            assert found.opened == 0 or (preset == "strict" and "Pieces" in query), query
            assert sorted(run_id for page in await ours.pages(query, 50) for run_id in page) == sorted(
                {run_id for page in await ours.pages(query, 1000) for run_id in page}
            )
            assert sum(map(len, await ours.pages(query, 50))) == count, query
        assert (await ours.visibility.explain(ours.namespace_id, "Other STARTS_WITH 'c'", ours.types)).opened > 0
        long = "Customer STARTS_WITH 'a-very-long-name-of-a-customer/1'"
        assert (await ours.count(long))[0] == sum(name == "a-very-long-name-of-a-customer/1" for name in names)
        assert (await ours.visibility.explain(ours.namespace_id, long, ours.types)).exact


async def test_a_later_rotation_keeps_the_choice_and_advice_names_it(config_path, elasticsearch):
    """The choice is part of the layout. An attribute that is no custom Keyword can't be chosen."""
    _, runs = documents()
    async with sealed(config_path, elasticsearch, "PostgreSQL", attributes=ATTRIBUTES) as ours:
        cell = ours.strongroom
        await ours.write(runs)
        keys = await cell.keyring.open(ours.namespace_id)
        ours.types = attribute_types(await cell.namespaces.set_aliases(ours.namespace_id, {"Kunde": "Customer"}))
        for name in ("Pieces", "WorkflowId", "Nobody"):
            with pytest.raises(InvalidPersistenceRequest, match="type Keyword") as refused:
                with_prefixes(Layout(), keys, [name], ours.types)
            assert name not in str(refused.value)
        layout = with_prefixes(Layout(), keys, ["Customer", "Customer"], ours.types)
        assert len(layout.prefixed) == 1
        assert with_prefixes(Layout(), keys, ["Kunde"], ours.types) == layout, "an alias stands for its attribute"
        rotation = cell.index_rotation(wait=0)
        await rotation.rotate(ours.namespace_id, ours.types, layout=layout)
        assert (await rotation.rotate(ours.namespace_id, ours.types)).layout == layout
        records = VisibilityEpochs(cell.database, cell.journal.journal, outbox=False)
        advice = await IndexAdviser(records, cell.keyring).advise(ours.namespace_id, ours.types)
        chosen = {each.name: each.prefixes.chosen for each in advice.attributes if each.prefixes is not None}
        assert chosen == {"Customer": True, "Other": False}


@pytest.mark.parametrize("preset", ["compatible", "strict"])
async def test_a_new_namespace_has_prefixes_from_the_beginning(config_path, preset):
    """The layout is that of a rotation with the same choice. Counts of prefixes open no document, and no rotation was needed."""
    await initialised(config_path)
    folder = config_path.parent
    chosen = ("-a", "Customer=Keyword", "-a", "Pieces=Int", "--preset", preset, "--prefixes", "Customer")
    made = run_command(folder, "namespace", "create", "shop", *chosen, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["prefixes"] == 1
    async with Strongroom.open(load_config(config_path)) as cell:
        shop = await cell.namespaces.get("shop")
        keys, types = await cell.keyring.open(shop.namespace_id), attribute_types(shop)
        assert active_layout(keys) == with_prefixes(new_layout(preset), keys, ["Customer"], types)
        records = [(1, 1, record_of(run(n, start=BASE + n, Customer=f"cust-{n}"))) for n in range(30)]
        await cell.visibility.record_workflow_executions(shop.namespace_id, records, types)
        query = "Customer STARTS_WITH 'cust-1'"
        assert (await cell.visibility.count_workflow_executions(shop.namespace_id, query, types)).count == 11
        assert (await cell.visibility.explain(shop.namespace_id, query, types)).exact
        assert len(await index_keys(cell.keyring, shop.namespace_id)) == 1


async def test_a_new_namespace_refuses_prefixes_of_other_attributes_before_anything_is_made(config_path):
    """Only a Keyword has prefixes. Neither a KEK nor a namespace is made, and the refusal names no attribute."""
    await initialised(config_path)
    folder = config_path.parent
    keks = run_command(folder, "kek", "list", "--json").stdout
    for name in ("Pieces", "WorkflowId", "Nobody"):
        refused = run_command(folder, "namespace", "create", "shop", "-a", "Pieces=Int", "--prefixes", name)
        assert refused.returncode != 0
        assert "type Keyword" in refused.stderr
        assert name not in refused.stderr
    assert run_command(folder, "kek", "list", "--json").stdout == keks
    assert "shop" not in run_command(folder, "namespace", "list").stdout
    made = run_command(
        folder, "namespace", "create", "shop", "--prefixes", "Keyword01"
    )  # the field of a Temporal server
    assert made.returncode == 0, made.stderr
