from __future__ import annotations

import asyncio
import secrets

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import IntegrityError, rotate_data_key
from strongroom.storage import (
    AckLevels,
    ConditionFailed,
    DataBlob,
    Encoding,
    InvalidPersistenceRequest,
    Queue,
    QueueMessage,
    TransactionSizeLimit,
)
from tests.support.fixtures.raw_rows import assert_only_sealed, execute, fetch, swap

pytestmark = pytest.mark.integration

BLOB = DataBlob(b"namespace task", Encoding.JSON)


@pytest.fixture
def message_queue(own_cell):
    return Queue(own_cell.database, own_cell.keyring, own_cell.journal.journal)


class DeadLetters:
    """A queue's dead letters with the methods of a queue, so that one test covers both."""

    def __init__(self, queue):
        self.enqueue_message = queue.enqueue_message_to_dlq
        self.update_ack_level = queue.update_dlq_ack_level
        self.get_ack_levels = queue.get_dlq_ack_levels
        self._queue = queue

    async def read_messages(self, *, last_message_id=-1, max_count):
        """As the method of `Queue`."""
        page = await self._queue.read_messages_from_dlq(
            first_message_id=last_message_id, last_message_id=2**62, page_size=max_count
        )
        return page.messages


@pytest.fixture(params=["queue", "dead letters"])
def either(request, message_queue):
    return message_queue if request.param == "queue" else DeadLetters(message_queue)


async def enqueue(queue, count):
    """Append messages; return the messages that a read must return."""
    made = []
    for number in range(count):
        data = DataBlob(b"message %d" % number)
        made.append(QueueMessage(await queue.enqueue_message(data), data))
    return made


async def dead_letters(queue, first=-1, last=2**62, page_size=1000):
    """Read all dead letters of a range, page by page."""
    read, token = [], None
    while True:
        page = await queue.read_messages_from_dlq(
            first_message_id=first, last_message_id=last, page_size=page_size, page_token=token
        )
        assert len(page.messages) <= page_size
        read += page.messages
        token = page.next_page_token
        if token is None:
            return read


async def test_an_empty_queue_has_nothing_to_read(either):
    """Reading creates no row."""
    assert list(await either.read_messages(max_count=10)) == []
    assert await either.get_ack_levels() == AckLevels(DataBlob(b""), 0)


async def test_messages_come_back_in_order_from_0(either):
    """Each message is returned with its id, blob and encoding."""
    first = await either.enqueue_message(BLOB)
    made = [QueueMessage(first, BLOB), *(await enqueue(either, 5))]
    assert [each.message_id for each in made] == list(range(6))
    assert list(await either.read_messages(max_count=100)) == made


async def test_a_read_begins_after_the_last_message_and_ends_at_its_count(either):
    """A read from the start, or after -1, begins with message 0."""
    made = await enqueue(either, 5)
    assert list(await either.read_messages(max_count=2)) == made[:2]
    assert list(await either.read_messages(last_message_id=-1, max_count=1)) == made[:1]
    assert list(await either.read_messages(last_message_id=1, max_count=2)) == made[2:4]
    assert list(await either.read_messages(last_message_id=3, max_count=10)) == made[4:]
    assert list(await either.read_messages(last_message_id=4, max_count=10)) == []


async def test_many_that_append_at_once_leave_no_gap(own_cell, either, request):
    """100 messages of ten senders in two processes have the ids 0 to 99."""
    dead = "dead" in request.node.name
    async with Strongroom.open(own_cell.config) as elsewhere:
        other = Queue(elsewhere.database, elsewhere.keyring, elsewhere.journal.journal)
        queues = (either, DeadLetters(other) if dead else other)

        async def send(sender):
            return [
                (await queues[sender % 2].enqueue_message(data), data)
                for data in (DataBlob(b"%d of %d" % (number, sender)) for number in range(10))
            ]

        sent = [each for sender in await asyncio.gather(*(send(sender) for sender in range(10))) for each in sender]
    assert sorted(message_id for message_id, _ in sent) == list(range(100))
    assert [(each.message_id, each.data) for each in await either.read_messages(max_count=1000)] == sorted(
        sent, key=lambda pair: pair[0]
    )


