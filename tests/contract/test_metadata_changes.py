from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.storage import (
    ConditionFailed,
    DataBlob,
    Encoding,
    NamespaceAlreadyExists,
    NamespaceNotFound,
    NamespaceRecord,
)
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.metadata import BLOB, create, everything

pytestmark = pytest.mark.integration


async def test_each_change_raises_the_tables_version_by_one(own_cell, metadata_store):
    """Creations by either store, updates and renamings raise the version. Reads, deletions and failures don't."""
    start = await metadata_store.get_metadata()
    made = await create(metadata_store)
    await own_cell.namespaces.create("by the other store", kek=KEK)
    assert await metadata_store.get_metadata() == start + 2
    await metadata_store.update_namespace(made.namespace_id, data=BLOB, is_global=False, notification_version=start + 2)
    await metadata_store.rename_namespace(
        made.namespace_id, "new", data=BLOB, is_global=False, notification_version=start + 3
    )
    assert await metadata_store.get_metadata() == start + 4
    await metadata_store.get_namespace(name="new")
    with pytest.raises(NamespaceAlreadyExists):
        await create(metadata_store, "new")
    await metadata_store.delete_namespace(made.namespace_id)
    assert await metadata_store.get_metadata() == start + 4


async def test_an_update_replaces_the_blob_and_the_flag(metadata_store):
    """The row then has the table's version of the change. Its name and id stay, and so do other namespaces."""
    made, other = await create(metadata_store), await create(metadata_store)
    version = await metadata_store.get_metadata()
    new = DataBlob(b"new", Encoding.PROTO3)
    await metadata_store.update_namespace(made.namespace_id, data=new, is_global=True, notification_version=version)
    changed = replace(made, data=new, is_global=True, notification_version=version)
    assert await metadata_store.get_namespace(namespace_id=made.namespace_id) == changed
    assert await metadata_store.get_namespace(name=made.name) == changed
    assert await metadata_store.get_namespace(name=other.name) == other


@pytest.mark.parametrize("distance", [-1, 1, 100])
async def test_an_update_at_another_version_is_refused(metadata_store, distance):
    """An update names the table's version. The row's own older version is refused too, and nothing changes."""
    made = await create(metadata_store)
    version = await metadata_store.get_metadata()
    assert made.notification_version == version - 1
    for change in (
        metadata_store.update_namespace,
        lambda *a, **k: metadata_store.rename_namespace(*a, "renamed", **k),
    ):
        with pytest.raises(ConditionFailed) as failed:
            await change(
                made.namespace_id, data=DataBlob(b"x"), is_global=True, notification_version=version + distance
            )
        assert not failed.value.may_have_been_committed
    assert await metadata_store.get_namespace(name=made.name) == made
    assert await metadata_store.get_metadata() == version


