from __future__ import annotations

import asyncio
import base64
import os
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.importing.importer import history_nodes, import_executions, imported_branch
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import IntegrityError, KekRef, KeyNotFound, StrongroomError, UnsupportedFormat
from strongroom.storage import (
    EVERY_NAMESPACE,
    BranchRange,
    DataBlob,
    DataLoss,
    Encoding,
    HistoryBranch,
    HistoryNode,
    InvalidPersistenceRequest,
    NotFound,
    TransactionSizeLimit,
)
from strongroom.storage.histories.branch import LAST_NODE
from strongroom.storage.histories.pages import BranchRead
from strongroom.storage.page_tokens import page_token

pytestmark = pytest.mark.integration

LIMIT = 4 * 2**20


@pytest.fixture
def branch():
    return HistoryBranch(3, uuid4(), uuid4())


@pytest.fixture
async def other(strongroom):
    """Another namespace of the same cell."""
    kek = KekRef.parse("local:second")
    await strongroom.create_kek(kek)
    return await strongroom.namespaces.create("second", kek=kek)


def node(node_id, txn_id, prev_txn_id, *, encoding=Encoding.PROTO3):
    return HistoryNode(node_id, txn_id, prev_txn_id, DataBlob(b"events %d.%d" % (node_id, txn_id), encoding))


def chain(first, last, *, txn, after=0):
    """Return nodes from first to last, with transactions that count from `txn` and follow the one named `after`."""
    nodes = []
    for node_id in range(first, last + 1):
        nodes.append(node(node_id, txn, after))
        txn, after = txn + 1, txn
    return nodes


async def read_all(strongroom, namespace, branch, *, page_size=1000, **bounds):
    """Read all pages, check that each but the last is full, and return the nodes."""
    nodes, token = [], None
    while True:
        page = await strongroom.history.read_history_branch(
            namespace.namespace_id, branch, page_size=page_size, page_token=token, **bounds
        )
        nodes += page.nodes
        token = page.next_page_token
        if token is None:
            return nodes
        assert len(page.nodes) == page_size


async def run(strongroom, statement, *arguments):
    """Run a statement as an attacker with the database and without keys would; return its command tag."""
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        return await connection.execute(statement, *arguments)


async def count_nodes(strongroom):
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        return (await connection.fetchrow("SELECT count(*) AS nodes FROM history_node"))["nodes"]


async def append(strongroom, namespace, branch, nodes, **options):
    await strongroom.history.append_history_nodes(namespace.namespace_id, branch, nodes, **options)


async def test_pages_of_every_size_are_the_same_history(strongroom, namespace, branch):
    """Pages of every size return the same nodes."""
    current = [node(1, 10, 0), node(2, 20, 10), node(3, 30, 20), node(5, 50, 30), node(6, 60, 50), node(9, 61, 60)]
    shadowed = [node(2, 15, 10), node(3, 29, 20), node(3, 25, 20), node(4, 28, 25), node(6, 55, 50), node(6, 51, 50)]
    await append(strongroom, namespace, branch, [*shadowed, *current])
    for page_size in range(1, len(current) + len(shadowed) + 2):
        assert await read_all(strongroom, namespace, branch, page_size=page_size) == current


async def test_a_part_of_a_history_can_be_read_in_pages_of_every_size(strongroom, namespace, branch):
    """The lower bound is inclusive and the upper one exclusive, with every page size."""
    nodes = chain(1, 12, txn=1)
    await append(strongroom, namespace, branch, nodes)
    for low, high in [(1, 2), (1, 12), (4, 9), (12, 99), (5, 6)]:
        wanted = [each for each in nodes if low <= each.node_id < high]
        for page_size in (1, 2, 3, 5, 100):
            bounds = {"min_node_id": low, "max_node_id": high}
            assert await read_all(strongroom, namespace, branch, page_size=page_size, **bounds) == wanted


