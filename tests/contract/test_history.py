from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from strongroom.kms import UnsupportedFormat
from strongroom.storage import (
    EVERY_NAMESPACE,
    AppendHistoryTimeout,
    BranchRange,
    Database,
    DataBlob,
    DataLoss,
    Encoding,
    HistoryBranch,
    HistoryManager,
    HistoryNode,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
    TransactionSizeLimit,
)
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.history import Histories, chain, node

pytestmark = pytest.mark.integration


async def test_a_first_batch_comes_back(histories):
    """The first append is the whole history, and its branch is in the tree with its note."""
    branch = histories.branch()
    await histories.append(branch, node(1, 7, 0), info="the first")
    assert await histories.read(branch) == [node(1, 7, 0)]
    assert [(one.branch, one.info) for one in await histories.tree(branch)] == [(branch, "the first")]


async def test_batches_follow_each_other(histories):
    """Consecutive appends are one history, and parts of it can be read."""
    branch = histories.branch()
    first, second, third = node(1, 10, 0), node(4, 110, 10), node(6, 210, 110)
    for one in (first, second, third):
        await histories.append(branch, one)
    assert await histories.read(branch) == [first, second, third]
    assert await histories.read(branch, max_node_id=4) == [first]
    assert await histories.read(branch, min_node_id=4, max_node_id=6) == [second]


async def test_a_second_attempt_shadows_the_first(histories):
    """Of two writes of a node the one with the higher transaction counts, in the whole history and in a part of it."""
    branch = histories.branch()
    first, attempt, again = node(1, 10, 0), node(4, 11, 10), node(4, 12, 10)
    await histories.append(branch, first)
    await histories.append(branch, attempt)
    assert await histories.read(branch) == [first, attempt]
    await histories.append(branch, again)
    assert await histories.read(branch) == [first, again]
    assert await histories.read(branch, max_node_id=4) == [first]
    assert await histories.read(branch, min_node_id=4, max_node_id=6) == [again]


async def test_a_fork_goes_its_own_way(histories):
    """A fork shares the nodes before the fork node. After it, each branch has its own nodes."""
    base = histories.branch()
    shared, of_base, of_fork = chain(1, 3, txn=10), node(4, 20, 12), node(4, 21, 12)
    await histories.append(base, *shared)
    await histories.append(base, of_base)
    forked = await histories.fork(base, 4, info="fork")
    assert forked.ancestors == (BranchRange(base.branch_id, 1, 4),)
    await histories.append(forked, of_fork)
    assert await histories.read(base) == [*shared, of_base]
    assert await histories.read(forked) == [*shared, of_fork]
    assert {one.branch: one.info for one in await histories.tree(base)} == {base: "", forked: "fork"}


async def test_what_is_shadowed_in_the_base_is_shadowed_in_its_fork(histories):
    """A second attempt before the fork counts in both branches."""
    base = histories.branch()
    first, attempt, again = node(1, 10, 0), node(4, 11, 10), node(4, 12, 10)
    await histories.append(base, first)
    await histories.append(base, attempt)
    await histories.append(base, again)
    await histories.append(base, node(6, 13, 12))
    forked = await histories.fork(base, 6)
    await histories.append(forked, node(6, 14, 12))
    assert await histories.read(base) == [first, again, node(6, 13, 12)]
    assert await histories.read(forked) == [first, again, node(6, 14, 12)]


async def test_what_is_shadowed_in_a_fork_is_not_in_its_base(histories):
    """A second attempt in the fork leaves the base as it is."""
    base = histories.branch()
    await histories.append(base, node(1, 10, 0))
    await histories.append(base, node(4, 11, 10))
    forked = await histories.fork(base, 4)
    await histories.append(forked, node(4, 12, 10))
    await histories.append(forked, node(4, 13, 10))
    assert await histories.read(base) == [node(1, 10, 0), node(4, 11, 10)]
    assert await histories.read(forked) == [node(1, 10, 0), node(4, 13, 10)]


