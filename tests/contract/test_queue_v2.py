from __future__ import annotations

import asyncio
import secrets
from uuid import UUID, uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import IntegrityError, KekRef, KeyDestroyed, KmsError, destroy_data_keys
from strongroom.storage import (
    ConditionFailed,
    DataBlob,
    Encoding,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
    PageTokenMismatch,
    QueueV2,
    QueueV2Info,
    QueueV2Message,
    TransactionSizeLimit,
)
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.raw_rows import assert_only_sealed, execute, fetch, swap
from tests.support.kms.keyring_files import without_kek
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

NORMAL, DEAD = 1, 2
BLOB = DataBlob(b"a history task", Encoding.JSON)


@pytest.fixture
def queues(own_cell):
    return QueueV2(own_cell.database, own_cell.keyring, own_cell.journal.journal)


async def made_queue(queues, name="some queue", queue_type=NORMAL, messages=0):
    """Create a queue with messages; return the messages that a read must return."""
    await queues.create_queue(queue_type, name)
    return [await enqueue(queues, name, DataBlob(b"%d" % number), queue_type) for number in range(messages)]


async def enqueue(queues, name="some queue", data=BLOB, queue_type=NORMAL, namespace_id=None):
    """Append a message; return the message that a read must return."""
    message_id = await queues.enqueue_message(queue_type, name, data=data, namespace_id=namespace_id)
    return QueueV2Message(message_id, namespace_id, data)


async def read(queues, name="some queue", queue_type=NORMAL, page_size=100):
    """Read a queue page by page, to its end."""
    messages, token = [], None
    while True:
        page = await queues.read_messages(queue_type, name, page_size=page_size, page_token=token)
        assert len(page.messages) <= page_size
        messages += page.messages
        token = page.next_page_token
        if token is None:
            assert not page.messages
            return messages


async def listed(queues, queue_type=NORMAL, page_size=100):
    """List queues page by page, to the end."""
    infos, token = [], None
    while True:
        page = await queues.list_queues(queue_type, page_size=page_size, page_token=token)
        assert len(page.queues) <= page_size
        infos += page.queues
        token = page.next_page_token
        if token is None:
            return infos


async def test_a_new_queue_is_empty(queues):
    """A new queue has no message and no token."""
    await made_queue(queues)
    page = await queues.read_messages(NORMAL, "some queue", page_size=1)
    assert (page.messages, page.next_page_token) == ((), None)


async def test_a_queue_that_nobody_made_is_not_found(queues):
    """Appending, reading and deleting create no queue. Another type or name is another queue."""
    await made_queue(queues, "made")
    for queue_type, name in ((NORMAL, "none"), (DEAD, "made"), (NORMAL, "Made")):
        for call in (
            queues.enqueue_message(queue_type, name, data=BLOB),
            queues.read_messages(queue_type, name, page_size=1),
            queues.range_delete_messages(queue_type, name, last_message_id=0),
        ):
            with pytest.raises(NotFound):
                await call
    assert await listed(queues, DEAD) == []


async def test_a_queue_is_made_once(queues):
    """A second creation is refused, and the first one's messages stay. The same name in another type is free."""
    made = await made_queue(queues, messages=2)
    with pytest.raises(ConditionFailed):
        await queues.create_queue(NORMAL, "some queue")
    assert await read(queues) == made
    await made_queue(queues, queue_type=DEAD)
    assert await read(queues, queue_type=DEAD) == []


