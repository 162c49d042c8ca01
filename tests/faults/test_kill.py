from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from strongroom.storage import DataBlob, HistoryBranch, HistoryNode, NotFound, StorageError
from tests.support.databases import Databases
from tests.support.fixtures.contract import new_namespace, new_shard, open_cell
from tests.support.fixtures.executions import RUNNING, Workflow
from tests.support.services import or_skip
from tests.support.services.postgres import own_postgres

pytestmark = pytest.mark.integration

ROUNDS = 50
WRITERS = 8
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
    # Left by the dead; a new server would believe it alive for as long as nobody has reaped it.
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


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_or_torn_when_the_server_is_killed():
    """The server is killed fifty times at a random moment under eight writers, and the same driver continues each time."""
    with tempfile.TemporaryDirectory(prefix="strongroom-kill-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the server runs as another user
        with or_skip(own_postgres(Path(folder) / "postgres", 15)) as server:
            dsn = await Databases(server.dsn).create()
            async with open_cell(dsn, Path(folder)) as cell:
                namespace_id, shard_id = await new_namespace(cell), await new_shard(cell)
                writers = []
                for number in range(WRITERS):
                    workflow = Workflow(cell, namespace_id, shard_id, f"order {number}")
                    first = await workflow.create(workflow.snapshot(of=RUNNING))
                    writers.append(Writer(workflow, first.run_id))
                acknowledged = 0
                for _ in range(ROUNDS):
                    acknowledged += await one_round(server, dsn, writers)
        assert acknowledged > ROUNDS * WRITERS, "the writers did write"


async def one_round(server, dsn, writers):
    """Write, kill, restart and check. Return how many appends were acknowledged."""
    before = sum(len(writer.written) for writer in writers)
    tasks = [asyncio.ensure_future(writer.write()) for writer in writers]
    await asyncio.sleep(0.02 + os.urandom(1)[0] / 1400)
    killed = await asyncio.to_thread(kill, server.data)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, StorageError)] == []
    acknowledged = sum(len(writer.written) for writer in writers) - before
    await asyncio.to_thread(wait_until_gone, killed)
    await asyncio.to_thread(server.start)
    await reconnect(dsn)
    for writer in writers:
        await writer.check()
    for fold in (False, True):
        await raises_no_alarm(writers[0].workflow, fold=fold)
    return acknowledged


async def raises_no_alarm(workflow, *, fold):
    """Verify the shard. Writes whose answers were lost are in the journal exactly if they were committed."""
    if fold:
        assert await workflow.cell.journal.fold(workflow.shard_id) == []
    found = await workflow.cell.journal.verify(workflow.shard_id)
    assert found.ok, found
