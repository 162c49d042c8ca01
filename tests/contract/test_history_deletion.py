from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError
from strongroom.storage import EVERY_NAMESPACE, HistoryBranch, InvalidPersistenceRequest, NotFound
from strongroom.storage.histories import deletion
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.history import Histories, chain, node
from tests.support.lock_waits import until_waiting

pytestmark = pytest.mark.integration


async def test_trim_deletes_the_attempt_that_shadows(histories):
    """A failed attempt with a higher transaction than mutable state names is deleted, and the history is readable again."""
    branch = histories.branch()
    counts = [node(1, 10, 0), node(4, 11, 10)]
    await histories.append(branch, *counts)
    await histories.append(branch, node(4, 12, 10))
    assert await histories.read(branch) == [counts[0], node(4, 12, 10)]
    assert await histories.trim(branch, counts[-1]) == 1
    assert await histories.read(branch) == counts


async def test_trim_leaves_nothing_but_the_chain(histories):
    """All other writes up to the node are deleted, older, newer and between. Writes of later nodes stay."""
    branch = histories.branch()
    counts = [node(1, 10, 0), node(2, 20, 10), node(5, 50, 20)]
    behind = node(6, 60, 50)
    rest = [node(1, 9, 0), node(2, 15, 10), node(2, 70, 10), node(3, 16, 15), node(4, 71, 70), node(5, 40, 20)]
    await histories.append(branch, *counts, behind, *rest)
    assert await histories.trim(branch, counts[-1]) == len(rest)
    assert [row[1:] for row in await histories.rows(branch)] == [one[:2] for one in [*counts, behind]]
    assert await histories.read(branch, reverse=True) == [behind, *counts[::-1]]
    assert await histories.trim(branch, counts[-1]) == 0


@pytest.fixture(params=[True, False], ids=["opened", "control"])
def is_opened(request, monkeypatch):
    """Whether a trim opens the writes. In the control it believes their clear columns."""
    if not request.param:

        async def believe(*_arguments, **_options):
            return []

        monkeypatch.setattr(deletion, "open_nodes", believe)
    return request.param


async def test_trim_believes_no_edited_link(histories, is_opened):
    """An edited link to the node before does not make a trim delete nodes that count."""
    branch = histories.branch()
    await histories.append(branch, node(1, 10, 0), node(1, 9, 0), node(2, 11, 10), node(3, 12, 11))
    edit = "UPDATE history_node SET prev_txn_id = 9 WHERE tree_id = $1 AND node_id = 2"
    assert await histories.execute(edit, branch.tree_id) == "UPDATE 1"
    if is_opened:
        with pytest.raises(IntegrityError):
            await histories.trim(branch, node(3, 12, 11))
    else:
        assert await histories.trim(branch, node(3, 12, 11)) == 1
    expected = {(1, 9), (2, 11), (3, 12)} | ({(1, 10)} if is_opened else set())
    assert {row[1:] for row in await histories.rows(branch)} == expected


@pytest.mark.parametrize("reverse", [False, True])
async def test_ids_with_an_edited_link_are_not_returned(histories, reverse):
    """A service that trims by itself reads ids without events. They are authenticated too."""
    branch = histories.branch()
    await histories.append(branch, node(1, 10, 0), node(2, 11, 10))
    edit = "UPDATE history_node SET prev_txn_id = 9 WHERE tree_id = $1 AND node_id = 2"
    assert await histories.execute(edit, branch.tree_id) == "UPDATE 1"
    with pytest.raises(IntegrityError):
        await histories.manager.read_history_nodes(
            histories.namespace_id,
            shard_id=branch.shard_id,
            tree_id=branch.tree_id,
            branch_id=branch.branch_id,
            min_node_id=1,
            max_node_id=9,
            page_size=10,
            reverse=reverse,
            metadata_only=True,
        )


