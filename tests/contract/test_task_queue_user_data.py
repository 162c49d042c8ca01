from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError
from strongroom.storage import (
    ConditionFailed,
    Database,
    DataBlob,
    Encoding,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
    TaskQueueUserData,
    TaskQueueUserDataConflict,
    TaskQueueUserDataStore,
    TransactionSizeLimit,
    UserDataUpdate,
)
from strongroom.storage.matching.user_data_rows import MAX_BUILD_IDS, MAX_UPDATES
from tests.support.fixtures.contract import PATIENCE, new_namespace
from tests.support.fixtures.raw_rows import assert_only_sealed, execute, fetch, swap

pytestmark = pytest.mark.integration

PLANTED = "planted-Kühlschrank"


@pytest.fixture
async def user_data(cell):
    """The store, on connections as the driver opens them."""
    database = Database(
        cell.config.dsn,
        by_key=True,
        lock_timeout=PATIENCE,
        size=8,
        distributed=cell.config.cell.distributed,
        insecure=True,
    )
    yield TaskQueueUserDataStore(database, cell.keyring, cell.journal.journal)
    await database.aclose()


def update(version, data=b"data", *, added=(), removed=()):
    """An update of one queue."""
    return UserDataUpdate(version, DataBlob(data), added, removed)


async def versions(store, namespace_id, *task_queues):
    """Return the stored versions; 0 if there is no user data."""
    found = []
    for task_queue in task_queues:
        try:
            found.append((await store.get_task_queue_user_data(namespace_id, task_queue)).version)
        except NotFound:
            found.append(0)
    return found


async def test_a_queue_has_none_until_it_is_written(user_data, namespace_id):
    """Reading creates nothing. The first write names version 0 and stores version 1."""
    with pytest.raises(NotFound):
        await user_data.get_task_queue_user_data(namespace_id, "orders")
    blob = DataBlob(b"\x00first", Encoding.JSON)
    await user_data.update_task_queue_user_data(namespace_id, {"orders": UserDataUpdate(0, blob)})
    assert await user_data.get_task_queue_user_data(namespace_id, "orders") == TaskQueueUserData("orders", 1, blob)


async def test_each_write_counts_one_up(user_data, namespace_id):
    """An update names the stored version, and raises it by 1."""
    for version in range(4):
        await user_data.update_task_queue_user_data(namespace_id, {"orders": update(version, b"%d" % version)})
    found = await user_data.get_task_queue_user_data(namespace_id, "orders")
    assert found == TaskQueueUserData("orders", 4, DataBlob(b"3"))


@pytest.mark.parametrize("stale", [0, 1, 3, 2**40])
async def test_another_version_is_a_conflict(user_data, namespace_id, stale):
    """An update with a lower or higher version is refused, and the stored data stays."""
    for version in range(2):
        await user_data.update_task_queue_user_data(namespace_id, {"orders": update(version, b"right")})
    with pytest.raises(TaskQueueUserDataConflict) as conflict:
        await user_data.update_task_queue_user_data(namespace_id, {"orders": update(stale, b"wrong")})
    assert isinstance(conflict.value, ConditionFailed)
    assert not conflict.value.may_have_been_committed
    assert conflict.value.conflicting == {"orders"}
    found = await user_data.get_task_queue_user_data(namespace_id, "orders")
    assert found == TaskQueueUserData("orders", 2, DataBlob(b"right"))


async def test_a_version_of_a_queue_that_has_none_is_a_conflict(user_data, namespace_id):
    """User data can't be created at a version above 1."""
    with pytest.raises(TaskQueueUserDataConflict):
        await user_data.update_task_queue_user_data(namespace_id, {"orders": update(1)})
    assert await versions(user_data, namespace_id, "orders") == [0]


async def test_several_queues_are_written_together_or_not_at_all(user_data, namespace_id):
    """One conflict refuses the whole update, build ids too. The error names exactly the queues in conflict."""
    names = ["q1", "q2", "q3", "q4"]
    for version in range(3):
        await user_data.update_task_queue_user_data(namespace_id, {name: update(version, b"old") for name in names})
    wrong = {
        "q1": update(3, b"new", added=["b1"]),
        "q2": update(4, b"new", added=["b1"]),
        "q3": update(3, b"new"),
        "q4": update(2, b"new"),
        "q5": update(0, b"new", added=["b1"]),
        "q6": update(1, b"new"),
    }
    with pytest.raises(TaskQueueUserDataConflict) as conflict:
        await user_data.update_task_queue_user_data(namespace_id, wrong)
    assert conflict.value.conflicting == {"q2", "q4", "q6"}
    assert await versions(user_data, namespace_id, *names, "q5", "q6") == [3, 3, 3, 3, 0, 0]
    for name in names:
        assert (await user_data.get_task_queue_user_data(namespace_id, name)).data.data == b"old"
    assert await user_data.count_task_queues_by_build_id(namespace_id, "b1") == 0
    right = {name: one for name, one in wrong.items() if name not in conflict.value.conflicting}
    await user_data.update_task_queue_user_data(namespace_id, right)
    assert await versions(user_data, namespace_id, *names, "q5", "q6") == [4, 3, 4, 3, 1, 0]
    assert await user_data.get_task_queues_by_build_id(namespace_id, "b1") == ["q1", "q5"]


