"""Delete branches, but not the nodes that other branches share. Trim the nodes that failed attempts left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.checks import check_number, check_uuid, open_keys
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import SET_BY_FUNCTION
from strongroom.storage.errors import InvalidPersistenceRequest

from .branch import FIRST_NODE, LAST_NODE, HistoryBranch
from .journal import deleted_branch, deleted_nodes
from .members import holder_without
from .nodes import NodeRange, open_nodes
from .rows import check_branch
from .tree import ATTEMPTS, sealed_row, tree_kept_changing, wait_before

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .branch import BranchInfo
    from .nodes import NodeReader
    from .tree import HistoryTrees

_SQL = load_queries("histories/histories")
_DELETED_AT_ONCE = 10_000
"""Number of writes in one statement. Each is named in the journal."""
_SCAN_ROWS = 100
"""Number of writes that a trim reads at once, with their sealed events."""


class HistoryDeleter:
    """Deletes branches and nodes.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
        trees: The trees, which show what branches share.
        nodes: The reader of nodes.
        distributed: Whether the tables are distributed over a Citus cluster.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        trees: HistoryTrees,
        nodes: NodeReader,
        *,
        distributed: bool = False,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._journal = journal
        self._trees = trees
        self._nodes = nodes
        self._delete = load_functions(distributed=distributed)["delete_history_branch"]

    async def delete_branch(self, namespace_id: UUID, branch: HistoryBranch) -> None:
        """Delete a branch; see `HistoryManager.delete_history_branch`."""
        check_branch(branch)
        for attempt in range(ATTEMPTS):
            await wait_before(attempt)
            tree = await self._trees.rows(namespace_id, branch.shard_id, branch.tree_id)
            ranges = unshared_ranges(branch, [row.info for row in tree])
            holder = holder_without(tree, branch.branch_id)
            written = None
            if holder is not None:
                written = holder.branch_id, sealed_row(await open_keys(self._keyring, namespace_id), holder)
            async with (
                self._journal.entry(deleted_branch(namespace_id, branch, ranges, written)) as entry,
                self._database.connection(SET_BY_FUNCTION) as connection,
            ):
                rows = await self._delete.call(
                    connection,
                    branch.shard_id,
                    namespace_id,
                    branch.tree_id,
                    branch.branch_id,
                    [row.branch_id for row in tree],
                    [branch_id for branch_id, _ in ranges],
                    [node_id for _, node_id in ranges],
                    *(written or (None, None)),
                    *entry.arguments,
                )
                entry.digest = rows[0]["result"]
                entry.refused = entry.digest is None
            if not entry.refused:
                return
        raise tree_kept_changing("deleted")

    async def trim(self, namespace_id: UUID, branch: HistoryBranch, *, node_id: int, txn_id: int) -> int:
        """Delete the writes that are not on the chain; see `HistoryManager.trim_history_branch`."""
        check_uuid("namespace_id", namespace_id)
        check_branch(branch)
        check_number("node_id", node_id, least=FIRST_NODE, limit=LAST_NODE)
        check_number("txn_id", txn_id)
        keys = await open_keys(self._keyring, namespace_id)
        off_chain: list[tuple[UUID, int, int]] = []
        above, link = node_id + 1, txn_id
        async for branch_id, node, txn, prev_txn in self._writes_down_from(keys, branch, node_id):
            if txn == link and node < above and (above <= node_id or node == node_id):
                above, link = node, prev_txn
            else:
                off_chain.append((branch_id, node, txn))
        if above != FIRST_NODE:
            return 0
        return await self._delete_nodes(namespace_id, branch, off_chain)

    async def _writes_down_from(
        self, keys: NamespaceKeys, branch: HistoryBranch, node_id: int
    ) -> AsyncIterator[tuple[UUID, int, int, int]]:
        """Yield branch, node, transaction and previous transaction of every write up to a node, newest node first.

        Raises:
            IntegrityError: A write does not open.
        """
        namespace_id, opened_tree = keys.namespace_id, (branch.shard_id, branch.tree_id.bytes)
        for part in reversed(branch.ranges()):
            begin, end = part.begin_node, min(part.end_node, node_id + 1)
            while begin < end:
                tree = (branch.shard_id, namespace_id, branch.tree_id)
                wanted = NodeRange(*tree, part.branch_id, begin, end, _SCAN_ROWS, reverse=True)
                branch_id, rows, _ = found = await self._nodes.fetch(wanted)
                if not rows.node_ids:
                    break
                await open_nodes(self._keyring, namespace_id, opened_tree, [found], keys, metadata_only=True)
                for write in zip(*rows, strict=True):
                    yield branch_id, *write
                end = rows.node_ids[-1]

    async def delete_nodes(self, namespace_id: UUID, branch: HistoryBranch, *, node_id: int, txn_id: int) -> None:
        """Delete one write of a node; see `HistoryManager.delete_history_nodes`."""
        check_uuid("namespace_id", namespace_id)
        check_branch(branch)
        check_number("node_id", node_id, least=FIRST_NODE, limit=LAST_NODE)
        check_number("txn_id", txn_id)
        if node_id < branch.begin_node:
            msg = f"node {node_id} belongs to an ancestor; this branch begins at node {branch.begin_node}"
            raise InvalidPersistenceRequest(msg)
        await self._delete_nodes(namespace_id, branch, [(branch.branch_id, node_id, txn_id)])

    async def _delete_nodes(
        self, namespace_id: UUID, branch: HistoryBranch, writes: Sequence[tuple[UUID, int, int]]
    ) -> int:
        """Delete writes, each given by branch, node and transaction; return how many existed."""
        deleted = 0
        for start in range(0, len(writes), _DELETED_AT_ONCE):
            part = writes[start : start + _DELETED_AT_ONCE]
            place = (branch.shard_id, namespace_id, branch.tree_id)
            async with (
                self._journal.entry(deleted_nodes(namespace_id, branch, part)) as entry,
                self._database.connection(namespace_id) as connection,
            ):
                row = await connection.fetchrow(
                    _SQL["delete_nodes"], *place, *map(list, zip(*part, strict=True)), *entry.arguments
                )
                entry.answer(row)
            deleted += 0 if row is None else row["nodes"]
        return deleted


def unshared_ranges(branch: HistoryBranch, tree: Sequence[BranchInfo]) -> list[tuple[UUID, int]]:
    """Return the parts of the branch's ranges that no other branch uses, youngest range first.

    If the branch has a row in the tree, its ancestors are taken from that row and not from the caller.

    Returns:
        The branch id of each range, and the first of its nodes to delete. All later nodes of the range are deleted too.
    """
    used: dict[UUID, int] = {}
    for info in tree:
        other = info.branch
        if other.branch_id == branch.branch_id:
            branch = other
            continue
        used[other.branch_id] = LAST_NODE
        for part in other.ancestors:
            used[part.branch_id] = max(used.get(part.branch_id, 0), part.end_node)
    ranges = []
    for part in reversed(branch.ranges()):
        end = used.get(part.branch_id)
        if end is None:
            ranges.append((part.branch_id, part.begin_node))
            continue
        if end < LAST_NODE:
            ranges.append((part.branch_id, end))
        break  # a branch that uses this range uses all ranges before it
    return ranges