async def test_trim_reads_pages_of_a_thousand(histories):
    """A trim follows the chain across the pages of its scan."""
    branch = histories.branch()
    counts = chain(1, 1500, txn=10_000)
    await histories.append(branch, *counts, *chain(1, 1200, txn=100))
    assert await histories.trim(branch, counts[-1]) == 1200
    assert await histories.read(branch) == counts


@pytest.mark.parametrize("by_fork", [False, True], ids=["by the base", "by the fork"])
async def test_trim_through_either_branch_clears_what_both_share(histories, by_fork):
    """A trim of the base or of its fork deletes a failed attempt in the shared nodes. Then both are readable."""
    base = histories.branch()
    shared = [node(1, 10, 0), node(4, 11, 10)]
    await histories.append(base, *shared)
    await histories.append(base, node(4, 12, 10))
    await histories.append(base, node(6, 13, 11))
    forked = await histories.fork(base, 6)
    await histories.append(forked, node(6, 14, 11))
    if by_fork:
        await histories.trim(forked, node(6, 14, 11))
    else:
        await histories.trim(base, node(6, 13, 11))
    assert await histories.read(base) == [*shared, node(6, 13, 11)]
    assert await histories.read(forked) == [*shared, node(6, 14, 11)]


async def test_trim_of_a_fork_leaves_its_base_alone(histories):
    """Nodes of the base after the fork node are not the fork's, and stay."""
    base = histories.branch()
    await histories.append(base, node(1, 10, 0), node(4, 11, 10))
    forked = await histories.fork(base, 4)
    await histories.append(forked, node(4, 12, 10), node(4, 13, 10))
    assert await histories.trim(forked, node(4, 12, 10)) == 1
    assert await histories.read(forked) == [node(1, 10, 0), node(4, 12, 10)]
    assert await histories.read(base) == [node(1, 10, 0), node(4, 11, 10)]


@pytest.mark.parametrize(
    "last", [node(4, 99, 10), node(3, 11, 10), node(9, 13, 0), node(5, 12, 11)], ids=lambda one: f"{one[0]}.{one[1]}"
)
async def test_trim_from_what_does_not_chain_changes_nothing(histories, last):
    """Nothing is deleted if the node is not stored, or if its chain does not reach the first node."""
    branch = histories.branch()
    await histories.append(branch, node(1, 10, 0), node(4, 8, 7), node(5, 12, 11), node(6, 13, 10))
    before = await histories.rows(branch)
    assert await histories.trim(branch, last) == 0
    assert await histories.rows(branch) == before


async def test_one_write_of_a_node_can_be_deleted(histories):
    """Only the named write is deleted. Deleting it again is not an error, and a node of an ancestor is refused."""
    base = histories.branch()
    await histories.append(base, node(1, 10, 0), node(2, 11, 10), node(2, 12, 10))
    forked = await histories.fork(base, 2)
    manager, namespace_id = histories.manager, histories.namespace_id
    for _ in range(2):
        await manager.delete_history_nodes(namespace_id, base, node_id=2, txn_id=12)
        assert await histories.read(base) == [node(1, 10, 0), node(2, 11, 10)]
    with pytest.raises(InvalidPersistenceRequest):
        await manager.delete_history_nodes(namespace_id, forked, node_id=1, txn_id=10)
    assert len(await histories.rows(base)) == 2


async def test_a_deleted_branch_is_gone(histories):
    """Its nodes and its row are deleted. Deleting it again changes nothing, and other trees and namespaces keep theirs."""
    branch, other = histories.branch(), histories.branch()
    elsewhere = Histories(histories.cell, await new_namespace(histories.cell), histories.shard_id)
    for where, which in ((histories, branch), (histories, other), (elsewhere, branch)):
        await where.append(which, *chain(1, 4, txn=1))
    for _ in range(2):
        await histories.delete(branch)
        assert await histories.tree(branch) == []
        assert await histories.rows(branch) == []
        with pytest.raises(NotFound):
            await histories.read(branch)
    assert await histories.read(other) == chain(1, 4, txn=1)
    assert await elsewhere.read(branch) == chain(1, 4, txn=1)


