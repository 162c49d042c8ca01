"""The end of a run's current branch is the one that the run's row names. A history that was cut is noticed when it is read."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.storage import DataLoss, HistoryNode, NotFound
from strongroom.storage.histories import HistoryManager
from strongroom.storage.histories.rows import HistoryAppend
from tests.support.fixtures.executions import COMPLETED, ZOMBIE, blob
from tests.support.processes import new_process

pytestmark = pytest.mark.integration


def note(workflow, run_id):
    """Return the note that Temporal writes into the row of a branch."""
    return f"{workflow.namespace_id}:{workflow.workflow_id}:{run_id}"


def events(workflow, run_id, *nodes, branch=None):
    """Return an append of nodes to the branch of a run. Node 1 makes the branch."""
    batches = [HistoryNode(node_id, txn_id, prev_txn_id, blob()) for node_id, txn_id, prev_txn_id in nodes]
    is_new = nodes[0][0] == 1
    info = note(workflow, run_id) if is_new else ""
    return [HistoryAppend(branch or workflow.branch(run_id), batches, is_new_branch=is_new, info=info)]


@pytest.fixture
async def run_id(workflow):
    """A run of three writes. The history has the nodes 1, 3 and 5, and a failed attempt at node 5."""
    run_id = uuid4()
    await workflow.create(workflow.snapshot(run_id), new_workflow_new_events=events(workflow, run_id, (1, 10, 0)))
    await workflow.update(workflow.mutation(run_id), update_workflow_new_events=events(workflow, run_id, (3, 11, 10)))
    failed = HistoryNode(5, 12, 11, blob())
    await workflow.cell.history.append_history_nodes(workflow.namespace_id, workflow.branch(run_id), [failed])
    mutation = workflow.mutation(run_id, db_record_version=3)
    await workflow.update(mutation, update_workflow_new_events=events(workflow, run_id, (5, 13, 11)))
    return run_id


async def reads(process, workflow, branch):
    """Return reads that cover the end of a branch, by name. Each is a coroutine that returns the number of nodes."""
    history, namespace_id = process.history, workflow.namespace_id

    async def paged(read, **options):
        token, count = None, 0
        while True:
            page = await read(namespace_id, page_token=token, **options)
            count, token = count + len(page.nodes), page.next_page_token
            if token is None:
                return count

    of_store = {"shard_id": branch.shard_id, "tree_id": branch.tree_id, "branch_id": branch.branch_id}
    return {
        f"{level} {direction} {size}": paged(read, page_size=size, reverse=direction == "backwards", **options)
        for level, read, options in (
            ("manager", history.read_history_branch, {"branch": branch}),
            ("store", history.read_history_nodes, {**of_store, "min_node_id": 1, "max_node_id": 100}),
        )
        for direction in ("forwards", "backwards")
        for size in (1, 2, 1000)
    }


async def outcomes(process, workflow, branch):
    """Return the outcome of each read: the number of nodes, or the class of the error."""
    found = {}
    for name, read in (await reads(process, workflow, branch)).items():
        try:
            found[name] = await read
        except (DataLoss, NotFound) as error:
            found[name] = type(error)
    return found


async def cut_tail(dba):
    """Delete the last node."""
    await dba.delete("history_node", "node_id = 5")


async def failed_attempt(dba):
    """Delete the newest write of the last node, so that a failed attempt becomes the end."""
    await dba.delete("history_node", "txn_id = 13")


async def all_nodes(dba):
    """Delete the whole history."""
    await dba.delete("history_node")


@pytest.mark.parametrize("attack", [cut_tail, failed_attempt, all_nodes], ids=lambda attack: attack.__name__)
async def test_a_cut_history_is_refused(workflow, run_id, dba, attack):
    """Each read that covers the end is refused: in both directions, with pages of each size, and on both levels.

    So is it in a process that wrote the run, in one that read it, and in one that finds the run by the note of the branch.
    The control: a manager that knows no runs returns the shorter history.
    """
    branch, has_read, without_runs = workflow.branch(run_id), new_process(workflow.cell), new_process(workflow.cell)
    await workflow.like(cell=has_read).get(run_id)
    without_runs.history = HistoryManager(
        workflow.cell.by_key,
        workflow.cell.keyring,
        workflow.cell.journal.journal,
        distributed=workflow.cell.config.cell.distributed,
    )
    for process in (workflow.cell, without_runs):
        found = await outcomes(process, workflow, branch)
        assert found == {name: 3 if "manager" in name else 4 for name in found}
    await attack(dba)
    for process in (workflow.cell, has_read, new_process(workflow.cell)):
        assert set((await outcomes(process, workflow, branch)).values()) == {DataLoss}
    assert DataLoss not in (await outcomes(without_runs, workflow, branch)).values()


async def test_a_fork_that_is_cut_is_refused(workflow, run_id, dba):
    """A reset run continues a fork. Its end is checked too, and the shared nodes still belong to the other run."""
    reset = uuid4()
    base = workflow.branch(run_id)
    fork = await workflow.cell.history.fork_history_branch(
        workflow.namespace_id, base, fork_node_id=5, branch_id=uuid4(), info=note(workflow, reset)
    )
    closed = workflow.mutation(run_id, COMPLETED, db_record_version=4)
    await workflow.update(
        closed,
        new=workflow.snapshot(reset),
        update_workflow_new_events=events(workflow, run_id, (7, 20, 13)),
        new_workflow_new_events=events(workflow, reset, (5, 21, 11), branch=fork),
    )
    new = new_process(workflow.cell)
    assert len((await new.history.read_history_branch(workflow.namespace_id, fork)).nodes) == 3
    await dba.delete("history_node", "txn_id = 21")
    for process in (workflow.cell, new, new_process(workflow.cell)):
        with pytest.raises(DataLoss, match="the end of history branch"):
            await process.history.read_history_branch(workflow.namespace_id, fork)
        assert len((await process.history.read_history_branch(workflow.namespace_id, base)).nodes) == 4


async def test_reads_in_front_of_the_end_are_not_affected(workflow, run_id, dba):
    """A page that does not cover the end is returned: the end may be on a later page."""
    await cut_tail(dba)
    branch, history = workflow.branch(run_id), workflow.cell.history
    page = await history.read_history_branch(workflow.namespace_id, branch, max_node_id=5)
    assert [one.node_id for one in page.nodes] == [1, 3]
    page = await history.read_history_branch(workflow.namespace_id, branch, page_size=1)
    assert [one.node_id for one in page.nodes] == [1]


async def test_a_reader_that_is_behind_reads_the_run_again(workflow, run_id):
    """Another process replaced the end that this one knows, and then another one. No read is refused."""
    other = workflow.like(cell=new_process(workflow.cell))
    branch = workflow.branch(run_id)
    await other.update(
        other.mutation(run_id, db_record_version=4), update_workflow_new_events=events(workflow, run_id, (5, 30, 11))
    )
    for process in (workflow.cell, other.cell):
        assert (await process.history.read_history_branch(workflow.namespace_id, branch)).nodes[-1].txn_id == 30
    backwards = await workflow.cell.history.read_history_branch(
        workflow.namespace_id, branch, reverse=True, last_txn_id=11
    )
    assert [one.node_id for one in backwards.nodes] == [3, 1], "a caller that names an older end gets that one"


async def test_a_deleted_run_has_no_end(workflow, run_id):
    """The service deletes a run, then its history. Processes that know the run report that there is no node."""
    other = new_process(workflow.cell)
    await workflow.like(cell=other).get(run_id)
    place = (workflow.namespace_id, workflow.workflow_id, run_id)
    await workflow.cell.executions.delete_workflow_execution(*place, shard_id=workflow.shard_id)
    await workflow.cell.history.delete_history_branch(workflow.namespace_id, workflow.branch(run_id))
    for process in (workflow.cell, other, new_process(workflow.cell)):
        with pytest.raises(NotFound):
            await process.history.read_history_branch(workflow.namespace_id, workflow.branch(run_id))


async def test_a_run_without_its_own_history_is_read_as_before(workflow):
    """Histories that were appended without their run, and notes that name no run, are read without a comparison."""
    run_id = uuid4()
    await workflow.create_zombie(workflow.snapshot(run_id, ZOMBIE))
    append = workflow.cell.history.append_history_nodes
    await append(
        workflow.namespace_id,
        workflow.branch(run_id),
        [HistoryNode(1, 1, 0, blob())],
        is_new_branch=True,
        info=note(workflow, run_id),
    )
    for info in ("", "a note", f"{workflow.namespace_id}::x", note(workflow, "no id"), note(workflow, uuid4())):
        branch = replace(workflow.branch(run_id), branch_id=uuid4())
        await append(workflow.namespace_id, branch, [HistoryNode(1, 1, 0, blob())], is_new_branch=True, info=info)
        process = new_process(workflow.cell)
        for one in (branch, workflow.branch(run_id)):
            assert len((await process.history.read_history_branch(workflow.namespace_id, one)).nodes) == 1


async def test_an_append_of_several_nodes_in_any_order(workflow, dba):
    """The end is the newest write, whatever the order of the nodes in the request."""
    run_id = uuid4()
    appended = events(workflow, run_id, (1, 10, 0), (5, 12, 11), (3, 11, 10))
    await workflow.create(workflow.snapshot(run_id), new_workflow_new_events=appended)
    branch = workflow.branch(run_id)
    assert len((await workflow.cell.history.read_history_branch(workflow.namespace_id, branch)).nodes) == 3
    await cut_tail(dba)
    with pytest.raises(DataLoss):
        await workflow.cell.history.read_history_branch(workflow.namespace_id, branch)
