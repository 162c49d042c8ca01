"""Histories: append, read in pages, fork. The operations of Temporal's history manager and store, on sealed rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from .data_blob import DataBlob
from .errors import DataLoss, InvalidPersistenceRequest, NotFound, TransactionSizeLimit
from .history_branch import FIRST_NODE, LAST_NODE, BranchInfo, HistoryBranch, ReadPosition
from .history_rows import HistoryNode
from .queries import load_queries
from .record_kinds import HISTORY_NODE, HISTORY_TREE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring

    from .database import Connection, Database, Row

_SQL = load_queries("history")
TRANSACTION_SIZE_LIMIT = 4 * 2**20
"""Bytes of one node: `system.transactionSizeLimit` of Temporal."""
MAX_PAGE_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Nodes in order, and a token for what follows; None at the end."""

    nodes: tuple[HistoryNode, ...]
    next_page_token: bytes | None


class HistoryManager:
    """Reads and writes the histories of any namespace."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def append_history_nodes(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        nodes: Sequence[HistoryNode],
        *,
        is_new_branch: bool = False,
        info: str = "",
        transaction: Connection | None = None,
    ) -> None:
        """Append nodes to a branch, in one statement; the same append again changes nothing.

        Args:
            namespace_id: whose history.
            branch: where; its own range, never an ancestor's.
            nodes: at least one, in any order.
            is_new_branch: also write the branch's row in the tree.
            info: noted in that row, sealed.
            transaction: to be part of; None for one of its own.

        Raises:
            InvalidPersistenceRequest: no nodes, or one that stands before the branch's own range.
            TransactionSizeLimit: a node of more than 4 MiB.
        """
        _check_append(branch, nodes)
        keys = await self._keyring.open(namespace_id)
        place = (branch.shard_id, branch.tree_id.bytes, branch.branch_id.bytes)
        rows = [((node.node_id, node.txn_id, node.prev_txn_id), node.events.pack()) for node in nodes]
        sealed = keys.seal_many(HISTORY_NODE, rows, scope=place)
        arguments = (
            branch.shard_id,
            branch.tree_id,
            branch.branch_id,
            namespace_id,
            [node.node_id for node in nodes],
            [node.txn_id for node in nodes],
            [node.prev_txn_id for node in nodes],
            sealed,
        )
        tree = BranchInfo(branch, info, time.time_ns()) if is_new_branch else None
        if transaction is not None:
            await self._append(transaction, namespace_id, arguments, tree)
        else:
            async with self._database.transaction() as own:
                await self._append(own, namespace_id, arguments, tree)

    async def read_history_branch(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        *,
        min_node_id: int = 1,
        max_node_id: int = LAST_NODE,
        page_size: int = 1000,
        page_token: bytes | None = None,
    ) -> HistoryPage:
        """Read a page of nodes, oldest first, through the ancestors' ranges.

        A node that a later write shadows is left out. Nodes must chain by their `prev_txn_id`; a gap is never passed over.

        Args:
            namespace_id: whose history.
            branch: which.
            min_node_id: first node wanted, inclusive.
            max_node_id: last node wanted, exclusive.
            page_size: the most nodes to return.
            page_token: from the page before.

        Raises:
            NotFound: a first page without a node.
            DataLoss: a node is missing from the middle, or two contradict each other.
            IntegrityError: a node does not open.
            InvalidPersistenceRequest: a size or token that can't be.
        """
        if not 0 < page_size <= MAX_PAGE_SIZE:
            msg = f"a page has 1 to {MAX_PAGE_SIZE} nodes"
            raise InvalidPersistenceRequest(msg)
        position = ReadPosition.parse(page_token) if page_token is not None else None
        start = max(min_node_id, position.last_node_id + 1) if position else min_node_id
        nodes: list[HistoryNode] = []
        from_start = min_node_id <= FIRST_NODE
        for part in branch.ranges():
            begin, end = max(start, part.begin_node), min(max_node_id, part.end_node)
            while begin < end and len(nodes) <= page_size:
                wanted = page_size + 1 - len(nodes)  # one more than asked for tells whether there is a next page
                found, begin = await self._read_range(
                    namespace_id, branch, part.branch_id, (begin, end), wanted, position, from_start=from_start
                )
                nodes += found
                if found:
                    position = ReadPosition(found[-1].node_id, found[-1].txn_id)
        if not nodes and page_token is None:
            msg = "this history branch has no such nodes"
            raise NotFound(msg)
        page = tuple(nodes[:page_size])
        more = len(nodes) > page_size
        return HistoryPage(page, ReadPosition(page[-1].node_id, page[-1].txn_id).token() if more else None)

    async def fork_history_branch(
        self, namespace_id: UUID, branch: HistoryBranch, *, fork_node_id: int, info: str = ""
    ) -> HistoryBranch:
        """Make a branch that shares all nodes before `fork_node_id`; only a row in the tree is written.

        Raises:
            InvalidPersistenceRequest: nothing stands before that node.
        """
        forked = branch.fork(at_node=fork_node_id, branch_id=uuid4())
        async with self._database.connection() as connection:
            await self._put_tree(connection, namespace_id, BranchInfo(forked, info, time.time_ns()))
        return forked

    async def get_history_tree(self, namespace_id: UUID, *, shard_id: int, tree_id: UUID) -> list[BranchInfo]:
        """Return all branches of a tree; an empty list where there is no such tree."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["get_tree"], shard_id, tree_id, namespace_id)
        sealed = [((row["branch_id"].bytes,), row["data"]) for row in rows]
        opened = await self._keyring.with_keys(
            namespace_id, lambda keys: keys.open_many(HISTORY_TREE, sealed, scope=(shard_id, tree_id.bytes))
        )
        return [
            BranchInfo.unpack(packed, shard_id=shard_id, tree_id=tree_id, branch_id=UUID(bytes=row["branch_id"].bytes))
            for row, packed in zip(rows, opened, strict=True)
        ]

    async def _append(
        self, connection: Connection, namespace_id: UUID, arguments: tuple[object, ...], tree: BranchInfo | None
    ) -> None:
        if tree is not None:
            await self._put_tree(connection, namespace_id, tree)
        await connection.execute(_SQL["append_nodes"], *arguments)

    async def _put_tree(self, connection: Connection, namespace_id: UUID, tree: BranchInfo) -> None:
        branch = tree.branch
        keys = await self._keyring.open(namespace_id)
        place = (branch.shard_id, branch.tree_id.bytes, branch.branch_id.bytes)
        sealed = keys.seal(HISTORY_TREE, place, tree.pack())
        await connection.execute(
            _SQL["put_tree"], branch.shard_id, branch.tree_id, branch.branch_id, namespace_id, sealed
        )

    async def _read_range(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        branch_id: UUID,
        bounds: tuple[int, int],
        wanted: int,
        position: ReadPosition | None,
        *,
        from_start: bool,
    ) -> tuple[list[HistoryNode], int]:
        """Read up to `wanted` rows of one range; return the nodes that count, and where to read on."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _SQL["read_nodes"], branch.shard_id, branch.tree_id, branch_id, namespace_id, *bounds, wanted
            )
        current = _unshadowed(rows, position, from_start=from_start)
        sealed = [((row["node_id"], row["txn_id"], row["prev_txn_id"]), row["data"]) for row in current]
        scope = (branch.shard_id, branch.tree_id.bytes, branch_id.bytes)
        opened = await self._keyring.with_keys(
            namespace_id, lambda keys: keys.open_many(HISTORY_NODE, sealed, scope=scope)
        )
        nodes = [
            HistoryNode(row["node_id"], row["txn_id"], row["prev_txn_id"], DataBlob.unpack(packed))
            for row, packed in zip(current, opened, strict=True)
        ]
        # What is left of the last node's other writes is shadowed by the one that was read, as the highest comes first.
        return nodes, bounds[1] if len(rows) < wanted else rows[-1]["node_id"] + 1


def _unshadowed(rows: Sequence[Row], position: ReadPosition | None, *, from_start: bool) -> list[Row]:
    """Keep the rows that count: the highest write of each node, none older than the node before it, and no gap between.

    Raises:
        DataLoss: a row's `prev_txn_id` does not name the row before it.
    """
    kept = []
    last_node, last_txn = (position.last_node_id, position.last_txn_id) if position else (0, None)
    if position is None and from_start and rows and rows[0]["node_id"] != FIRST_NODE:
        msg = f"the history begins at node {rows[0]['node_id']}: what stood before it is missing"
        raise DataLoss(msg)
    for row in rows:
        if row["node_id"] == last_node or (last_txn is not None and row["txn_id"] < last_txn):
            continue  # a later write stands in its place
        if last_txn is not None and row["prev_txn_id"] != last_txn:
            msg = f"history node {row['node_id']} does not follow node {last_node}: a node between them is missing"
            raise DataLoss(msg)
        last_node, last_txn = row["node_id"], row["txn_id"]
        kept.append(row)
    return kept


def _check_append(branch: HistoryBranch, nodes: Sequence[HistoryNode]) -> None:
    if not nodes:
        msg = "an append has at least one node"
        raise InvalidPersistenceRequest(msg)
    if len({(node.node_id, node.txn_id) for node in nodes}) < len(nodes):
        msg = "an append names a node and transaction twice"
        raise InvalidPersistenceRequest(msg)
    for node in nodes:
        if node.node_id < branch.begin_node:
            msg = f"node {node.node_id} belongs to an ancestor; this branch begins at node {branch.begin_node}"
            raise InvalidPersistenceRequest(msg)
        if len(node.events.data) > TRANSACTION_SIZE_LIMIT:
            msg = f"node {node.node_id} has {len(node.events.data)} bytes; the limit is {TRANSACTION_SIZE_LIMIT}"
            raise TransactionSizeLimit(msg)
