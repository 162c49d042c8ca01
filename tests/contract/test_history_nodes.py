"""The store level of histories: one range of one branch with all writes in it, forks with a given id, and opaque tree info."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError
from strongroom.storage import (
    BranchRange,
    ConditionFailed,
    DataBlob,
    Encoding,
    HistoryAppend,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
    TransactionSizeLimit,
)
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.history import Histories, chain, node

pytestmark = pytest.mark.integration

# Two writes of nodes 1 and 3, three of node 4. The links of 8 lead nowhere.
WRITES = [
    node(1, 11, 0),
    node(1, 10, 0),
    node(3, 21, 11),
    node(3, 15, 10),
    node(4, 31, 21),
    node(4, 30, 21),
    node(4, 16, 15),
    node(8, 99, 77),
]
TREE_INFO = DataBlob(b"\x0a\x03abc\xc2\x3e\x01x", Encoding.PROTO3)


async def read(histories, branch, *, branch_id=None, low=1, high=100, page_size=1000, **options):
    """Read all pages of a range. Each page but the last is full."""
    found, token = [], None
    while True:
        page = await histories.manager.read_history_nodes(
            histories.namespace_id,
            shard_id=branch.shard_id,
            tree_id=branch.tree_id,
            branch_id=branch_id or branch.branch_id,
            min_node_id=low,
            max_node_id=high,
            page_size=page_size,
            page_token=token,
            **options,
        )
        found += page.nodes
        token = page.next_page_token
        if token is None:
            return found
        assert len(page.nodes) == page_size


async def test_every_write_of_a_range_in_temporals_order(histories):
    """Shadowed writes and writes that do not chain are returned: the newest of a node first forwards, and last backwards."""
    branch = histories.branch()
    await histories.append(branch, *WRITES[::-1])
    assert await read(histories, branch) == WRITES
    assert await read(histories, branch, reverse=True) == WRITES[::-1]
    assert await read(histories, branch, low=3, high=8) == WRITES[2:7]
    assert await read(histories, branch, low=3, high=8, reverse=True) == WRITES[2:7][::-1]
    assert await read(histories, branch, low=5, high=8) == []
    assert await read(histories, branch, low=8, high=2**63 - 1) == WRITES[7:]


@pytest.mark.parametrize("reverse", [False, True])
async def test_pages_of_every_size(histories, reverse):
    """A page that ends between two writes of a node is continued with the next write: Temporal's own reverse query skips it."""
    branch = histories.branch()
    await histories.append(branch, *WRITES)
    expected = WRITES[::-1] if reverse else WRITES
    for size in range(1, len(WRITES) + 2):
        assert await read(histories, branch, page_size=size, reverse=reverse) == expected
        ids = await read(histories, branch, page_size=size, reverse=reverse, metadata_only=True)
        assert [one[:3] for one in ids] == [one[:3] for one in expected]
        assert {one.events for one in ids} == {DataBlob(b"", Encoding.UNSPECIFIED)}


async def test_many_writes_of_one_node_in_small_pages(histories):
    """A node with more writes than a page is read completely, once each."""
    branch = histories.branch()
    writes = [node(2, txn, 10) for txn in range(60, 10, -1)]
    await histories.append(branch, node(1, 10, 0), *writes, node(3, 61, 60))
    assert await read(histories, branch, page_size=7) == [node(1, 10, 0), *writes, node(3, 61, 60)]
    assert await read(histories, branch, page_size=7, reverse=True) == [node(3, 61, 60), *writes[::-1], node(1, 10, 0)]


async def test_only_the_branchs_own_range(histories):
    """A fork's range has none of its ancestor's nodes, and the ancestor's rows are read by its own id."""
    base = histories.branch()
    await histories.append(base, *chain(1, 3, txn=10))
    forked = await histories.fork(base, 3)
    await histories.append(forked, node(3, 40, 11))
    assert await read(histories, forked) == [node(3, 40, 11)]
    assert await read(histories, forked, branch_id=base.branch_id, high=3) == chain(1, 2, txn=10)


