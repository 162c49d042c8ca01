"""Rows in every table that has a sealed column, written by the stores, and read back by them."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from strongroom.driver.access import changes
from strongroom.driver.access.api_keys import make_api_key
from strongroom.kms import KekRef
from strongroom.storage import (
    DataBlob,
    HistoryTask,
    NexusEndpoint,
    Task,
    TaskKey,
    TaskQueue,
    TaskQueueKey,
    UserDataUpdate,
)
from strongroom.storage.executions.tasks import TIMER, TRANSFER
from strongroom.visibility import AttributeType, VisibilityRecord
from tests.support.fixtures.executions import RUNNING, Workflow, accumulated, blob
from tests.support.new_shards import first_new_shard

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom

KEK = KekRef.parse("local:first")
TYPES = {"Customer": AttributeType.KEYWORD}
SECOND = 10**9
_numbers = count(1)


@dataclass
class EveryTable:
    """A namespace with rows in every table, and the values that the stores must return."""

    cell: Strongroom
    name: str
    namespace_id: UUID
    shard_id: int
    expected: dict[str, Any] = field(default_factory=dict)

    def on(self, cell):
        """Return this namespace on another cell object."""
        return EveryTable(cell, self.name, self.namespace_id, self.shard_id, self.expected)

    def workflow(self, number=0):
        """Return a workflow of the namespace."""
        return Workflow(self.cell, self.namespace_id, self.shard_id, f"order {number}")

    async def fill(self, workflows=3):
        """Write a row into every table."""
        for number in range(workflows):
            await self.write_workflow(number)
        await self._write_matching()
        await self._write_cell()

    async def write_workflow(self, number):
        """Write a run with maps, tasks, events and its visibility record."""
        workflow = self.workflow(number)
        first = workflow.full(db_record_version=1)
        await workflow.create(first, new_workflow_new_events=workflow.events(first.run_id))
        await self.cell.journal.fold(workflow.shard_id)
        second = workflow.mutation(first.run_id, new_buffered_events=blob())
        await workflow.update(second)
        self.expected[f"run {number}"] = (first.run_id, accumulated(first, second))
        self.expected[f"history {number}"] = await workflow.history(first.run_id)
        record = VisibilityRecord(
            workflow_id=workflow.workflow_id,
            run_id=str(first.run_id),
            workflow_type="ship",
            execution_status="Running",
            task_queue="orders",
            start_time=1_795_000_000 * SECOND + number,
            execution_time=1_795_000_000 * SECOND + number,
            search_attributes={"Customer": f"customer-{number}"},
        )
        await self.record(record, 1)
        self.expected[f"record {number}"] = record

    async def record(self, record, version):
        """Write a visibility record."""
        shard_id = await self.cell.shards.shard_of(self.namespace_id, record.workflow_id)
        await self.cell.visibility.record_workflow_executions(self.namespace_id, [(shard_id, version, record)], TYPES)

    async def _write_matching(self):
        for store, task_pass in ((self.cell.tasks, 0), (self.cell.fair_tasks, 1)):
            queue = TaskQueue(TaskQueueKey(self.namespace_id, "orders", 1), 7, blob())
            await store.create_task_queue(queue)
            tasks = [Task(number, blob(), task_pass) for number in range(1, 4)]
            await store.create_tasks(queue.queue, tasks, range_id=7)
            self.expected[f"queue {task_pass}"] = (queue, tasks)
        data = blob()
        await self.cell.task_queue_user_data.update_task_queue_user_data(
            self.namespace_id, {"orders": UserDataUpdate(0, data, ("build 1", "build 2"), ())}
        )
        self.expected["user data"] = data
        letter = HistoryTask(TaskKey(0, 5), blob())
        await self.cell.history_tasks.put_replication_task_to_dlq(
            self.namespace_id, letter, shard_id=self.shard_id, source_cluster_name="west"
        )
        self.expected["dead letter"] = letter.blob

    async def _write_cell(self):
        cell = self.cell
        for name, owner in (("of the cell", None), ("of a namespace", self.namespace_id)):
            queue = f"{self.name} {name}"
            await cell.queues.create_queue(1, queue)
            self.expected[queue] = blob()
            await cell.queues.enqueue_message(1, queue, data=self.expected[queue], namespace_id=owner)
        message = blob()
        message_id = await cell.namespace_replication_queue.enqueue_message(message)
        self.expected["message"] = (message_id, message)
        endpoint_id, data = uuid4(), blob()
        version = (await cell.nexus_endpoints.list_nexus_endpoints(page_size=0)).table_version
        await cell.nexus_endpoints.create_or_update_nexus_endpoint(
            NexusEndpoint(endpoint_id, 0, data), last_known_table_version=version
        )
        self.expected["endpoint"] = (endpoint_id, data)
        self.expected["cluster"] = blob()
        await cell.cluster_metadata.save_cluster_metadata(self.name, data=self.expected["cluster"], version=0)
        at = datetime.now(UTC)
        key, kept = make_api_key(now=at, lifetime=timedelta(days=1))

        def first(policy):
            if policy.version:
                return policy
            os.environ["STRONGROOM_API_KEY"] = key  # for commands of this test; the next test starts without it
            return changes.add_api_key(changes.first_owner("owner", now=at), "owner", kept, by="owner", now=at)

        await cell.access.change(first)

    async def read(self):
        """Read everything through the stores, and compare it."""
        runs = [int(name.removeprefix("run ")) for name in self.expected if name.startswith("run ")]
        for number in runs:
            await self.read_workflow(number)
        await self._read_matching()
        await self._read_cell()
        found = await self.cell.visibility.list_workflow_executions(self.namespace_id, "", TYPES, page_size=1000)
        wanted = [self.expected[f"record {number}"] for number in runs]
        by_run = {record.run_id: record for record in found.executions}
        assert [by_run[record.run_id] for record in wanted] == wanted

    async def read_workflow(self, number):
        """Read a run."""
        workflow, (run_id, state) = self.workflow(number), self.expected[f"run {number}"]
        assert await workflow.get(run_id) == state
        assert (await workflow.current()).run_id == run_id
        assert await workflow.history(run_id) == self.expected[f"history {number}"]
        assert await workflow.stored_tasks(TRANSFER)
        assert await workflow.stored_tasks(TIMER)

    async def _read_matching(self):
        for store, task_pass in ((self.cell.tasks, 0), (self.cell.fair_tasks, 1)):
            queue, tasks = self.expected[f"queue {task_pass}"]
            assert await store.get_task_queue(queue.queue) == queue
            page = await store.get_tasks(queue.queue, page_size=10, min_pass=task_pass)
            assert list(page.tasks) == tasks
        user_data = self.cell.task_queue_user_data
        assert (await user_data.get_task_queue_user_data(self.namespace_id, "orders")).data == self.expected[
            "user data"
        ]
        for build_id in ("build 1", "build 2"):
            assert list(await user_data.get_task_queues_by_build_id(self.namespace_id, build_id)) == ["orders"]
        letters = await self.cell.history_tasks.get_replication_tasks_from_dlq(
            "west", shard_id=self.shard_id, min_task_id=0, max_task_id=9, batch_size=9
        )
        assert [letter.blob for letter in letters.tasks] == [self.expected["dead letter"]]

    async def _read_cell(self):
        cell = self.cell
        for name in ("of the cell", "of a namespace"):
            queue = f"{self.name} {name}"
            page = await cell.queues.read_messages(1, queue, page_size=10)
            assert [message.data for message in page.messages] == [self.expected[queue]]
        listed = await cell.queues.list_queues(1, page_size=1000)
        assert {f"{self.name} of the cell"} <= {queue.queue_name for queue in listed.queues}
        message_id, message = self.expected["message"]
        (read,) = await cell.namespace_replication_queue.read_messages(last_message_id=message_id - 1, max_count=1)
        assert read.data == message
        await cell.namespace_replication_queue.get_ack_levels()
        endpoint_id, data = self.expected["endpoint"]
        assert (await cell.nexus_endpoints.get_nexus_endpoint(endpoint_id)).data == data
        assert (await cell.cluster_metadata.get_cluster_metadata(self.name)).data == self.expected["cluster"]
        assert (await cell.shards.get_or_create_shard(self.shard_id)).info == self.expected["shard"]
        found = await cell.metadata.get_namespace(namespace_id=self.namespace_id)
        assert (found.name, found.data) == (self.name, self.expected["namespace"])
        assert await cell.namespaces.find(self.name) == self.namespace_id
        await cell.namespaces.get(self.name)
        assert list((await cell.access.latest()).holders("owner")) == ["owner"]


async def every_table(cell, **options) -> EveryTable:
    """Create a namespace and a shard, and write a row into every table with a sealed column."""
    number = next(_numbers)
    name = f"every-{number}-{secrets.token_hex(3)}"
    namespace_id, data, info = uuid4(), blob(), DataBlob(secrets.token_bytes(8))
    await cell.create_kek(KEK)
    await cell.metadata.create_namespace(namespace_id, name, data=data, is_global=True, kek=KEK)
    await cell.namespaces.add_search_attributes(namespace_id, {"Customer": "Keyword"})
    shard_id = await first_new_shard(cell, count(400), info)
    made = EveryTable(cell, name, namespace_id, shard_id, {"namespace": data, "shard": info})
    await made.fill(**options)
    return made


__all__ = ["KEK", "RUNNING", "EveryTable", "every_table"]
