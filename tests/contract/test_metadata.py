from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KekRef,
    KeyDestroyed,
    KeyNotFound,
    KeyState,
    create_data_keys,
    destroy_data_keys,
)
from strongroom.storage import (
    ConditionFailed,
    DataBlob,
    Encoding,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
)
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.metadata import BLOB, create, everything, store_of
from tests.support.fixtures.raw_rows import fetch

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("is_global", [False, True])
@pytest.mark.parametrize("data", [BLOB, DataBlob(b""), DataBlob(b"\x00\xff", Encoding.UNSPECIFIED)])
async def test_a_namespace_comes_back_by_id_and_by_name(metadata_store, data, is_global):
    """Id, name, blob, encoding, flag and version are returned unchanged."""
    made = await create(metadata_store, "payments-Überweisung", data=data, is_global=is_global)
    assert await metadata_store.get_namespace(namespace_id=made.namespace_id) == made
    assert await metadata_store.get_namespace(name="payments-Überweisung") == made


async def test_a_namespace_that_is_not_there_is_not_found(metadata_store):
    """An unknown id or name is not found, also if other namespaces exist."""
    await create(metadata_store, "first")
    for wrong in ("First", "first ", "firs", "nobody", "first\x00"):
        with pytest.raises(NamespaceNotFound):
            await metadata_store.get_namespace(name=wrong)
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(namespace_id=uuid4())


async def test_a_read_names_exactly_one_of_id_and_name(metadata_store):
    """A read with both or neither is refused, also if both name the same namespace."""
    made = await create(metadata_store)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.get_namespace(namespace_id=made.namespace_id, name=made.name)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.get_namespace()


async def test_a_name_is_given_once(metadata_store):
    """A second creation of the name is refused and leaves neither a row nor a usable key. The first namespace stays."""
    made, second = await create(metadata_store, "taken"), uuid4()
    before = await metadata_store.get_metadata()
    with pytest.raises(NamespaceAlreadyExists):
        await create(metadata_store, "taken", namespace_id=second, data=DataBlob(b"other"))
    assert await metadata_store.get_namespace(name="taken") == made
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(namespace_id=second)
    assert await metadata_store.get_metadata() == before


async def test_an_id_is_given_once(metadata_store):
    """A second creation of the id is refused under any name. The first namespace keeps its keys and its blob."""
    made = await create(metadata_store, "first")
    for name in ("first", "second"):
        with pytest.raises(NamespaceAlreadyExists):
            await create(metadata_store, name, namespace_id=made.namespace_id, data=DataBlob(b"other"))
    assert await metadata_store.get_namespace(namespace_id=made.namespace_id) == made
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(name="second")


async def test_the_id_of_a_deleted_namespace_is_not_given_again(metadata_store):
    """An id of a deleted namespace is refused, because its key versions were used."""
    made = await create(metadata_store)
    await metadata_store.delete_namespace(made.namespace_id)
    with pytest.raises(NamespaceAlreadyExists, match="deleted namespace had this id"):
        await create(metadata_store, "again", namespace_id=made.namespace_id)


async def test_of_many_that_create_a_name_at_once_one_wins(own_cell, metadata_store):
    """One creation gets the name, and its namespace works. The others get `NamespaceAlreadyExists`."""
    ids = [uuid4() for _ in range(8)]
    async with Strongroom.open(own_cell.config) as elsewhere:
        stores = (metadata_store, store_of(elsewhere))
        outcomes = await asyncio.gather(
            *(
                stores[index % 2].create_namespace(each, "wanted", data=DataBlob(each.bytes), kek=KEK)
                for index, each in enumerate(ids)
            ),
            return_exceptions=True,
        )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NamespaceAlreadyExists"] * 7 + ["NoneType"]
    found = await metadata_store.get_namespace(name="wanted")
    assert found.namespace_id == ids[outcomes.index(None)]
    assert found.data.data == found.namespace_id.bytes
    assert [len(page) for page in await everything(metadata_store)] == [1]


async def test_of_many_that_create_an_id_at_once_one_wins(own_cell, metadata_store):
    """The losers don't destroy the winner's keys: its blob opens in both processes."""
    namespace_id = uuid4()
    async with Strongroom.open(own_cell.config) as elsewhere:
        stores = (metadata_store, store_of(elsewhere))
        outcomes = await asyncio.gather(
            *(create(stores[index % 2], f"name-{index}", namespace_id=namespace_id) for index in range(8)),
            return_exceptions=True,
        )
        won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert len(won) == 1
        assert {type(outcome) for outcome in outcomes if outcome is not won[0]} == {NamespaceAlreadyExists}
        for each in stores:
            found = await each.get_namespace(namespace_id=namespace_id)
            assert (found.name, found.data) == (won[0].name, BLOB)


async def test_a_creation_that_broke_off_is_finished_by_the_next_one(own_cell, metadata_store):
    """The next creation of the id uses keys without a namespace if they have the same KEK. Another KEK is refused."""
    left = uuid4()
    await create_data_keys(own_cell.keyring, left, KEK)
    other = KekRef.parse("local:other")
    await own_cell.create_kek(other)
    with pytest.raises(NamespaceAlreadyExists):
        await metadata_store.create_namespace(left, "left", data=BLOB, kek=other)
    made = await create(metadata_store, "left", namespace_id=left)
    assert await metadata_store.get_namespace(namespace_id=left) == made


async def test_destroyed_keys_without_a_namespace_are_not_taken_up(own_cell, metadata_store):
    """A creation with destroyed keys is refused, because nothing could be sealed for it."""
    left = uuid4()
    await create_data_keys(own_cell.keyring, left, KEK)
    await destroy_data_keys(own_cell.keyring, left)
    with pytest.raises(NamespaceAlreadyExists):
        await create(metadata_store, "left", namespace_id=left)
    assert await everything(metadata_store) == [()]