async def test_of_many_creations_at_once_one_wins(queues):
    """Of concurrent creations one succeeds, and the others get `ConditionFailed`."""
    outcomes = await asyncio.gather(*(queues.create_queue(NORMAL, "q") for _ in range(6)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed"] * 5 + ["NoneType"]


@pytest.mark.parametrize("name", ["a", "Zürich \x00 支払い", "x" * 1000])
@pytest.mark.parametrize("data", [BLOB, DataBlob(b""), DataBlob(b"\x00\xff", Encoding.UNSPECIFIED)])
async def test_messages_come_back_as_they_were_sent(queues, name, data):
    """Blobs and encodings are returned unchanged, from id 0, under any name."""
    await made_queue(queues, name)
    made = [await enqueue(queues, name, data) for _ in range(3)]
    assert [each.message_id for each in made] == [0, 1, 2]
    assert await read(queues, name) == made
    assert [info.queue_name for info in await listed(queues)] == [name]


@pytest.mark.parametrize("page_size", [1, 2, 5, 100])
async def test_a_queue_is_read_page_by_page(queues, page_size):
    """Each message is read once and in order. The page after the last message is empty and has no token."""
    made = await made_queue(queues, messages=5)
    assert await read(queues, page_size=page_size) == made


async def test_a_reader_goes_on_with_what_came_later(queues):
    """A token after the last message continues with messages that are appended later."""
    await made_queue(queues, messages=2)
    page = await queues.read_messages(NORMAL, "some queue", page_size=10)
    later = await enqueue(queues)
    following = await queues.read_messages(NORMAL, "some queue", page_size=10, page_token=page.next_page_token)
    assert list(following.messages) == [later]


async def test_many_that_append_at_once_leave_no_gap(own_cell, queues):
    """Every message of senders in two processes has its own id."""
    await made_queue(queues)
    async with Strongroom.open(own_cell.config) as elsewhere:
        stores = (queues, QueueV2(elsewhere.database, elsewhere.keyring, elsewhere.journal.journal))
        made = await asyncio.gather(
            *(enqueue(stores[number % 2], data=DataBlob(b"%d" % number)) for number in range(60))
        )
    assert await read(queues, page_size=7) == sorted(made, key=lambda each: each.message_id)
    assert sorted(each.message_id for each in made) == list(range(60))


async def test_a_range_is_deleted_up_to_and_with_its_last_message(queues):
    """A deletion returns the number of deleted messages. Repeating it returns 0."""
    made = await made_queue(queues, messages=3)
    assert await queues.range_delete_messages(NORMAL, "some queue", last_message_id=1) == 2
    assert await read(queues) == made[2:]
    assert await queues.range_delete_messages(NORMAL, "some queue", last_message_id=1) == 0
    assert await read(queues) == made[2:]


async def test_deleting_beyond_the_end_spares_what_comes_later(queues):
    """A message that is appended after a deletion is read, although its id is in the deleted range."""
    await made_queue(queues, messages=3)
    assert await queues.range_delete_messages(NORMAL, "some queue", last_message_id=10) == 3
    later = await enqueue(queues)
    assert later.message_id == 3
    assert await read(queues) == [later]


async def test_an_id_is_never_given_twice(queues):
    """No id is reused, not even if all messages were deleted."""
    await made_queue(queues, messages=1)
    assert await queues.range_delete_messages(NORMAL, "some queue", last_message_id=0) == 1
    assert (await enqueue(queues)).message_id == 1
    assert await queues.range_delete_messages(NORMAL, "some queue", last_message_id=2**63 - 1) == 1
    assert (await enqueue(queues)).message_id == 2


async def test_deleting_in_an_empty_queue_deletes_nothing(queues):
    """Deleting an empty range is not an error."""
    await made_queue(queues)
    assert await queues.range_delete_messages(NORMAL, "some queue", last_message_id=5) == 0


async def test_a_deletion_stays_in_its_queue(queues):
    """Other queues of the type, and the queue of the same name in another type, keep their messages."""
    await made_queue(queues, messages=2)
    other, dead = await made_queue(queues, "other", messages=2), await made_queue(queues, queue_type=DEAD, messages=2)
    await queues.range_delete_messages(NORMAL, "some queue", last_message_id=10)
    assert await read(queues, "other") == other
    assert await read(queues, queue_type=DEAD) == dead


async def test_a_list_tells_the_count_and_the_last_id(queues):
    """The last id is -1 before the first message. It stays the last given id if all messages are deleted."""
    await made_queue(queues)

    async def info():
        [found] = await listed(queues)
        return found

    assert await info() == QueueV2Info("some queue", 0, -1)
    for number in range(2):
        await enqueue(queues)
        assert await info() == QueueV2Info("some queue", number + 1, number)
    await queues.range_delete_messages(NORMAL, "some queue", last_message_id=0)
    assert await info() == QueueV2Info("some queue", 1, 1)
    await queues.range_delete_messages(NORMAL, "some queue", last_message_id=1)
    assert await info() == QueueV2Info("some queue", 0, 1)
    await enqueue(queues)
    assert await info() == QueueV2Info("some queue", 1, 2)


@pytest.mark.parametrize("page_size", [1, 2, 5, 100])
async def test_all_queues_of_a_type_are_listed_page_by_page(queues, page_size):
    """Each queue of the type is listed once, without queues of other types."""
    assert await listed(queues, DEAD) == []
    names = {f"queue {number}" for number in range(5)}
    for name in names:
        await made_queue(queues, name, DEAD, messages=1)
    await made_queue(queues, "of another type")
    infos = await listed(queues, DEAD, page_size)
    assert len(infos) == len(names)
    assert set(infos) == {QueueV2Info(name, 1, 0) for name in names}


async def test_a_namespaces_message_is_sealed_under_its_keys(own_cell, queues):
    """A message is returned with its namespace. The row names the namespace, or the cell if there is none."""
    await made_queue(queues)
    namespaces = [await new_namespace(own_cell), None, await new_namespace(own_cell)]
    made = [await enqueue(queues, data=DataBlob(b"%d" % n), namespace_id=each) for n, each in enumerate(namespaces)]
    assert await read(queues) == made
    rows = await fetch(own_cell, "SELECT namespace_id FROM queue_v2_messages ORDER BY message_id")
    owners = [UUID(bytes=row["namespace_id"].bytes) for row in rows]
    assert owners == [each or own_cell.keyring.cell_id for each in namespaces]


async def test_a_message_of_no_namespace_is_refused(own_cell, queues):
    """A message of an unknown or shredded namespace is refused, and uses up no id."""
    await made_queue(queues)
    gone = await new_namespace(own_cell)
    await shred(own_cell, gone)
    with pytest.raises(NamespaceNotFound):
        await enqueue(queues, namespace_id=uuid4())
    with pytest.raises(KeyDestroyed):
        await enqueue(queues, namespace_id=gone)
    assert (await enqueue(queues)).message_id == 0


async def test_a_shredded_namespaces_messages_go_with_it(own_cell, queues):
    """All other messages stay, with their ids."""
    await made_queue(queues)
    gone, stays = await new_namespace(own_cell), await new_namespace(own_cell)
    made = [await enqueue(queues, namespace_id=each) for each in (gone, None, stays, gone, stays)]
    shredded = await shred(own_cell, gone)
    assert dict(shredded.rows_deleted) == {"queue_v2_messages": 2}
    assert await read(queues, page_size=2) == [made[1], made[2], made[4]]
    assert await listed(queues) == [QueueV2Info("some queue", 3, 4)]


async def test_messages_whose_keys_are_destroyed_hide_no_other(own_cell, queues):
    """After the keys are destroyed and before the rows are, messages are returned as unreadable in their place."""
    await made_queue(queues)
    gone, stays = await new_namespace(own_cell), await new_namespace(own_cell)
    made = [await enqueue(queues, namespace_id=each) for each in (gone, None, stays, gone)]
    await destroy_data_keys(own_cell.keyring, gone)
    async with Strongroom.open(own_cell.config) as elsewhere:
        for store in (queues, QueueV2(elsewhere.database, elsewhere.keyring, elsewhere.journal.journal)):
            first, second, third, fourth = await read(store)
            assert [second, third] == made[1:3]
            for message, number in ((first, 0), (fourth, 3)):
                assert (message.message_id, message.namespace_id, message.data) == (number, gone, None)
                assert isinstance(message.unreadable, KeyDestroyed)


async def test_messages_whose_keys_cannot_be_had_hide_no_other(own_cell, queues):
    """A lost KEK makes the messages of its namespaces unreadable, and the reason names the KEK."""
    kek = KekRef.parse("local:will-be-lost")
    await own_cell.create_kek(kek)
    lost = (await own_cell.namespaces.create("lost", kek=kek)).namespace_id
    await made_queue(queues)
    made = [await enqueue(queues, namespace_id=each) for each in (None, lost, await new_namespace(own_cell))]
    without_kek(own_cell.config.kms["local"].keyring, kek)
    async with Strongroom.open(own_cell.config) as elsewhere:
        first, second, third = await read(QueueV2(elsewhere.database, elsewhere.keyring, elsewhere.journal.journal))
    assert [first, third] == [made[0], made[2]]
    assert (second.namespace_id, second.data) == (lost, None)
    assert isinstance(second.unreadable, KmsError)
    assert "will-be-lost" in str(second.unreadable)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE queue_v2_messages SET message_id = message_id + 5",
        "UPDATE queue_v2_messages SET queue_type = 2",
        "UPDATE queue_v2_messages SET namespace_id = (SELECT cell_id FROM cell)",
        "UPDATE queue_v2_messages SET data = set_byte(data, 40, get_byte(data, 40) # 1)",
    ],
)
async def test_an_edited_message_does_not_open(own_cell, queues, edit):
    """A message is bound to its queue, number and namespace. A moved message is unreadable, and the others are returned."""
    for queue_type in (NORMAL, DEAD):
        await made_queue(queues, queue_type=queue_type)
    await enqueue(queues, namespace_id=await new_namespace(own_cell))
    moved = DEAD if "queue_type" in edit else NORMAL
    await execute(own_cell, edit)
    second = await enqueue(queues, queue_type=moved) if moved == NORMAL else None
    messages = await read(queues, queue_type=moved)
    unreadable = [message for message in messages if message.data is None]
    assert [type(message.unreadable) for message in unreadable] == [IntegrityError]
    assert [message for message in messages if message.data is not None] == ([] if second is None else [second])