async def test_a_node_comes_back_as_it_went_in(strongroom, namespace, branch):
    """Every encoding, an empty batch, and bytes that compress or don't come back unchanged."""
    contents = [b"", b"\x00", b"a" * 100_000, os.urandom(100_000), b"\x07\x01\x02\x00 looks sealed"]
    nodes = [
        HistoryNode(number, number, number - 1, DataBlob(content, encoding))
        for number, (content, encoding) in enumerate(
            ((content, encoding) for content in contents for encoding in Encoding), start=1
        )
    ]
    await append(strongroom, namespace, branch, nodes)
    assert await read_all(strongroom, namespace, branch) == nodes


async def test_a_higher_transaction_shadows_a_lower_one(strongroom, namespace, branch):
    """Of two writes of a node the one with the higher transaction counts, in any order of arrival."""
    await append(strongroom, namespace, branch, chain(1, 3, txn=1))
    await append(strongroom, namespace, branch, [node(2, 10, 1)])
    assert await read_all(strongroom, namespace, branch) == [node(1, 1, 0), node(2, 10, 1)]
    await append(strongroom, namespace, branch, [node(2, 5, 1)])
    await append(strongroom, namespace, branch, [node(3, 11, 10)])
    assert await read_all(strongroom, namespace, branch) == [node(1, 1, 0), node(2, 10, 1), node(3, 11, 10)]


async def test_the_same_append_twice_changes_nothing(strongroom, namespace, branch):
    """A caller that does not know whether its append arrived can repeat it."""
    nodes = chain(1, 5, txn=1)
    for _ in range(2):
        await append(strongroom, namespace, branch, nodes, is_new_branch=True, info="made twice")
        assert await read_all(strongroom, namespace, branch) == nodes
        assert await count_nodes(strongroom) == len(nodes)
    tree = await strongroom.history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)
    assert [(info.branch, info.info) for info in tree] == [(branch, "made twice")]


async def test_forks_of_forks_read_through_their_ancestors(strongroom, namespace, branch):
    """A fork shares the nodes before its fork node, at every depth, and none that its ancestors write later."""
    history = strongroom.history
    main = chain(1, 10, txn=1)
    await append(strongroom, namespace, branch, main, is_new_branch=True, info="main")
    second = await history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=5, info="second")
    of_second = chain(5, 8, txn=20, after=4)
    await append(strongroom, namespace, second, of_second)
    third = await history.fork_history_branch(namespace.namespace_id, second, fork_node_id=7, info="third")
    of_third = chain(7, 9, txn=30, after=21)
    await append(strongroom, namespace, third, of_third)
    fourth = await history.fork_history_branch(namespace.namespace_id, third, fork_node_id=3, info="fourth")
    of_fourth = chain(3, 4, txn=40, after=2)
    await append(strongroom, namespace, fourth, of_fourth)
    later = [node(11, 50, 10)]
    await append(strongroom, namespace, branch, later)

    expected = {
        branch: main + later,
        second: main[:4] + of_second,
        third: main[:4] + of_second[:2] + of_third,
        fourth: main[:2] + of_fourth,
    }
    for forked, nodes in expected.items():
        for page_size in (1, 2, 3, 4, 7, 100):
            assert await read_all(strongroom, namespace, forked, page_size=page_size) == nodes
    assert third.ancestors == (BranchRange(branch.branch_id, 1, 5), BranchRange(second.branch_id, 5, 7))
    tree = await history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)
    assert {info.branch: info.info for info in tree} == {
        branch: "main",
        second: "second",
        third: "third",
        fourth: "fourth",
    }


async def test_a_fork_without_nodes_of_its_own_is_readable(strongroom, namespace, branch):
    """A fork copies nothing. Before an append to it, it is its ancestors' history."""
    nodes = chain(1, 4, txn=1)
    await append(strongroom, namespace, branch, nodes, is_new_branch=True)
    forked = await strongroom.history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=4)
    assert await read_all(strongroom, namespace, forked) == nodes[:3]
    assert await count_nodes(strongroom) == len(nodes)


@pytest.mark.parametrize("at_node", [1, 0, -1])
async def test_a_fork_before_the_second_node_is_refused(strongroom, namespace, branch, at_node):
    """No node is before node 1, so a fork there is refused."""
    with pytest.raises(InvalidPersistenceRequest):
        await strongroom.history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=at_node)


