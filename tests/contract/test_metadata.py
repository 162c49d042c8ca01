from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    IntegrityError,
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
    MetadataStore,
    NamespaceAlreadyExists,
    NamespaceNotFound,
    NamespaceRecord,
    TransactionSizeLimit,
)
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.raw_rows import assert_only_sealed, execute, fetch, swap

pytestmark = pytest.mark.integration

BLOB = DataBlob(b"retention: 10 days", Encoding.JSON)


@pytest.fixture
def metadata_store(own_cell):
    return store_of(own_cell)


def store_of(cell):
    """Return a store of the test's own on a cell."""
    return MetadataStore(cell.database, cell.keyring, shred=cell.shredding().shred)


async def create(store, name=None, *, data=BLOB, is_global=False, namespace_id=None):
    """Create a namespace; return what must come back."""
    namespace_id, name = namespace_id or uuid4(), name or f"name-{secrets.token_hex(8)}"
    version = await store.get_metadata()
    await store.create_namespace(namespace_id, name, data=data, is_global=is_global, kek=KEK)
    return NamespaceRecord(namespace_id, name, data, is_global, version)


async def everything(store, page_size=100):
    """List all namespaces, page by page; return the pages."""
    pages, token = [], None
    while True:
        page = await store.list_namespaces(page_size=page_size, page_token=token)
        pages.append(page.namespaces)
        token = page.next_page_token
        if token is None:
            return pages


@pytest.mark.parametrize("is_global", [False, True])
@pytest.mark.parametrize("data", [BLOB, DataBlob(b""), DataBlob(b"\x00\xff", Encoding.UNSPECIFIED)])
async def test_a_namespace_comes_back_by_id_and_by_name(metadata_store, data, is_global):
    """Id, name, blob with its encoding, flag and version are as they were given."""
    made = await create(metadata_store, "payments-Überweisung", data=data, is_global=is_global)
    assert await metadata_store.get_namespace(namespace_id=made.namespace_id) == made
    assert await metadata_store.get_namespace(name="payments-Überweisung") == made


async def test_a_namespace_that_is_not_there_is_not_found(metadata_store):
    """By id or by name; another one's being there changes nothing."""
    await create(metadata_store, "first")
    for wrong in ("First", "first ", "firs", "nobody", "first\x00"):
        with pytest.raises(NamespaceNotFound):
            await metadata_store.get_namespace(name=wrong)
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(namespace_id=uuid4())


async def test_a_read_names_exactly_one_of_id_and_name(metadata_store):
    """Both or none are refused, also where both are of one namespace."""
    made = await create(metadata_store)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.get_namespace(namespace_id=made.namespace_id, name=made.name)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.get_namespace()


async def test_a_name_is_given_once(metadata_store):
    """A second one of the name is refused; the first stays, and neither a row nor a usable key is left of the second."""
    made, second = await create(metadata_store, "taken"), uuid4()
    before = await metadata_store.get_metadata()
    with pytest.raises(NamespaceAlreadyExists):
        await create(metadata_store, "taken", namespace_id=second, data=DataBlob(b"other"))
    assert await metadata_store.get_namespace(name="taken") == made
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(namespace_id=second)
    assert await metadata_store.get_metadata() == before


async def test_an_id_is_given_once(metadata_store):
    """A second one of the id is refused, whatever its name; the first keeps its keys and its blob."""
    made = await create(metadata_store, "first")
    for name in ("first", "second"):
        with pytest.raises(NamespaceAlreadyExists):
            await create(metadata_store, name, namespace_id=made.namespace_id, data=DataBlob(b"other"))
    assert await metadata_store.get_namespace(namespace_id=made.namespace_id) == made
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(name="second")


async def test_the_id_of_a_deleted_namespace_is_not_given_again(metadata_store):
    """Its keys' versions were used, so nothing is ever sealed for this id again."""
    made = await create(metadata_store)
    await metadata_store.delete_namespace(made.namespace_id)
    with pytest.raises(NamespaceAlreadyExists):
        await create(metadata_store, "again", namespace_id=made.namespace_id)