async def test_of_many_updates_of_one_version_one_wins(metadata_store):
    """The table has one writer at a time, also for changes of different namespaces."""
    made = [await create(metadata_store) for _ in range(6)]
    version = await metadata_store.get_metadata()
    outcomes = await asyncio.gather(
        *(
            metadata_store.update_namespace(
                each.namespace_id, data=DataBlob(b"mine"), is_global=False, notification_version=version
            )
            for each in made
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed"] * 5 + ["NoneType"]
    winner = outcomes.index(None)
    for index, each in enumerate(made):
        found = await metadata_store.get_namespace(namespace_id=each.namespace_id)
        assert found.data == (DataBlob(b"mine") if index == winner else BLOB)
    assert await metadata_store.get_metadata() == version + 1


async def test_updates_that_read_again_all_come_through(metadata_store):
    """No update is lost if each refused caller reads the version again and retries."""
    made = await create(metadata_store, data=DataBlob(b""))

    async def add(number):
        while True:
            version = await metadata_store.get_metadata()
            found = await metadata_store.get_namespace(namespace_id=made.namespace_id)
            try:
                await metadata_store.update_namespace(
                    made.namespace_id,
                    data=DataBlob(found.data.data + bytes([number])),
                    is_global=False,
                    notification_version=version,
                )
            except ConditionFailed:
                continue
            return

    await asyncio.gather(*(add(number) for number in range(6)))
    assert sorted((await metadata_store.get_namespace(name=made.name)).data.data) == list(range(6))


async def test_an_update_of_no_namespace_is_not_found(metadata_store):
    """An update of an unknown or deleted namespace is not found, and the version stays."""
    deleted = await create(metadata_store)
    await metadata_store.delete_namespace(deleted.namespace_id)
    version = await metadata_store.get_metadata()
    for namespace_id in (uuid4(), deleted.namespace_id):
        with pytest.raises(NamespaceNotFound):
            await metadata_store.update_namespace(
                namespace_id, data=BLOB, is_global=False, notification_version=version
            )
        with pytest.raises(NamespaceNotFound):
            await metadata_store.rename_namespace(
                namespace_id, "new", data=BLOB, is_global=False, notification_version=version
            )
    assert await metadata_store.get_metadata() == version


async def test_a_renamed_namespace_is_found_by_its_new_name_only(own_cell, metadata_store):
    """Search attributes and keys stay. The former name is free for another namespace."""
    created = await own_cell.namespaces.create("before", kek=KEK, search_attributes={"CustomerId": "Keyword"})
    version = await metadata_store.get_metadata()
    await metadata_store.rename_namespace(
        created.namespace_id, "after", data=BLOB, is_global=True, notification_version=version
    )
    assert await metadata_store.get_namespace(name="after") == NamespaceRecord(
        created.namespace_id, "after", BLOB, True, version
    )
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(name="before")
    renamed = await own_cell.namespaces.get("after")
    assert renamed.search_attributes == {"CustomerId": "Keyword"}
    added = await own_cell.namespaces.add_search_attributes(created.namespace_id, {"DueDate": "Datetime"})
    assert set(added.search_attributes) == {"CustomerId", "DueDate"}
    second = await create(metadata_store, "before")
    assert await metadata_store.get_namespace(name="before") == second


async def test_a_name_that_is_taken_is_not_given_by_renaming(metadata_store):
    """Renaming to a taken name changes nothing. Renaming to the namespace's own name is accepted."""
    left, right = await create(metadata_store, "left"), await create(metadata_store, "right")
    version = await metadata_store.get_metadata()
    with pytest.raises(NamespaceAlreadyExists):
        await metadata_store.rename_namespace(
            left.namespace_id, "right", data=DataBlob(b"x"), is_global=True, notification_version=version
        )
    assert await metadata_store.get_namespace(name="left") == left
    assert await metadata_store.get_namespace(name="right") == right
    await metadata_store.rename_namespace(
        left.namespace_id, "left", data=BLOB, is_global=False, notification_version=version
    )
    assert (await metadata_store.get_namespace(name="left")).notification_version == version


async def test_of_a_creation_and_a_renaming_at_once_one_gets_the_name(metadata_store):
    """A name never belongs to two namespaces, by creation or by renaming."""
    for attempt in range(8):
        made = await create(metadata_store)
        version = await metadata_store.get_metadata()
        wanted = f"wanted-{attempt}"
        outcomes = await asyncio.gather(
            metadata_store.rename_namespace(
                made.namespace_id, wanted, data=BLOB, is_global=False, notification_version=version
            ),
            create(metadata_store, wanted),
            return_exceptions=True,
        )
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
        refused = next(outcome for outcome in outcomes if isinstance(outcome, BaseException))
        assert isinstance(refused, (NamespaceAlreadyExists, ConditionFailed))
        assert len(await fetch_named(metadata_store, wanted)) == 1


async def fetch_named(store, name):
    return [each for page in await everything(store) for each in page if each.name == name]