async def test_a_kek_that_is_not_there_leaves_nothing(metadata_store):
    """A creation with an unknown KEK leaves neither a row nor a key. The id and the name stay free."""
    namespace_id = uuid4()
    with pytest.raises(KeyNotFound):
        await metadata_store.create_namespace(
            namespace_id, "later", data=BLOB, kek=KekRef.parse("local:nobody-made-it")
        )
    assert await create(metadata_store, "later", namespace_id=namespace_id) == await metadata_store.get_namespace(
        name="later"
    )


@pytest.mark.parametrize("by_name", [False, True])
async def test_deleting_is_shredding(own_cell, metadata_store, by_name):
    """A deleted namespace is not found, its keys are destroyed, and its name is free. Others stay."""
    made, other = await create(metadata_store, "gone"), await create(metadata_store, "stays")
    if by_name:
        await metadata_store.delete_namespace_by_name("gone")
    else:
        await metadata_store.delete_namespace(made.namespace_id)
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(namespace_id=made.namespace_id)
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(name="gone")
    keys = await own_cell.keyring.store.list_data_keys(made.namespace_id)
    assert keys
    assert all(key.state is KeyState.DESTROYED and key.wrapped is None for key in keys)
    [row] = await fetch(own_cell, "SELECT * FROM namespaces WHERE namespace_id = $1", made.namespace_id)
    assert row["data"] is row["details"] is row["name_token"] is None
    assert await metadata_store.get_namespace(name="stays") == other
    assert (await create(metadata_store, "gone")).name == "gone"


async def test_deleting_again_or_nothing_is_no_error(metadata_store):
    """Deleting again, or an unknown namespace, is not an error. The table's version stays."""
    made = await create(metadata_store, "gone")
    version = await metadata_store.get_metadata()
    for _ in range(2):
        await metadata_store.delete_namespace(made.namespace_id)
        await metadata_store.delete_namespace_by_name("gone")
    await metadata_store.delete_namespace(uuid4())
    await metadata_store.delete_namespace_by_name("never there")
    assert await metadata_store.get_metadata() == version
    assert await everything(metadata_store) == [()]


async def test_a_deletion_that_broke_off_is_finished_by_name(own_cell, metadata_store):
    """A namespace with destroyed keys raises `KeyDestroyed`, and deleting it by name finishes the deletion."""
    made = await create(metadata_store, "half")
    await destroy_data_keys(own_cell.keyring, made.namespace_id)
    with pytest.raises(KeyDestroyed):
        await metadata_store.get_namespace(name="half")
    await metadata_store.delete_namespace_by_name("half")
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(name="half")


async def test_both_stores_see_one_namespace(own_cell, metadata_store):
    """A namespace made by one store is found by the other, without a blob or without search attributes."""
    made = await create(metadata_store, "mine")
    found = await own_cell.namespaces.get("mine")
    assert (found.namespace_id, found.search_attributes) == (made.namespace_id, {})
    created = await own_cell.namespaces.create("theirs", kek=KEK)
    seen = await metadata_store.get_namespace(name="theirs")
    assert (seen.namespace_id, seen.data, seen.is_global) == (created.namespace_id, DataBlob(b""), False)
    await own_cell.namespaces.add_search_attributes(made.namespace_id, {"A": "Int"})
    assert await metadata_store.get_namespace(name="mine") == made


async def test_a_scheduled_namespace_is_not_deleted_before_its_time(own_cell, metadata_store):
    """Deleting does not shorten a grace period: the keys stay, and cancelling the shredding brings the namespace back."""
    made = await create(metadata_store, "scheduled")
    shredding = own_cell.shredding()
    await shredding.request(made.namespace_id, grace=timedelta(days=7), keep_kek=True)
    for delete in (
        metadata_store.delete_namespace(made.namespace_id),
        metadata_store.delete_namespace_by_name("scheduled"),
    ):
        with pytest.raises(ConditionFailed, match="grace period lasts until"):
            await delete
    await shredding.cancel(made.namespace_id)
    assert await metadata_store.get_namespace(name="scheduled") == made


async def test_deleting_does_not_finish_what_an_operator_scheduled(own_cell, metadata_store):
    """A due request that deletes KEKs needs its code, so a deletion leaves the request, the keys and the KEKs alone."""
    made = await create(metadata_store, "scheduled")
    shredding = own_cell.shredding()
    await shredding.request(made.namespace_id, grace=timedelta(0))
    for delete in (
        metadata_store.delete_namespace(made.namespace_id),
        metadata_store.delete_namespace_by_name("scheduled"),
    ):
        with pytest.raises(ConditionFailed, match="unshred"):
            await delete
    await shredding.cancel(made.namespace_id)
    assert await metadata_store.get_namespace(name="scheduled") == made


async def test_deletions_need_no_connection_that_others_hold(own_cell):
    """Deletions that run at once on one connection all finish."""
    async with Strongroom.open(replace(own_cell.config, connections=1)) as narrow:
        store = store_of(narrow)
        made = [await create(store) for _ in range(4)]
        await asyncio.gather(*(store.delete_namespace(each.namespace_id) for each in made))
        assert await everything(store) == [()]


async def test_deleting_destroys_the_keys_of_a_creation_that_broke_off(own_cell, metadata_store):
    """Keys without a namespace are destroyed with it, although no name leads to them."""
    left = uuid4()
    await create_data_keys(own_cell.keyring, left, KEK)
    await metadata_store.delete_namespace(left)
    assert {key.state for key in await own_cell.keyring.store.list_data_keys(left)} == {KeyState.DESTROYED}