@pytest.mark.parametrize("version", [0, 1])
async def test_of_many_writers_one_wins(user_data, namespace_id, version):
    """Of concurrent updates the first to commit wins, also if there was no user data."""
    for before in range(version):
        await user_data.update_task_queue_user_data(namespace_id, {"orders": update(before)})
    outcomes = await asyncio.gather(
        *(
            user_data.update_task_queue_user_data(namespace_id, {"orders": update(version, b"%d" % n)})
            for n in range(8)
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType"] + ["TaskQueueUserDataConflict"] * 7
    found = await user_data.get_task_queue_user_data(namespace_id, "orders")
    assert found == TaskQueueUserData("orders", version + 1, DataBlob(b"%d" % outcomes.index(None)))


async def test_writers_of_several_queues_never_wait_for_each_other_for_ever(user_data, namespace_id):
    """Updates in any order of queues and build ids are applied or in conflict. None of them deadlocks."""
    names, builds = [f"q{n}" for n in range(20)], [f"b{n}" for n in range(20)]
    for version in range(5):
        forwards = {name: update(version, b"f", added=builds) for name in names}
        backwards = {name: update(version, b"b", added=builds[::-1]) for name in names[::-1]}
        outcomes = await asyncio.gather(
            *(user_data.update_task_queue_user_data(namespace_id, one) for one in [forwards, backwards] * 3),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in outcomes) == ["NoneType"] + ["TaskQueueUserDataConflict"] * 5
        written = {(await user_data.get_task_queue_user_data(namespace_id, name)).data.data for name in names}
        assert len(written) == 1


async def test_build_ids_lead_to_their_queues(user_data, namespace_id):
    """Build ids are added and removed with the user data. Their queues are listed by sorted name, and counted."""
    await user_data.update_task_queue_user_data(
        namespace_id, {"b": update(0, added=["1.0", "1.1"]), "a": update(0, added=["1.1"])}
    )
    assert await user_data.get_task_queues_by_build_id(namespace_id, "1.1") == ["a", "b"]
    assert await user_data.get_task_queues_by_build_id(namespace_id, "1.0") == ["b"]
    assert await user_data.get_task_queues_by_build_id(namespace_id, "2.0") == []
    await user_data.update_task_queue_user_data(
        namespace_id, {"b": update(1, added=["2.0"], removed=["1.1", "never added"])}
    )
    assert await user_data.get_task_queues_by_build_id(namespace_id, "1.1") == ["a"]
    assert await user_data.get_task_queues_by_build_id(namespace_id, "2.0") == ["b"]
    counts = [await user_data.count_task_queues_by_build_id(namespace_id, one) for one in ("1.0", "1.1", "2.0", "3.0")]
    assert counts == [1, 1, 1, 0]


async def test_a_build_id_may_be_added_again(user_data, namespace_id):
    """Adding a build id again changes nothing. A build id that an update adds and removes is removed."""
    await user_data.update_task_queue_user_data(namespace_id, {"orders": update(0, added=["1.0", "1.0"])})
    await user_data.update_task_queue_user_data(namespace_id, {"orders": update(1, added=["1.0"])})
    assert await user_data.count_task_queues_by_build_id(namespace_id, "1.0") == 1
    both = update(2, added=["1.0", "2.0"], removed=["1.0", "2.0"])
    await user_data.update_task_queue_user_data(namespace_id, {"orders": both})
    assert await user_data.count_task_queues_by_build_id(namespace_id, "1.0") == 0
    assert await user_data.count_task_queues_by_build_id(namespace_id, "2.0") == 0


@pytest.mark.parametrize("page_size", [1, 4, 6, 7, 8])
async def test_all_entries_are_listed_once(cell, user_data, namespace_id, page_size):
    """A namespace's user data is listed page by page, without that of others. The last page has no token."""
    await user_data.update_task_queue_user_data(await new_namespace(cell), {"of another": update(0)})
    names = [f"queue-{n}" for n in range(7)]
    await user_data.update_task_queue_user_data(namespace_id, {name: update(0, name.encode()) for name in names})
    await user_data.update_task_queue_user_data(namespace_id, {"queue-3": update(1, b"queue-3")})
    entries, token, pages = [], None, 0
    while pages == 0 or token is not None:
        page = await user_data.list_task_queue_user_data_entries(namespace_id, page_size=page_size, page_token=token)
        entries += page.entries
        token, pages = page.next_page_token, pages + 1
    expected = [TaskQueueUserData(name, 1 + (name == "queue-3"), DataBlob(name.encode())) for name in names]
    assert sorted(entries, key=lambda entry: entry.task_queue) == expected
    assert pages == -(-7 // page_size)


async def test_a_namespace_without_any_lists_none(user_data, namespace_id):
    """A namespace without user data gives an empty page without a token."""
    page = await user_data.list_task_queue_user_data_entries(namespace_id, page_size=5)
    assert (list(page.entries), page.next_page_token) == ([], None)


async def test_namespaces_have_nothing_in_common(cell, user_data, namespace_id):
    """The same names in two namespaces are separate rows."""
    other = await new_namespace(cell)
    await user_data.update_task_queue_user_data(namespace_id, {"orders": update(0, added=["1.0"])})
    assert await versions(user_data, other, "orders") == [0]
    assert await user_data.get_task_queues_by_build_id(other, "1.0") == []
    await user_data.update_task_queue_user_data(other, {"orders": update(0, b"other", added=["1.0"], removed=["2.0"])})
    await user_data.update_task_queue_user_data(other, {"orders": update(1, b"other", removed=["1.0"])})
    assert await user_data.count_task_queues_by_build_id(namespace_id, "1.0") == 1


async def test_the_most_and_the_largest_pass(user_data, namespace_id):
    """An update with the most queues and build ids is accepted, and so is a blob of 4 MiB."""
    most = {
        f"q{n}": update(0, added=[f"b{m}" for m in range(MAX_BUILD_IDS // MAX_UPDATES)]) for n in range(MAX_UPDATES)
    }
    await user_data.update_task_queue_user_data(namespace_id, most)
    assert await user_data.count_task_queues_by_build_id(namespace_id, "b7") == MAX_UPDATES
    large = bytes(range(256)) * 2**14
    await user_data.update_task_queue_user_data(namespace_id, {"q0": update(1, large)})
    assert (await user_data.get_task_queue_user_data(namespace_id, "q0")).data.data == large


# What a thief or a forger can do


async def test_nothing_of_a_tenant_is_in_clear(own_cell):
    """Names, build ids and data are in no column. The same scan finds a value that is in clear."""
    namespace_id = await new_namespace(own_cell)
    store = TaskQueueUserDataStore(own_cell.database, own_cell.keyring, own_cell.journal.journal)
    planted = {PLANTED: update(0, PLANTED.encode(), added=[f"1.0-{PLANTED}"])}
    await store.update_task_queue_user_data(namespace_id, planted)
    await assert_only_sealed(
        own_cell,
        PLANTED,
        "task_queue_user_data",
        control="UPDATE task_queue_user_data SET data = convert_to($1, 'UTF8')",
    )
    await assert_only_sealed(
        own_cell,
        PLANTED,
        "build_id_to_task_queue",
        control="UPDATE build_id_to_task_queue SET data = convert_to($1, 'UTF8')",
    )


@pytest.mark.parametrize("edit", ["swapped", "older version", "another queue"])
async def test_user_data_opens_only_where_it_was_written(cell, user_data, namespace_id, edit):
    """Reads and lists refuse data of another queue or version, and exchanged data."""
    await user_data.update_task_queue_user_data(namespace_id, {"a": update(0, b"a"), "b": update(0, b"b")})
    assert await versions(user_data, namespace_id, "a", "b") == [1, 1]
    mine = f"namespace_id = '{namespace_id}'"
    if edit == "swapped":
        await swap(cell, "task_queue_user_data", "data", mine)
    elif edit == "older version":
        await execute(cell, f"UPDATE task_queue_user_data SET version = 7 WHERE {mine}")  # noqa: S608
    else:
        rows = await fetch(cell, f"SELECT ctid::text AS at, task_queue_id FROM task_queue_user_data WHERE {mine}")  # noqa: S608
        gone, stays = rows
        await execute(cell, "DELETE FROM task_queue_user_data WHERE ctid::text = $1", gone["at"])
        await execute(
            cell,
            "UPDATE task_queue_user_data SET task_queue_id = $2 WHERE ctid::text = $1",
            stays["at"],
            gone["task_queue_id"],
        )
    with pytest.raises(IntegrityError):
        await versions(user_data, namespace_id, "a", "b")
    page = await user_data.list_task_queue_user_data_entries(namespace_id, page_size=10)
    found = [each.task_queue for each in page.entries]
    assert found == ([] if len(page.unreadable) > 1 else found)
    assert {type(each.reason) for each in page.unreadable} == {IntegrityError}


@pytest.mark.parametrize("queues", [1, 2])
async def test_a_build_id_leads_to_no_queue_that_was_forged(cell, user_data, namespace_id, queues):
    """Exchanged names of queues are refused, between build ids and between the queues of one."""
    added = {"a": update(0, added=["1.0"]), "b": update(0, added=["1.0" if queues == 2 else "2.0"])}
    await user_data.update_task_queue_user_data(namespace_id, added)
    assert len(await user_data.get_task_queues_by_build_id(namespace_id, "1.0")) == queues
    await swap(cell, "build_id_to_task_queue", "data", f"namespace_id = '{namespace_id}'")
    with pytest.raises(IntegrityError):
        await user_data.get_task_queues_by_build_id(namespace_id, "1.0")


# Bad input

WRONG_NAMES = ("", "x" * 65_536, "\ud800", b"orders", None, 5)


async def test_wrong_names_and_namespaces_are_refused(user_data, namespace_id):
    """Every operation refuses invalid names and build ids."""
    calls = [
        user_data.get_task_queue_user_data,
        lambda namespace, name: user_data.update_task_queue_user_data(namespace, {name: update(0)}),
        lambda namespace, name: user_data.update_task_queue_user_data(namespace, {"a": update(0, added=[name])}),
        lambda namespace, name: user_data.update_task_queue_user_data(namespace, {"a": update(0, removed=[name])}),
        user_data.get_task_queues_by_build_id,
        user_data.count_task_queues_by_build_id,
    ]
    for call in calls:
        for name in WRONG_NAMES:
            with pytest.raises(InvalidPersistenceRequest):
                await call(namespace_id, name)
        for wrong in (str(namespace_id), None, 5):
            with pytest.raises(InvalidPersistenceRequest):
                await call(wrong, "orders")
        with pytest.raises(NamespaceNotFound):
            await call(uuid4(), "orders")
    with pytest.raises(InvalidPersistenceRequest):
        await user_data.list_task_queue_user_data_entries(str(namespace_id), page_size=1)
    with pytest.raises(NamespaceNotFound):
        await user_data.list_task_queue_user_data_entries(uuid4(), page_size=1)
    assert await versions(user_data, namespace_id, "a") == [0]


async def test_wrong_updates_are_refused(user_data, namespace_id):
    """Invalid updates are refused, and nothing is written."""
    wrong = [
        {},
        *({"a": update(0), "b": update(version)} for version in (-1, 2**63 - 1, None, "0", True)),
        *({"a": update(0), "b": UserDataUpdate(0, blob)} for blob in (b"bytes", None, DataBlob("text"))),
        {"a": update(0), "b": update(0, added="1.0")},
        {"a": update(0), "b": update(0, removed="1.0")},
        {"a": update(0, added=[f"b{n}" for n in range(MAX_BUILD_IDS)]), "b": update(0, removed=["1.0"])},
        {"a": update(0)} | {f"q{n}": update(0) for n in range(MAX_UPDATES)},
    ]
    for updates in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await user_data.update_task_queue_user_data(namespace_id, updates)
    with pytest.raises(TransactionSizeLimit):
        await user_data.update_task_queue_user_data(namespace_id, {"a": update(0), "b": update(0, b"x" * (2**22 + 1))})
    assert await versions(user_data, namespace_id, "a", "b") == [0, 0]


async def test_wrong_pages_are_refused(cell, user_data, namespace_id):
    """Invalid page sizes are refused, and tokens of other operations and namespaces."""
    for one in (namespace_id, other := await new_namespace(cell)):
        await user_data.update_task_queue_user_data(one, {"a": update(0), "b": update(0)})
    for size in (None, "1", True):
        with pytest.raises(InvalidPersistenceRequest):
            await user_data.list_task_queue_user_data_entries(namespace_id, page_size=size)
    token = (await user_data.list_task_queue_user_data_entries(other, page_size=1)).next_page_token
    assert token is not None
    for wrong in (token, b"x", b"AAAA"):
        with pytest.raises(InvalidPersistenceRequest):
            await user_data.list_task_queue_user_data_entries(namespace_id, page_size=1, page_token=wrong)


async def test_no_message_holds_what_a_tenant_wrote(user_data, namespace_id):
    """No error message contains a tenant's value. The names in conflict are an attribute."""
    for call in (
        user_data.get_task_queue_user_data(namespace_id, PLANTED),
        user_data.update_task_queue_user_data(namespace_id, {PLANTED: update(3)}),
        user_data.update_task_queue_user_data(namespace_id, {PLANTED: update(-1)}),
        user_data.update_task_queue_user_data(namespace_id, {"a": update(0, added=[PLANTED * 6000])}),
    ):
        with pytest.raises((ConditionFailed, NotFound, InvalidPersistenceRequest)) as refused:
            await call
        assert PLANTED not in str(refused.value)
        assert PLANTED not in repr(refused.value)