async def test_an_append_into_an_ancestors_range_is_refused(strongroom, namespace, branch):
    """A branch can't write to an ancestor's range. No node of such a batch is stored."""
    await append(strongroom, namespace, branch, chain(1, 5, txn=1), is_new_branch=True)
    forked = await strongroom.history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=4)
    with pytest.raises(InvalidPersistenceRequest, match="belongs to an ancestor"):
        await append(strongroom, namespace, forked, [node(4, 20, 3), node(3, 19, 2)])
    with pytest.raises(InvalidPersistenceRequest):
        await append(strongroom, namespace, branch, [node(0, 20, 0)])
    assert await count_nodes(strongroom) == 5


async def test_an_append_of_nothing_or_of_one_node_twice_is_refused(strongroom, namespace, branch):
    """A malformed append is refused, and stores nothing."""
    for nodes in ([], [node(1, 1, 0), node(1, 1, 0)]):
        with pytest.raises(InvalidPersistenceRequest):
            await append(strongroom, namespace, branch, nodes)
    assert await count_nodes(strongroom) == 0


@pytest.mark.parametrize("content", [bytes(LIMIT), os.urandom(LIMIT)], ids=["zeros", "random"])
async def test_the_size_limit_is_exact(strongroom, namespace, branch, content):
    """A node of 4 MiB is stored and read. One byte more is refused, with its whole batch."""
    too_large = HistoryNode(2, 2, 1, DataBlob(content + b"\x00"))
    with pytest.raises(TransactionSizeLimit):
        await append(strongroom, namespace, branch, [node(1, 1, 0), too_large])
    assert await count_nodes(strongroom) == 0
    largest = HistoryNode(1, 1, 0, DataBlob(content))
    await append(strongroom, namespace, branch, [largest])
    assert await read_all(strongroom, namespace, branch) == [largest]


async def test_a_first_page_without_nodes_is_not_found(strongroom, namespace, other, branch):
    """A branch that does not exist, or has no node between the bounds, is `NotFound`."""
    await append(strongroom, namespace, branch, chain(1, 3, txn=1))
    history = strongroom.history
    with pytest.raises(NotFound):
        await history.read_history_branch(namespace.namespace_id, HistoryBranch(3, branch.tree_id, uuid4()))
    with pytest.raises(NotFound):
        await history.read_history_branch(namespace.namespace_id, branch, min_node_id=4)
    with pytest.raises(NotFound):
        await history.read_history_branch(namespace.namespace_id, branch, min_node_id=2, max_node_id=2)
    with pytest.raises(NotFound):
        await history.read_history_branch(other.namespace_id, branch)
    assert await history.get_history_tree(other.namespace_id, shard_id=3, tree_id=branch.tree_id) == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
@pytest.mark.parametrize("deleted", [1, 2, 3, 4])
async def test_a_deleted_node_is_missed(strongroom, namespace, branch, deleted, page_size):
    """A node that was deleted from the start or the middle is `DataLoss`."""
    await append(strongroom, namespace, branch, chain(1, 5, txn=1))
    assert await run(strongroom, "DELETE FROM history_node WHERE node_id = $1", deleted) == "DELETE 1"
    with pytest.raises(DataLoss):
        await read_all(strongroom, namespace, branch, page_size=page_size)


@pytest.mark.parametrize("deleted", [(4,), (1,), (3, 4), (1, 2, 3, 4)], ids=str)
async def test_a_node_deleted_from_an_ancestor_is_missed(strongroom, namespace, branch, deleted):
    """A read of a fork refuses nodes that were deleted from its ancestors, also if all shared nodes are gone."""
    await append(strongroom, namespace, branch, chain(1, 6, txn=1), is_new_branch=True)
    forked = await strongroom.history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=5)
    await append(strongroom, namespace, forked, chain(5, 7, txn=20, after=4))
    await run(
        strongroom,
        "DELETE FROM history_node WHERE branch_id = $1 AND node_id = ANY($2)",
        branch.branch_id,
        list(deleted),
    )
    with pytest.raises(DataLoss):
        await read_all(strongroom, namespace, forked)


