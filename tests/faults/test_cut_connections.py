from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.storage import DatabaseUnavailable, HistoryBranch, HistoryNode, NotFound, ShardInfo, ShardOwnershipLost
from tests.support.faults.cell_behind_proxy import behind_proxy
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import RUNNING, Workflow, blob

pytestmark = pytest.mark.integration


@pytest.fixture
async def behind(own_cell):
    """The cell, the same cell opened through a proxy, and the proxy."""
    async with behind_proxy(own_cell) as (through, proxy):
        yield own_cell, through, proxy


@pytest.fixture
async def proxied_workflow(behind):
    """A workflow through the proxy. Its keys and statements are cached, so that the next statement is the one under test."""
    _, through, _ = behind
    warm = Workflow(through, await new_namespace(through), await new_shard(through))
    first = await warm.create(warm.snapshot(of=RUNNING))
    await warm.update(warm.mutation(first.run_id))
    await warm.get(first.run_id)
    return warm.like(workflow_id="under test")


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_an_update_whose_answer_is_lost_says_that_nobody_knows(behind, proxied_workflow, cut):
    """A write whose answer is lost is not sent again. The error says that it may be committed. It is complete or absent."""
    direct, _, proxy = behind
    first = await proxied_workflow.create(proxied_workflow.snapshot(of=RUNNING))
    proxy.cut = cut
    with pytest.raises(DatabaseUnavailable) as lost:
        await proxied_workflow.update(
            proxied_workflow.mutation(first.run_id), update_workflow_new_events=proxied_workflow.events(first.run_id)
        )
    assert lost.value.may_have_been_committed
    assert proxy.cuts == 1
    seen = proxied_workflow.like(cell=direct)
    version = (await seen.get(first.run_id)).db_record_version
    assert version == (1 if cut == "before" else 2)
    if cut == "after":
        assert len(await seen.history(first.run_id)) == 1
    else:
        with pytest.raises(NotFound):
            await seen.history(first.run_id)
    await proxied_workflow.update(proxied_workflow.mutation(first.run_id, db_record_version=version + 1))


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_create_whose_answer_is_lost_says_that_nobody_knows(behind, proxied_workflow, cut):
    """A create whose connection is cut is not sent again, as an update."""
    direct, _, proxy = behind
    snapshot = proxied_workflow.snapshot()
    proxy.cut = cut
    with pytest.raises(DatabaseUnavailable) as lost:
        await proxied_workflow.create(snapshot)
    assert lost.value.may_have_been_committed
    if cut == "after":
        assert (await proxied_workflow.like(cell=direct).get(snapshot.run_id)).db_record_version == 1
    else:
        await proxied_workflow.create(snapshot)


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_an_append_is_run_again(behind, proxied_workflow, cut):
    """An append whose connection is cut is sent again, because it is idempotent, and the node is there once."""
    direct, through, proxy = behind
    branch = HistoryBranch(proxied_workflow.shard_id, uuid4(), uuid4())
    await through.history.append_history_nodes(
        proxied_workflow.namespace_id, branch, [HistoryNode(1, 1, 0, blob())], is_new_branch=True
    )
    proxy.cut = cut
    await through.history.append_history_nodes(proxied_workflow.namespace_id, branch, [HistoryNode(2, 2, 1, blob())])
    assert proxy.cuts == 1
    page = await direct.history.read_history_branch(proxied_workflow.namespace_id, branch)
    assert [node.node_id for node in page.nodes] == [1, 2]


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_read_is_run_again(behind, proxied_workflow, cut):
    """A read whose connection is cut is sent again."""
    _, _, proxy = behind
    first = await proxied_workflow.create()
    proxy.cut = cut
    assert (await proxied_workflow.get(first.run_id)).db_record_version == 1
    assert proxy.cuts == 1


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_shard_that_may_have_moved(behind, proxied_workflow, cut):
    """If the outcome of a takeover is unknown, the row has the owner, and the other range id is refused."""
    direct, through, proxy = behind
    shard = ShardInfo(proxied_workflow.shard_id, 2, blob())
    # The statement must have been prepared on the connection, or the cut would meet its preparation.
    with pytest.raises(ShardOwnershipLost):
        await through.shards.update_shard(replace(shard, range_id=9), previous_range_id=8)
    proxy.cut = cut
    with pytest.raises(DatabaseUnavailable) as lost:
        await through.shards.update_shard(shard, previous_range_id=1)
    assert lost.value.may_have_been_committed
    found = await direct.shards.get_or_create_shard(proxied_workflow.shard_id)
    assert found.range_id == (1 if cut == "before" else 2)