async def test_the_base_is_deleted_first(histories):
    """Deleting the base keeps the nodes that its fork shares. Deleting the fork deletes them too."""
    base = histories.branch()
    shared, own = chain(1, 3, txn=10), node(4, 21, 12)
    await histories.append(base, *shared)
    await histories.append(base, node(4, 20, 12))
    forked = await histories.fork(base, 4)
    await histories.append(forked, own)
    await histories.delete(base)
    assert await histories.read(base) == shared
    assert await histories.read(forked) == [*shared, own]
    assert [one.branch for one in await histories.tree(base)] == [forked]
    await histories.delete(forked)
    assert await histories.rows(base) == []
    for branch in (base, forked):
        with pytest.raises(NotFound):
            await histories.read(branch)


async def test_the_fork_is_deleted_first(histories):
    """Deleting the fork deletes its own nodes. The base stays complete until it is deleted itself."""
    base = histories.branch()
    nodes = [*chain(1, 3, txn=10), node(4, 20, 12)]
    await histories.append(base, *nodes)
    forked = await histories.fork(base, 4)
    await histories.append(forked, node(4, 21, 12))
    await histories.delete(forked)
    assert await histories.read(base) == nodes
    with pytest.raises(NotFound):
        await histories.read(forked, min_node_id=4)
    await histories.delete(base)
    assert await histories.rows(base) == []


async def test_of_a_range_stays_what_its_longest_sharer_needs(histories):
    """With two forks and a fork of a fork, each deletion deletes the nodes that no other branch uses, and no others."""
    base = histories.branch()
    await histories.append(base, *chain(1, 9, txn=1))
    short = await histories.fork(base, 3)
    await histories.append(short, *chain(3, 4, txn=20, after=2))
    long = await histories.fork(base, 7)
    await histories.append(long, *chain(7, 9, txn=30, after=6))
    of_long = await histories.fork(long, 9)
    await histories.append(of_long, node(9, 40, 31))
    expected = {one: await histories.read(one) for one in (short, long, of_long)}

    def stored(branch, *nodes):
        return [(branch.branch_id, one) for one in nodes]

    async def left():
        for branch, nodes in expected.items():
            assert await histories.read(branch) == nodes
            assert await histories.read(branch, reverse=True) == nodes[::-1]
        return sorted((branch_id, node_id) for branch_id, node_id, _ in await histories.rows(base))

    await histories.delete(base)
    all_of = stored(base, *range(1, 7)) + stored(long, 7, 8, 9) + stored(of_long, 9) + stored(short, 3, 4)
    assert await left() == sorted(all_of)
    expected.pop(long)
    await histories.delete(long)
    assert await left() == sorted(
        stored(base, *range(1, 7)) + stored(long, 7, 8) + stored(of_long, 9) + stored(short, 3, 4)
    )
    expected.pop(of_long)
    await histories.delete(of_long)
    assert await left() == sorted(stored(base, 1, 2) + stored(short, 3, 4))
    expected.pop(short)
    await histories.delete(short)
    assert await left() == []


async def test_a_caller_who_names_wrong_ancestors_deletes_nothing_of_others(histories):
    """The sealed row says what a branch shares, not the caller."""
    base = histories.branch()
    await histories.append(base, *chain(1, 4, txn=1))
    forked = await histories.fork(base, 3)
    await histories.append(forked, node(3, 9, 2))
    pretended = HistoryBranch(forked.shard_id, forked.tree_id, forked.branch_id)
    await histories.delete(pretended)
    assert await histories.read(base) == chain(1, 4, txn=1)
    assert {row[0] for row in await histories.rows(base)} == {base.branch_id}


async def test_a_tree_with_a_row_that_does_not_open_keeps_all_its_nodes(histories):
    """It is unknown what a branch with an edited row shares, so nothing is deleted."""
    base = histories.branch()
    await histories.append(base, *chain(1, 4, txn=1))
    forked = await histories.fork(base, 3)
    await histories.execute(
        "UPDATE history_tree SET data = set_byte(data, 40, 255 - get_byte(data, 40)) WHERE branch_id = $1",
        forked.branch_id,
    )
    with pytest.raises(IntegrityError):
        await histories.delete(base)
    assert len(await histories.rows(base)) == 4