async def test_pages_of_every_size_both_ways(histories):
    """Pages of every size give the same history in both directions, also if a page ends between two branches."""
    base = histories.branch()
    counted = [node(1, 10, 0), node(2, 20, 10), node(3, 30, 20), node(5, 50, 30)]
    shadowed = [node(2, 15, 10), node(3, 29, 20), node(3, 25, 20), node(4, 28, 25), node(5, 45, 30), node(5, 41, 30)]
    await histories.append(base, *counted, *shadowed)
    forked = await histories.fork(base, 6)
    own = [node(6, 60, 50), node(9, 63, 60)]
    await histories.append(forked, *own, node(6, 59, 50), node(7, 58, 50), node(9, 62, 60), node(9, 61, 60))
    whole = counted + own
    for page_size in range(1, 15):
        assert await histories.read(forked, page_size=page_size) == whole
        assert await histories.read(forked, page_size=page_size, reverse=True) == whole[::-1]
        for low, high in [(1, 4), (2, 7), (3, 6), (4, 10), (6, 99)]:
            part = [one for one in whole if low <= one.node_id < high]
            bounds = {"min_node_id": low, "max_node_id": high, "page_size": page_size}
            assert await histories.read(forked, **bounds) == part
            assert await histories.read(forked, **bounds, reverse=True) == part[::-1]


async def test_more_writes_of_a_node_than_a_page_holds(histories):
    """A node that was written a hundred times is one node, also in pages of one."""
    branch = histories.branch()
    attempts = [node(2, txn, 10) for txn in range(11, 111)]
    await histories.append(branch, node(1, 10, 0), *attempts, node(3, 111, 110))
    whole = [node(1, 10, 0), node(2, 110, 10), node(3, 111, 110)]
    for page_size in (1, 2, 3, 50, 103):
        assert await histories.read(branch, page_size=page_size) == whole
        assert await histories.read(branch, page_size=page_size, reverse=True) == whole[::-1]


async def test_a_stale_end_is_left_out_both_ways(histories):
    """Nodes that a failed attempt wrote after the end do not count once the end was written again."""
    branch = histories.branch()
    await histories.append(branch, node(1, 10, 0), node(2, 20, 10), node(3, 30, 20), node(4, 31, 30))
    await histories.append(branch, node(2, 40, 10))
    assert await histories.read(branch) == [node(1, 10, 0), node(2, 40, 10)]
    assert await histories.read(branch, reverse=True, page_size=1) == [node(2, 40, 10), node(1, 10, 0)]
    for reverse in (False, True):
        with pytest.raises(NotFound):
            await histories.read(branch, min_node_id=3, reverse=reverse)


async def test_what_is_written_during_a_reverse_read_is_not_in_it(histories):
    """The pages of a backward read show the history as it was when the first page was read."""
    branch = histories.branch()
    nodes = chain(1, 6, txn=10)
    await histories.append(branch, *nodes)
    manager, namespace_id = histories.manager, histories.namespace_id
    page = await manager.read_history_branch(namespace_id, branch, reverse=True, page_size=2)
    await histories.append(branch, node(3, 90, 11))
    rest = await manager.read_history_branch(namespace_id, branch, reverse=True, page_token=page.next_page_token)
    assert [*page.nodes, *rest.nodes] == nodes[::-1]
    assert await histories.read(branch) == [*nodes[:2], node(3, 90, 11)]


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
@pytest.mark.parametrize("deleted", [1, 2, 3, 4])
async def test_a_missing_node_is_data_loss_both_ways(histories, deleted, page_size):
    """Neither direction skips a deleted node, in an ancestor's range (nodes 1 to 3) or in the branch's own."""
    base = histories.branch()
    await histories.append(base, *chain(1, 4, txn=10))
    forked = await histories.fork(base, 4)
    await histories.append(forked, *chain(4, 6, txn=20, after=12))
    await histories.execute("DELETE FROM history_node WHERE tree_id = $1 AND node_id = $2", base.tree_id, deleted)
    for reverse in (False, True):
        with pytest.raises(DataLoss):
            await histories.read(forked, page_size=page_size, reverse=reverse)
        if deleted > 1:
            with pytest.raises(DataLoss):
                await histories.read(forked, page_size=page_size, reverse=reverse, min_node_id=deleted)


async def test_a_missing_end_is_noticed_by_who_knows_the_last_transaction(histories):
    """Mutable state holds the transaction of the last node. A backward read that names it refuses a shorter history."""
    branch = histories.branch()
    nodes = chain(1, 4, txn=10)
    await histories.append(branch, *nodes)
    await histories.append(branch, node(4, 99, 12))  # an attempt that mutable state knows nothing of
    assert await histories.read(branch, reverse=True, last_txn_id=13, page_size=1) == nodes[::-1]
    await histories.execute("DELETE FROM history_node WHERE tree_id = $1 AND node_id = 4", branch.tree_id)
    assert await histories.read(branch, reverse=True) == nodes[2::-1]
    with pytest.raises(DataLoss):
        await histories.read(branch, reverse=True, last_txn_id=13)


