from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KekRef,
    KeyDestroyed,
    KmsError,
    destroy_data_keys,
)
from strongroom.storage import (
    DataBlob,
    NamespaceRecord,
)
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.metadata import BLOB, create, everything, store_of
from tests.support.kms.keyring_files import without_kek

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 100])
async def test_all_namespaces_are_listed_page_by_page(own_cell, metadata_store, page_size):
    """Namespaces of both stores are listed once each, in the order of ids. No page is longer than requested."""
    made = [await create(metadata_store, is_global=bool(number % 2)) for number in range(5)]
    version = await metadata_store.get_metadata()
    created = await own_cell.namespaces.create("by the other store", kek=KEK)
    made.append(NamespaceRecord(created.namespace_id, created.name, DataBlob(b""), False, version))
    pages = await everything(metadata_store, page_size)
    assert [each for page in pages for each in page] == sorted(made, key=lambda each: each.namespace_id.bytes)
    assert all(len(page) <= page_size for page in pages)


async def test_an_empty_table_lists_nothing(metadata_store):
    """An empty table gives one empty page without a token."""
    page = await metadata_store.list_namespaces(page_size=10)
    assert (page.namespaces, page.next_page_token) == ((), None)


async def test_deleted_namespaces_are_not_listed(metadata_store):
    """The remaining namespaces are listed in full pages."""
    made = sorted([await create(metadata_store) for _ in range(5)], key=lambda each: each.namespace_id.bytes)
    await metadata_store.delete_namespace(made[1].namespace_id)
    await metadata_store.delete_namespace(made[4].namespace_id)
    page = await metadata_store.list_namespaces(page_size=3)
    assert list(page.namespaces) == [made[0], made[2], made[3]]


async def test_a_list_goes_on_where_the_last_page_ended(metadata_store):
    """Concurrent creations and deletions make no namespace appear twice or be left out."""
    made = sorted([await create(metadata_store) for _ in range(6)], key=lambda each: each.namespace_id.bytes)
    first = await metadata_store.list_namespaces(page_size=2)
    await metadata_store.delete_namespace(made[1].namespace_id)
    early = await create(metadata_store, namespace_id=UUID(int=1))
    second = await metadata_store.list_namespaces(page_size=10, page_token=first.next_page_token)
    assert list(second.namespaces) == made[2:]
    assert early not in second.namespaces


async def test_a_namespace_whose_keys_cannot_be_had_hides_no_other(own_cell, metadata_store):
    """A namespace without keys is listed with the reason instead of its name and blob. Destroyed keys are a reason too."""
    kek = KekRef.parse("local:will-be-lost")
    await own_cell.create_kek(kek)
    made = await create(metadata_store, "well")
    lost, half = uuid4(), await create(metadata_store, "half", is_global=True)
    await metadata_store.create_namespace(lost, "lost", data=BLOB, kek=kek)
    await destroy_data_keys(own_cell.keyring, half.namespace_id)
    without_kek(own_cell.config.kms["local"].keyring, kek)
    async with Strongroom.open(own_cell.config) as elsewhere:
        fresh = store_of(elsewhere)
        listed = {each.namespace_id: each for page in await everything(fresh, 1) for each in page}
    assert listed[made.namespace_id] == made
    assert (listed[lost].name, listed[lost].data) == (None, None)
    assert "will-be-lost" in str(listed[lost].unreadable)
    assert listed[half.namespace_id].name is None
    assert "destroyed" in str(listed[half.namespace_id].unreadable)
    assert listed[half.namespace_id].is_global


async def test_a_namespace_whose_keys_are_away_is_found_by_name(own_cell, metadata_store):
    """With `unavailable`, the row is returned without its name and data. Destroyed keys are an error even then."""
    kek = KekRef.parse("local:taken-away")
    await own_cell.create_kek(kek)
    away, other = uuid4(), await create(metadata_store, "destroyed")
    await metadata_store.create_namespace(away, "away", data=BLOB, kek=kek)
    await destroy_data_keys(own_cell.keyring, other.namespace_id)
    without_kek(own_cell.config.kms["local"].keyring, kek)
    async with Strongroom.open(own_cell.config) as elsewhere:
        fresh = store_of(elsewhere)
        for which in ({"name": "away"}, {"namespace_id": away}):
            found = await fresh.get_namespace(**which, unavailable=True)
            assert (found.namespace_id, found.name, found.data) == (away, None, None)
            assert "taken-away" in str(found.unreadable)
            with pytest.raises(KmsError):
                await fresh.get_namespace(**which)
        with pytest.raises(KeyDestroyed):
            await fresh.get_namespace(namespace_id=other.namespace_id, unavailable=True)
    assert (await metadata_store.get_namespace(name="away", unavailable=True)).data == BLOB
