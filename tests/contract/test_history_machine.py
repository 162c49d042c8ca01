from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from strongroom.storage import DataLoss, NotFound
from tests.support.counts import examples
from tests.support.fixtures.contract import new_namespace, new_shard, open_cell
from tests.support.fixtures.history import Histories, node

pytestmark = pytest.mark.integration

PICK = st.integers(0, 1000)
"""Chooses an item of a list: the number modulo the length of the list."""


class Branch:
    """A branch in the model."""

    def __init__(self, handle):
        self.handle = handle
        self.alive = True


def counted(writes):
    """Return the writes that count: the newest of each node, unless a counted write of a lower node is newer."""
    result = []
    for node_id in sorted({one.node_id for one in writes}):
        last = max((one for one in writes if one.node_id == node_id), key=lambda one: one.txn_id)
        if not result or last.txn_id >= result[-1].txn_id:
            result.append(last)
    return result


def is_whole(chain):
    """Return whether each write of a chain names the one before it."""
    return all(two.prev_txn_id == one.txn_id for one, two in pairwise(chain))


class HistoryMachine(RuleBasedStateMachine):
    """Compares branches of one tree with a model that keeps every write and knows which branches share nodes."""

    def __init__(self, cell, runner):
        super().__init__()
        self.runner = runner
        self.histories = Histories(cell, runner.run(new_namespace(cell)), runner.run(new_shard(cell)))
        self.writes = {}  # branch id -> writes in its own range
        self.branches = []
        self.txn = 0

    def visible(self, handle):
        """Return all writes in a branch's ranges."""
        return [
            one
            for part in handle.ranges()
            for one in self.writes.get(part.branch_id, ())
            if part.begin_node <= one.node_id < part.end_node
        ]

    def chosen(self, pick, *, alive=True):
        """Return a branch, by default one that is not deleted."""
        some = [one for one in self.branches if one.alive or not alive]
        return some[pick % len(some)] if some else None

    @initialize()
    def begin(self):
        """Make a branch with three nodes."""
        self.make_branch()
        for gap in (1, 2):
            self.write(0, gap, 0)

    @rule()
    def make_branch(self):
        """Make another branch from node 1 in the same tree."""
        handle = self.histories.branch()
        if self.branches:
            handle = type(handle)(handle.shard_id, self.branches[0].handle.tree_id, handle.branch_id)
        self.branches.append(Branch(handle))
        self.append(self.branches[-1], 1)

    @rule(pick=PICK, gap=st.sampled_from([1, 1, 1, 2, 3]), back=st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 9]))
    def write(self, pick, gap, back):
        """Append after the end, or rewrite the last nodes after a failed attempt."""
        branch = self.chosen(pick)
        if branch is None:
            return
        nodes = sorted({one.node_id for one in self.visible(branch.handle)})
        again = nodes[-back] if 0 < back <= len(nodes) else None
        end = nodes[-1] if nodes else 0
        self.append(branch, max(again or end + gap, branch.handle.begin_node))

    @rule(pick=PICK, which=PICK)
    def write_late(self, pick, which):
        """Write a node with a lower transaction than later writes have, as a delayed attempt does."""
        branch = self.chosen(pick)
        own = branch and [one for one in self.writes[branch.handle.branch_id] if one.txn_id - one.prev_txn_id > 1]
        if own:
            late = own[which % len(own)]
            self.store(branch, node(late.node_id, late.txn_id - 1, late.prev_txn_id))

    @rule(pick=PICK, which=PICK)
    def write_twice(self, pick, which):
        """The same append again changes nothing."""
        branch = self.chosen(pick)
        own = branch and self.writes[branch.handle.branch_id]
        if own:
            self.store(branch, own[which % len(own)])

    def append(self, branch, node_id):
        """Write a node that follows the last counted node before it."""
        before = [one for one in counted(self.visible(branch.handle)) if one.node_id < node_id]
        self.txn += 10
        self.store(branch, node(node_id, self.txn, before[-1].txn_id if before else 0))

    def store(self, branch, written):
        """Write a node in the database and in the model."""
        self.runner.run(self.histories.append(branch.handle, written))
        own = self.writes.setdefault(branch.handle.branch_id, [])
        if written not in own:
            own.append(written)

    @rule(pick=PICK, at=PICK)
    def fork(self, pick, at):
        """Fork a branch at one of its nodes or after them. A fork of a deleted branch is refused."""
        branch = self.chosen(pick, alive=False)
        nodes = sorted({one.node_id for one in self.visible(branch.handle) if one.node_id > 1})
        at_node = [*nodes, (nodes or [1])[-1] + 1][at % (len(nodes) + 1)]
        if branch.alive:
            handle = self.runner.run(self.histories.fork(branch.handle, at_node))
            self.branches.append(Branch(handle))
            self.writes[handle.branch_id] = []
        else:
            with pytest.raises(NotFound):
                self.runner.run(self.histories.fork(branch.handle, at_node))

    @rule(pick=PICK, which=PICK, known=st.booleans())
    def trim(self, pick, which, known):
        """Trim a branch from any of its writes, or from the last one that counts."""
        branch = self.chosen(pick)
        writes = branch and self.visible(branch.handle)
        if not writes:
            return
        last = counted(writes)[-1] if known else writes[which % len(writes)]
        chain = [last]
        while found := [
            one for one in writes if one.txn_id == chain[-1].prev_txn_id and one.node_id < chain[-1].node_id
        ]:
            chain += found
        complete = chain[-1].node_id == 1
        gone = {one for one in writes if one.node_id <= last.node_id} - set(chain) if complete else set()
        assert self.runner.run(self.histories.trim(branch.handle, last)) == len(gone)
        for part in branch.handle.ranges():
            if part.branch_id in self.writes:
                self.writes[part.branch_id] = [one for one in self.writes[part.branch_id] if one not in gone]

    @rule(pick=PICK)
    def delete(self, pick):
        """Delete a branch, perhaps again. The nodes that no other branch shares are gone."""
        branch = self.chosen(pick, alive=False)
        self.runner.run(self.histories.delete(branch.handle))
        branch.alive = False
        kept = {}
        for one in self.branches:
            if one.alive:
                for part in one.handle.ranges():
                    kept[part.branch_id] = max(kept.get(part.branch_id, 0), part.end_node)
        for part in branch.handle.ranges():
            own = self.writes.get(part.branch_id, ())
            self.writes[part.branch_id] = [one for one in own if one.node_id < kept.get(part.branch_id, 0)]

    @rule(pick=PICK, low=st.integers(1, 9), length=st.integers(1, 12), page_size=st.integers(1, 5), ids=st.booleans())
    def read_part(self, pick, low, length, page_size, ids):
        """Read between two bounds, in both directions."""
        self.check_read(self.chosen(pick, alive=False).handle, low, low + length, page_size, ids=ids)

    @rule(pick=PICK, page_size=st.integers(1, 5))
    def read_whole(self, pick, page_size):
        """Read the whole history, in both directions."""
        self.check_read(self.chosen(pick, alive=False).handle, 1, 2**63 - 1, page_size)

    def check_read(self, handle, low, high, page_size, *, ids=False):
        """Compare a read with the model. If a trim left a gap in the chain, expect `DataLoss`."""
        below = [one for one in counted(self.visible(handle)) if one.node_id < high]
        wanted = [one for one in below if one.node_id >= low]
        border = below[: len(below) - len(wanted)][-1:]
        whole = is_whole(border + wanted) and (low > 1 or below[:1] == [] or below[0].node_id == 1)
        options = {"min_node_id": low, "max_node_id": high, "page_size": page_size, "metadata_only": ids}
        for reverse in (False, True):
            call = self.histories.read(handle, reverse=reverse, **options)
            if wanted and whole:
                ordered = wanted[::-1] if reverse else wanted
                found = self.runner.run(call)
                assert [one[:3] for one in found] == [one[:3] for one in ordered]
                assert ids or found == ordered
            else:
                with pytest.raises(DataLoss if wanted else NotFound):
                    self.runner.run(call)

    @invariant()
    def rows_are_those_of_the_model(self):
        """The stored rows of branches and of the tree are exactly those of the model."""
        if self.branches:
            handle = self.branches[0].handle
            stored = set(self.runner.run(self.histories.rows(handle)))
            assert stored == {(branch, one.node_id, one.txn_id) for branch, own in self.writes.items() for one in own}
            tree = self.runner.run(self.histories.tree(handle))
            assert {one.branch for one in tree} == {one.handle for one in self.branches if one.alive}


def test_histories_against_a_model(contract_databases, tmp_path):
    """After appends, late and repeated writes, forks, trims and deletions in any order, every read equals the model's."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        dsn = runner.run(contract_databases.create_prepared())
        stack = AsyncExitStack()
        cell = runner.run(stack.enter_async_context(open_cell(dsn, tmp_path)))
        try:
            run_state_machine_as_test(
                lambda: HistoryMachine(cell, runner),
                settings=settings(
                    max_examples=examples(20),
                    stateful_step_count=30,
                    deadline=None,
                    phases=[Phase.reuse, Phase.generate],  # to shrink on a real server takes minutes
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
            runner.run(contract_databases.drop(dsn))