async def test_metadata_are_ids_of_nodes_that_open(histories):
    """Ids are returned without events, in both directions, and those of nodes that can't be opened are refused."""
    branch = histories.branch()
    nodes = [node(1, 10, 0), node(2, 20, 10), node(4, 30, 20)]
    await histories.append(branch, *nodes, node(2, 15, 10))
    expected = [one._replace(events=DataBlob(b"", Encoding.UNSPECIFIED)) for one in nodes]
    assert await histories.read(branch, metadata_only=True, page_size=1) == expected
    assert await histories.read(branch, metadata_only=True, page_size=2, reverse=True) == expected[::-1]
    await histories.execute("UPDATE history_node SET data = '\\x00' WHERE tree_id = $1", branch.tree_id)
    for metadata_only in (False, True):
        with pytest.raises(UnsupportedFormat):
            await histories.read(branch, metadata_only=metadata_only)


async def test_a_page_token_is_good_for_its_own_read_only(histories):
    """A token of another branch, direction, namespace or range is refused, and so is an empty token."""
    branch, other = histories.branch(), histories.branch()
    elsewhere = Histories(histories.cell, await new_namespace(histories.cell), histories.shard_id)
    for where in (histories, elsewhere):
        await where.append(branch, *chain(1, 5, txn=1))
    await histories.append(other, *chain(1, 5, txn=1))
    tokens = {
        reverse: (await histories.pages(branch, page_size=2, reverse=reverse))[0].next_page_token
        for reverse in (False, True)
    }
    for reverse, token in tokens.items():

        async def read(where, branch, token=token, **options):
            return await where.manager.read_history_branch(where.namespace_id, branch, page_token=token, **options)

        assert len((await read(histories, branch, reverse=reverse)).nodes) == 3
        wrong = [
            read(histories, other, reverse=reverse),
            read(histories, branch, reverse=not reverse),
            read(elsewhere, branch, reverse=reverse),
            read(histories, branch, reverse=reverse, min_node_id=2),
            read(histories, branch, reverse=reverse, max_node_id=4),
            read(histories, replace(branch, shard_id=branch.shard_id + 1), reverse=reverse),
            read(histories, branch, token=token[:-4], reverse=reverse),
        ]
        for outcome in await asyncio.gather(*wrong, return_exceptions=True):
            assert isinstance(outcome, InvalidPersistenceRequest)


async def test_many_branches_are_appended_to_at_once(histories):
    """Callers that share statements do not share outcomes: each branch has its own nodes in order."""
    branches = [histories.branch() for _ in range(40)]

    async def write(place, branch):
        after = 0
        for node_id in range(1, 9):
            txn = 100 * place + node_id
            await histories.append(branch, node(node_id, txn, after))
            after = txn

    await asyncio.gather(*(write(place, branch) for place, branch in enumerate(branches, start=1)))
    for place, branch in enumerate(branches, start=1):
        assert await histories.read(branch) == chain(1, 8, txn=100 * place + 1)


async def test_two_callers_write_one_node_at_once(histories):
    """Two writes with the same key are one row. Of two transactions the higher counts."""
    branch = histories.branch()
    await histories.append(branch, node(1, 10, 0))
    await asyncio.gather(*(histories.append(branch, node(2, txn, 10)) for txn in (11, 12, 12, 13, 11) * 4))
    assert await histories.read(branch) == [node(1, 10, 0), node(2, 13, 10)]
    assert len(await histories.rows(branch)) == 4


async def test_a_callers_error_is_its_own(histories):
    """Among concurrent appends, only those with an unknown namespace or an invalid request fail."""
    branches = [histories.branch() for _ in range(10)]
    nobody = Histories(histories.cell, uuid4(), histories.shard_id)
    outcomes = await asyncio.gather(
        *(histories.append(branch, node(1, 1, 0)) for branch in branches[:5]),
        nobody.append(histories.branch(), node(1, 1, 0)),
        histories.append(histories.branch(), node(1, 1, 0), node(1, 1, 0)),
        *(histories.append(branch, node(1, 1, 0)) for branch in branches[5:]),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes if one is not None] == [NamespaceNotFound, InvalidPersistenceRequest]
    for branch in branches:
        assert await histories.read(branch) == [node(1, 1, 0)]


