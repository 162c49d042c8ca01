from __future__ import annotations

import asyncio
import secrets
from uuid import uuid4

import pytest

from strongroom.driver.importing.importer import import_executions, imported_branch
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import IntegrityError, KekRef, KeyDestroyed, KeyNotFound, KeyState, Suite
from strongroom.kms import destroy_data_keys as destroy_keys_only
from strongroom.storage import (
    EVERY_NAMESPACE,
    ConditionFailed,
    DataBlob,
    DataLoss,
    HistoryBranch,
    HistoryNode,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
    NotFound,
)
from strongroom.visibility import InvalidRecord, UnknownAttribute, VisibilityRecord, attribute_types
from tests.support.fixtures.driver_role import owner_connection
from tests.support.kms.keyring_files import without_kek
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

PURGED = ("history_node", "history_tree", "visibility_records")


async def create(strongroom, name, **options):
    """Create a namespace with its own KEK."""
    kek = KekRef.parse(f"local:{secrets.token_hex(6)}")
    await strongroom.create_kek(kek)
    return await strongroom.namespaces.create(name, kek=kek, **options)


async def rows_of(strongroom, table, namespace_id):
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        return await connection.fetch(f"SELECT * FROM {table} WHERE namespace_id = $1", namespace_id)  # noqa: S608


async def count_rows(strongroom, namespace_id):
    return {table: len(await rows_of(strongroom, table, namespace_id)) for table in PURGED}


async def first_history(strongroom, namespace, execution):
    """Read the history of one imported execution."""
    shard_id = await strongroom.shards.shard_of(namespace.namespace_id, execution.record.workflow_id)
    branch = imported_branch(execution.record.run_id, shard_id)
    return await strongroom.history.read_history_branch(namespace.namespace_id, branch)


@pytest.mark.parametrize(
    "name", ["a", "payments", "Zahlungen-Überweisung", "支払い", "x" * 255, "ü" * 127, "two words '"]
)
@pytest.mark.parametrize("suite", list(Suite))
async def test_a_namespace_comes_back_by_its_name(strongroom, name, suite):
    """Every process finds a namespace by its name, with its search attributes."""
    attributes = {"CustomerId": "Keyword", "Überschrift": "Text"}
    created = await create(strongroom, name, search_attributes=attributes, suite=suite)
    async with Strongroom.open(strongroom.config) as elsewhere:
        assert await elsewhere.namespaces.get(name) == created
        assert await elsewhere.namespaces.find(name) == created.namespace_id
        assert list(await elsewhere.namespaces.list_namespaces()) == [created]
    assert dict(created.search_attributes) == attributes


@pytest.mark.parametrize("name", ["", "x" * 256, "ü" * 128])
async def test_a_name_that_cannot_be_is_refused(strongroom, name):
    """A name that does not have 1 to 255 bytes is refused and leaves no row."""
    with pytest.raises(InvalidPersistenceRequest):
        await create(strongroom, name)
    assert await strongroom.namespaces.list_namespaces() == []


@pytest.mark.parametrize("name", ["nobody", "First", "first ", "firs", "first\x00"])
async def test_an_unknown_name_is_not_found(strongroom, namespace, name):
    """A name finds only its own namespace."""
    assert namespace.name == "first"
    with pytest.raises(NamespaceNotFound):
        await strongroom.namespaces.get(name)
    with pytest.raises(NamespaceNotFound):
        await strongroom.namespaces.find(name)


async def everything_stored(connection):
    """Return all values of all rows."""
    rows = []
    for table in ("namespaces", "data_keys", "cell", *PURGED):
        rows += [dict(row) for row in await connection.fetch(f"SELECT * FROM {table}")]  # noqa: S608
    values = [value for row in rows for value in row.values()]
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


async def test_names_stand_nowhere_in_clear(strongroom):
    """No column of any table has the namespace's name or an attribute's name, in clear or encoded."""
    name, attribute = f"name-{secrets.token_hex(12)}", f"Attribute{secrets.token_hex(12)}"
    created = await create(strongroom, name, search_attributes={attribute: "Keyword"})
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        stored = await everything_stored(connection)
        for text in (name, attribute):
            for form in (text.encode(), text.encode("utf-16-le"), text.encode().hex().encode()):
                assert form not in stored
        # The control: this search finds it in clear.
        await connection.execute("UPDATE data_keys SET kek_id = $2 WHERE namespace_id = $1", created.namespace_id, name)
        assert name.encode() in await everything_stored(connection)


