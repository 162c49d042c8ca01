"""Verification of rows on several nodes, under writers."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from strongroom.storage import DataBlob, Task, TaskQueue, TaskQueueKey
from strongroom.storage.journal import several_nodes
from tests.support.databases import administer, superuser_of
from tests.support.fixtures.contract import new_namespace

pytestmark = pytest.mark.integration

QUEUES = 12
"""Task queues. They are on all workers."""
STILL = 2**40
"""The id of the task that is deleted."""


async def write_tasks(cell, queue, written):
    """Add tasks to a queue, one after the other, without end."""
    for number in count(1):
        await cell.tasks.create_tasks(queue, [Task(number, DataBlob(b"task"))], range_id=7)
        written.append(number)


async def test_writers_of_tasks_raise_no_alarm(citus_cell, workers, monkeypatch):
    """The tasks and the entries of a group of queues are on several workers, and never stop changing.

    The last try alone is enough. The control: a task that is deleted behind the journal's back is found under the same writers.
    """
    assert workers
    monkeypatch.setattr(several_nodes, "_PAUSES", ())
    cell, written = citus_cell, []
    namespace_id = await new_namespace(cell)
    queues = [TaskQueueKey(namespace_id, f"queue {number}", 1) for number in range(QUEUES)]
    for queue in queues:
        await cell.tasks.create_task_queue(TaskQueue(queue, 7, DataBlob(b"info")))
    still = queues[0]
    await cell.tasks.create_tasks(still, [Task(STILL, DataBlob(b"task"))], range_id=7)
    writers = [asyncio.create_task(write_tasks(cell, queue, written)) for queue in queues[1:]]
    try:
        for _ in range(10):
            before = len(written)
            found = await cell.journal.verify(-1)
            assert found.ok, found
            while len(written) <= before + QUEUES and not any(writer.done() for writer in writers):  # noqa: ASYNC110 - a writer has no event
                await asyncio.sleep(0.01)
        await administer(superuser_of(cell.config.dsn), f"DELETE FROM strongroom.tasks WHERE task_id = {STILL}")  # noqa: S608
        assert not (await cell.journal.verify(-1)).ok
    finally:
        for writer in writers:
            writer.cancel()
        results = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in results), results