async def test_an_append_that_fails_uses_up_no_id(own_cell, message_queue):
    """Ids have no gaps: the id of a message that was not stored is given to the next one."""
    await enqueue(message_queue, 2)
    await execute(own_cell, "ALTER TABLE queue_messages ADD CONSTRAINT small CHECK (octet_length(data) < 200)")
    with pytest.raises(Exception, match="SQLSTATE"):
        await message_queue.enqueue_message(DataBlob(secrets.token_bytes(500)))
    assert await message_queue.enqueue_message(BLOB) == 2


async def test_deleted_messages_are_gone_and_their_ids_too(message_queue):
    """All messages before an id are deleted, and the message itself stays. Later ids are not affected."""
    made = await enqueue(message_queue, 5)
    await message_queue.delete_messages_before(3)
    assert list(await message_queue.read_messages(max_count=10)) == made[3:]
    for _ in range(2):
        await message_queue.delete_messages_before(1000)
        assert list(await message_queue.read_messages(max_count=10)) == []
    assert await message_queue.enqueue_message(BLOB) == 5
    await message_queue.delete_messages_before(0)
    assert [each.message_id for each in await message_queue.read_messages(max_count=10)] == [5]


async def test_ack_levels_come_back_with_the_next_version(either):
    """Each update names the version that was read, and raises it by 1."""
    assert await either.update_ack_level(BLOB, version=0) == 1
    assert await either.get_ack_levels() == AckLevels(BLOB, 1)
    await enqueue(either, 3)
    assert await either.get_ack_levels() == AckLevels(BLOB, 1)
    assert await either.update_ack_level(DataBlob(b"20"), version=1) == 2
    assert await either.get_ack_levels() == AckLevels(DataBlob(b"20"), 2)
    assert len(await either.read_messages(max_count=10)) == 3


async def test_init_stores_the_first_ack_levels_once(message_queue):
    """`init` stores version 0 for the queue and its dead letters, also after messages. It never replaces levels."""
    first = await enqueue(message_queue, 1)
    for data in (BLOB, DataBlob(b"of a second start")):
        await message_queue.init(data)
        assert await message_queue.get_ack_levels() == AckLevels(BLOB, 0)
        assert await message_queue.get_dlq_ack_levels() == AckLevels(BLOB, 0)
    assert await message_queue.update_ack_level(DataBlob(b""), version=0) == 1
    await message_queue.init(BLOB)
    assert await message_queue.get_ack_levels() == AckLevels(DataBlob(b""), 1)
    assert list(await message_queue.read_messages(max_count=10)) == first
    assert (await enqueue(message_queue, 1))[0].message_id == 1


async def test_concurrent_inits_store_one_blob(message_queue):
    """Of services that start together, one stores the levels, and all succeed."""
    await asyncio.gather(*(message_queue.init(DataBlob(bytes([number + 1]))) for number in range(6)))
    stored = await message_queue.get_ack_levels()
    assert (stored.version, len(stored.data.data)) == (0, 1)
    assert await message_queue.update_ack_level(BLOB, version=0) == 1


async def test_ack_levels_of_another_version_are_refused(either):
    """An older and a later version are refused, for a queue with and without rows, and nothing changes."""
    with pytest.raises(ConditionFailed):
        await either.update_ack_level(BLOB, version=1)
    await either.update_ack_level(BLOB, version=0)
    for version in (0, 2, 100):
        with pytest.raises(ConditionFailed) as refused:
            await either.update_ack_level(DataBlob(b"x"), version=version)
        assert not refused.value.may_have_been_committed
    assert await either.get_ack_levels() == AckLevels(BLOB, 1)