async def test_a_names_token_needs_the_cells_own_key(strongroom):
    """A tenant's own keys do not make name tokens, so no tenant can look for another one's name."""
    await create(strongroom, "same")
    cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
    namespace = await strongroom.namespaces.get("same")
    own = await strongroom.keyring.open(namespace.namespace_id)
    [row] = await rows_of(strongroom, "namespaces", namespace.namespace_id)
    assert row["name_token"] == cell.identity("namespace name").token(b"same")[:16]
    assert row["name_token"] != own.identity("namespace name").token(b"same")[:16]


async def test_a_duplicate_name_is_refused(strongroom, namespace):
    """A taken name is refused, and its namespace is unchanged."""
    with pytest.raises(NamespaceAlreadyExists):
        await create(strongroom, "first")
    assert list(await strongroom.namespaces.list_namespaces()) == [namespace]
    assert await strongroom.namespaces.get("first") == namespace


async def test_of_two_that_want_a_name_at_once_one_gets_it(strongroom):
    """Exactly one of many concurrent creations succeeds; the others leave no namespace and no usable key."""
    async with Strongroom.open(strongroom.config) as elsewhere:
        outcomes = await asyncio.gather(
            *(create(each, "wanted") for each in (strongroom, elsewhere) * 3), return_exceptions=True
        )
    won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(won) == 1
    assert {type(outcome) for outcome in lost} == {NamespaceAlreadyExists}
    assert list(await strongroom.namespaces.list_namespaces()) == won
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        keys = await connection.fetch(
            "SELECT wrapped, state FROM data_keys WHERE namespace_id <> $1 AND namespace_id <> $2",
            won[0].namespace_id,
            strongroom.keyring.cell_id,
        )
    assert all(key["wrapped"] is None and key["state"] == "destroyed" for key in keys)


async def test_a_kek_that_is_not_there_leaves_nothing(strongroom):
    """Without its KEK, a creation leaves neither a row nor a key, and the name stays free."""
    with pytest.raises(KeyNotFound):
        await strongroom.namespaces.create("later", kek=KekRef.parse("local:nobody-made-it"))
    assert await strongroom.namespaces.list_namespaces() == []
    assert (await create(strongroom, "later")).name == "later"


async def test_shredding_leaves_tombstones_and_nothing_else(strongroom, namespace, sample):
    """All rows and wrapped keys are deleted, the name is free, and the other namespace is unchanged."""
    other = await create(strongroom, "other")
    for each in (namespace, other):
        await import_executions(strongroom, each, sample[:5] if each is namespace else sample[5:10])
    other = await strongroom.namespaces.get("other")
    before = await count_rows(strongroom, other.namespace_id)
    had = await count_rows(strongroom, namespace.namespace_id)
    assert min(*had.values(), *before.values()) > 0

    shredded = await shred(strongroom, namespace.namespace_id)
    assert dict(shredded.rows_deleted) == had
    assert set((await count_rows(strongroom, namespace.namespace_id)).values()) == {0}
    tombstones = await strongroom.keyring.store.list_data_keys(namespace.namespace_id)
    assert len(shredded.keys) == len(tombstones) == 3
    assert all(key.state is KeyState.DESTROYED and key.wrapped is None and key.destroyed_at for key in tombstones)
    for lookup in (strongroom.namespaces.get, strongroom.namespaces.find):
        with pytest.raises(NamespaceNotFound):
            await lookup("first")
    listed = {each.namespace_id: each for each in await strongroom.namespaces.list_namespaces()}
    assert listed[namespace.namespace_id].shredded_at is not None
    assert listed[namespace.namespace_id].name is None
    assert listed[other.namespace_id] == other

    assert await count_rows(strongroom, other.namespace_id) == before
    assert (await first_history(strongroom, other, sample[5])).nodes
    again = await create(strongroom, "first")
    assert again.namespace_id != namespace.namespace_id
    assert (await strongroom.namespaces.get("first")).namespace_id == again.namespace_id


