"""The branch that `strongroom history` prints, for runs that a Temporal server wrote and for others."""

from __future__ import annotations

from uuid import uuid4

import pytest

from strongroom.driver.cli.show.branches import branch_of
from strongroom.driver.importing.branch_token import current_branch
from strongroom.storage import DataBlob, Encoding, HistoryBranch, HistoryNode, NotFound, ShardInfo
from strongroom.visibility import VisibilityRecord
from tests.support.fixtures.executions import Workflow

pytestmark = pytest.mark.integration


def field(number, value):
    """Encode a field of a protobuf message; an integer is at most 127."""
    tag = number << 3 | (0 if isinstance(value, int) else 2)
    key = bytes([tag]) if tag < 128 else bytes([tag & 0x7F | 0x80, tag >> 7])
    return key + (bytes([value]) if isinstance(value, int) else bytes([len(value)]) + value)


def history(tree_id, branch_id):
    """Encode a version history whose branch token has a field that Temporal does not know."""
    token = field(1, str(tree_id).encode()) + field(2, str(branch_id).encode()) + field(15, b"namespace")
    return field(1, token) + field(2, b"\x08\x01")


def execution_info(*histories, index=0):
    """Encode the settings of a run with version histories."""
    versions = b"".join(field(2, each) for each in histories)
    # The length has two bytes from 128 on.
    content = (field(1, index) if index else b"") + versions
    length = bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
    return field(1, b"namespace") + b"\xb2\x03" + length + content


def test_the_current_version_history_names_the_branch():
    """The index chooses among the histories of several clusters. Other blobs are refused."""
    first, second = (uuid4(), uuid4()), (uuid4(), uuid4())
    assert current_branch(execution_info(history(*first), history(*second))) == first
    assert current_branch(execution_info(history(*first), history(*second), index=1)) == second
    for wrong in (b"", b"\xff", b"{}", execution_info(history(*first), history(*second), index=2), field(1, b"only")):
        with pytest.raises(ValueError):  # noqa: PT011 - the parser of protobuf has no messages
            current_branch(wrong)


async def test_the_history_of_a_reset_is_that_of_its_own_branch(cell, namespace_id):
    """Two runs share a tree after a reset. Each shows its own events, with and without mutable state."""
    workflow_id, base, reset = "order reset", uuid4(), uuid4()
    shard_id = await cell.shards.shard_of(namespace_id, workflow_id)
    trunk = HistoryBranch(shard_id, base, uuid4())
    nodes = [HistoryNode(1, 1, 0, DataBlob(b"first")), HistoryNode(2, 2, 1, DataBlob(b"of the base"))]
    await cell.history.append_history_nodes(
        namespace_id, trunk, nodes[:1], is_new_branch=True, info=f"{namespace_id}:{workflow_id}:{base}"
    )
    await cell.history.append_history_nodes(namespace_id, trunk, nodes[1:])
    fork = await cell.history.fork_history_branch(
        namespace_id, trunk, fork_node_id=2, info=f"{namespace_id}:{workflow_id}:{reset}"
    )
    records = {
        run_id: VisibilityRecord(workflow_id, str(run_id), "Order", "Running", "orders", 1, 1)
        for run_id in (base, reset)
    }
    assert (await branch_of(cell, namespace_id, records[base])).branch_id == trunk.branch_id
    with pytest.raises(NotFound):  # only its mutable state says that it is in the tree of another run
        await branch_of(cell, namespace_id, records[reset])
    await cell.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 1, DataBlob(b"shard")))
    owned = (await cell.shards.get_or_create_shard(shard_id)).range_id
    workflow = Workflow(cell, namespace_id, shard_id, workflow_id=workflow_id, range_id=owned)
    info = DataBlob(execution_info(history(base, fork.branch_id), history(base, trunk.branch_id)), Encoding.PROTO3)
    await workflow.create(workflow.snapshot(reset, execution_info=info))
    assert (await branch_of(cell, namespace_id, records[reset])).branch_id == fork.branch_id