async def test_a_fork_of_a_deleted_branch_is_refused(histories):
    """A fork of a deleted branch is refused, because its nodes may be gone. So is a fork of a branch that was never made."""
    base = histories.branch()
    with pytest.raises(NotFound):
        await histories.fork(base, 2)
    await histories.append(base, *chain(1, 4, txn=1))
    await histories.fork(base, 2)
    await histories.delete(base)
    with pytest.raises(NotFound):
        await histories.fork(base, 2)


async def test_a_fork_of_an_ancestors_nodes_outlives_the_ancestor(histories):
    """A fork inside the shared nodes forks the ancestor, also if it was deleted, because the nodes are there."""
    base = histories.branch()
    await histories.append(base, *chain(1, 6, txn=1))
    middle = await histories.fork(base, 5)
    await histories.delete(base)
    forked = await histories.fork(middle, 3)
    assert [part.branch_id for part in forked.ancestors] == [base.branch_id]
    await histories.delete(middle)
    assert await histories.read(forked) == chain(1, 2, txn=1)
    assert [row[1] for row in await histories.rows(base)] == [1, 2]


async def test_a_fork_in_flight_is_waited_for_and_seen(histories, dba):
    """A deletion waits for an uncommitted fork, reads the tree again, and keeps what the fork shares."""
    base = histories.branch()
    await histories.append(base, *chain(1, 5, txn=1))
    before = await dba.copies("history_tree")
    forked = await histories.fork(base, 3)  # its rows are taken out, and put back by the transaction in flight
    async with histories.cell.database.connection(EVERY_NAMESPACE) as connection:
        query = "DELETE FROM history_tree WHERE namespace_id = $1 RETURNING *"
        rows = await connection.fetch(query, histories.namespace_id)
    await dba.put_back("history_tree", before)
    async with histories.cell.database.transaction(EVERY_NAMESPACE) as flight:
        lock = "SELECT 1 FROM history_tree WHERE shard_id = $1 AND branch_id = $2 FOR KEY SHARE"
        await flight.fetch(lock, histories.shard_id, base.branch_id)
        for row in rows:
            await flight.execute(
                "INSERT INTO history_tree SELECT ($1::history_tree).* "
                "ON CONFLICT (shard_id, namespace_id, tree_id, branch_id) DO UPDATE SET data = excluded.data",
                tuple(row.values()),
            )
        deleting = asyncio.create_task(histories.delete(base))
        await until_waiting(histories.cell)
        assert not deleting.done()
    await deleting
    assert [one.branch for one in await histories.tree(base)] == [forked]
    assert await histories.read(forked) == chain(1, 2, txn=1)
    assert [row[1] for row in await histories.rows(base)] == [1, 2]


async def test_a_delete_in_flight_is_waited_for_by_a_fork(histories):
    """A fork waits for an uncommitted deletion, and finds no base."""
    base = histories.branch()
    await histories.append(base, *chain(1, 5, txn=1))
    async with histories.cell.database.transaction(EVERY_NAMESPACE) as flight:
        await flight.execute("DELETE FROM history_tree WHERE branch_id = $1", base.branch_id)
        forking = asyncio.create_task(histories.fork(base, 3))
        await until_waiting(histories.cell)
        assert not forking.done()
    with pytest.raises(NotFound):
        await forking
    assert await histories.tree(base) == []