async def test_nothing_can_be_done_in_a_shredded_namespace(strongroom, namespace, sample):
    """Reads, writes and searches fail without keys, and none creates a new one."""
    await import_executions(strongroom, namespace, sample[:2])
    namespace = await strongroom.namespaces.get("first")
    await shred(strongroom, namespace.namespace_id)
    with pytest.raises(NamespaceNotFound):
        await import_executions(strongroom, namespace, sample[2:3])
    with pytest.raises(NamespaceNotFound):
        await strongroom.namespaces.add_search_attributes(namespace.namespace_id, {"New": "Keyword"})
    branch = HistoryBranch(1, uuid4(), uuid4())
    with pytest.raises(KeyDestroyed):
        await strongroom.history.append_history_nodes(
            namespace.namespace_id, branch, [HistoryNode(1, 1, 0, DataBlob(b"late"))], is_new_branch=True
        )
    with pytest.raises((KeyDestroyed, NotFound)):  # its tree has no row any more
        await strongroom.history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=2)
    with pytest.raises(KeyDestroyed):
        await strongroom.visibility.count_workflow_executions(namespace.namespace_id, "", attribute_types(namespace))
    assert set((await count_rows(strongroom, namespace.namespace_id)).values()) == {0}


async def test_rows_restored_after_shredding_do_not_open(strongroom, namespace, sample):
    """Rows that are restored from a backup without their keys do not open."""
    await import_executions(strongroom, namespace, sample[:2])
    namespace = await strongroom.namespaces.get("first")
    record = sample[0].record
    shard_id = await strongroom.shards.shard_of(namespace.namespace_id, record.workflow_id)
    branch = imported_branch(record.run_id, shard_id)
    async with owner_connection(strongroom) as connection:
        for table in PURGED:
            await connection.execute(f"CREATE TABLE backup_{table} AS SELECT * FROM {table}")  # noqa: S608
    await shred(strongroom, namespace.namespace_id)
    async with owner_connection(strongroom) as connection:
        for table in PURGED:
            tag = await connection.execute(f"INSERT INTO {table} SELECT * FROM backup_{table}")  # noqa: S608
            assert tag != "INSERT 0 0"
    async with Strongroom.open(strongroom.config) as elsewhere:
        for each in (strongroom, elsewhere):
            with pytest.raises(KeyDestroyed):
                await each.history.read_history_branch(namespace.namespace_id, branch)
            with pytest.raises(KeyDestroyed):
                await each.history.get_history_tree(namespace.namespace_id, shard_id=shard_id, tree_id=branch.tree_id)
            with pytest.raises(KeyDestroyed):
                await each.visibility.list_workflow_executions(namespace.namespace_id, "", attribute_types(namespace))
            with pytest.raises(KeyDestroyed):
                await each.visibility.get_workflow_execution(
                    namespace.namespace_id, shard_id=shard_id, workflow_id=record.workflow_id, run_id=record.run_id
                )


async def test_shredding_that_broke_off_can_be_run_again(strongroom, namespace, sample):
    """If the keys are destroyed and the rows are not deleted yet, the name finds the namespace, and shredding completes it."""
    await import_executions(strongroom, namespace, sample[:3])
    had = await count_rows(strongroom, namespace.namespace_id)
    await destroy_keys_only(strongroom.keyring, namespace.namespace_id)
    with pytest.raises(KeyDestroyed):
        await strongroom.namespaces.get("first")
    assert await strongroom.namespaces.find("first") == namespace.namespace_id
    [listed] = await strongroom.namespaces.list_namespaces()
    assert listed.name is None
    assert listed.shredded_at is None
    assert listed.unreadable
    shredded = await shred(strongroom, await strongroom.namespaces.find("first"))
    assert dict(shredded.rows_deleted) == had
    assert set((await count_rows(strongroom, namespace.namespace_id)).values()) == {0}
    [listed] = await strongroom.namespaces.list_namespaces()
    assert listed.shredded_at is not None