async def test_an_append_that_is_not_answered_in_time_is_an_append_timeout(histories):
    """An append that the server stopped left nothing. Without an answer this is unknown. Both errors say so."""
    branch = histories.branch()
    await histories.append(branch, node(1, 10, 0))
    distributed = histories.cell.config.cell.distributed
    database = Database(histories.cell.config.dsn, statement_timeout=1.0, distributed=distributed, insecure=True)
    keyring, journal = histories.cell.keyring, histories.cell.journal.journal
    manager = HistoryManager(database, keyring, journal, distributed=distributed)
    nodes = [node(1, 10, 0), node(2, 11, 10)]
    try:
        async with histories.cell.database.transaction(EVERY_NAMESPACE) as holder:
            lock = "SELECT 1 FROM history_node WHERE shard_id = $1 AND tree_id = $2 FOR UPDATE"
            await holder.execute(lock, histories.shard_id, branch.tree_id)
            with pytest.raises(AppendHistoryTimeout) as stopped:
                await manager.append_history_nodes(histories.namespace_id, branch, nodes)
            database.answer_timeout = 0.1
            with pytest.raises(AppendHistoryTimeout) as unanswered:
                await manager.append_history_nodes(histories.namespace_id, branch, nodes)
        assert not stopped.value.may_have_been_committed
        assert unanswered.value.may_have_been_committed
    finally:
        await manager.aclose()
        await database.aclose()
    await histories.append(branch, *nodes, is_new_branch=False)
    assert await histories.read(branch) == nodes


OLD, NEW = uuid4(), uuid4()
GOOD = HistoryBranch(5, uuid4(), NEW, (BranchRange(OLD, 1, 4),))
BAD_BRANCHES = {
    "not a branch": "branch",
    "shard 0": replace(GOOD, shard_id=0),
    "shard of text": replace(GOOD, shard_id="5"),
    "tree of text": replace(GOOD, tree_id=str(uuid4())),
    "branch of nothing": replace(GOOD, branch_id=None),
    "ancestors with a hole": replace(GOOD, ancestors=(BranchRange(OLD, 1, 3), BranchRange(OLD, 4, 5))),
    "ancestors from node 2": replace(GOOD, ancestors=(BranchRange(OLD, 2, 3),)),
    "an empty ancestor": replace(GOOD, ancestors=(BranchRange(OLD, 1, 1),)),
    "an ancestor of text": replace(GOOD, ancestors=(BranchRange("x", 1, 3),)),
}


@pytest.mark.parametrize("branch", BAD_BRANCHES.values(), ids=BAD_BRANCHES.keys())
async def test_what_is_no_branch_is_refused_by_all(histories, branch):
    """Every operation that takes a branch refuses it before it sends anything."""
    manager, namespace_id = histories.manager, histories.namespace_id
    for call in (
        manager.append_history_nodes(namespace_id, branch, [node(4, 1, 0)]),
        manager.read_history_branch(namespace_id, branch),
        manager.fork_history_branch(namespace_id, branch, fork_node_id=2),
        manager.trim_history_branch(namespace_id, branch, node_id=1, txn_id=1),
        manager.delete_history_branch(namespace_id, branch),
        manager.delete_history_nodes(namespace_id, branch, node_id=4, txn_id=1),
    ):
        with pytest.raises(InvalidPersistenceRequest):
            await call


BLOB = DataBlob(b"events")
BAD_NODES = {
    "none": [],
    "before the branch's own": [node(3, 1, 0)],
    "node 0": [node(0, 1, 0)],
    "a node beyond all": [HistoryNode(2**63 - 1, 1, 0, BLOB)],
    "a node of text": [HistoryNode("4", 1, 0, BLOB)],
    "a negative transaction": [HistoryNode(4, -1, -2, BLOB)],
    "a transaction beyond all": [HistoryNode(4, 2**63, 0, BLOB)],
    "a transaction before the last": [HistoryNode(4, 5, 6, BLOB)],
    "one twice": [node(4, 1, 0), node(4, 1, 0)],
    "not a node": [(4, 1, 0, BLOB)],
    "not a blob": [HistoryNode(4, 1, 0, b"events")],
    "a blob of text": [HistoryNode(4, 1, 0, DataBlob("events"))],
}