async def test_reads_of_many_callers_at_once(histories):
    """Reads that share a statement get their own rows, whatever their direction, bounds, pages and namespaces are."""
    other = Histories(histories.cell, await new_namespace(histories.cell), histories.shard_id)
    branches = [(owner, owner.branch()) for owner in (histories, other) for _ in range(4)]
    for place, (owner, branch) in enumerate(branches):
        await owner.append(branch, *chain(1, 3 + place, txn=10 * (place + 1)))
    wanted = [(owner, branch, back, size) for owner, branch in branches for back in (False, True) for size in (2, 1000)]
    found = await asyncio.gather(
        *(read(owner, branch, reverse=back, page_size=size) for owner, branch, back, size in wanted)
    )
    for (_, branch, back, _), nodes in zip(wanted, found, strict=True):
        place = [each for _, each in branches].index(branch)
        expected = chain(1, 3 + place, txn=10 * (place + 1))
        assert nodes == (expected[::-1] if back else expected)


async def test_a_node_that_does_not_open(histories):
    """A changed node is an error for its reader, and not for another reader of the same statement."""
    bad, good = histories.branch(), histories.branch()
    await histories.append(bad, *chain(1, 2, txn=10))
    await histories.append(good, *chain(1, 2, txn=10))
    await histories.execute("UPDATE history_node SET txn_id = 12 WHERE branch_id = $1 AND node_id = 2", bad.branch_id)
    first, second = await asyncio.gather(read(histories, bad), read(histories, good), return_exceptions=True)
    assert isinstance(first, IntegrityError)
    assert second == chain(1, 2, txn=10)


async def test_bad_requests(histories):
    """A token of another branch or direction, a bound that is no number, and a namespace that does not exist are refused."""
    branch = histories.branch()
    await histories.append(branch, *chain(1, 4, txn=10))
    place = {"shard_id": branch.shard_id, "tree_id": branch.tree_id, "branch_id": branch.branch_id}
    bounds = {"min_node_id": 1, "max_node_id": 9, "page_size": 2}
    call = histories.manager.read_history_nodes
    page = await call(histories.namespace_id, **place, **bounds)
    for other in ({"reverse": True}, {"branch_id": uuid4()}, {"tree_id": uuid4()}):
        with pytest.raises(InvalidPersistenceRequest):
            await call(histories.namespace_id, **place | bounds | other, page_token=page.next_page_token)
    for wrong in ({"min_node_id": -1}, {"max_node_id": 2**63}, {"reverse": 1}, {"branch_id": "x"}, {"shard_id": 0}):
        with pytest.raises(InvalidPersistenceRequest):
            await call(histories.namespace_id, **place | bounds | wrong)
    with pytest.raises(NamespaceNotFound):
        await call(uuid4(), **place, **bounds)
    assert (await call(histories.namespace_id, **place, **bounds, page_token=b"")).nodes == page.nodes


@pytest.mark.parametrize("back", [False, True])
async def test_the_bounds_may_change_between_pages(histories, back):
    """Each page of Temporal's reverse reads has bounds of its own. The page after a token keeps to its bounds and repeats no node."""
    branch = histories.branch()
    nodes = chain(1, 9, txn=10)
    await histories.append(branch, *nodes)
    place = {"shard_id": branch.shard_id, "tree_id": branch.tree_id, "branch_id": branch.branch_id, "reverse": back}
    call = histories.manager.read_history_nodes
    first = await call(histories.namespace_id, **place, min_node_id=1, max_node_id=10, page_size=3)
    token = first.next_page_token
    expected = nodes[::-1] if back else nodes
    assert list(first.nodes) == expected[:3]
    for low, high in ((1, 12), (1, 9), (2, 10), (4, 6)):
        page = await call(
            histories.namespace_id, **place, min_node_id=low, max_node_id=high, page_size=9, page_token=token
        )
        assert list(page.nodes) == [node for node in expected[3:] if low <= node.node_id < high]


