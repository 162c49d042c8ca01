from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.storage import BranchRange, DataLoss, HistoryBranch, NotFound
from strongroom.storage.histories.branch import LAST_NODE
from strongroom.storage.histories.pages import BranchRead
from strongroom.storage.histories.reading import _SQL, HistoryReader

NAMESPACE, TREE = UUID(int=1), UUID(int=2)
BASE, FORKED = UUID(int=3), UUID(int=4)
NAMES = {statement: name for name, statement in _SQL.items()}


class Rows:
    """Answers the statements of a reader from a list of (branch, node, txn, prev)."""

    def __init__(self, rows):
        self.rows = set(rows)

    @asynccontextmanager
    async def connection(self, _namespaces):
        """As Database's."""
        yield self

    async def fetchrow(self, statement, _shard, _namespace, _tree, *arguments):
        """As Connection's."""
        name = NAMES[statement]
        if name == "newest_writes":
            *parts, first = arguments
            inside = [row for row in self.rows for part in zip(*parts, strict=True) if self._is_in(row, *part)]
            below = [txn for _, node, txn, _ in inside if node < first]
            return {"newest": max((row[2] for row in inside), default=None), "below": max(below, default=None)}
        branch, *bounds, limit = arguments
        if name == "scan_forwards":
            low, high = bounds
            found = sorted(row[1:] for row in self.rows if row[0] == branch and low <= row[1] < high)
        else:
            low, *below = bounds
            found = sorted(
                (row[1:] for row in self.rows if row[0] == branch and low <= row[1] and row[1:3] < tuple(below)),
                reverse=True,
            )
        columns = list(zip(*found[:limit], strict=True)) or [None] * 3
        return dict(zip(("node_ids", "txn_ids", "prev_txn_ids"), (c and list(c) for c in columns), strict=True))

    @staticmethod
    def _is_in(row, branch, begin, end):
        return row[0] == branch and begin <= row[1] < end


@st.composite
def histories(draw):
    """A branch, and what a service that retries, and a network that delays, wrote to it; sometimes with a fork in it."""
    fork = draw(st.one_of(st.none(), st.integers(2, 8)))
    branch = HistoryBranch(1, TREE, FORKED if fork else BASE, (BranchRange(BASE, 1, fork),) if fork else ())
    rows, txn, node, top = [], 0, 1, 1
    for step in draw(st.lists(st.integers(0, 9), min_size=1, max_size=14)):
        txn += draw(st.sampled_from([1, 1, 2, 5]))
        if step >= 5 and top > 1:  # an attempt failed: its node, or one before it, is written again
            node = max(1, top - (step - 4))
        before = [row for row in counted(rows) if row[1] < node]
        rows.append((branch_of(branch, node), node, txn, before[-1][2] if before else 0))
        top = max(top, node)
        node += draw(st.sampled_from([1, 1, 2]))
    return branch, rows


def branch_of(branch, node):
    return next(part.branch_id for part in branch.ranges() if part.begin_node <= node < part.end_node)


def counted(rows):
    """The definition: the highest write of each node, unless one below it is higher."""
    highest = {}
    for row in rows:
        highest[row[1]] = max(highest.get(row[1], row), row, key=lambda one: one[2])
    result = []
    for _, row in sorted(highest.items()):
        if not result or row[2] >= result[-1][2]:
            result.append(row)
    return result


def read_all(rows, branch, *, low, high, reverse, page_size):
    async def pages():
        reader = HistoryReader(Rows(rows), None)
        read = BranchRead(NAMESPACE, branch, low, high, reverse=reverse, metadata_only=True)
        nodes, token = [], None
        while True:
            page = await reader.read(read, page_size=page_size, token=token)
            nodes += [node[:3] for node in page.nodes]
            token = page.next_page_token
            if token is None:
                return nodes
            assert len(page.nodes) == page_size

    try:
        return asyncio.run(pages())
    except NotFound:
        return []
    except DataLoss:
        return DataLoss


@settings(deadline=None, max_examples=150)
@given(histories(), st.integers(1, 12), st.integers(1, 14), st.integers(1, 5))
def test_every_page_size_and_both_ways_give_the_nodes_that_count(history, low, length, page_size):
    """A read between two bounds, up or down, in pages of any size, is the whole history cut to the bounds."""
    branch, rows = history
    for bounds in ({"low": 1, "high": LAST_NODE}, {"low": low, "high": low + length}):
        wanted = [row[1:] for row in counted(rows) if bounds["low"] <= row[1] < bounds["high"]]
        assert read_all(rows, branch, **bounds, reverse=False, page_size=page_size) == wanted
        assert read_all(rows, branch, **bounds, reverse=True, page_size=page_size) == wanted[::-1]


@settings(deadline=None, max_examples=150)
@given(histories(), st.data(), st.integers(1, 6), st.integers(1, 5))
def test_a_missing_node_is_noticed_both_ways(history, data, low, page_size):
    """Of a history with a counted node missing before its last one no reader gets a part; both ways agree on what they get."""
    branch, rows = history
    chain = counted(rows)
    gone = data.draw(st.sampled_from(chain))
    left = [row for row in rows if row is not gone]
    up = read_all(left, branch, low=1, high=LAST_NODE, reverse=False, page_size=page_size)
    down = read_all(left, branch, low=1, high=LAST_NODE, reverse=True, page_size=page_size)
    if gone != chain[-1]:
        assert up is down is DataLoss
    else:
        assert down == (up if up is DataLoss else up[::-1])
    up = read_all(left, branch, low=low, high=LAST_NODE, reverse=False, page_size=page_size)
    down = read_all(left, branch, low=low, high=LAST_NODE, reverse=True, page_size=page_size)
    assert down == (up if up is DataLoss else up[::-1])
    if gone != chain[-1] and any(row[1] >= low for row in chain[chain.index(gone) + 1 :]) and gone[1] >= low:
        assert up is DataLoss
