from __future__ import annotations

import asyncio
import itertools
import os
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError, KeyDestroyed, destroy_data_keys
from strongroom.storage import EVERY_NAMESPACE, DataBlob, HistoryBranch, HistoryNode, InvalidPersistenceRequest
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.history import Histories, chain, node

pytestmark = pytest.mark.integration


async def listed(cell, page_size):
    """Return all branches of a cell, page by page."""
    branches, token = [], None
    while True:
        page = await cell.history.get_all_history_tree_branches(page_size=page_size, page_token=token)
        branches += page.branches
        token = page.next_page_token
        if token is None:
            return branches
        assert len(page.branches) == page_size


async def test_all_branches_are_listed_once_in_pages_of_every_size(own_cell):
    """All branches of all shards, namespaces and trees are listed in the order of their ids, with their content."""
    made = {}
    for _ in range(3):
        where = Histories(own_cell, await new_namespace(own_cell), 1)
        for shard_id in (9, 2, 16_000):
            base = HistoryBranch(shard_id, uuid4(), uuid4())
            await where.append(base, *chain(1, 3, txn=1), info=f"base of {shard_id}")
            made[where.namespace_id, base] = f"base of {shard_id}"
            made[where.namespace_id, await where.fork(base, 3, info="a fork")] = "a fork"
    assert len(made) == 18
    for page_size in (1, 2, 5, 17, 18, 19, 10_000):
        branches = await listed(own_cell, page_size)
        assert {(one.namespace_id, one.info.branch): one.info.info for one in branches} == made
        assert len(branches) == 18
        places = [(one.shard_id, one.namespace_id, one.tree_id, one.branch_id) for one in branches]
        assert places == sorted(places)
        assert places == [
            (one.info.branch.shard_id, one.namespace_id, one.info.branch.tree_id, one.info.branch.branch_id)
            for one in branches
        ]


async def test_a_cell_without_histories_has_no_branches(own_cell):
    """A cell without branches gives an empty page and no error."""
    assert await listed(own_cell, 10) == []


async def test_what_does_not_open_hides_no_other_branch(own_cell):
    """Branches without keys and edited rows are listed with their ids and the reason. The others are listed as they are."""
    places = [Histories(own_cell, await new_namespace(own_cell), shard_id) for shard_id in (1, 2, 3)]
    branches = [[where.branch() for _ in range(3)] for where in places]
    for where, own in zip(places, branches, strict=True):
        for branch in own:
            await where.append(branch, node(1, 1, 0))
    gone, edited = places[0], branches[2][1]
    await destroy_data_keys(own_cell.keyring, gone.namespace_id)
    own_cell.keyring.evict(gone.namespace_id)
    await places[2].execute(
        "UPDATE history_tree SET data = set_byte(data, 40, 255 - get_byte(data, 40)) WHERE branch_id = $1",
        edited.branch_id,
    )
    for page_size in (1, 4, 100):
        by_id = {one.branch_id: one for one in await listed(own_cell, page_size)}
        assert len(by_id) == 9
        for where, own in zip(places, branches, strict=True):
            for branch in own:
                one = by_id[branch.branch_id]
                assert (one.shard_id, one.namespace_id, one.tree_id) == (
                    branch.shard_id,
                    where.namespace_id,
                    branch.tree_id,
                )
                if where is gone:
                    assert (one.info, type(one.unreadable)) == (None, KeyDestroyed)
                elif branch is edited:
                    assert (one.info, type(one.unreadable)) == (None, IntegrityError)
                else:
                    assert (one.info.branch, one.unreadable) == (branch, None)


async def test_nodes_of_a_namespace_without_keys_are_deleted_only_by_their_ids(own_cell):
    """A trim opens the nodes, because links can be edited. Branches can't be deleted, because it is unknown what they share."""
    where = Histories(own_cell, await new_namespace(own_cell), 1)
    branch = where.branch()
    await where.append(branch, node(1, 10, 0), node(2, 11, 10), node(2, 12, 10))
    await destroy_data_keys(own_cell.keyring, where.namespace_id)
    own_cell.keyring.evict(where.namespace_id)
    with pytest.raises(KeyDestroyed):
        await where.read(branch)
    with pytest.raises(KeyDestroyed):
        await where.delete(branch)
    with pytest.raises(KeyDestroyed):
        await where.read(branch, metadata_only=True)
    with pytest.raises(KeyDestroyed):
        await where.trim(branch, node(2, 11, 10))
    await where.manager.delete_history_nodes(where.namespace_id, branch, node_id=2, txn_id=11)
    assert [row[1:] for row in await where.rows(branch)] == [(1, 10), (2, 12)]


