from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms import (
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyClass,
    KeyContext,
    LocalProvider,
    MultiProvider,
    PartType,
    RecordKind,
    Secret,
    Suite,
    WrongRegion,
    bound_cell_id,
    check_region,
    create_data_keys,
    rewrap_data_keys,
    rotate_data_key,
)
from strongroom.kms.keys import derivation
from tests.support.tree import VECTORS

HERE, ELSEWHERE = "eu-central-1", "us-east-1"
CELL = UUID("0c0c0c0c-0000-4000-8000-00000000ce11")
KIND = RecordKind("record", "data", (PartType.INT64,))
VECTOR = json.loads((VECTORS / "region_context.json").read_text())

REGIONS = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)


# --- the bound region


def test_frozen_context():
    """The context of a root in a cell with a region equals the frozen vector, which other code computed."""
    cell = UUID(VECTOR["cell"])
    context = KeyContext(
        cell, UUID(VECTOR["namespace"]), KeyClass(VECTOR["class"]), VECTOR["version"], region=VECTOR["region"]
    )
    assert bound_cell_id(cell, VECTOR["region"]).hex == VECTOR["bound_cell"]
    assert context.encode().hex() == VECTOR["context"]
    assert context.encryption_context() == VECTOR["encryption_context"]
    root = Secret(bytes.fromhex(VECTOR["root"]))
    assert derivation.commitment(root, context, Suite(VECTOR["suite"])).hex() == VECTOR["commitment"]


@given(st.uuids(), st.uuids(), REGIONS | st.none(), REGIONS | st.none())
def test_cells_and_regions_are_told_apart(first, second, one, other):
    """Different cells, and one cell in different regions or without one, have different bound ids."""
    assert (bound_cell_id(first, one) == bound_cell_id(second, other)) == ((first, one) == (second, other))


@given(st.uuids())
def test_a_cell_without_a_region_is_what_it_was(cell):
    """A cell without a region has an unchanged id and KMS context."""
    assert bound_cell_id(cell, None) == cell
    assert set(KeyContext(cell, cell, KeyClass.DATA, 1).encryption_context()) == {
        f"strongroom:{name}" for name in ("cell", "namespace", "class", "version")
    }


@given(REGIONS)
def test_names_of_regions(region):
    """The region names of the supported KMSs are accepted."""
    assert check_region(region) == region


@pytest.mark.parametrize("text", ["", "EU", "eu_1", "-eu", "eu-", "eu--1", "eu 1", "eu\n", "é", "a" * 64])
def test_what_is_no_region(text):
    """A second spelling of a region, or a control character, is refused."""
    with pytest.raises(InvalidRequest, match="lower-case"):
        check_region(text)


# --- KEKs


@pytest.fixture
async def regional_providers(deployment, tmp_path):
    """Return providers of this region, another one, none and several, on keyring files with a KEK `k` in each."""
    made = {
        "here": LocalProvider("here", tmp_path / "here.json", region=HERE),
        "elsewhere": LocalProvider("elsewhere", tmp_path / "elsewhere.json", region=ELSEWHERE),
        "nowhere": LocalProvider("nowhere", tmp_path / "nowhere.json"),
        "second": LocalProvider("second", tmp_path / "second.json", region=HERE),
    }
    for provider in made.values():
        await provider.create_keyring()
        await provider.create_kek("k")
        await provider.create_kek("l")
    made["multi"] = MultiProvider("multi", dict(made), policy="any")
    deployment.keyring = deployment.another_process(providers=made, region=HERE)
    deployment.made = made
    return deployment


OUTSIDE = ("elsewhere:k", "nowhere:k", "multi:here:k,elsewhere:k", "multi:here:k,nowhere:k")
INSIDE = ("here:k", "multi:here:k,second:k")


async def works(keyring, namespace_id):
    """Return whether a row can be sealed and opened."""
    keys = await keyring.open(namespace_id)
    return keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"


@pytest.mark.parametrize("uri", INSIDE)
async def test_keks_of_the_region_serve(regional_providers, uri):
    """The control: a KEK of this region, alone or in a multi-KEK of the region, wraps, rotates, rewraps and opens."""
    namespace_id = UUID(int=7)
    await create_data_keys(regional_providers.keyring, namespace_id, KekRef.parse(uri))
    assert await works(regional_providers.keyring, namespace_id)
    await rotate_data_key(regional_providers.keyring, namespace_id)
    assert await works(regional_providers.keyring, namespace_id)