async def test_messages_that_were_exchanged_do_not_open(own_cell, queues):
    """Swapped messages are unreadable, within a queue and between two."""
    await made_queue(queues, messages=2)
    await swap(own_cell, "queue_v2_messages", "data", "true")
    assert [type(message.unreadable) for message in await read(queues)] == [IntegrityError] * 2
    await made_queue(queues, "other", messages=1)
    await swap(own_cell, "queue_v2_messages", "data", "message_id = 0")
    assert [type(message.unreadable) for message in await read(queues, "other")] == [IntegrityError]


@pytest.mark.parametrize("change", ["+ 1", "- 1"])
async def test_an_edited_counter_is_noticed(own_cell, queues, change):
    """Appends and lists refuse a changed next id, so no id is given twice or skipped."""
    await made_queue(queues, messages=3)
    await execute(own_cell, f"UPDATE queues_v2 SET next_message_id = next_message_id {change}")  # noqa: S608
    with pytest.raises(IntegrityError):
        await enqueue(queues)
    with pytest.raises(IntegrityError):
        await listed(queues)
    assert len(await fetch(own_cell, "SELECT FROM queue_v2_messages")) == 3


async def test_exchanged_names_are_noticed(own_cell, queues):
    """A queue's name is bound to the token that finds it."""
    for name in ("left", "right"):
        await made_queue(queues, name)
    await swap(own_cell, "queues_v2", "data", "true")
    with pytest.raises(IntegrityError):
        await listed(queues)
    with pytest.raises(IntegrityError):
        await enqueue(queues, "left")