async def test_of_many_that_create_a_name_at_once_one_wins(own_cell, metadata_store):
    """One gets the name; the others are told so, and the winner's namespace works."""
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
    """The losers do not take the winner's keys away: its blob opens, here and elsewhere."""
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
    """Keys without a namespace, of the same KEK, serve the next creation of the id; those of another KEK are refused."""
    left = uuid4()
    await create_data_keys(own_cell.keyring, left, KEK)
    other = KekRef.parse("local:other")
    await own_cell.create_kek(other)
    with pytest.raises(NamespaceAlreadyExists):
        await metadata_store.create_namespace(left, "left", data=BLOB, kek=other)
    made = await create(metadata_store, "left", namespace_id=left)
    assert await metadata_store.get_namespace(namespace_id=left) == made


async def test_destroyed_keys_without_a_namespace_are_not_taken_up(own_cell, metadata_store):
    """No namespace is made that nothing could be sealed for."""
    left = uuid4()
    await create_data_keys(own_cell.keyring, left, KEK)
    await destroy_data_keys(own_cell.keyring, left)
    with pytest.raises(NamespaceAlreadyExists):
        await create(metadata_store, "left", namespace_id=left)
    assert await everything(metadata_store) == [()]


async def test_a_kek_that_is_not_there_leaves_nothing(metadata_store):
    """Neither a row nor a key: the id and the name are free afterwards."""
    namespace_id = uuid4()
    with pytest.raises(KeyNotFound):
        await metadata_store.create_namespace(
            namespace_id, "later", data=BLOB, kek=KekRef.parse("local:nobody-made-it")
        )
    assert await create(metadata_store, "later", namespace_id=namespace_id) == await metadata_store.get_namespace(
        name="later"
    )


async def test_each_change_raises_the_tables_version_by_one(own_cell, metadata_store):
    """Creating here or through NamespaceStore, updating and renaming count; reading, deleting and failing do not."""
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
    """The row then holds the table's version at which it was changed; name and id stay, other namespaces too."""
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
    """The version is the table's: the row's own, which is older, is refused like any other; nothing changes."""
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
    """The table has one writer at a time, also where they change different namespaces."""
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
    """No update is lost: whoever is refused reads the version anew and goes on."""
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
    """Neither an unknown one nor a deleted one; the version stays."""
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
    """Search attributes and keys stay; the former name is free, and goes to another one."""
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
    """Both namespaces stay as they were, and the version too; the own name is no conflict."""
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
    """A name never belongs to two, whichever way they come by it."""
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


@pytest.mark.parametrize("by_name", [False, True])
async def test_deleting_is_shredding(own_cell, metadata_store, by_name):
    """The namespace is gone by id and by name, all its keys are destroyed, its name is free; others stay."""
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
    """By id and by name; the table's version does not move."""
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
    """Keys destroyed, rows not: the namespace tells that its keys are destroyed, and deleting by name ends the work."""
    made = await create(metadata_store, "half")
    await destroy_data_keys(own_cell.keyring, made.namespace_id)
    with pytest.raises(KeyDestroyed):
        await metadata_store.get_namespace(name="half")
    await metadata_store.delete_namespace_by_name("half")
    with pytest.raises(NamespaceNotFound):
        await metadata_store.get_namespace(name="half")


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 100])
async def test_all_namespaces_are_listed_page_by_page(own_cell, metadata_store, page_size):
    """In the order of their ids, each once, those of both stores; no page is longer than asked for."""
    made = [await create(metadata_store, is_global=bool(number % 2)) for number in range(5)]
    version = await metadata_store.get_metadata()
    created = await own_cell.namespaces.create("by the other store", kek=KEK)
    made.append(NamespaceRecord(created.namespace_id, created.name, DataBlob(b""), False, version))
    pages = await everything(metadata_store, page_size)
    assert [each for page in pages for each in page] == sorted(made, key=lambda each: each.namespace_id.bytes)
    assert all(len(page) <= page_size for page in pages)


async def test_an_empty_table_lists_nothing(metadata_store):
    """One empty page, and no token."""
    page = await metadata_store.list_namespaces(page_size=10)
    assert (page.namespaces, page.next_page_token) == ((), None)