async def test_shredding_twice_keeps_the_first_tombstone(strongroom, namespace):
    """A second shredding changes nothing, not even the time of the first."""
    await shred(strongroom, namespace.namespace_id)
    [first] = await rows_of(strongroom, "namespaces", namespace.namespace_id)
    tombstones = await strongroom.keyring.store.list_data_keys(namespace.namespace_id)
    again = await shred(strongroom, namespace.namespace_id)
    assert not again.rows_deleted
    [second] = await rows_of(strongroom, "namespaces", namespace.namespace_id)
    assert dict(second) == dict(first)
    assert await strongroom.keyring.store.list_data_keys(namespace.namespace_id) == tombstones


async def test_a_namespace_whose_kek_is_missing_hides_no_other(strongroom):
    """It is listed with the reason instead of its name, and the others work as before."""
    kek = KekRef.parse("local:will-be-lost")
    await strongroom.create_kek(kek)
    before = await create(strongroom, "before")
    lost = await strongroom.namespaces.create("lost", kek=kek)
    after = await create(strongroom, "after")
    without_kek(strongroom.config.kms["local"].keyring, kek)
    async with Strongroom.open(strongroom.config) as elsewhere:
        listed = await elsewhere.namespaces.list_namespaces()
        assert [each.namespace_id for each in listed] == [each.namespace_id for each in (before, lost, after)]
        assert [listed[0], listed[2]] == [before, after]
        assert listed[1].name is None
        assert "will-be-lost" in listed[1].unreadable
        with pytest.raises(KeyNotFound):
            await elsewhere.namespaces.get("lost")
        assert await elsewhere.namespaces.get("after") == after


async def test_an_altered_row_of_a_namespace_does_not_open(strongroom):
    """Details that are swapped or have another version are listed as unreadable."""
    left, right = await create(strongroom, "left"), await create(strongroom, "right")
    swap = "UPDATE namespaces a SET details = b.details FROM namespaces b WHERE a.namespace_id <> b.namespace_id"
    for statement in (swap, "UPDATE namespaces SET version = version + 1"):
        async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
            assert await connection.execute(statement) == "UPDATE 2"
        for name in ("left", "right"):
            with pytest.raises(IntegrityError):
                await strongroom.namespaces.get(name)
        listed = await strongroom.namespaces.list_namespaces()
        assert {each.namespace_id for each in listed} == {left.namespace_id, right.namespace_id}
        assert all(each.name is None and each.unreadable for each in listed)
        if statement == swap:
            async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
                await connection.execute(swap)


async def test_a_swapped_name_finds_no_namespace_of_another_name(strongroom):
    """If the name tokens of two namespaces are swapped, no call reaches the other namespace."""
    created = [await create(strongroom, "left"), await create(strongroom, "right")]
    tokens = [(await rows_of(strongroom, "namespaces", each.namespace_id))[0]["name_token"] for each in created]
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        for token, each in [(bytes(16), created[0]), (tokens[0], created[1]), (tokens[1], created[0])]:
            changed = "UPDATE namespaces SET name_token = $2 WHERE namespace_id = $1"
            assert await connection.execute(changed, each.namespace_id, token) == "UPDATE 1"
    for name in ("left", "right"):
        with pytest.raises((IntegrityError, DataLoss, NamespaceNotFound)):
            await strongroom.namespaces.get(name)


async def test_search_attributes_are_added_once(strongroom, namespace):
    """More attributes can be registered. Registering the same ones again changes nothing, not even the version."""
    store, namespace_id = strongroom.namespaces, namespace.namespace_id
    added = await store.add_search_attributes(namespace_id, {"A": "Keyword", "B": "Int"})
    assert added == await store.get("first")
    assert dict(added.search_attributes) == {"A": "Keyword", "B": "Int"}
    again = await store.add_search_attributes(namespace_id, {"B": "Int"})
    assert again.version == added.version == namespace.version + 1
    more = await store.add_search_attributes(namespace_id, {"B": "Int", "C": "Bool"})
    assert await store.get("first") == more
    assert list(more.search_attributes) == ["A", "B", "C"]


