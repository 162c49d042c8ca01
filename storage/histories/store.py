"""Temporal's history store on sealed rows: nodes of single branches, and the rows of trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from strongroom.storage.checks import open_keys
from strongroom.storage.column_sealer import ColumnSealer
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.barrier import pass_barriers
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.errors import AppendHistoryTimeout, DatabaseTimeout
from strongroom.storage.journal.entry import Changes

from .branch import HistoryBranch
from .deletion import HistoryDeleter
from .ends import EndChecks
from .journal import changed_history
from .nodes import NodeRange, NodeReader
from .rows import HistoryAppend, HistoryColumns, HistoryNode, check_append
from .tree import HistoryTrees

if TYPE_CHECKING:
    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .branch import BranchInfo
    from .ends import RunEnds
    from .pages import HistoryPage
    from .tree import BranchPage

    _Request: TypeAlias = tuple[NamespaceKeys, HistoryAppend, int]


class HistoryStore:
    """Reads and writes the nodes of branches, and the branches of trees, of all namespaces. `HistoryManager` states the common errors.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
        ends: The ends of branches that the rows of runs name; None if there is no store of runs.
        distributed: Whether the tables are distributed over a Citus cluster.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        *,
        ends: RunEnds | None = None,
        distributed: bool = False,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._journal = journal
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
        self._trees = HistoryTrees(database, keyring, journal, distributed=distributed)
        self._ends = EndChecks(ends, self._trees)
        self._nodes = NodeReader(database, keyring, self._ends, distributed=distributed)
        self._deleter = HistoryDeleter(database, keyring, journal, self._trees, self._nodes, distributed=distributed)

    async def append_history_nodes(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        nodes: Sequence[HistoryNode],
        *,
        is_new_branch: bool = False,
        info: str = "",
        tree_info: DataBlob | None = None,
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
            tree_info: The caller's own description of the branch in that row, which is sealed and returned as it was written; at
                most 4 MiB. None for none.
            transaction: A transaction of `Database.transaction` to write in; None for a new one. In a transaction of another
                connection, verification does not find the deletion of the append in the next 90 seconds. On a Citus cluster only
                the owner of the tables can write in a transaction of another connection.
            barrier: A barrier that the write waits for before it is sent; None for none.

        Raises:
            InvalidPersistenceRequest: There are no nodes, a write is repeated, or a node is before the branch's own range.
            TransactionSizeLimit: A node has more than 4 MiB.
            NamespaceNotFound: The namespace does not exist.
            AppendHistoryTimeout: The database did not answer in time. `may_have_been_committed` is True if the nodes may be stored.
        """
        append = HistoryAppend(branch, nodes, is_new_branch, info, tree_info)
        size = check_append(append)
        request = (await open_keys(self._keyring, namespace_id), append, size)
        try:
            if transaction is None:
                await self._appends.submit(request, barrier=barrier)
            else:
                await pass_barriers(() if barrier is None else (barrier,))
                await self._write(transaction, [request], transaction=transaction)
        except DatabaseTimeout as error:
            raise AppendHistoryTimeout(str(error), may_have_been_committed=error.may_have_been_committed) from None

    async def read_history_nodes(  # noqa: PLR0913 - the fields of Temporal's request
        self,
        namespace_id: UUID,
        *,
        shard_id: int,
        tree_id: UUID,
        branch_id: UUID,
        min_node_id: int,
        max_node_id: int,
        page_size: int,
        page_token: bytes | None = None,
        reverse: bool = False,
        metadata_only: bool = False,
    ) -> HistoryPage:
        """Read a page of the nodes [min_node_id, max_node_id) of one branch, with every write of each node.

        This is Temporal's store level. Only the branch's own rows are read, none of its ancestors. Shadowed writes are returned too,
        and links between nodes are not checked. The caller decides which writes count. Concurrent reads share a statement.

        The order is by node id ascending and transaction descending. With `reverse` it is by node id descending and transaction
        ascending. A page may end between two writes of a node.

        Args:
            namespace_id: The namespace of the history.
            shard_id: The shard of the workflow; 1 or more.
            tree_id: The history tree.
            branch_id: The branch, or an ancestor of it.
            min_node_id: The lower bound, inclusive.
            max_node_id: The upper bound, exclusive.
            page_size: The maximum number of writes to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page of the same read; None or empty for the first page.
            reverse: Whether the newest node comes first.
            metadata_only: Whether to return node and transaction ids with empty events. The nodes are opened all the same, because
                callers delete by these ids.

        Returns:
            The page. It is empty if there is no node.

        Raises:
            DataLoss: The newest node of the run is missing; see `ends.py`.
            IntegrityError: A node does not open.
            InvalidPersistenceRequest: An id or bound is invalid, or the token is from another read.
            NamespaceNotFound: The namespace does not exist.
        """
        tree = (shard_id, namespace_id, tree_id)
        wanted = NodeRange(*tree, branch_id, min_node_id, max_node_id, page_size, reverse)
        return await self._nodes.read(wanted, metadata_only=metadata_only, token=page_token)

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
            DataLoss: The tree lacks a branch, or has one that was deleted; see `members.py`.
        """
        return await self._trees.get(namespace_id, shard_id, tree_id)

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

    async def namespace_of_tree(self, *, shard_id: int, tree_id: UUID) -> UUID:
        """Return the namespace of a history tree, for a branch token that does not name it.

        It reads the ids of all branches of the shard, so the caller keeps the answer. It never changes while the tree exists.

        Args:
            shard_id: The shard of the workflow; 1 or more.
            tree_id: The history tree.

        Raises:
            NotFound: No namespace has this tree in this shard.
            InvalidPersistenceRequest: Several namespaces have it, because one history was imported into each of them. Or an id is
                invalid.
        """
        return await self._trees.namespace_of(shard_id, tree_id)

    async def aclose(self) -> None:
        """Wait until no append and no read is in flight or waiting."""
        await self._appends.aclose()
        await self._nodes.aclose()

    async def _write(
        self, connection: Connection, requests: Sequence[_Request], *, transaction: Connection | None = None
    ) -> list[None]:
        """Write the appends of several callers in one statement, sealed as one batch for each namespace.

        Args:
            connection: The connection.
            requests: The appends.
            transaction: The transaction whose end decides about them; None for none.
        """
        sealed, rows = ColumnSealer(), HistoryColumns()
        for index, (keys, append, _) in enumerate(requests):
            rows.add(sealed, keys, index, append)
        await sealed.seal()
        shards = [append.branch.shard_id for _, append, _ in requests]
        namespaces = [keys.namespace_id for keys, _, _ in requests]
        by_shard = {shard_id: Changes(shard_id) for shard_id in shards}
        places = [namespace_id.bytes for namespace_id in namespaces]
        changed_history([by_shard[shard_id] for shard_id in shards], places, rows)
        changes = list(by_shard.values())
        async with self._journal.entries(changes, transaction=transaction) as entries:
            replaced = await self._append.call(
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
                *entries.arguments,
                timeout=self._database.answer_timeout,
            )
            entries.digests.update((row["entry_shard"], row["digest"]) for row in replaced)
        return [None] * len(requests)
