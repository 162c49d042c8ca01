"""The operations of Temporal's history manager and history store, on sealed rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from strongroom.storage.checks import open_keys
from strongroom.storage.column_sealer import ColumnSealer
from strongroom.storage.engine.barrier import pass_barriers
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.errors import AppendHistoryTimeout, DatabaseTimeout

from .branch import LAST_NODE, HistoryBranch
from .deletion import HistoryDeleter
from .pages import BranchRead
from .reading import HistoryReader
from .rows import HistoryAppend, HistoryColumns, HistoryNode, check_append, check_branch
from .tree import HistoryTrees

if TYPE_CHECKING:
    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

    from .branch import BranchInfo
    from .pages import HistoryPage
    from .tree import BranchPage

    _Request: TypeAlias = tuple[NamespaceKeys, HistoryAppend, int]


class HistoryManager:
    """Reads and writes the histories of all namespaces.

    Every operation raises `InvalidPersistenceRequest` for an invalid id or number before it sends anything, and `DatabaseUnavailable`
    if the database can't be reached. Operations that open or seal rows raise `NamespaceNotFound` for an unknown namespace, and
    `KmsError` if the namespace's keys can't be unwrapped.

    Node ids and transaction ids are whole numbers below 2^63. Node ids begin at 1.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        distributed: Whether the tables are distributed over a Citus cluster.
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
        """Append nodes to a branch, all or none. Repeating the same append changes nothing.

        Appends of concurrent callers share a statement.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch. All nodes are in its own range, never in an ancestor's.
            nodes: The nodes, in any order; at least one. Each has at most 4 MiB.
            is_new_branch: Whether the branch's row in the tree is written too. A forked branch has its row already.
            info: The note in that row, which is sealed; at most 4 MiB of UTF-8.
            transaction: The transaction to write in; None for a new transaction.
            barrier: A barrier that the write waits for before it is sent; None for none.

        Raises:
            InvalidPersistenceRequest: There are no nodes, a write is repeated, or a node is before the branch's own range.
            TransactionSizeLimit: A node has more than 4 MiB.
            NamespaceNotFound: The namespace does not exist.
            AppendHistoryTimeout: The database did not answer in time. `may_have_been_committed` is True if the nodes may be stored.
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
        """Read a page of the nodes [min_node_id, max_node_id), through the ranges of the branch's ancestors.

        A node that a later write shadows is left out. The nodes between two bounds are those that a reader of the whole history
        finds there. A missing node is never skipped; `chain.py` states which losses can't be noticed.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch.
            min_node_id: The lower bound, inclusive.
            max_node_id: The upper bound, exclusive.
            page_size: The maximum number of nodes to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page of the same read; None or empty for the first page.
            reverse: Whether the newest node comes first.
            metadata_only: Whether to return node and transaction ids with empty events. No key is used, so **nothing is
                authenticated**: anyone who can write to the database can change the ids.
            last_txn_id: The transaction of the newest node, for a reverse read of a caller that knows it. The read then refuses a
                history whose end is missing, and ignores later writes. None for the newest transaction that is stored.

        Raises:
            NotFound: The first page has no node.
            DataLoss: A node is missing, or two nodes contradict each other. Also raised if nodes of an earlier page were written
                again since.
            IntegrityError: A node does not open.
            InvalidPersistenceRequest: A size or bound is invalid, or the token is from another read.
            NamespaceNotFound: The namespace does not exist.
        """
        read = BranchRead(namespace_id, branch, min_node_id, max_node_id, reverse, metadata_only)
        return await self._reader.read(read, page_size=page_size, token=page_token, last_txn_id=last_txn_id)

    async def fork_history_branch(
        self, namespace_id: UUID, branch: HistoryBranch, *, fork_node_id: int, info: str = ""
    ) -> HistoryBranch:
        """Make a branch that shares all nodes before `fork_node_id`. Only a row in the tree is written.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch to fork.
            fork_node_id: The first node that is not shared; 2 or more. The node need not exist.
            info: The note in the new branch's row, which is sealed; at most 4 MiB of UTF-8.

        Returns:
            The new branch, with a random id.

        Raises:
            InvalidPersistenceRequest: `fork_node_id` is less than 2, or the note is invalid.
            NotFound: The branch has no row in the tree. If it had one, it was deleted and its nodes may be gone.
            NamespaceNotFound: The namespace does not exist.
        """
        return await self._trees.fork(namespace_id, branch, fork_node_id=fork_node_id, info=info)

    async def trim_history_branch(self, namespace_id: UUID, branch: HistoryBranch, *, node_id: int, txn_id: int) -> int:
        """Delete the writes that failed attempts left. They are at or before `node_id`, and not on the chain that ends there.

        The ranges of ancestors are trimmed too. The operation needs no key and authenticates nothing, because it compares only the
        ids in clear.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch.
            node_id: The newest node that counts, from the run's mutable state.
            txn_id: The transaction of that node.

        Returns:
            The number of writes that were deleted. It is 0 if the node is not stored, or if its chain does not reach node 1.

        Raises:
            InvalidPersistenceRequest: An id or number is invalid.
        """
        return await self._deleter.trim(namespace_id, branch, node_id=node_id, txn_id=txn_id)

    async def delete_history_branch(self, namespace_id: UUID, branch: HistoryBranch) -> None:
        """Delete a branch: its row in the tree, and all nodes that no other branch shares. Deleting it again changes nothing.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch. If it has a row in the tree, its ancestors are taken from that row.

        Raises:
            NamespaceNotFound: The namespace does not exist.
            IntegrityError: A row of the tree does not open, so it is unknown what its branch shares. Nothing was deleted.
            DatabaseUnavailable: Other callers kept changing the tree. Nothing was deleted.
        """
        await self._deleter.delete_branch(namespace_id, branch)

    async def delete_history_nodes(
        self, namespace_id: UUID, branch: HistoryBranch, *, node_id: int, txn_id: int
    ) -> None:
        """Delete one write of one of the branch's own nodes. Needs no key. Deleting a write that does not exist is not an error.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch.
            node_id: The node, in the branch's own range.
            txn_id: The transaction of the write.

        Raises:
            InvalidPersistenceRequest: The node belongs to an ancestor, or an id is invalid.
        """
        await self._deleter.delete_nodes(namespace_id, branch, node_id=node_id, txn_id=txn_id)

    async def get_history_tree(self, namespace_id: UUID, *, shard_id: int, tree_id: UUID) -> list[BranchInfo]:
        """Return all branches of a tree.

        Args:
            namespace_id: The namespace of the history.
            shard_id: The shard of the workflow; 1 or more.
            tree_id: The tree.

        Returns:
            The branches in the order of their ids; an empty list if the tree does not exist.

        Raises:
            NamespaceNotFound: The namespace does not exist.
            IntegrityError: A row of the tree does not open.
        """
        return await self._trees.get(namespace_id, shard_id, tree_id)

    async def get_history_tree_containing_branch(self, namespace_id: UUID, branch: HistoryBranch) -> list[BranchInfo]:
        """Return all branches of a branch's tree, as `get_history_tree` does.

        Args:
            namespace_id: The namespace of the history.
            branch: A branch of the tree; it need not have a row in it.

        Raises:
            InvalidPersistenceRequest, NamespaceNotFound, IntegrityError: As for `get_history_tree`, or the branch is not valid.
        """
        check_branch(branch)
        return await self._trees.get(namespace_id, branch.shard_id, branch.tree_id)

    async def get_all_history_tree_branches(self, *, page_size: int, page_token: bytes | None = None) -> BranchPage:
        """List the branches of all namespaces, in the order of shard, namespace, tree and branch.

        A branch whose row can't be opened, for example because its namespace is shredded, is listed with its ids and the reason.
        Branches that are written during the listing may be missed.

        Args:
            page_size: The maximum number of branches to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: The page size is invalid, or the token is from another operation.
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