async def test_deleted_namespaces_are_not_listed(metadata_store):
    """Those that stay are listed in full pages."""
    made = sorted([await create(metadata_store) for _ in range(5)], key=lambda each: each.namespace_id.bytes)
    await metadata_store.delete_namespace(made[1].namespace_id)
    await metadata_store.delete_namespace(made[4].namespace_id)
    page = await metadata_store.list_namespaces(page_size=3)
    assert list(page.namespaces) == [made[0], made[2], made[3]]


async def test_a_list_goes_on_where_the_last_page_ended(metadata_store):
    """What is created or deleted meanwhile makes no namespace come twice or be left out."""
    made = sorted([await create(metadata_store) for _ in range(6)], key=lambda each: each.namespace_id.bytes)
    first = await metadata_store.list_namespaces(page_size=2)
    await metadata_store.delete_namespace(made[1].namespace_id)
    early = await create(metadata_store, namespace_id=UUID(int=1))
    second = await metadata_store.list_namespaces(page_size=10, page_token=first.next_page_token)
    assert list(second.namespaces) == made[2:]
    assert early not in second.namespaces


async def test_a_namespace_whose_keys_cannot_be_had_hides_no_other(own_cell, metadata_store):
    """It is listed with the reason in place of name and blob; destroyed keys are such a reason too."""
    kek = KekRef.parse("local:will-be-lost")
    await own_cell.create_kek(kek)
    made = await create(metadata_store, "well")
    lost, half = uuid4(), await create(metadata_store, "half", is_global=True)
    await metadata_store.create_namespace(lost, "lost", data=BLOB, kek=kek)
    await destroy_data_keys(own_cell.keyring, half.namespace_id)
    path = own_cell.config.kms["local"].keyring
    document = json.loads(path.read_text())
    assert document["keks"].pop("will-be-lost")
    path.write_text(json.dumps(document))
    async with Strongroom.open(own_cell.config) as elsewhere:
        fresh = store_of(elsewhere)
        listed = {each.namespace_id: each for page in await everything(fresh, 1) for each in page}
    assert listed[made.namespace_id] == made
    assert (listed[lost].name, listed[lost].data) == (None, None)
    assert "will-be-lost" in listed[lost].unreadable
    assert listed[half.namespace_id].name is None
    assert "destroyed" in listed[half.namespace_id].unreadable
    assert listed[half.namespace_id].is_global


async def test_both_stores_see_one_namespace(own_cell, metadata_store):
    """One made by either is found by the other: without a blob, or without search attributes."""
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
    await shredding.request(made.namespace_id, grace=timedelta(days=7))
    for delete in (
        metadata_store.delete_namespace(made.namespace_id),
        metadata_store.delete_namespace_by_name("scheduled"),
    ):
        with pytest.raises(ConditionFailed, match="not before"):
            await delete
    await shredding.cancel(made.namespace_id)
    assert await metadata_store.get_namespace(name="scheduled") == made


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE namespaces SET is_global = NOT is_global",
        "UPDATE namespaces SET notification_version = notification_version + 1",
        "UPDATE namespaces SET data = NULL",
        "UPDATE namespaces SET data = details",
        "UPDATE namespaces SET version = version + 1",
    ],
)
async def test_an_edited_row_does_not_open(own_cell, metadata_store, edit):
    """What stands in clear beside the blob is bound to it; the list says so, and goes on."""
    made = await create(metadata_store, is_global=True)
    await execute(own_cell, edit)
    with pytest.raises(IntegrityError):
        await metadata_store.get_namespace(namespace_id=made.namespace_id)
    [[listed]] = await everything(metadata_store)
    assert listed.unreadable


@pytest.mark.parametrize("column", ["data", "details"])
async def test_a_value_of_another_namespace_does_not_open(own_cell, metadata_store, column):
    """Two rows whose sealed values were exchanged are refused, both."""
    made = [await create(metadata_store), await create(metadata_store)]
    await swap(own_cell, "namespaces", column, "true")
    for each in made:
        with pytest.raises(IntegrityError):
            await metadata_store.get_namespace(namespace_id=each.namespace_id)


