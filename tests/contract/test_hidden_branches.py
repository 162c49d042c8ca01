"""The list of a tree's branches is complete. A row that was hidden, or that came back, is noticed before anything is deleted."""

from __future__ import annotations

import asyncio
import random

import pytest

from strongroom.kms import rotate_data_key
from strongroom.storage import EVERY_NAMESPACE, DataLoss
from strongroom.storage.histories import tree
from tests.support.fixtures.history import chain

pytestmark = pytest.mark.integration


@pytest.fixture
async def branches(histories):
    """A branch of nine nodes, a fork of it, a fork of the fork, and a second fork of the first branch."""
    base = histories.branch()
    await histories.append(base, *chain(1, 9, txn=1))
    first = await histories.fork(base, 5)
    await histories.append(first, *chain(5, 9, txn=20, after=4))
    return [base, first, await histories.fork(first, 7), await histories.fork(base, 3)]


def where(branch):
    """Return the condition of a branch's row."""
    return f"branch_id = '{branch.branch_id}'"


@pytest.mark.parametrize("hidden", range(4))
@pytest.mark.parametrize("deleted", range(4))
async def test_a_hidden_branch_stops_a_deletion(histories, branches, dba, hidden, deleted):
    """With any one row hidden, the tree is not listed, not forked, and no branch of it is deleted."""
    await dba.delete("history_tree", where(branches[hidden]))
    rows = await histories.rows(branches[0])
    calls = [histories.tree(branches[0]), histories.fork(branches[deleted], 3), histories.delete(branches[deleted])]
    for call in calls:
        with pytest.raises(DataLoss, match="history tree"):
            await call
    assert await histories.rows(branches[0]) == rows


async def test_control_without_the_list_shared_nodes_are_deleted(histories, branches, dba, monkeypatch):
    """Without the check, the deletion of a branch takes the nodes of a hidden fork with it."""
    monkeypatch.setattr(tree, "check_members", lambda _: None)
    await dba.delete("history_tree", where(branches[3]))
    for branch in branches[:3]:
        await histories.delete(branch)
    assert await histories.rows(branches[0]) == []


async def test_a_deleted_branch_that_comes_back_is_refused(histories, branches, dba):
    """The row of a branch that the service deleted is put back."""
    kept = await dba.copies("history_tree", where(branches[1]))
    await histories.delete(branches[1])
    assert len(await histories.tree(branches[0])) == 3
    await dba.put_back("history_tree", kept)
    with pytest.raises(DataLoss, match="came back"):
        await histories.tree(branches[0])


async def test_an_older_list_is_refused(histories, branches, dba):
    """The row with the list is put back as it was before the last fork. The newest fork has a version without a list."""
    kept = await dba.copies("history_tree", where(branches[0]))
    await histories.fork(branches[0], 4)
    await dba.put_back("history_tree", kept)
    with pytest.raises(DataLoss, match="list of its branches is missing"):
        await histories.tree(branches[0])


@pytest.mark.parametrize("seed", range(4))
async def test_forks_and_deletions_in_any_order(histories, cell, seed):
    """After each fork, deletion and repeated append, the tree lists the branches that are left, and their nodes are read."""
    choose = random.Random(seed)  # noqa: S311 - a test
    base = histories.branch()
    await histories.append(base, *chain(1, 9, txn=1))
    left = [base]
    for _ in range(12):
        branch, step = choose.choice(left), choose.random()
        if step < 0.5 or len(left) == 1:
            left.append(await histories.fork(branch, choose.randrange(2, 9)))
        elif step < 0.8:
            await histories.delete(branch)
            await histories.delete(branch)
            left.remove(branch)
        elif base in left:
            await histories.append(base, *chain(1, 9, txn=1))
        assert {one.branch.branch_id for one in await histories.tree(base)} == {one.branch_id for one in left}
        for one in left:
            assert len(await histories.read(one)) == (one.ancestors[0].end_node - 1 if one.ancestors else 9)
    await rotate_data_key(cell.keyring, histories.namespace_id)
    await cell.reseal(wait=0.1).run(histories.namespace_id, rate=0)
    for branch in choose.sample(left, len(left)):
        await histories.delete(branch)
    assert await histories.rows(base) == []
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        query = "SELECT count(*) FROM history_tree WHERE namespace_id = $1"
        assert await connection.fetchval(query, histories.namespace_id) == 0


async def test_many_forks_and_deletions_at_once(histories):
    """Callers that change one tree at the same time lose no branch of the list."""
    base = histories.branch()
    await histories.append(base, *chain(1, 9, txn=1))
    forks = await asyncio.gather(*(histories.fork(base, 5) for _ in range(6)))
    await asyncio.gather(*map(histories.delete, forks[:3]), *(histories.fork(base, 5) for _ in range(3)))
    assert len(await histories.tree(base)) == 7
    assert len(await histories.read(forks[5])) == 4