async def test_the_write_that_counts_is_missed_when_a_shadowed_one_is_left(strongroom, namespace, branch):
    """Deleting the newest write of a node does not restore an older write."""
    await append(strongroom, namespace, branch, [*chain(1, 3, txn=10), node(2, 5, 4), node(2, 10, 10)])
    await run(strongroom, "DELETE FROM history_node WHERE node_id = 2 AND txn_id = 11")
    with pytest.raises((DataLoss, IntegrityError)):
        await read_all(strongroom, namespace, branch)


EDITS = {
    "node_id": "node_id = 3",
    "node_id to another's": "node_id = 40",
    "txn_id up": "txn_id = txn_id + 1",
    "txn_id down": "txn_id = txn_id - 1",
    "prev_txn_id": "prev_txn_id = prev_txn_id - 1",
    "branch_id": "branch_id = gen_random_uuid()",
    "tree_id": "tree_id = gen_random_uuid()",
    "shard_id": "shard_id = shard_id + 1",
    "namespace_id": "namespace_id = gen_random_uuid()",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
async def test_an_edited_column_of_a_node_is_never_passed_over(strongroom, namespace, branch, edit):
    """If any column of a node is changed, the read is refused. It never leaves out or reorders nodes."""
    await append(strongroom, namespace, branch, chain(1, 2, txn=10) + chain(4, 6, txn=20, after=11))
    assert await run(strongroom, f"UPDATE history_node SET {edit} WHERE node_id = 4") == "UPDATE 1"  # noqa: S608
    with pytest.raises((DataLoss, IntegrityError)):
        await read_all(strongroom, namespace, branch)


@pytest.mark.parametrize("edit", ["txn_id = 99", "prev_txn_id = 99", "node_id = 7"])
async def test_an_edited_column_of_a_single_node_does_not_open(strongroom, namespace, branch, edit):
    """A node without neighbours is bound to its own columns too."""
    await append(strongroom, namespace, branch, chain(1, 1, txn=10))
    await run(strongroom, f"UPDATE history_node SET {edit}")  # noqa: S608
    with pytest.raises((DataLoss, IntegrityError)):
        await read_all(strongroom, namespace, branch)


async def test_a_history_that_was_moved_does_not_open_where_it_went(strongroom, namespace, other, branch):
    """The rows of a history that were all moved to another shard, tree, branch or namespace don't open there."""
    moved_to = HistoryBranch(branch.shard_id + 1, uuid4(), uuid4())
    places = {
        "shard_id": (HistoryBranch(moved_to.shard_id, branch.tree_id, branch.branch_id), moved_to.shard_id),
        "tree_id": (HistoryBranch(branch.shard_id, moved_to.tree_id, branch.branch_id), moved_to.tree_id),
        "branch_id": (HistoryBranch(branch.shard_id, branch.tree_id, moved_to.branch_id), moved_to.branch_id),
    }
    nodes = chain(1, 3, txn=1)
    for column, (place, value) in places.items():
        await append(strongroom, namespace, branch, nodes)
        await run(strongroom, f"UPDATE history_node SET {column} = $1", value)  # noqa: S608
        with pytest.raises(IntegrityError):
            await read_all(strongroom, namespace, place)
        await run(strongroom, "DELETE FROM history_node")
    await append(strongroom, namespace, branch, nodes)
    await run(strongroom, "UPDATE history_node SET namespace_id = $1", other.namespace_id)
    with pytest.raises(IntegrityError):
        await read_all(strongroom, other, branch)


async def test_a_moved_or_swapped_tree_row_does_not_open(strongroom, namespace, branch):
    """The sealed row of a branch is bound to that branch."""
    await append(strongroom, namespace, branch, chain(1, 4, txn=1), is_new_branch=True, info="main")
    await strongroom.history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=3, info="fork")
    swap = "UPDATE history_tree a SET data = b.data FROM history_tree b WHERE a.branch_id <> b.branch_id"
    assert await run(strongroom, swap) == "UPDATE 2"
    with pytest.raises(IntegrityError):
        await strongroom.history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)
    assert await run(strongroom, swap) == "UPDATE 2"
    tree = await strongroom.history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)
    assert {info.info for info in tree} == {"main", "fork"}
    await run(strongroom, "UPDATE history_tree SET branch_id = gen_random_uuid()")
    with pytest.raises(IntegrityError):
        await strongroom.history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)