async def test_of_many_updates_of_one_version_one_wins(either):
    """Of concurrent updates one wins, also for the first one without a row."""
    for version in (0, 1):
        outcomes = await asyncio.gather(
            *(either.update_ack_level(DataBlob(bytes([number])), version=version) for number in range(6)),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed"] * 5 + ["int"]
        winner = outcomes.index(version + 1)
        assert await either.get_ack_levels() == AckLevels(DataBlob(bytes([winner])), version + 1)


async def test_appends_and_updates_at_once_lose_nothing(message_queue):
    """Appends and updates write the same row, and neither undoes the other."""

    async def update():
        for version in range(10):
            await message_queue.update_ack_level(DataBlob(bytes([version])), version=version)

    await asyncio.gather(update(), *(message_queue.enqueue_message(BLOB) for _ in range(20)))
    assert await message_queue.get_ack_levels() == AckLevels(DataBlob(bytes([9])), 10)
    assert [each.message_id for each in await message_queue.read_messages(max_count=100)] == list(range(20))


async def test_a_queue_its_dead_letters_and_another_queue_do_not_meet(own_cell, message_queue):
    """A queue and its dead letters have separate ids, messages, acknowledgement levels and deletions."""
    other = Queue(own_cell.database, own_cell.keyring, own_cell.journal.journal, queue_type=2)
    made = await enqueue(message_queue, 3)
    await message_queue.enqueue_message_to_dlq(DataBlob(b"dead"))
    await other.enqueue_message(DataBlob(b"other"))
    await message_queue.update_ack_level(BLOB, version=0)
    assert list(await message_queue.read_messages(max_count=10)) == made
    assert await dead_letters(message_queue) == [QueueMessage(0, DataBlob(b"dead"))]
    assert list(await other.read_messages(max_count=10)) == [QueueMessage(0, DataBlob(b"other"))]
    assert await dead_letters(other) == []
    assert (await message_queue.get_dlq_ack_levels()).version == (await other.get_ack_levels()).version == 0
    await message_queue.range_delete_messages_from_dlq(first_message_id=-1, last_message_id=100)
    await other.delete_messages_before(100)
    assert list(await message_queue.read_messages(max_count=10)) == made


@pytest.mark.parametrize("page_size", [1, 3, 10, 100])
async def test_dead_letters_are_read_page_by_page(message_queue, page_size):
    """A range excludes its first id and includes its last, and each message is read once."""
    made = await enqueue(DeadLetters(message_queue), 10)
    assert await dead_letters(message_queue, page_size=page_size) == made
    assert await dead_letters(message_queue, 2, 7, page_size) == made[3:8]
    assert await dead_letters(message_queue, 7, 7, page_size) == []
    assert await dead_letters(message_queue, 8, 2, page_size) == []
    assert await dead_letters(message_queue, -1, 2**63 - 1, page_size) == made


async def test_a_token_does_not_lead_out_of_its_range(message_queue):
    """A token used with a range that begins later continues at the range's start."""
    made = await enqueue(DeadLetters(message_queue), 10)
    page = await message_queue.read_messages_from_dlq(first_message_id=-1, last_message_id=9, page_size=2)
    later = await message_queue.read_messages_from_dlq(
        first_message_id=6, last_message_id=8, page_size=10, page_token=page.next_page_token
    )
    assert list(later.messages) == made[7:9]


async def test_dead_letters_are_deleted_one_by_one_and_by_range(message_queue):
    """A deletion takes the same range as a read. Deleting a missing message is not an error."""
    made = await enqueue(DeadLetters(message_queue), 10)
    for _ in range(2):
        await message_queue.delete_message_from_dlq(9)
        assert await dead_letters(message_queue) == made[:9]
    await message_queue.delete_message_from_dlq(0)
    await message_queue.range_delete_messages_from_dlq(first_message_id=3, last_message_id=6)
    assert await dead_letters(message_queue) == [*made[1:4], *made[7:9]]
    await message_queue.range_delete_messages_from_dlq(first_message_id=-1, last_message_id=2**63 - 1)
    assert await dead_letters(message_queue) == []
    assert await message_queue.enqueue_message_to_dlq(BLOB) == 10


async def test_messages_are_read_across_a_rotation_of_the_cells_keys(own_cell, message_queue):
    """Messages sealed before and after a rotation open, also for a process that caches the old keys."""
    async with Strongroom.open(own_cell.config) as elsewhere:
        other = Queue(elsewhere.database, elsewhere.keyring, elsewhere.journal.journal)
        made = await enqueue(other, 1)
        await rotate_data_key(own_cell.keyring, own_cell.keyring.cell_id)
        made.append(QueueMessage(await message_queue.enqueue_message(BLOB), BLOB))
        assert list(await other.read_messages(max_count=10)) == made
        assert await other.enqueue_message(BLOB) == 2


@pytest.mark.parametrize("column", ["next_message_id", "version"])
@pytest.mark.parametrize("change", ["+ 1", "- 1"])
async def test_an_edited_counter_is_noticed(own_cell, message_queue, column, change):
    """A changed next id or version is refused, so no id is given twice or skipped."""
    await enqueue(message_queue, 3)
    await message_queue.update_ack_level(BLOB, version=0)
    await execute(own_cell, f"UPDATE queues SET {column} = {column} {change}")  # noqa: S608
    with pytest.raises(IntegrityError):
        await message_queue.enqueue_message(BLOB)
    with pytest.raises(IntegrityError):
        await message_queue.get_ack_levels()
    with pytest.raises(IntegrityError):
        await message_queue.update_ack_level(BLOB, version=1)
    assert len(await fetch(own_cell, "SELECT FROM queue_messages")) == 3


async def test_messages_that_were_exchanged_or_moved_do_not_open(own_cell, message_queue):
    """A message is bound to its queue and number."""
    await enqueue(message_queue, 2)
    await message_queue.enqueue_message_to_dlq(BLOB)
    await swap(own_cell, "queue_messages", "data", "queue_type = 1")
    for message in await message_queue.read_messages(max_count=2):
        assert (message.data, type(message.unreadable)) == (None, IntegrityError)
    await execute(own_cell, "DELETE FROM queue_messages WHERE queue_type = 1")
    await execute(own_cell, "UPDATE queue_messages SET queue_type = 1")
    (message,) = await message_queue.read_messages(max_count=1)
    assert (message.data, type(message.unreadable)) == (None, IntegrityError)


async def test_nothing_of_a_message_stands_in_clear(own_cell, message_queue):
    """Messages and acknowledgement levels are in no column. The same search finds a value that is in clear."""
    planted = f"planted-{secrets.token_hex(12)}"
    blob = DataBlob(planted.encode())
    await message_queue.enqueue_message(blob)
    await message_queue.enqueue_message_to_dlq(blob)
    await message_queue.update_ack_level(blob, version=0)
    control = "UPDATE queues SET data = convert_to($1, 'UTF8') WHERE queue_type = 1"
    await assert_only_sealed(own_cell, planted, "queues", "queue_messages", control=control)


async def test_malformed_requests_are_refused(own_cell, message_queue):
    """They are refused before anything is sent, and each error names the field."""
    ranges = [(-2, 1), (0, -2), (None, 1), (0, 2**63)]
    calls = {
        "data": [
            message_queue.enqueue_message(b"bytes"),
            message_queue.enqueue_message_to_dlq(None),
            message_queue.update_ack_level("x", version=0),
        ],
        "version": [message_queue.update_ack_level(BLOB, version=version) for version in (-1, None, 2**63)],
        "last_message_id": [message_queue.read_messages(last_message_id=wrong, max_count=1) for wrong in (-2, "0")],
        "page_size": [message_queue.read_messages(max_count=count) for count in (None, "1", True)],
        "message_id": [
            *(message_queue.delete_messages_before(wrong) for wrong in (-1, None)),
            *(message_queue.delete_message_from_dlq(wrong) for wrong in (-1, None)),
            *(
                message_queue.range_delete_messages_from_dlq(first_message_id=first, last_message_id=last)
                for first, last in ranges
            ),
            *(
                message_queue.read_messages_from_dlq(first_message_id=first, last_message_id=last, page_size=1)
                for first, last in ranges
            ),
        ],
        "page token": [
            message_queue.read_messages_from_dlq(first_message_id=-1, last_message_id=1, page_size=1, page_token=token)
            for token in (b"x", b"AAAA" * 4)
        ],
    }
    for field, refused in calls.items():
        for call in refused:
            with pytest.raises(InvalidPersistenceRequest, match=field):
                await call
    with pytest.raises(InvalidPersistenceRequest, match="page_size"):
        await message_queue.read_messages_from_dlq(first_message_id=-1, last_message_id=1, page_size=None)
    with pytest.raises(TransactionSizeLimit):
        await message_queue.enqueue_message(DataBlob(bytes(4 * 2**20 + 1)))
    for queue_type in (0, -1, 2**31, None):
        with pytest.raises(InvalidPersistenceRequest, match="queue_type"):
            Queue(own_cell.database, own_cell.keyring, own_cell.journal.journal, queue_type=queue_type)


async def test_a_token_of_another_queue_is_refused(own_cell, message_queue):
    """A token of another queue is refused."""
    other = Queue(own_cell.database, own_cell.keyring, own_cell.journal.journal, queue_type=2)
    await enqueue(DeadLetters(message_queue), 2)
    page = await message_queue.read_messages_from_dlq(first_message_id=-1, last_message_id=1, page_size=1)
    with pytest.raises(InvalidPersistenceRequest, match="page token"):
        await other.read_messages_from_dlq(
            first_message_id=-1, last_message_id=1, page_size=1, page_token=page.next_page_token
        )