@pytest.mark.parametrize("wrong", [{"page_size": None}, {"page_size": True}, {"page_size": "5"}], ids=str)
async def test_a_page_size_of_the_list_that_cannot_be_is_refused(cell, wrong):
    """A list with an invalid page size is refused."""
    with pytest.raises(InvalidPersistenceRequest):
        await cell.history.get_all_history_tree_branches(**wrong)


async def test_a_foreign_token_of_the_list_is_refused(histories):
    """A token of a branch's pages is refused, and so is a shortened token."""
    branch = histories.branch()
    await histories.append(branch, *chain(1, 3, txn=1))
    await histories.append(histories.branch(), node(1, 1, 0))
    list_branches = histories.manager.get_all_history_tree_branches
    own = (await list_branches(page_size=1)).next_page_token
    assert (await list_branches(page_size=1, page_token=own)).branches
    foreign = (await histories.pages(branch, page_size=1))[0].next_page_token
    for token in (foreign, own[:-4], own + b"AAAA", b"x"):
        with pytest.raises(InvalidPersistenceRequest):
            await list_branches(page_size=1, page_token=token)


SWAP = (
    "UPDATE history_node a SET data = b.data FROM history_node b WHERE a.tree_id = $1 AND b.tree_id = $1 "
    "AND a.node_id + b.node_id = 5 AND a.node_id IN (2, 3)"
)


async def test_two_rows_whose_values_were_swapped_do_not_open(histories):
    """Swapped values don't open in either direction. Swapped back, they open."""
    branch = histories.branch()
    nodes = chain(1, 4, txn=1)
    await histories.append(branch, *nodes)
    assert await histories.execute(SWAP, branch.tree_id) == "UPDATE 2"
    for reverse in (False, True):
        with pytest.raises(IntegrityError):
            await histories.read(branch, reverse=reverse)
    await histories.execute(SWAP, branch.tree_id)
    assert await histories.read(branch) == nodes


async def test_a_row_that_was_given_another_place_does_not_open(histories):
    """A value in another node's row does not open, even if the chain is complete."""
    branch = histories.branch()
    await histories.append(branch, *chain(1, 3, txn=1))
    await histories.append(branch, node(2, 9, 1))
    moved = "UPDATE history_node SET txn_id = 2 WHERE tree_id = $1 AND node_id = 2 AND txn_id = 9"
    await histories.execute("DELETE FROM history_node WHERE tree_id = $1 AND txn_id = 2", branch.tree_id)
    assert await histories.execute(moved, branch.tree_id) == "UPDATE 1"
    for reverse, metadata_only in itertools.product((False, True), repeat=2):
        with pytest.raises(IntegrityError):
            await histories.read(branch, reverse=reverse, metadata_only=metadata_only)


async def test_nothing_that_a_tenant_wrote_stands_in_clear(histories):
    """Events, notes and the ranges of forks are in no column. The same search finds a value that is in clear."""
    events, info = os.urandom(20), f"payroll:{uuid4()}"
    branch = histories.branch()
    await histories.append(branch, HistoryNode(1, 77, 0, DataBlob(events * 100)), info=info)
    await histories.fork(branch, 2, info=info)
    rows = []
    async with histories.cell.database.connection(EVERY_NAMESPACE) as connection:
        for table in ("history_node", "history_tree"):
            rows += await connection.fetch(f"SELECT * FROM {table} WHERE tree_id = $1", branch.tree_id)  # noqa: S608
    assert len(rows) == 3
    stored = b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row.values()
    )
    base = str(branch.branch_id).encode()
    assert base in stored
    for secret in (events, info.encode(), b"payroll"):
        assert secret not in stored
    assert not any(base in row["data"] or branch.branch_id.bytes in row["data"] for row in rows)
    tree = await histories.tree(branch)
    assert {one.info for one in tree} == {info}


async def test_a_namespace_reads_nothing_of_another(histories):
    """The same ids in two namespaces are two histories, also if one statement writes both."""
    other = Histories(histories.cell, await new_namespace(histories.cell), histories.shard_id)
    branches = [histories.branch() for _ in range(8)]
    await asyncio.gather(
        *(histories.append(branch, node(1, 5, 0)) for branch in branches),
        *(other.append(branch, node(1, 6, 0), node(2, 7, 6)) for branch in branches),
    )
    for branch in branches:
        assert await histories.read(branch) == [node(1, 5, 0)]
        assert await other.read(branch) == [node(1, 6, 0), node(2, 7, 6)]