@pytest.mark.parametrize("nodes", BAD_NODES.values(), ids=BAD_NODES.keys())
async def test_nodes_that_cannot_be_are_refused(histories, nodes):
    """They are refused before anything is sent, and the message contains none of their values."""
    with pytest.raises(InvalidPersistenceRequest) as refused:
        await histories.manager.append_history_nodes(histories.namespace_id, GOOD, nodes)
    assert "events" not in str(refused.value).replace("events must be", "")


async def test_a_blob_beyond_the_limit_is_refused(histories):
    """The limit of one node is 4 MiB. Nothing of a larger append is stored."""
    branch = histories.branch()
    with pytest.raises(TransactionSizeLimit):
        await histories.append(branch, node(1, 1, 0), HistoryNode(2, 2, 1, DataBlob(bytes(4 * 2**20 + 1))))
    assert await histories.rows(branch) == []


@pytest.mark.parametrize("info", [5, b"bytes", "\ud800"], ids=repr)
async def test_a_note_that_is_no_text_is_refused(histories, info):
    """Appends and forks refuse it."""
    branch = histories.branch()
    with pytest.raises(InvalidPersistenceRequest):
        await histories.append(branch, node(1, 1, 0), info=info)
    await histories.append(branch, node(1, 1, 0))
    with pytest.raises(InvalidPersistenceRequest):
        await histories.fork(branch, 2, info=info)


@pytest.mark.parametrize("namespace_id", ["x", None, 5])
async def test_a_namespace_that_is_no_id_is_refused(histories, namespace_id):
    """Every operation refuses it before it sends anything."""
    other = Histories(histories.cell, namespace_id, histories.shard_id)
    branch = other.branch()
    for call in (
        other.append(branch, node(1, 1, 0)),
        other.read(branch),
        other.read(branch, metadata_only=True),
        other.fork(branch, 2),
        other.trim(branch, node(1, 1, 0)),
        other.delete(branch),
        other.tree(branch),
    ):
        with pytest.raises(InvalidPersistenceRequest):
            await call


async def test_an_unknown_namespace_is_not_found(histories):
    """Its error differs from the error of a namespace without such a history."""
    other = Histories(histories.cell, UUID(int=77), histories.shard_id)
    branch = other.branch()
    for call in (other.append(branch, node(1, 1, 0)), other.read(branch), other.fork(branch, 2), other.tree(branch)):
        with pytest.raises(NamespaceNotFound):
            await call


@pytest.mark.parametrize(
    "wrong",
    [
        {"page_size": None},
        {"page_size": "1"},
        {"min_node_id": -1},
        {"max_node_id": 2**63},
        {"min_node_id": "1"},
        {"reverse": True, "last_txn_id": -1},
        {"last_txn_id": 5},
    ],
    ids=str,
)
async def test_a_read_that_cannot_be_is_refused(histories, wrong):
    """Invalid sizes and bounds are refused, and so is a last transaction for a forward read."""
    branch = histories.branch()
    await histories.append(branch, node(1, 5, 0))
    with pytest.raises(InvalidPersistenceRequest):
        await histories.manager.read_history_branch(histories.namespace_id, branch, **wrong)


@pytest.mark.parametrize("page_size", [1, 2, 100])
async def test_a_lost_rewrite_is_refused_in_both_directions(histories, page_size):
    """A read from a later node refuses a history whose first nodes and newest write of the next node are gone."""
    branch = histories.branch()
    await histories.append(branch, *chain(1, 3, txn=1), node(5, 4, 3))
    await histories.append(branch, node(5, 6, 3), node(6, 7, 6), node(7, 8, 7))
    await histories.execute(
        "DELETE FROM history_node WHERE tree_id = $1 AND (node_id <= 3 OR node_id = 5 AND txn_id = 6)", branch.tree_id
    )
    for reverse in (False, True):
        with pytest.raises(DataLoss):
            await histories.read(branch, min_node_id=5, page_size=page_size, reverse=reverse)


async def test_a_read_as_of_a_transaction_ignores_later_writes_below_its_bound(histories):
    """A backward read that names the last transaction accepts newer failed attempts in front of its first node."""
    branch = histories.branch()
    nodes = chain(1, 4, txn=10)
    await histories.append(branch, *nodes)
    await histories.append(branch, node(2, 99, 10))
    assert await histories.read(branch, reverse=True, last_txn_id=13, min_node_id=3) == nodes[:1:-1]
