from __future__ import annotations

from uuid import uuid4

import pytest

from strongroom.storage import (
    ConditionFailed,
    DataBlob,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
    TaskQueue,
    TaskQueueKey,
    TransactionSizeLimit,
)
from strongroom.storage.matching.task_batches import MAX_TASKS
from strongroom.storage.matching.task_requests import LAST_TASK_ID
from tests.support.fixtures.matching import read_all, some_tasks

pytestmark = pytest.mark.integration


PLANTED = "planted-Kühlschrank"


ALL_CALLS = [
    lambda store, queue: store.create_task_queue(TaskQueue(queue, 1, DataBlob(b""))),
    lambda store, queue: store.get_task_queue(queue),
    lambda store, queue: store.update_task_queue(TaskQueue(queue, 1, DataBlob(b"")), previous_range_id=7),
    lambda store, queue: store.delete_task_queue(queue, range_id=7),
    lambda store, queue: store.create_tasks(queue, some_tasks(store, [1]), range_id=7),
    lambda store, queue: store.get_tasks(queue, page_size=1, min_pass=store.first_pass),
    lambda store, queue: store.complete_tasks_less_than(queue, max_pass=store.first_pass, max_task_id=9, limit=1),
]


@pytest.mark.parametrize("call", range(len(ALL_CALLS)))
async def test_what_names_no_queue_is_refused(task_store, task_queue, call):
    """Every operation refuses invalid ids, names and types."""
    wrong = [
        task_queue._replace(namespace_id=str(task_queue.namespace_id)),
        task_queue._replace(namespace_id=None),
        *(task_queue._replace(name=name) for name in ("", "x" * 65_536, "\ud800", b"orders", None, 5)),
        *(task_queue._replace(task_type=task_type) for task_type in (-1, 2**15, "1", None, True)),
        tuple(task_queue),
    ]
    for one in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await ALL_CALLS[call](task_store, one)
    with pytest.raises(NamespaceNotFound):
        await ALL_CALLS[call](task_store, task_queue._replace(namespace_id=uuid4()))


async def test_wrong_tasks_are_refused(task_store, task_queue):
    """Invalid tasks are refused, and nothing of the call is written."""
    good, *_ = some_tasks(task_store, [1])
    wrong = [
        [],
        *([good, good._replace(task_id=task_id)] for task_id in (-1, LAST_TASK_ID, 2**63, "1", None)),
        *([good, good._replace(task_pass=task_pass)] for task_pass in (-1, 1 - task_store.first_pass, 2**63 - 1, None)),
        *([good, good._replace(subqueue=subqueue)] for subqueue in (-1, 2**31, None)),
        *([good, good._replace(blob=blob)] for blob in (b"bytes", None, DataBlob("text"))),
        some_tasks(task_store, range(MAX_TASKS + 1)),
    ]
    for several in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.create_tasks(task_queue, several, range_id=7)
    with pytest.raises(TransactionSizeLimit):
        await task_store.create_tasks(task_queue, [good, good._replace(blob=DataBlob(b"x" * (2**22 + 1)))], range_id=7)
    for range_id in (-1, 2**63, None, "7"):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.create_tasks(task_queue, [good], range_id=range_id)
    assert await read_all(task_store, task_queue) == ([], 1)


async def test_wrong_ranges_are_refused(task_store, task_queue):
    """Invalid page sizes, ids, passes and limits are refused."""
    good = {"page_size": 1, "min_pass": task_store.first_pass}
    wrong = [
        *({"page_size": size} for size in (None, "1", True)),
        *({"min_task_id": number} for number in (-1, 2**63, None)),
        *({"max_task_id": number} for number in (-1, 2**63, None)),
        *({"min_pass": number} for number in (-1, 1 - task_store.first_pass, 2**63 - 1, None)),
        *({"subqueue": number} for number in (-1, 2**31)),
    ]
    for one in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.get_tasks(task_queue, **good | one)
    good = {"max_pass": task_store.first_pass, "max_task_id": 1, "limit": 1}
    wrong = [
        *({"limit": size} for size in (0, -1, 2**31, None)),
        *({"max_task_id": number} for number in (-1, 2**63, None)),
        *({"max_pass": number} for number in (-1, 1 - task_store.first_pass, None)),
        {"subqueue": -1},
        *({"range_id": range_id} for range_id in (-1, 2**63, "7", True)),
    ]
    for one in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.complete_tasks_less_than(task_queue, **good | one)
    for size in (None, "1", True):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.list_task_queue(page_size=size)


async def test_wrong_queues_are_refused(task_store, task_queue):
    """Invalid range ids and blobs are refused."""
    for range_id in (-1, 2**63, None, True):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.create_task_queue(TaskQueue(task_queue._replace(name="new"), range_id, DataBlob(b"")))
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.update_task_queue(TaskQueue(task_queue, 8, DataBlob(b"")), previous_range_id=range_id)
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.delete_task_queue(task_queue, range_id=range_id)
    with pytest.raises(TransactionSizeLimit):
        await task_store.update_task_queue(TaskQueue(task_queue, 8, DataBlob(b"x" * (2**22 + 1))), previous_range_id=7)
    assert (await task_store.get_task_queue(task_queue)).range_id == 7


async def test_a_page_token_of_another_call_is_refused(task_store, task_queue):
    """A token is bound to its queue, type and subqueue. A malformed token is refused too."""
    both = some_tasks(task_store, [1, 2]) + some_tasks(task_store, [1, 2], subqueue=1)
    await task_store.create_tasks(task_queue, both, range_id=7)
    read = {"page_size": 1, "min_pass": task_store.first_pass}
    token = (await task_store.get_tasks(task_queue, **read)).next_page_token
    assert token is not None
    assert (await task_store.get_tasks(task_queue, page_token=token, **read)).tasks == [both[1]]
    for one, subqueue in ((task_queue._replace(name="x"), 0), (task_queue._replace(task_type=2), 0), (task_queue, 1)):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.get_tasks(one, subqueue=subqueue, page_token=token, **read)
    for wrong in (b"x", token[:-4], token + b"AAAA"):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.get_tasks(task_queue, page_token=wrong, **read)
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.list_task_queue(page_size=1, page_token=wrong)
    with pytest.raises(InvalidPersistenceRequest):
        await task_store.list_task_queue(page_size=1, page_token=token)


async def test_no_message_holds_what_a_tenant_wrote(task_store, namespace_id):
    """No error message contains a tenant's value, because errors are logged."""
    queue = TaskQueueKey(namespace_id, PLANTED, 1)
    there = queue._replace(task_type=2)
    await task_store.create_task_queue(TaskQueue(there, 7, DataBlob(b"")))
    calls = [call(task_store, queue) for call in ALL_CALLS[1:5]]
    calls += [
        ALL_CALLS[0](task_store, there),
        task_store.create_tasks(there, some_tasks(task_store, [1, 1]), range_id=7),
    ]
    for call in calls:
        with pytest.raises((ConditionFailed, NotFound)) as refused:
            await call
        assert PLANTED not in str(refused.value)
        assert refused.value.__context__ is None
