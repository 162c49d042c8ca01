"""Histories for the contract suites: nodes, chains of them, and reading all pages."""

from __future__ import annotations

from uuid import uuid4

import pytest

from strongroom.storage import EVERY_NAMESPACE, DataBlob, HistoryBranch, HistoryNode


class Histories:
    """The histories of one namespace of a cell."""

    def __init__(self, cell, namespace_id, shard_id):
        self.cell, self.namespace_id, self.shard_id = cell, namespace_id, shard_id
        self.manager = cell.history

    def branch(self):
        """A branch of a tree of its own, not written yet."""
        return HistoryBranch(self.shard_id, uuid4(), uuid4())

    async def append(self, branch, *nodes, **options):
        """Append; what begins at node 1 makes the branch, as a service does it."""
        options.setdefault("is_new_branch", any(one.node_id == 1 for one in nodes))
        await self.manager.append_history_nodes(self.namespace_id, branch, nodes, **options)

    async def fork(self, branch, fork_node_id, **options):
        """Fork a branch."""
        return await self.manager.fork_history_branch(self.namespace_id, branch, fork_node_id=fork_node_id, **options)

    async def pages(self, branch, *, page_size=1000, **options):
        """Read all pages; each but the last is full."""
        pages, token = [], None
        while True:
            page = await self.manager.read_history_branch(
                self.namespace_id, branch, page_size=page_size, page_token=token, **options
            )
            pages.append(page)
            token = page.next_page_token
            if token is None:
                return pages
            assert len(page.nodes) == page_size

    async def read(self, branch, **options):
        """Read all nodes."""
        return [one for page in await self.pages(branch, **options) for one in page.nodes]

    async def trim(self, branch, last):
        """Trim a branch whose last node is known; return how many writes were deleted."""
        return await self.manager.trim_history_branch(
            self.namespace_id, branch, node_id=last.node_id, txn_id=last.txn_id
        )

    async def delete(self, branch):
        """Delete a branch."""
        await self.manager.delete_history_branch(self.namespace_id, branch)

    async def tree(self, branch):
        """Return the branches of a tree."""
        return await self.manager.get_history_tree_containing_branch(self.namespace_id, branch)

    async def rows(self, branch):
        """Return what is stored of a tree's nodes, by whatever branch: (branch, node, transaction)."""
        async with self.cell.database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(
                "SELECT branch_id, node_id, txn_id FROM history_node WHERE namespace_id = $1 AND tree_id = $2 ORDER BY 1, 2, 3",
                self.namespace_id,
                branch.tree_id,
            )
        return [tuple(row.values()) for row in rows]

    async def execute(self, statement, *arguments):
        """Run a statement as whoever has the database and no keys would."""
        async with self.cell.database.connection(EVERY_NAMESPACE) as connection:
            return await connection.execute(statement, *arguments)


def node(node_id, txn_id, prev_txn_id):
    """A node whose events say which write it is."""
    return HistoryNode(node_id, txn_id, prev_txn_id, DataBlob(b"events %d.%d" % (node_id, txn_id)))


def chain(first, last, *, txn, after=0):
    """Nodes from first to last, with transactions that count from `txn`; the first follows `after`."""
    return [
        node(node_id, txn + place, txn + place - 1 if place else after)
        for place, node_id in enumerate(range(first, last + 1))
    ]


@pytest.fixture
def histories(cell, namespace_id, shard_id):
    """The histories of a namespace of the test's own."""
    return Histories(cell, namespace_id, shard_id)
