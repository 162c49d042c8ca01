"""A model of a history branch: the writes of a service, the writes that count, and a database that has any part of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.keys.leases import Lease
from strongroom.kms.sealing import ciphers
from strongroom.kms.sealing.record_kinds import HISTORY_NODE
from strongroom.storage import BranchRange, DataBlob, DataLoss, HistoryBranch, NotFound
from strongroom.storage.histories.branch import LAST_NODE
from strongroom.storage.histories.chain import NodeRows
from strongroom.storage.histories.ends import EndChecks
from strongroom.storage.histories.nodes import SealedNodes
from strongroom.storage.histories.pages import BranchRead
from strongroom.storage.histories.reading import _SQL, HistoryReader

NAMESPACE, TREE = UUID(int=1), UUID(int=2)
_EVENTS = DataBlob(b"").pack()


class Write(NamedTuple):
    """One write of a node."""

    branch_id: UUID
    node: int
    txn: int
    prev_txn: int


class History(NamedTuple):
    """A branch, and every write to its ranges in the order of their transactions."""

    branch: HistoryBranch
    writes: list[Write]


class Bounds(NamedTuple):
    """The nodes [low, high)."""

    low: int
    high: int


WHOLE = Bounds(1, LAST_NODE)


def counted(writes):
    """Return the writes that count: the newest of each node, unless a counted write of a lower node is newer."""
    newest = {}
    for write in writes:
        newest[write.node] = max(newest.get(write.node, write), write, key=lambda one: one.txn)
    result = []
    for _, write in sorted(newest.items()):
        if not result or write.txn >= result[-1].txn:
            result.append(write)
    return result


def expected_read(history, left, bounds, *, as_of=None):
    """Return the result of a read when only some writes are left: rows, or `DataLoss`.

    Args:
        history: The history as it was written.
        left: The writes that are still stored.
        bounds: The nodes that are read.
        as_of: The transaction that the caller knows to be the last one; None for the newest that is left.
    """
    if not any(bounds.low <= write.node < bounds.high for write in left):
        return []
    if as_of is None:
        as_of = max(write.txn for write in left if write.node < bounds.high)
    chain = counted([write for write in history.writes if write.node < bounds.high and write.txn <= as_of])
    wanted = [write for write in chain if write.node >= bounds.low]
    needed = chain[-len(wanted) - 1 :]  # the range, and the link before it
    return DataLoss if set(needed) - set(left) else [write[1:] for write in wanted]


def read_all(branch, rows, bounds, *, reverse, page_size, last_txn_id=None):
    """Read all pages from a database that holds `rows`; return the rows oldest first, or `DataLoss`."""

    async def pages():
        stored = HistoryRows(rows)
        reader = HistoryReader(stored, stored, stored, EndChecks(None, stored))
        read = BranchRead(NAMESPACE, branch, bounds.low, bounds.high, reverse=reverse, metadata_only=True)
        nodes, token = [], None
        while True:
            page = await reader.read(read, page_size=page_size, token=token, last_txn_id=last_txn_id)
            nodes += [node[:3] for node in page.nodes]
            token = page.next_page_token
            if token is None:
                return nodes[::-1] if reverse else nodes
            assert len(page.nodes) == page_size

    try:
        return asyncio.run(pages())
    except NotFound:
        return []
    except DataLoss:
        return DataLoss


class HistoryRows:
    """The database, the keyring and the node reader of a `HistoryReader`, made from a collection of writes."""

    def __init__(self, writes):
        self.writes = set(writes)
        key = DataKey(Secret(bytes(32)), version=1, suite=Suite.XAES_256_GCM, lease=Lease(2**20), cipher=ciphers.PYTHON)
        self.keys = NamespaceKeys(
            cell_id=NAMESPACE, namespace_id=NAMESPACE, data={1: key}, index={}, identity={}, active={KeyClass.DATA: 1}
        )

    async def open(self, _namespace_id):
        """Return the namespace's keys, like `Keyring.open`."""
        return self.keys

    async def with_keys(self, _namespace_id, use, *, keys):
        """Call `use`, like `Keyring.with_keys`."""
        return use(keys)

    @asynccontextmanager
    async def connection(self, _namespaces):
        """Open a connection, like `Database.connection`."""
        yield self

    async def fetchrow(self, statement, _shard, _namespace, _tree, *arguments):
        """Answer the statement for the newest writes, like `Connection.fetchrow`."""
        assert statement == _SQL["newest_writes"]
        *parts, low, as_of = arguments
        inside = [one for part in zip(*parts, strict=True) for one in self._range(*part) if one.txn <= as_of]
        below = [one.txn for one in inside if one.node < low]
        return {"newest": max((one.txn for one in inside), default=None), "below": max(below, default=None)}

    async def fetch(self, wanted):
        """Return writes of a range, like `NodeReader.fetch`."""
        inside = self._range(wanted.branch_id, wanted.begin, wanted.end)
        rows = []
        for node in sorted({one.node for one in inside}, reverse=wanted.reverse):
            if len(rows) < wanted.limit:  # every write of a node, in no particular order
                rows += sorted((one for one in inside if one.node == node), key=lambda one: one.txn % 3)
        columns = [list(column) for column in zip(*rows, strict=True)][1:] or [[], [], []]
        scope = (wanted.shard_id, wanted.tree_id.bytes, wanted.branch_id.bytes)
        sealed = self.keys.seal_many(HISTORY_NODE, [(row[1:], _EVENTS) for row in rows], scope=scope)
        return SealedNodes(wanted.branch_id, NodeRows(*columns), sealed)

    def _range(self, branch_id, begin, end):
        return [one for one in self.writes if one.branch_id == branch_id and begin <= one.node < end]


@st.composite
def histories(draw, *, shared_transactions=False):
    """A branch with up to two forks, and the writes of a service that retries failed attempts.

    With `shared_transactions`, one transaction may write several nodes.
    """
    forks = sorted(draw(st.sets(st.integers(2, 9), max_size=2)))
    ids = [UUID(int=number) for number in range(3, 4 + len(forks))]
    ancestors = map(BranchRange, ids, [1, *forks], forks)
    branch = HistoryBranch(1, TREE, ids[-1], tuple(ancestors))
    writes, txn, node, top = [], 0, 1, 0
    for step in draw(st.lists(st.integers(0, 9), min_size=1, max_size=14)):
        if step >= 5 and top > 1:  # an attempt failed, so its node or an earlier one is written again
            node = max(1, top - (step - 4))
        is_same = shared_transactions and node > top > 0 and writes[-1].node == top and draw(st.booleans())
        txn += 0 if is_same else draw(st.sampled_from([1, 1, 2, 5]))
        before = counted([one for one in writes if one.node < node])
        branch_id = next(part.branch_id for part in branch.ranges() if part.begin_node <= node < part.end_node)
        writes.append(Write(branch_id, node, txn, before[-1].txn if before else 0))
        top = max(top, node)
        node += draw(st.sampled_from([1, 1, 2]))
    return History(branch, writes)


def bounds():
    """The whole history, or the nodes between two bounds."""
    parts = st.builds(lambda low, length: Bounds(low, low + length), st.integers(1, 14), st.integers(1, 14))
    return st.one_of(st.just(WHOLE), parts)
