"""The index of a namespace of a Temporal server, which sends the types of search attributes with each call and registers none."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from uuid import UUID

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, index_keys
from strongroom.storage import DataBlob, Namespace
from strongroom.visibility import AttributeType, InvalidRecord, attribute_types, filter_types
from strongroom.visibility.namespace_attributes import stored_type
from tests.support.fixtures.cell import initialised
from tests.support.fixtures.command_line import run_command
from tests.support.plaintext_copy.records import record_of
from tests.support.searches import BASE, run

pytestmark = pytest.mark.integration

SHOP = UUID(int=0x5107)
VALUES = {
    "Keyword": "c-1",
    "KeywordList": ["a", "b"],
    "Text": "two words",
    "Int": 7,
    "Double": 1.5,
    "Bool": True,
    "Datetime": BASE,
}
FIELDS = {f"{before}{kind}01": kind for kind, before in product(VALUES, ("", "Temporal"))}
LOW = "TemporalLowCardinalityKeyword01"
TYPES = {name: AttributeType(kind) for name, kind in {**FIELDS, LOW: "Keyword", "Keyword99": "Keyword"}.items()}


async def created(cell):
    """Create a namespace as a Temporal server does, with runs that have a value in each field."""
    kek = KekRef.parse("local:shop")
    await cell.create_kek(kek)
    await cell.metadata.create_namespace(SHOP, "shop", data=DataBlob(b"settings"), kek=kek)
    values = {name: VALUES[kind.value] for name, kind in TYPES.items()}
    await write(cell, [run(number, start=BASE, **values | {"Keyword01": f"c-{number}"}) for number in range(30)], TYPES)


async def write(cell, documents, types):
    """Write runs with the types of this call."""
    rows = [(await cell.shards.shard_of(SHOP, each["WorkflowId"]), 1, record_of(each)) for each in documents]
    await cell.visibility.record_workflow_executions(SHOP, rows, types)


async def test_the_key_rotates_and_tokens_are_compared_although_the_namespace_has_no_registered_attributes(config_path):
    """The types of Temporal's fields follow from their names. A field can be chosen for prefixes."""
    await initialised(config_path)
    config = load_config(config_path)
    async with Strongroom.open(config) as cell:
        await created(cell)
    for command, said in (
        (("index", "rotate", "shop", "--wait", "0"), "epoch 2"),
        (("index", "reconcile"), "0 differences left"),
        (("index", "rotate", "shop", "--wait", "0", "--prefixes", "Keyword01"), "epoch 3"),
        (("index", "reconcile", "--check"), "0 differences left"),
    ):
        done = run_command(config_path.parent, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert said in done.stdout, command
    async with Strongroom.open(config) as cell:
        for query, count in (
            ("Keyword01 STARTS_WITH 'c-1'", 11),
            ("Keyword01 BETWEEN 'c-20' AND 'c-29'", 10),
            ("Int01 = 7 AND TemporalBool01 = true AND KeywordList01 = 'b' AND Text01 = 'words'", 30),
            (f"{LOW} = 'c-1' AND Keyword99 = 'c-1' AND TemporalDouble01 > 1.4", 30),
        ):
            found = await cell.visibility.count_workflow_executions(SHOP, query, TYPES)
            assert found.count == count, query
        explained = await cell.visibility.explain(SHOP, "Keyword01 STARTS_WITH 'c-1'", TYPES)
        assert explained.exact


async def test_a_query_knows_the_fields_of_a_temporal_server(config_path):
    """An operator searches the namespace of a Temporal server without registering its fields. A name that is none stays unknown."""
    await initialised(config_path)
    async with Strongroom.open(load_config(config_path)) as cell:
        await created(cell)
    folder = config_path.parent
    for query, count in (
        ("Keyword01 = 'c-7' OR `Keyword01` = 'c-8'", 2),
        ("Keyword01 STARTS_WITH 'c-1' AND Int01 = 7", 11),
        (f"{LOW} = 'c-1' AND TemporalDouble01 > 1.4 AND Text01 = 'Int02'", 0),
        ("Keyword77 IS NULL", 30),
    ):
        counted = run_command(folder, "query", "shop", query, "--count")
        assert counted.stdout.split() == [str(count)], (query, counted.stderr)
        listed = run_command(folder, "query", "shop", query, "--limit", "100", "--json")
        assert len(listed.stdout.splitlines()) == count, (query, listed.stderr)
        assert run_command(folder, "query", "shop", query, "--explain").returncode == 0, query
    assert "Keyword01" in run_command(folder, "index", "advise", "shop").stdout
    unknown = run_command(folder, "query", "shop", "Keyword1 = 'c-7'", "--count")
    assert unknown.returncode != 0
    assert "no such search attribute; register it first. With a Temporal server, name the field" in unknown.stderr


def test_a_registered_attribute_comes_before_the_field_of_the_same_name():
    """A namespace's own attributes keep their types, however a filter spells them."""
    own = Namespace(
        SHOP, "shop", 1, datetime.now(UTC), search_attributes={"Keyword01": "Int", "TemporalBool02": "Text"}
    )
    types = filter_types(own, "Keyword01 = 1 AND TemporalKeyword01 = 1 AND Bool02 = 'x' AND Double03 > 1")
    assert types == attribute_types(own) | {"Double03": AttributeType.DOUBLE}


async def test_a_rotation_is_refused_before_it_begins_if_an_attribute_has_no_known_type(config_path):
    """It could not be finished, and two keys would stay in use. After the attribute is registered, the same command succeeds."""
    await initialised(config_path)
    config = load_config(config_path)
    async with Strongroom.open(config) as cell:
        await created(cell)
        await write(cell, [run(99, start=BASE, Plan="x")], {"Plan": AttributeType.KEYWORD})
        with pytest.raises(InvalidRecord, match="register what is missing") as refused:
            await cell.index_rotation(wait=0).rotate(SHOP, {})
        assert refused.value.attribute == "Plan"
        assert len(await index_keys(cell.keyring, SHOP)) == 1
    for command in (("index", "rotate", "shop", "--wait", "0"), ("index", "reconcile")):
        done = run_command(config_path.parent, *command)
        assert done.returncode != 0
        assert "register what is missing" in done.stdout + done.stderr
        assert "Plan" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert run_command(config_path.parent, "namespace", "attributes", "shop", "-a", "Plan=Keyword").returncode == 0
    assert "epoch 2" in run_command(config_path.parent, "index", "rotate", "shop", "--wait", "0").stdout


@pytest.mark.parametrize(
    "name",
    ["Keyword1", "Keyword00", "Keyword100", "LowCardinalityKeyword01", "TemporalLowCardinalityInt01", "Keyword01x"],
)
def test_only_names_of_fields_have_a_type_of_their_own(name):
    """These are the names of Temporal's `IsPreallocatedCSAFieldName` and `IsChasmSearchAttribute`. A registered type comes first."""
    assert stored_type(name, {}) is None
    assert stored_type("Keyword01", {"Keyword01": AttributeType.INT}) is AttributeType.INT
