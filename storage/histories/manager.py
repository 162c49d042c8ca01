"""Histories: append, read in pages, fork, trim, delete. The operations of Temporal's history manager and store, on sealed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from strongroom.storage.checks import open_keys
from strongroom.storage.column_sealer import ColumnSealer
from strongroom.storage.engine.barrier import pass_barriers
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.errors import AppendHistoryTimeout, DatabaseTimeout

from .branch import LAST_NODE
from .deletion import HistoryDeleter
from .pages import BranchRead
from .reading import HistoryReader
from .rows import HistoryAppend, HistoryColumns, check_append
from .tree import HistoryTrees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

    from .branch import BranchInfo, HistoryBranch
    from .pages import HistoryPage
    from .rows import HistoryNode
    from .tree import BranchPage

    _Request: TypeAlias = tuple[NamespaceKeys, HistoryAppend, int]


class HistoryManager:
    """Reads and writes the histories of any namespace.

    All operations raise `InvalidPersistenceRequest` for ids and numbers that can't be, before anything is sent.

    Args:
        database: for look-ups by key.
        keyring: unwrapped keys.
        distributed: whether the tables are spread over a Citus cluster.
    """

    def __init__(self, database: Database, keyring: Keyring, *, distributed: bool = False) -> None:
        self._database = database
        self._keyring = keyring
        self._append = load_functions(distributed=distributed)["append_history_nodes"]
        self._appends: GroupCommit[_Request, None] = GroupCommit(
            database,
            self._write,
            name="append_history_nodes",
            key=lambda request: request[1].branch.branch_id.int,
            shard=(lambda request: request[1].branch.shard_id) if distributed else None,
            size=lambda request: request[2],
            idempotent=True,
        )
        self._reader = HistoryReader(database, keyring)
        self._trees = HistoryTrees(database, keyring, distributed=distributed)
        self._deleter = HistoryDeleter(database, self._trees, distributed=distributed)

    async def append_history_nodes(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        nodes: Sequence[HistoryNode],
        *,
        is_new_branch: bool = False,
        info: str = "",
        transaction: Connection | None = None,
        barrier: Barrier | None = None,
    ) -> None:
        """Append nodes to a branch: all or none, in one statement with other callers'. The same append again changes nothing.

        Args:
            namespace_id: whose history.
            branch: where; its own range, never an ancestor's.
            nodes: at least one, in any order.
            is_new_branch: also write the branch's row in the tree. A branch that was forked has its row already.
            info: noted in that row, sealed.
            transaction: to be part of; None for one of its own.
            barrier: what must have happened before the statement is sent; None for nothing.

        Raises:
            InvalidPersistenceRequest: no nodes, one twice, or one that stands before the branch's own range.
            TransactionSizeLimit: a node of more than 4 MiB.
            NamespaceNotFound: no such namespace.
            AppendHistoryTimeout: the database did not answer in time.
        """
        append = HistoryAppend(branch, nodes, is_new_branch, info)
        size = check_append(append)
        request = (await open_keys(self._keyring, namespace_id), append, size)
        try:
            if transaction is None:
                await self._appends.submit(request, barrier=barrier)
            else:
                await pass_barriers(() if barrier is None else (barrier,))
                await self._write(transaction, [request])
        except DatabaseTimeout as error:
            raise AppendHistoryTimeout(str(error), may_have_been_committed=error.may_have_been_committed) from None

    async def read_history_branch(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        *,
        min_node_id: int = 1,
        max_node_id: int = LAST_NODE,
        page_size: int = 1000,
        page_token: bytes | None = None,
        reverse: bool = False,
        metadata_only: bool = False,
        last_txn_id: int | None = None,
    ) -> HistoryPage:
        """Read a page of nodes through the ancestors' ranges, oldest or newest first.

        A node that a later write shadows is left out. Nodes must chain by their `prev_txn_id`; a gap is never passed over. The nodes
        between two bounds are those that a reader of the whole history finds there.

        Args:
            namespace_id: whose history.
            branch: which.
            min_node_id: first node wanted, inclusive.
            max_node_id: last node wanted, exclusive.
            page_size: the most nodes to return.
            page_token: from the page before, of the same read.
            reverse: newest first.
            metadata_only: node and transaction ids, with empty events. No key is used: **nothing is authenticated**, and whoever
                can write to the database can make it say anything.
            last_txn_id: of a reverse read, the transaction of its newest node, where the caller knows it: a history whose end is
                missing is noticed then. None for the newest that is there.

        Raises:
            NotFound: a first page without a node.
            DataLoss: a node is missing from the middle, or two contradict each other; also when nodes that a page before this one
                returned were written again in between.
            IntegrityError: a node does not open.
            InvalidPersistenceRequest: a size that can't be, or a token of another read.
            NamespaceNotFound: no such namespace.
        """
        read = BranchRead(namespace_id, branch, min_node_id, max_node_id, reverse, metadata_only)
        return await self._reader.read(read, page_size=page_size, token=page_token, last_txn_id=last_txn_id)

    async def fork_history_branch(
        self, namespace_id: UUID, branch: HistoryBranch, *, fork_node_id: int, info: str = ""
    ) -> HistoryBranch:
        """Make a branch that shares all nodes before `fork_node_id`; only a row in the tree is written.

        Raises:
            InvalidPersistenceRequest: nothing stands before that node.
            NotFound: the branch has no row in its tree; if it had one, it was deleted, and its nodes may be gone.
        """
        return await self._trees.fork(namespace_id, branch, fork_node_id=fork_node_id, info=info)

    async def trim_history_branch(self, namespace_id: UUID, branch: HistoryBranch, *, node_id: int, txn_id: int) -> int:
        """Delete what failed attempts left up to a node: all writes in the branch's ranges that its chain does not lead to.

        Needs no key, and authenticates nothing: it deletes by the numbers in clear.

        Args:
            namespace_id: whose history.
            branch: which.
            node_id: the newest node that counts, as the run's mutable state has it.
            txn_id: its transaction.

        Returns:
            How many writes were deleted; 0 also when that node is not there, or its chain does not reach node 1.
        """
        return await self._deleter.trim(namespace_id, branch, node_id=node_id, txn_id=txn_id)

    async def delete_history_branch(self, namespace_id: UUID, branch: HistoryBranch) -> None:
        """Delete a branch: its row in the tree, and all nodes that no other branch shares. Doing it again changes nothing.

        Raises:
            NamespaceNotFound: no such namespace.
            IntegrityError: a row of the tree does not open, so nobody knows what it shares.
            DatabaseUnavailable: others kept changing the tree; nothing was deleted.
        """
        await self._deleter.delete_branch(namespace_id, branch)

    async def delete_history_nodes(
        self, namespace_id: UUID, branch: HistoryBranch, *, node_id: int, txn_id: int
    ) -> None:
        """Delete one write of one of a branch's own nodes; none there is as good. Needs no key."""
        await self._deleter.delete_nodes(namespace_id, branch, node_id=node_id, txn_id=txn_id)

    async def get_history_tree(self, namespace_id: UUID, *, shard_id: int, tree_id: UUID) -> list[BranchInfo]:
        """Return all branches of a tree; an empty list where there is no such tree."""
        return await self._trees.get(namespace_id, shard_id, tree_id)

    async def get_history_tree_containing_branch(self, namespace_id: UUID, branch: HistoryBranch) -> list[BranchInfo]:
        """Return all branches of a branch's tree, by Temporal's name for it."""
        return await self._trees.get(namespace_id, branch.shard_id, branch.tree_id)

    async def get_all_history_tree_branches(self, *, page_size: int, page_token: bytes | None = None) -> BranchPage:
        """List branches of all namespaces, in the order of shard, namespace, tree and branch.

        A branch whose row does not open, as when its namespace's keys are destroyed, is listed with its ids and the reason. What is
        written meanwhile may be missed.

        Raises:
            InvalidPersistenceRequest: a page size that is not 1 to 10,000, or a foreign token.
        """
        return await self._trees.list_all(page_size=page_size, page_token=page_token)

    async def aclose(self) -> None:
        """Wait until no append is in flight or waiting."""
        await self._appends.aclose()

    async def _write(self, connection: Connection, requests: Sequence[_Request]) -> list[None]:
        """Write the appends of several callers in one statement, sealed as one batch for each namespace."""
        sealed, rows = ColumnSealer(), HistoryColumns()
        for index, (keys, append, _) in enumerate(requests):
            rows.add(sealed, keys, index, append)
        await sealed.seal()
        shards = [append.branch.shard_id for _, append, _ in requests]
        namespaces = [keys.namespace_id for keys, _, _ in requests]
        await self._append.call(
            connection,
            shards[0],
            [shards[index] for index in rows.n_request],
            [namespaces[index] for index in rows.n_request],
            rows.n_tree,
            rows.n_branch,
            rows.n_node,
            rows.n_txn,
            rows.n_prev_txn,
            rows.n_data,
            [shards[index] for index in rows.t_request],
            [namespaces[index] for index in rows.t_request],
            rows.t_tree,
            rows.t_branch,
            rows.t_data,
            timeout=self._database.answer_timeout,
        )
        return [None] * len(requests)