async def test_swapped_data_does_not_open(strongroom, namespace, branch):
    """Swapped sealed values of two nodes don't open. Swapped back, they open."""
    nodes = chain(1, 4, txn=1)
    await append(strongroom, namespace, branch, nodes)
    swap = (
        "UPDATE history_node a SET data = b.data FROM history_node b "
        "WHERE (a.node_id, b.node_id) IN ((2, 3), (3, 2)) AND a.branch_id = b.branch_id"
    )
    assert await run(strongroom, swap) == "UPDATE 2"
    with pytest.raises(IntegrityError):
        await read_all(strongroom, namespace, branch)
    with pytest.raises(IntegrityError):
        await read_all(strongroom, namespace, branch, min_node_id=3, max_node_id=4)
    assert await read_all(strongroom, namespace, branch, max_node_id=2) == nodes[:1]
    await run(strongroom, swap)
    assert await read_all(strongroom, namespace, branch) == nodes


@pytest.mark.parametrize("bit", [0, 9, 17, 25, 60, 200, -1])
async def test_a_flipped_bit_of_a_sealed_node_is_noticed(strongroom, namespace, branch, bit):
    """A read is refused if any bit of a sealed value is changed: header, nonce, body or tag."""
    await append(strongroom, namespace, branch, chain(1, 3, txn=1))
    position = "8 * octet_length(data) - 1" if bit < 0 else str(bit)
    await run(
        strongroom,
        f"UPDATE history_node SET data = set_bit(data, {position}, 1 - get_bit(data, {position})) WHERE node_id = 2",  # noqa: S608
    )
    with pytest.raises((IntegrityError, UnsupportedFormat, KeyNotFound)):
        await read_all(strongroom, namespace, branch)


MALFORMED = {
    "not base64": b"\xff\xfe",
    "stray": b"!",
    "odd length": b"abcde",
    "text": base64.urlsafe_b64encode(b"hello"),
    "two parts": base64.urlsafe_b64encode(b"1.5"),
    "four parts": base64.urlsafe_b64encode(b"1.5.5.5"),
    "another version": base64.urlsafe_b64encode(b"2.5.5"),
    "no version": base64.urlsafe_b64encode(b".5.5"),
    "words": base64.urlsafe_b64encode(b"1.one.two"),
    "fractions": base64.urlsafe_b64encode(b"1.5e3.1"),
    "not ascii": base64.urlsafe_b64encode("1.٣.٣".encode()),
    "many digits": base64.urlsafe_b64encode(b"1." + b"9" * 5000 + b".1"),
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_page_token_is_refused(strongroom, namespace, branch, token):
    """A malformed token is refused."""
    await append(strongroom, namespace, branch, chain(1, 3, txn=1))
    with pytest.raises(InvalidPersistenceRequest):
        await strongroom.history.read_history_branch(namespace.namespace_id, branch, page_token=token)


WHOLE = 2**63 - 1
BAD_POSITIONS = [(-5, 1, WHOLE, -1), (0, 1, WHOLE, -1), (1, -1, WHOLE, -1), (1, 1, -1, -1), (1, 1, WHOLE, -2), (1, 1)]


@pytest.mark.parametrize("position", BAD_POSITIONS, ids=str)
async def test_a_page_token_with_impossible_numbers_is_refused(strongroom, namespace, branch, position):
    """Numbers that no node and no transaction can have are refused. They never give an empty end of a history."""
    await append(strongroom, namespace, branch, chain(1, 3, txn=1))
    read = BranchRead(namespace.namespace_id, branch, 1, LAST_NODE, reverse=False, metadata_only=False)

    async def page_at(*numbers):
        token = page_token("history branch", read.scope(), *numbers)
        return await strongroom.history.read_history_branch(namespace.namespace_id, branch, page_token=token)

    with pytest.raises(InvalidPersistenceRequest):
        await page_at(*position)
    assert [each.node_id for each in (await page_at(1, 1, WHOLE, -1)).nodes] == [2, 3]


@pytest.mark.parametrize("page_size", [None, "1", True])
async def test_a_page_size_that_cannot_be_is_refused(strongroom, namespace, branch, page_size):
    """A page size that is not an integer is refused."""
    with pytest.raises(InvalidPersistenceRequest):
        await strongroom.history.read_history_branch(namespace.namespace_id, branch, page_size=page_size)


async def test_writers_on_different_branches_do_not_disturb_each_other(strongroom, namespace, branch):
    """Concurrent appends to branches of one tree and of others are all stored."""
    await append(strongroom, namespace, branch, chain(1, 3, txn=1), is_new_branch=True)
    forks = [
        await strongroom.history.fork_history_branch(namespace.namespace_id, branch, fork_node_id=3) for _ in range(5)
    ]
    alone = [HistoryBranch(number, uuid4(), uuid4()) for number in range(1, 6)]

    async def write(branch, base):
        for step in range(10):
            first = branch.begin_node + step
            after = base + step - 1 if step else (2 if branch.ancestors else 0)
            await append(strongroom, namespace, branch, [node(first, base + step, after)], is_new_branch=step == 0)

    await asyncio.gather(*(write(each, 100 * place) for place, each in enumerate([*forks, *alone], start=1)))
    for place, each in enumerate([*forks, *alone], start=1):
        shared = chain(1, 2, txn=1) if each.ancestors else []
        own = chain(each.begin_node, each.begin_node + 9, txn=100 * place, after=2 if each.ancestors else 0)
        assert await read_all(strongroom, namespace, each) == shared + own
    tree = await strongroom.history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)
    assert len(tree) == 6