async def test_nothing_of_a_queue_stands_in_clear(own_cell, queues):
    """Names and messages are in no column. The same search finds a value that is in clear."""
    planted = f"planted-{secrets.token_hex(12)}"
    await made_queue(queues, planted)
    for namespace_id in (None, await new_namespace(own_cell)):
        await enqueue(queues, planted, DataBlob(planted.encode()), namespace_id=namespace_id)
    control = "UPDATE queues_v2 SET data = convert_to($1, 'UTF8')"
    await assert_only_sealed(own_cell, planted, "queues_v2", "queue_v2_messages", control=control)


async def test_malformed_requests_are_refused(queues):
    """They are refused before anything is sent. Each error names the field and contains no value."""
    made = await made_queue(queues, messages=1)
    names = ("", None, b"x", "secret" * 11_000, "\ud800")
    calls = {
        "queue_type": [
            call
            for wrong in (0, -1, 2**31, None, "1")
            for call in (
                queues.create_queue(wrong, "q"),
                queues.enqueue_message(wrong, "q", data=BLOB),
                queues.read_messages(wrong, "q", page_size=1),
                queues.range_delete_messages(wrong, "q", last_message_id=0),
                queues.list_queues(wrong, page_size=1),
            )
        ],
        "queue_name": [
            call
            for wrong in names
            for call in (
                queues.create_queue(NORMAL, wrong),
                queues.enqueue_message(NORMAL, wrong, data=BLOB),
                queues.read_messages(NORMAL, wrong, page_size=1),
                queues.range_delete_messages(NORMAL, wrong, last_message_id=0),
            )
        ],
        "data": [queues.enqueue_message(NORMAL, "some queue", data=wrong) for wrong in (None, b"bytes")],
        "namespace_id": [queues.enqueue_message(NORMAL, "some queue", data=BLOB, namespace_id=str(uuid4()))],
        "last_message_id": [
            queues.range_delete_messages(NORMAL, "some queue", last_message_id=wrong) for wrong in (-1, None, 2**63)
        ],
        "page_size": [
            call
            for size in (None, "1", True)
            for call in (
                queues.read_messages(NORMAL, "some queue", page_size=size),
                queues.list_queues(NORMAL, page_size=size),
            )
        ],
        "page token": [
            call
            for token in (b"some invalid token", b"AAAA" * 4)
            for call in (
                queues.read_messages(NORMAL, "some queue", page_size=1, page_token=token),
                queues.list_queues(NORMAL, page_size=1, page_token=token),
            )
        ],
    }
    for field, refused in calls.items():
        for call in refused:
            with pytest.raises(InvalidPersistenceRequest, match=field) as error:
                await call
            assert "secret" not in str(error.value)
    with pytest.raises(TransactionSizeLimit):
        await queues.enqueue_message(NORMAL, "some queue", data=DataBlob(bytes(4 * 2**20 + 1)))
    assert await read(queues) == made


async def test_a_token_of_another_queue_is_refused(queues):
    """A token of another queue, type or operation is refused."""
    for name, queue_type in (("left", NORMAL), ("right", NORMAL), ("left", DEAD)):
        await made_queue(queues, name, queue_type, messages=1)
    reading = (await queues.read_messages(NORMAL, "left", page_size=1)).next_page_token
    listing = (await queues.list_queues(NORMAL, page_size=1)).next_page_token
    for call in (
        queues.read_messages(NORMAL, "right", page_size=1, page_token=reading),
        queues.read_messages(DEAD, "left", page_size=1, page_token=reading),
        queues.read_messages(NORMAL, "left", page_size=1, page_token=listing),
        queues.list_queues(NORMAL, page_size=1, page_token=reading),
        queues.list_queues(DEAD, page_size=1, page_token=listing),
    ):
        with pytest.raises(PageTokenMismatch, match="page token"):
            await call
