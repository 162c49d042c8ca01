"""Attacks on histories and their trees."""

from __future__ import annotations

from uuid import uuid4

from strongroom.kms import IntegrityError
from strongroom.storage import DataLoss
from tests.support.fixtures.history import chain, node

from .attacks import AttackList, Found, Refused

ATTACKS = AttackList("history")
NODES, TREES = Found("history_node"), Found("history_tree")
_OF_RUN = "tree_id = $1 AND node_id = $2"
attack, tested = ATTACKS.attack, ATTACKS.tested

READ = Refused(lambda scene: scene.read_history(), (DataLoss, IntegrityError))
DELETE_BRANCH = Refused(lambda scene: scene.histories.delete(scene.kept["branch"]), DataLoss, writes=True)
READ_TREE = Refused(lambda scene: scene.histories.tree(scene.kept["branch"]), IntegrityError)


def _deleted_node(name, nodes, deleted):
    @attack(name, READ, NODES)
    async def _(scene):
        run = await scene.start(nodes)
        yield
        await scene.admin.delete("history_node", _OF_RUN, run.run_id, deleted)
        yield
        await scene.write(run)


_deleted_node("delete a node in the middle", nodes=4, deleted=2)
_deleted_node("delete the first node", nodes=3, deleted=1)


def _edited_node(name, column):
    @attack(name, READ, NODES)
    async def _(scene):
        run = await scene.start(3)
        yield
        await scene.admin.edit("history_node", f"{column} = {column} + 1", _OF_RUN, run.run_id, 3)
        yield


_edited_node("change the transaction of a node", "txn_id")
_edited_node("renumber a node", "node_id")


@attack("repeat a node under a higher transaction", READ, NODES)
async def _(scene):
    run = await scene.start(3)
    yield
    columns = "shard_id, namespace_id, tree_id, branch_id, node_id, txn_id + 5, prev_txn_id, data"
    await scene.admin.insert("history_node", f"SELECT {columns} FROM history_node WHERE {_OF_RUN}", run.run_id, 3)  # noqa: S608
    yield
    await scene.write(run)


@attack("exchange nodes with those of another run", READ)
async def _(scene):
    run = await scene.start(3)
    other = await scene.history_of_another_run(3)
    yield
    foreign = "data = (SELECT o.data FROM history_node o WHERE o.tree_id = $2 AND o.node_id = history_node.node_id)"
    await scene.admin.edit("history_node", foreign, "tree_id = $1", run.run_id, other.tree_id)
    yield


@attack("give a branch the ancestors of another one", READ_TREE)
async def _(scene):
    branch = scene.kept["branch"] = scene.histories.branch()
    await scene.histories.append(branch, *chain(1, 5, txn=1))
    forks = [await scene.histories.fork(branch, at_node) for at_node in (2, 4)]
    yield
    foreign = "data = (SELECT o.data FROM history_tree o WHERE o.branch_id = $2)"
    await scene.admin.edit("history_tree", foreign, "branch_id = $1", *(fork.branch_id for fork in forks))
    yield


@attack("cut the tail", READ, NODES)
async def _(scene):
    run = await scene.start(4)
    yield
    await scene.admin.delete("history_node", "tree_id = $1 AND node_id > $2", run.run_id, 2)
    yield
    await scene.write(run)


@attack("delete the newest write of the last node, so that a failed attempt becomes the end", READ, NODES)
async def _(scene):
    run = await scene.start(2)
    await scene.histories.append(scene.workflow.branch(run.run_id), node(3, 25, 20))
    await scene.write(run)
    yield
    await scene.admin.delete("history_node", "tree_id = $1 AND txn_id = $2", run.run_id, run.txn)
    yield
    await scene.write(run)


@attack("put a whole branch back as it was before a repeated write", NODES)
async def _(scene):
    branch = scene.kept["branch"] = scene.histories.branch()
    await scene.histories.append(branch, *chain(1, 2, txn=1))
    await scene.keep("before", "history_node", "tree_id = $1", branch.tree_id)
    await scene.histories.append(branch, *chain(1, 2, txn=1))
    await scene.histories.append(branch, node(3, 3, 2))
    yield
    await scene.admin.delete("history_node", "tree_id = $1", branch.tree_id)
    await scene.admin.put_back("history_node", scene.kept["before"])
    yield
    await scene.histories.append(branch, node(3, 4, 2))


@attack("bring a deleted branch back", NODES, TREES)
async def _(scene):
    branch = scene.histories.branch()
    await scene.histories.append(branch, *chain(1, 3, txn=1))
    for table in ("history_tree", "history_node"):
        await scene.keep(table, table, "tree_id = $1", branch.tree_id)
    await scene.histories.delete(branch)
    yield
    for table in ("history_tree", "history_node"):
        await scene.admin.put_back(table, scene.kept[table])
    yield
    await scene.histories.delete(branch)


@attack("bring a deleted node back", NODES)
async def _(scene):
    branch = scene.histories.branch()
    await scene.histories.append(branch, *chain(1, 2, txn=1))
    await scene.histories.append(branch, node(2, 9, 1))
    await scene.keep("attempt", "history_node", "tree_id = $1 AND txn_id = 9", branch.tree_id)
    assert await scene.histories.trim(branch, node(2, 2, 1)) == 1
    yield
    await scene.admin.put_back("history_node", scene.kept["attempt"])
    yield
    await scene.histories.trim(branch, node(2, 2, 1))


@attack("delete a fork's row, so that the service deletes the nodes that it shares with its base", DELETE_BRANCH, TREES)
async def _(scene):
    branch = scene.kept["branch"] = scene.histories.branch()
    await scene.histories.append(branch, *chain(1, 4, txn=1))
    fork = await scene.histories.fork(branch, 3)
    yield
    await scene.admin.delete("history_tree", "branch_id = $1", fork.branch_id)
    yield


@attack("make up a branch in a tree", READ_TREE, TREES)
async def _(scene):
    branch = scene.kept["branch"] = scene.histories.branch()
    await scene.histories.append(branch, *chain(1, 3, txn=1))
    yield
    columns = "shard_id, namespace_id, tree_id, $2, data"
    query = f"SELECT {columns} FROM history_tree WHERE tree_id = $1"  # noqa: S608 - our own columns
    await scene.admin.insert("history_tree", query, branch.tree_id, uuid4())
    yield


tested(
    "edit the link to the node before, and read ids only",
    "tests/contract/test_history_deletion.py::test_ids_with_an_edited_link_are_not_returned",
)
tested(
    "edit the link to the node before, so that a trim deletes a good node",
    "tests/contract/test_history_deletion.py::test_trim_believes_no_edited_link",
)
tested(
    "cut the tail, and read backwards from the last transaction",
    "tests/contract/test_history.py::test_a_missing_end_is_noticed_by_who_knows_the_last_transaction",
)