async def test_exchanged_names_lead_to_no_other_namespace(own_cell, metadata_store):
    """A token is not authenticated, so who is found is compared with who was asked for."""
    left, right = await create(metadata_store, "left"), await create(metadata_store, "right")
    rows = await fetch(own_cell, "SELECT namespace_id, name_token FROM namespaces")
    token = {UUID(bytes=row["namespace_id"].bytes): row["name_token"] for row in rows}
    change = "UPDATE namespaces SET name_token = $2 WHERE namespace_id = $1"
    await execute(own_cell, change, left.namespace_id, bytes(16))
    await execute(own_cell, change, right.namespace_id, token[left.namespace_id])
    await execute(own_cell, change, left.namespace_id, token[right.namespace_id])
    for name in ("left", "right"):
        with pytest.raises(IntegrityError):
            await metadata_store.get_namespace(name=name)
        with pytest.raises(IntegrityError):
            await metadata_store.delete_namespace_by_name(name)
    assert await metadata_store.get_namespace(namespace_id=left.namespace_id) == left


async def test_nothing_of_a_namespace_stands_in_clear(own_cell, metadata_store):
    """Neither its name nor its blob; where one does, this search finds it."""
    planted = f"planted-{secrets.token_hex(12)}"
    made = await create(metadata_store, planted, data=DataBlob(planted.encode()))
    version = await metadata_store.get_metadata()
    await metadata_store.rename_namespace(
        made.namespace_id, planted + "2", data=DataBlob(planted.encode()), is_global=True, notification_version=version
    )
    control = "UPDATE data_keys SET kek_id = $1"
    await assert_only_sealed(own_cell, planted, "namespaces", "namespace_metadata", "data_keys", control=control)


@pytest.mark.parametrize("name", ["", "x" * 256, "ü" * 128, "\ud800", None, b"name"])
async def test_a_name_that_cannot_be_is_refused(metadata_store, name):
    """Wherever one is taken; no row is left."""
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.create_namespace(uuid4(), name, data=BLOB, kek=KEK)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.rename_namespace(uuid4(), name, data=BLOB, is_global=False, notification_version=1)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.delete_namespace_by_name(name)
    assert await everything(metadata_store) == [()]


async def test_malformed_requests_are_refused(own_cell, metadata_store):
    """Before the database sees them, each with an error that says which field it is."""
    made = await create(metadata_store)
    version = await metadata_store.get_metadata()

    async def update(namespace_id=made.namespace_id, data=BLOB, is_global=False, version=version):  # noqa: FBT002
        await metadata_store.update_namespace(
            namespace_id, data=data, is_global=is_global, notification_version=version
        )

    calls = {
        "namespace_id": [
            metadata_store.create_namespace("x", "x", data=BLOB, kek=KEK),
            metadata_store.get_namespace(namespace_id="x"),
            metadata_store.delete_namespace(str(made.namespace_id)),
            update(namespace_id=None),
        ],
        "data": [update(data=b"bytes"), metadata_store.create_namespace(uuid4(), "x", data=None, kek=KEK)],
        "is_global": [update(is_global=1)],
        "notification_version": [update(version=-1), update(version="1"), update(version=2**63)],
        "page_size": [metadata_store.list_namespaces(page_size=size) for size in (0, -1, 10_001, None)],
        "page token": [
            metadata_store.list_namespaces(page_size=1, page_token=token) for token in (b"", b"x", b"AAAA" * 8)
        ],
        "cell": [
            metadata_store.create_namespace(own_cell.keyring.cell_id, "cell", data=BLOB, kek=KEK),
            metadata_store.delete_namespace(own_cell.keyring.cell_id),
        ],
    }
    for field, refused in calls.items():
        for call in refused:
            with pytest.raises(InvalidPersistenceRequest, match=field):
                await call
    with pytest.raises(TransactionSizeLimit):
        await update(data=DataBlob(bytes(4 * 2**20 + 1)))
    assert await metadata_store.get_namespace(name=made.name) == made