@pytest.mark.parametrize("uri", OUTSIDE)
async def test_a_kek_elsewhere_wraps_nothing(regional_providers, uri):
    """No key is created under a KEK of another or no region, or under a multi-KEK with such a child."""
    with pytest.raises(WrongRegion, match="name a KEK there"):
        await create_data_keys(regional_providers.keyring, UUID(int=7), KekRef.parse(uri))
    assert not regional_providers.store.records
    unbound = regional_providers.another_process(providers=regional_providers.made)
    await create_data_keys(unbound, UUID(int=7), KekRef.parse(uri))  # a cell without a region uses it
    assert await works(unbound, UUID(int=7))


@pytest.mark.parametrize("uri", OUTSIDE)
async def test_a_kek_elsewhere_unwraps_nothing(regional_providers, uri):
    """A registry row that names a KEK of another region gives no key, although the provider would unwrap it."""
    namespace_id, kek = UUID(int=7), KekRef.parse(uri)
    await create_data_keys(regional_providers.keyring, namespace_id, KekRef.parse("here:k"))
    for record in await regional_providers.store.list_data_keys(namespace_id):
        (root,) = await regional_providers.keyring.unwrap([record])
        context = regional_providers.keyring.context(record).encryption_context()
        moved = await regional_providers.made[kek.provider].wrap(kek, root, context=context)
        assert (await regional_providers.made[kek.provider].unwrap(moved, context=context)).reveal() == root.reveal()
        regional_providers.store.change(
            namespace_id,
            record.version,
            record.key_class,
            provider=kek.provider,
            kek_id=kek.key_id,
            kek_version=moved.kek_version,
            wrapped=moved.ciphertext,
        )
    regional_providers.keyring.evict(namespace_id)
    keys = await regional_providers.keyring.open(namespace_id)
    for use in (lambda: keys.seal(KIND, (1,), b"text"), lambda: keys.identity("shard"), keys.certificate_key):
        with pytest.raises(WrongRegion):
            use()


@pytest.mark.parametrize("uri", OUTSIDE)
async def test_nothing_is_rewrapped_to_a_kek_elsewhere(regional_providers, uri):
    """A rewrap to a KEK of another region is refused before a call. A rewrap within the region succeeds."""
    namespace_id = UUID(int=7)
    await create_data_keys(regional_providers.keyring, namespace_id, KekRef.parse("here:k"))
    before = await regional_providers.store.list_data_keys(namespace_id)
    with pytest.raises(WrongRegion):
        await rewrap_data_keys(regional_providers.keyring, KekRef.parse("here:k"), to=KekRef.parse(uri))
    assert await regional_providers.store.list_data_keys(namespace_id) == before


async def test_other_words_for_the_region(regional_providers):
    """A KMS with another name for the region is used only if the configuration maps that name."""
    keyring = regional_providers.another_process(
        providers=regional_providers.made, region="frankfurt", kek_regions=("frankfurt", HERE)
    )
    await create_data_keys(keyring, UUID(int=8), KekRef.parse("here:k"))
    assert await works(keyring, UUID(int=8))
    with pytest.raises(WrongRegion):
        await create_data_keys(keyring, UUID(int=9), KekRef.parse("elsewhere:k"))


async def test_the_registry_opens_in_no_other_region(regional_providers):
    """A process of another region, or of none, gets no key from the same registry: the KMS refuses the context."""
    namespace_id = UUID(int=7)
    await create_data_keys(regional_providers.keyring, namespace_id, KekRef.parse("here:k"))
    assert await works(regional_providers.another_process(providers=regional_providers.made, region=HERE), namespace_id)
    for options in ({"region": ELSEWHERE, "kek_regions": (HERE,)}, {}):
        keys = await regional_providers.another_process(providers=regional_providers.made, **options).open(namespace_id)
        with pytest.raises(IntegrityError):
            keys.seal(KIND, (1,), b"text")


async def test_the_commitment_refuses_another_region_too(regional_providers, monkeypatch):
    """If a KMS does not bind the context, the commitment refuses the root in another region."""
    monkeypatch.setattr(KeyContext, "encryption_context", lambda self: {"strongroom:version": str(self.version)})
    namespace_id = UUID(int=7)
    await create_data_keys(regional_providers.keyring, namespace_id, KekRef.parse("here:k"))
    assert await works(regional_providers.another_process(providers=regional_providers.made, region=HERE), namespace_id)
    stranger = regional_providers.another_process(
        providers=regional_providers.made, region=ELSEWHERE, kek_regions=(HERE,)
    )
    with pytest.raises(IntegrityError):
        (await stranger.open(namespace_id)).seal(KIND, (1,), b"text")