async def test_an_append_in_a_transaction_that_fails_leaves_nothing(strongroom, namespace, branch):
    """An append in a caller's transaction is rolled back with it."""
    boom = "taken back"

    async def write():
        async with strongroom.database.transaction(EVERY_NAMESPACE) as transaction:
            await append(strongroom, namespace, branch, chain(1, 3, txn=1), is_new_branch=True, transaction=transaction)
            raise LookupError(boom)

    with pytest.raises(LookupError, match=boom):
        await write()
    assert await count_nodes(strongroom) == 0
    tree = await strongroom.history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)
    assert tree == []


async def test_one_namespace_cannot_overwrite_the_history_of_another(strongroom, namespace, other, branch):
    """A write under the same ids in another namespace does not change the first one's history."""
    nodes = chain(1, 3, txn=1)
    await append(strongroom, namespace, branch, nodes, is_new_branch=True, info="first")
    with suppress(StrongroomError):  # a refusal is allowed too
        await append(strongroom, other, branch, chain(1, 3, txn=1), is_new_branch=True, info="second")
    assert await read_all(strongroom, namespace, branch) == nodes
    tree = await strongroom.history.get_history_tree(namespace.namespace_id, shard_id=3, tree_id=branch.tree_id)
    assert [info.info for info in tree] == ["first"]


async def test_one_file_imported_into_two_namespaces_is_whole_in_both(dsn, tmp_path, sample):
    """Two namespaces that import the same runs on the same shard each have the whole histories."""
    path = tmp_path / "one-shard.toml"
    write_config(path, dsn=dsn, shards=1)
    config = load_config(path)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        namespaces = []
        for name in ("left", "right"):
            kek = KekRef.parse(f"local:{name}")
            await strongroom.create_kek(kek)
            created = await strongroom.namespaces.create(name, kek=kek)
            await import_executions(strongroom, created, sample[:4])
            namespaces.append(await strongroom.namespaces.get(name))
        for namespace in namespaces:
            for execution in sample[:4]:
                shard_id = await strongroom.shards.shard_of(namespace.namespace_id, execution.record.workflow_id)
                branch = imported_branch(execution.record.run_id, shard_id)
                assert UUID(execution.record.run_id) == branch.tree_id
                assert await read_all(strongroom, namespace, branch) == history_nodes(execution)