async def test_forks_that_race_with_deletes_are_whole_or_refused(histories):
    """In any order, a fork that was made is readable to its end, and no node is left once all branches are deleted."""

    async def race(turn):
        base = histories.branch()
        await histories.append(base, *chain(1, 6, txn=1))

        async def fork(at_node, delay):
            await asyncio.sleep(delay)
            with suppress(NotFound):
                return await histories.fork(base, at_node)

        calls = [fork(3, 0), histories.delete(base), fork(5, 0.001 * (turn % 7))]
        outcomes = await asyncio.gather(*calls[turn % 3 :], *calls[: turn % 3])
        forks = [one for one in outcomes if one is not None]
        for forked in forks:
            assert await histories.read(forked) == chain(1, forked.begin_node - 1, txn=1)
        await asyncio.gather(*(histories.delete(one) for one in [*forks, base]))
        assert await histories.rows(base) == []
        assert await histories.tree(base) == []

    for turn in range(0, 60, 4):
        await asyncio.gather(*(race(turn + place) for place in range(4)))


async def test_branches_are_forked_and_deleted_by_many_at_once(histories):
    """Of ten forks, forks of them, and deletions between, every branch is complete, and nothing is left at the end."""
    master = histories.branch()
    await histories.append(master, *chain(1, 11, txn=1))

    async def first_level(place):
        forked = await histories.fork(master, place)
        own = chain(place, 21, txn=100 * place, after=place - 1)
        await histories.append(forked, *own)
        assert await histories.read(forked) == chain(1, place - 1, txn=1) + own
        if place == 2:
            await histories.delete(forked)
        return forked

    level_1 = await asyncio.gather(*(first_level(place) for place in range(2, 12)))
    assert len(await histories.tree(master)) == 10

    async def second_level(place, base):
        at_node = 2 + 3 * place % 19
        shared = [one for one in await histories.read(base) if one.node_id < at_node]
        forked = await histories.fork(base, at_node)
        own = chain(at_node, 31, txn=10_000 * place, after=shared[-1].txn_id)
        await histories.append(forked, *own)
        again = own[-1]._replace(txn_id=own[-1].txn_id + 1)
        await histories.append(forked, again)
        assert await histories.read(forked, reverse=True) == [*shared, *own[:-1], again][::-1]
        fresh = replace(histories.branch(), tree_id=master.tree_id)
        await histories.append(fresh, node(1, 1, 0))
        return forked, fresh

    level_2 = await asyncio.gather(*(second_level(place, base) for place, base in enumerate(level_1[1:], start=1)))
    assert len(await histories.tree(master)) == 10 + 2 * 9
    everything = [master, *level_1, *(one for pair in level_2 for one in pair)]
    await asyncio.gather(*(histories.delete(one) for one in everything))
    assert await histories.tree(master) == []
    assert await histories.rows(master) == []


@pytest.mark.parametrize(
    "wrong", [{"node_id": 0}, {"node_id": 2**63 - 1}, {"txn_id": -1}, {"node_id": "1"}, {"txn_id": None}], ids=str
)
async def test_numbers_that_cannot_be_are_refused(histories, wrong):
    """Trims and deletions of a node refuse it."""
    arguments = {"node_id": 1, "txn_id": 1} | wrong
    for call in (histories.manager.trim_history_branch, histories.manager.delete_history_nodes):
        with pytest.raises(InvalidPersistenceRequest):
            await call(histories.namespace_id, histories.branch(), **arguments)


@pytest.mark.parametrize("at_node", [1, 0, -1, "2", 2**63 - 1])
async def test_a_fork_at_no_node_is_refused(histories, at_node):
    """The fork node is 2 or more."""
    branch = histories.branch()
    await histories.append(branch, node(1, 1, 0))
    with pytest.raises(InvalidPersistenceRequest):
        await histories.fork(branch, at_node)


async def test_a_tree_that_is_not_there_is_empty(histories):
    """Its error differs from the error of an invalid request."""
    assert await histories.tree(histories.branch()) == []
    manager = histories.manager
    with pytest.raises(InvalidPersistenceRequest):
        await manager.get_history_tree(histories.namespace_id, shard_id=0, tree_id=uuid4())
    with pytest.raises(InvalidPersistenceRequest):
        await manager.get_history_tree(histories.namespace_id, shard_id=1, tree_id="tree")