async def test_a_fork_with_a_given_id(histories):
    """The caller's id is the branch's id. The same fork again changes nothing, and another fork with this id is refused."""
    base = histories.branch()
    await histories.append(base, *chain(1, 4, txn=10))
    branch_id = uuid4()
    for _ in range(2):
        forked = await histories.fork(base, 3, branch_id=branch_id, info="reset", tree_info=TREE_INFO)
        assert forked.branch_id == branch_id
        assert forked.ancestors == (BranchRange(base.branch_id, 1, 3),)
    for taken, fork_node_id in ((branch_id, 4), (base.branch_id, 3)):
        with pytest.raises(ConditionFailed):
            await histories.fork(base, fork_node_id, branch_id=taken)
    (stored,) = [one for one in await histories.tree(base) if one.branch == forked]
    assert (stored.info, stored.tree_info) == ("reset", TREE_INFO)
    with pytest.raises(InvalidPersistenceRequest):
        await histories.fork(base, 3, branch_id="x")
    with pytest.raises(NotFound):
        await histories.fork(histories.branch(), 3, branch_id=uuid4())


async def test_tree_info_comes_back_as_it_was_written(histories):
    """Tree info is opaque: fields that this version does not know survive. It is sealed, and absent where there is none."""
    described, plain = histories.branch(), histories.branch()
    await histories.append(described, node(1, 10, 0), tree_info=TREE_INFO)
    await histories.append(plain, node(1, 10, 0))
    assert [one.tree_info for one in await histories.tree(described)] == [TREE_INFO]
    assert [one.tree_info for one in await histories.tree(plain)] == [None]
    async with histories.cell.database.connection(histories.namespace_id) as connection:
        row = await connection.fetchrow("SELECT data FROM history_tree WHERE branch_id = $1", described.branch_id)
    assert TREE_INFO.data not in row["data"]
    page = await histories.manager.get_all_history_tree_branches(page_size=10_000)
    (listed,) = [one for one in page.branches if one.branch_id == described.branch_id]
    assert listed.info.tree_info == TREE_INFO


async def test_tree_info_that_is_not_valid(histories):
    """Tree info has the limits of every blob."""
    with pytest.raises(InvalidPersistenceRequest):
        await histories.append(histories.branch(), node(1, 10, 0), tree_info=b"bytes")
    large = DataBlob(bytes(4 * 2**20 + 1))
    with pytest.raises(TransactionSizeLimit):
        await histories.append(histories.branch(), node(1, 10, 0), tree_info=large)
    base = histories.branch()
    await histories.append(base, node(1, 10, 0))
    with pytest.raises(TransactionSizeLimit):
        await histories.fork(base, 2, tree_info=large)


async def test_tree_info_of_events_written_with_a_run(workflow):
    """Events that are created in the transaction of a run carry tree info too."""
    run_id = uuid4()
    events = [HistoryAppend(workflow.branch(run_id), [node(1, 1, 0)], is_new_branch=True, tree_info=TREE_INFO)]
    await workflow.create(workflow.snapshot(run_id), new_workflow_new_events=events)
    owner = Histories(workflow.cell, workflow.namespace_id, workflow.shard_id)
    assert [one.tree_info for one in await owner.tree(workflow.branch(run_id))] == [TREE_INFO]


async def test_the_namespace_of_a_tree(histories):
    """A branch token without a namespace is looked up. An unknown tree, and one that two namespaces have, are typed errors."""
    branch = histories.branch()
    await histories.append(branch, node(1, 10, 0))
    find = histories.manager.namespace_of_tree
    assert await find(shard_id=branch.shard_id, tree_id=branch.tree_id) == histories.namespace_id
    for place in ({"shard_id": branch.shard_id + 1, "tree_id": branch.tree_id}, {"shard_id": 1, "tree_id": uuid4()}):
        with pytest.raises(NotFound):
            await find(**place)
    twin = Histories(histories.cell, await new_namespace(histories.cell), histories.shard_id)
    await twin.append(branch, node(1, 10, 0))
    with pytest.raises(InvalidPersistenceRequest):
        await find(shard_id=branch.shard_id, tree_id=branch.tree_id)
    with pytest.raises(InvalidPersistenceRequest):
        await find(shard_id=branch.shard_id, tree_id="x")
