"""Temporal's history manager on sealed rows: the history of a branch through its ancestors, forks, and deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from strongroom.storage.checks import check_number, check_uuid
from strongroom.storage.data_blob import DataBlob

from .branch import LAST_NODE, HistoryBranch
from .pages import BranchRead
from .reading import HistoryReader
from .rows import check_branch
from .store import HistoryStore

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .branch import BranchInfo
    from .ends import RunEnds
    from .pages import HistoryPage


class HistoryManager(HistoryStore):
    """Reads and writes the histories of all namespaces. The operations of Temporal's store level are those of `HistoryStore`.

    Every operation raises `InvalidPersistenceRequest` for an invalid id or number before it sends anything, and `DatabaseUnavailable`
    if the database can't be reached. Operations that open or seal rows raise `NamespaceNotFound` for an unknown namespace, and
    `KmsError` if the namespace's keys can't be unwrapped.

    Node ids and transaction ids are whole numbers below 2^63. Node ids begin at 1.

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
        super().__init__(database, keyring, journal, ends=ends, distributed=distributed)
        self._reader = HistoryReader(database, keyring, self._nodes, self._ends)

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
            metadata_only: Whether to return node and transaction ids with empty events. The nodes are opened all the same, because
                callers delete by these ids.
            last_txn_id: The transaction of the newest node, for a reverse read of a caller that knows it. The read then refuses a
                history whose end is missing, and ignores later writes. None for the newest transaction that is stored.

        Raises:
            NotFound: The first page has no node.
            DataLoss: A node is missing, also the newest node of the run (`ends.py`), or two nodes contradict each other. Also raised
                if nodes of an earlier page were written again since.
            IntegrityError: A node does not open.
            InvalidPersistenceRequest: A size or bound is invalid, or the token is from another read.
            NamespaceNotFound: The namespace does not exist.
        """
        read = BranchRead(namespace_id, branch, min_node_id, max_node_id, reverse, metadata_only)
        return await self._reader.read(read, page_size=page_size, token=page_token, last_txn_id=last_txn_id)

    async def fork_history_branch(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        *,
        fork_node_id: int,
        info: str = "",
        branch_id: UUID | None = None,
        tree_info: DataBlob | None = None,
    ) -> HistoryBranch:
        """Make a branch that shares all nodes before `fork_node_id`. Only rows of the tree are written.

        Repeating the same fork with the same `branch_id` changes nothing.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch to fork.
            fork_node_id: The first node that is not shared; 2 or more. The node need not exist.
            info: The note in the new branch's row, which is sealed; at most 4 MiB of UTF-8.
            branch_id: The id of the new branch; None for a random one.
            tree_info: The caller's own description of the new branch, which is sealed and returned as it was written; at most 4 MiB.
                None for none.

        Returns:
            The new branch.

        Raises:
            InvalidPersistenceRequest: `fork_node_id` is less than 2, or an id or the note is invalid.
            NotFound: The branch has no row in the tree. If it had one, it was deleted and its nodes may be gone.
            ConditionFailed: Another branch of the tree has this `branch_id`.
            DataLoss: The tree lacks a branch, or has one that was deleted.
            DatabaseUnavailable: Other callers kept changing the tree. Nothing was written.
            NamespaceNotFound: The namespace does not exist.
            TransactionSizeLimit: `tree_info` has more than 4 MiB.
        """
        check_branch(branch)
        check_number("fork_node_id", fork_node_id, least=2, limit=LAST_NODE)
        if branch_id is not None:
            check_uuid("branch_id", branch_id)
        forked = branch.fork(at_node=fork_node_id, branch_id=branch_id or uuid4())
        return await self._trees.fork(namespace_id, branch, forked, info=info, tree_info=tree_info)

    async def trim_history_branch(self, namespace_id: UUID, branch: HistoryBranch, *, node_id: int, txn_id: int) -> int:
        """Delete the writes that failed attempts left. They are at or before `node_id`, and not on the chain that ends there.

        The ranges of ancestors are trimmed too. Each write is opened before one is deleted, because an edited link to the node before
        it would make the trim delete nodes that count.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch.
            node_id: The newest node that counts, from the run's mutable state.
            txn_id: The transaction of that node.

        Returns:
            The number of writes that were deleted. It is 0 if the node is not stored, or if its chain does not reach node 1.

        Raises:
            InvalidPersistenceRequest: An id or number is invalid.
            IntegrityError: A write does not open. Nothing was deleted.
            KmsError: The namespace's keys are not available.
            NamespaceNotFound: The namespace does not exist.
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
            DataLoss: The tree lacks a branch, or has one that was deleted. Nothing was deleted.
            DatabaseUnavailable: Other callers kept changing the tree. Nothing was deleted.
        """
        await self._deleter.delete_branch(namespace_id, branch)

    async def get_history_tree_containing_branch(self, namespace_id: UUID, branch: HistoryBranch) -> list[BranchInfo]:
        """Return all branches of a branch's tree, as `get_history_tree` does.

        Args:
            namespace_id: The namespace of the history.
            branch: A branch of the tree; it need not have a row in it.

        Raises:
            InvalidPersistenceRequest, NamespaceNotFound, IntegrityError, DataLoss: As for `get_history_tree`, or the branch is not
                valid.
        """
        check_branch(branch)
        return await self._trees.get(namespace_id, branch.shard_id, branch.tree_id)