async def test_the_type_of_an_attribute_never_changes(strongroom, namespace):
    """A name with another type is refused, and no other attribute of the request is registered."""
    added = await strongroom.namespaces.add_search_attributes(namespace.namespace_id, {"A": "Keyword"})
    with pytest.raises(InvalidPersistenceRequest):
        await strongroom.namespaces.add_search_attributes(namespace.namespace_id, {"New": "Bool", "A": "Text"})
    assert await strongroom.namespaces.get("first") == added


async def test_changes_at_once_lose_nothing(strongroom, namespace):
    """Of concurrent registrations each is stored, or its caller gets an error."""
    names = ("A", "B", "C", "D", "E", "F")
    outcomes = await asyncio.gather(
        *(strongroom.namespaces.add_search_attributes(namespace.namespace_id, {name: "Keyword"}) for name in names),
        return_exceptions=True,
    )
    done = {name for name, outcome in zip(names, outcomes, strict=True) if not isinstance(outcome, BaseException)}
    assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} <= {ConditionFailed}
    assert done
    assert set((await strongroom.namespaces.get("first")).search_attributes) == done


async def test_of_two_types_for_one_name_at_once_one_is_refused(strongroom, namespace):
    """Of two concurrent registrations of a name with different types, at most one succeeds."""
    kinds = ("Keyword", "Int")
    outcomes = await asyncio.gather(
        *(strongroom.namespaces.add_search_attributes(namespace.namespace_id, {"A": kind}) for kind in kinds),
        return_exceptions=True,
    )
    won = [kind for kind, outcome in zip(kinds, outcomes, strict=True) if not isinstance(outcome, BaseException)]
    assert len(won) == 1
    assert sum(isinstance(outcome, (InvalidPersistenceRequest, ConditionFailed)) for outcome in outcomes) == 1
    assert dict((await strongroom.namespaces.get("first")).search_attributes) == {"A": won[0]}


async def test_attributes_of_an_unknown_namespace_are_refused(strongroom, namespace):
    """An unknown or shredded namespace is refused."""
    with pytest.raises(NamespaceNotFound):
        await strongroom.namespaces.add_search_attributes(uuid4(), {"A": "Keyword"})
    assert await strongroom.namespaces.get("first") == namespace


async def test_an_alias_is_another_name_in_filters_alone(strongroom):
    """Filters find by an alias and by the registered name, records keep the registered one, and an alias can be removed."""
    namespace = await create(strongroom, "alias", search_attributes={"Customer": "Keyword"})
    record = VisibilityRecord("w", "r", "t", "Running", "q", 1, 1, search_attributes={"Customer": "ada"})
    visibility, namespace_id = strongroom.visibility, namespace.namespace_id
    await visibility.record_workflow_executions(namespace_id, [(1, 1, record)], attribute_types(namespace))

    async def found(name):
        types = attribute_types(await strongroom.namespaces.get("alias"))
        page = await visibility.list_workflow_executions(namespace_id, f"`{name}` = 'ada' ORDER BY `{name}`", types)
        return page.executions

    with pytest.raises(UnknownAttribute):
        await found("Kunde")
    named = await strongroom.namespaces.set_aliases(namespace_id, {"Kunde": "Customer"})
    assert named.version == namespace.version + 1
    assert await found("Kunde") == await found("Customer") == (record,)
    with pytest.raises(InvalidRecord):
        await visibility.record_workflow_executions(
            namespace_id, [(1, 2, record._replace(search_attributes={"Kunde": "ada"}))], attribute_types(named)
        )
    for refused in ({"Customer": "Customer"}, {"Other": "Absent"}):
        with pytest.raises(InvalidPersistenceRequest):
            await strongroom.namespaces.set_aliases(namespace_id, refused)
    with pytest.raises(InvalidPersistenceRequest, match="alias"):
        await strongroom.namespaces.add_search_attributes(namespace_id, {"Kunde": "Keyword"})
    await strongroom.namespaces.add_search_attributes(namespace_id, {"Region": "Keyword"})
    assert await found("Kunde") == (record,), "registering more leaves the alias as it is"
    await strongroom.namespaces.set_aliases(namespace_id, {"Kunde": None})
    with pytest.raises(UnknownAttribute):
        await found("Kunde")
