"""Writers of one shard, whose server is killed. What was acknowledged must be there afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from strongroom.storage import DataBlob, HistoryBranch, HistoryNode, NotFound, StorageError
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import RUNNING, Workflow

PATIENCE = 60.0
"""Time for a server to end and to start, in seconds. A condition that becomes true ends the waiting."""


class Writer:
    """Appends to a branch and updates a run in turn, and keeps what was acknowledged."""

    def __init__(self, workflow, run_id):
        self.workflow = workflow
        self.run_id = run_id
        self.branch = HistoryBranch(workflow.shard_id, uuid4(), uuid4())
        self.written = {}
        self.next_node = 1
        self.version = 1
        self.last_txn = 0

    async def write(self):
        """Write until the server is gone."""
        while True:
            node, txn = self.next_node, self.last_txn + 1
            data = DataBlob(os.urandom((50, 2000, 20_000)[node % 3]))
            await self.workflow.cell.history.append_history_nodes(
                self.workflow.namespace_id,
                self.branch,
                [HistoryNode(node, txn, self.last_txn, data)],
                is_new_branch=node == 1,
            )
            self.written[node], self.next_node, self.last_txn = data, node + 1, txn
            mutation = self.workflow.mutation(self.run_id, db_record_version=self.version + 1, next_event_id=node)
            events = self.workflow.events(self.run_id, node, self.version, self.version - 1)
            await self.workflow.update(mutation, update_workflow_new_events=events)
            self.version += 1

    async def check(self):
        """Every acknowledged write is there and opens. A run, its events and its version were written together or not at all."""
        try:
            page = await self.workflow.cell.history.read_history_branch(
                self.workflow.namespace_id, self.branch, page_size=10_000
            )
        except NotFound:
            assert not self.written
            return
        found = {node.node_id: node.events for node in page.nodes}
        assert {node: found[node] for node in self.written} == self.written
        assert set(found) <= set(self.written) | {self.next_node}
        state = await self.workflow.get(self.run_id)
        assert state.db_record_version in (self.version, self.version + 1)
        self.version = state.db_record_version
        # Go on behind what is there: a node whose answer was lost counts as written.
        self.next_node, self.last_txn = page.nodes[-1].node_id + 1, page.nodes[-1].txn_id
        self.written = found


def kill(data):
    """Kill the postmaster and all its processes at once. Return their ids."""
    postmaster = int((data / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    processes = [postmaster, *map(int, children)]
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    # A new server would refuse to start while this file names a process that still exists.
    for left in (data / "postmaster.pid", *data.parent.glob(".s.PGSQL*")):
        left.unlink(missing_ok=True)
    return processes


def wait_until_gone(processes):
    """Wait until every killed process has ended."""
    end = time.monotonic() + PATIENCE
    for process in processes:
        while time.monotonic() < end:
            try:
                state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                break
            if state == "Z":
                break
            time.sleep(0.01)
        else:
            pytest.fail(f"process {process} did not end")


async def reconnect(dsn):
    """Wait until the server answers again."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(dsn)
            await connection.close()
            return
        await asyncio.sleep(0.05)
    pytest.fail("the server did not come back")


async def new_writers(cell, count):
    """Return writers of one shard, each with a run of its own."""
    namespace_id, shard_id = await new_namespace(cell), await new_shard(cell)
    writers = []
    for number in range(count):
        workflow = Workflow(cell, namespace_id, shard_id, f"order {number}")
        first = await workflow.create(workflow.snapshot(of=RUNNING))
        writers.append(Writer(workflow, first.run_id))
    return writers


async def killed_while_writing(server, writers):
    """Kill a server at a random moment under writers, after each acknowledged about two appends. Return how many they were."""
    before = sum(len(writer.written) for writer in writers)
    tasks = [asyncio.ensure_future(writer.write()) for writer in writers]
    wanted = before + len(writers) + secrets.randbelow(2 * len(writers))
    while sum(len(writer.written) for writer in writers) < wanted and not all(task.done() for task in tasks):  # noqa: ASYNC110 - a writer has no event
        await asyncio.sleep(secrets.randbelow(100) / 10_000)
    if all(task.done() for task in tasks):
        pytest.fail(f"all writers failed before the server was killed: {[task.exception() for task in tasks]}")
    killed = await asyncio.to_thread(kill, server.data)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, StorageError)] == []
    await asyncio.to_thread(wait_until_gone, killed)
    return sum(len(writer.written) for writer in writers) - before


async def check(dsn, writers):
    """Every acknowledged write is there when the server answers again, and verification raises no alarm."""
    await reconnect(dsn)
    for writer in writers:
        await writer.check()
    for fold in (False, True):
        await raises_no_alarm(writers[0].workflow, fold=fold)


async def raises_no_alarm(workflow, *, fold):
    """Verify the shard. Writes whose answers were lost are in the journal exactly if they were committed."""
    if fold:
        assert await workflow.cell.journal.fold(workflow.shard_id) == []
    found = await workflow.cell.journal.verify(workflow.shard_id)
    assert found.ok, found
