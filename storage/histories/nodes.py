"""Read the nodes of one range of one branch, with all writes of each node, also those that do not count."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms.sealing.record_kinds import HISTORY_NODE
from strongroom.storage.checks import check_flag, check_number, check_shard_id, check_uuid, open_keys, wanted_page_size
from strongroom.storage.data_blob import DataBlob, Encoding
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.shared_reads import shared_reads
from strongroom.storage.page_tokens import page_position, page_token
from strongroom.storage.sealing import open_rows

from .branch import HistoryBranch
from .chain import NodeRows
from .pages import HistoryPage
from .rows import HistoryNode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

    from .ends import BranchEnd, EndChecks

_SQL = load_queries("histories/histories")
_READ = "range of history nodes"
_NO_EVENTS = DataBlob(b"", Encoding.UNSPECIFIED)
_new_node = partial(tuple.__new__, HistoryNode)


class NodeRange(NamedTuple):
    """The nodes [begin, end) of a branch, as columns of the statement.

    Attributes:
        shard_id: The shard of the workflow.
        namespace_id: The namespace of the history.
        tree_id: The history tree.
        branch_id: The branch.
        begin: The first node.
        end: The node after the last one.
        limit: The number of writes to read. All further writes of the last node are read too.
        reverse: Whether the newest node comes first.
        done_node: A node of which some writes were read before; 0 for none.
        done_txn: The transaction of the last of these writes.
    """

    shard_id: int
    namespace_id: UUID
    tree_id: UUID
    branch_id: UUID
    begin: int
    end: int
    limit: int
    reverse: bool
    done_node: int = 0
    done_txn: int = 0


class SealedNodes(NamedTuple):
    """Writes of one branch, and their sealed events."""

    branch_id: UUID
    rows: NodeRows
    data: Sequence[bytes]


class NodeReader:
    """Reads ranges of nodes. The reads of several callers share statements (`storage/engine/group_commit.py`).

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        ends: Compares pages with the ends that the rows of runs name.
        distributed: Whether the tables are distributed over a Citus cluster.
    """

    def __init__(self, database: Database, keyring: Keyring, ends: EndChecks, *, distributed: bool = False) -> None:
        self._keyring = keyring
        self._ends = ends
        self._function = load_functions(distributed=distributed)["get_history_nodes"]
        self._timeout = database.answer_timeout
        self._database = database
        self._reads = shared_reads(
            database, "get_history_nodes", self._fetch_alone, self._fetch_together, distributed=distributed
        )

    async def fetch(self, wanted: NodeRange) -> SealedNodes:
        """Return at least `limit` writes of a range, or all if there are fewer. The order of a node's writes is not defined."""
        return await self._reads.submit(wanted)

    async def read(self, wanted: NodeRange, *, metadata_only: bool, token: bytes | None) -> HistoryPage:
        """Return a page of writes; see `HistoryManager.read_history_nodes`."""
        wanted = _checked(wanted)
        check_flag("metadata_only", metadata_only)
        keys = await open_keys(self._keyring, wanted.namespace_id)
        scope = _scope(wanted)
        if token:
            wanted = _after(wanted, *page_position(token, _READ, scope, numbers=2))
        if wanted.begin >= wanted.end:
            return HistoryPage((), None)
        size = wanted.limit

        async def attempt(end: BranchEnd | None) -> tuple[SealedNodes, bool]:
            found = _in_order(await self.fetch(wanted._replace(limit=size + 1)), reverse=wanted.reverse)
            return found, end is not None and _lacks(found.rows, wanted, end)

        branch = HistoryBranch(wanted.shard_id, wanted.tree_id, wanted.branch_id)
        found = await self._ends.read(wanted.namespace_id, branch, attempt)
        page = SealedNodes(found.branch_id, NodeRows(*(column[:size] for column in found.rows)), found.data[:size])
        tree = (wanted.shard_id, wanted.tree_id.bytes)
        nodes = await open_nodes(self._keyring, wanted.namespace_id, tree, [page], keys, metadata_only=metadata_only)
        token = page_token(_READ, scope, *nodes[-1][:2]) if len(found.rows.node_ids) > size else None
        return HistoryPage(tuple(nodes), token)

    async def aclose(self) -> None:
        """Wait until no read is in flight."""
        await self._reads.aclose()

    async def _fetch_alone(self, wanted: NodeRange) -> SealedNodes:
        *bounds, reverse, done_node, done_txn = wanted
        statement = _SQL["read_backwards" if reverse else "read_forwards"]
        async with self._database.connection(wanted.namespace_id) as connection:
            row = await connection.fetchrow(statement, *bounds, done_node, done_txn)
        assert row is not None  # noqa: S101 - an aggregate has always one row
        return _sealed_nodes(wanted, row)

    async def _fetch_together(self, connection: Connection, requests: Sequence[NodeRange]) -> list[SealedNodes]:
        columns = zip(*requests, strict=True)
        rows = await self._function.call(connection, requests[0].shard_id, *columns, timeout=self._timeout)
        return list(map(_sealed_nodes, requests, rows))


def _sealed_nodes(wanted: NodeRange, row: Row) -> SealedNodes:
    rows = NodeRows(row["node_ids"] or [], row["txn_ids"] or [], row["prev_txn_ids"] or [])
    return SealedNodes(wanted.branch_id, rows, row["sealed"] or ())


async def open_nodes(
    keyring: Keyring,
    namespace_id: UUID,
    tree: tuple[int, bytes],
    parts: Sequence[SealedNodes],
    keys: NamespaceKeys,
    *,
    metadata_only: bool = False,
) -> list[HistoryNode]:
    """Open the events of nodes of one tree.

    Args:
        keyring: The cell's unwrapped keys.
        namespace_id: The namespace of the history.
        tree: The shard and the id of the history tree.
        parts: The nodes, by branch.
        keys: The namespace's keys.
        metadata_only: Whether to leave the events empty. The nodes are opened all the same, because only that authenticates their ids.

    Raises:
        IntegrityError: A node does not open.
    """

    def open_all(keys: NamespaceKeys) -> list[HistoryNode]:
        nodes: list[HistoryNode] = []
        for branch_id, rows, data in parts:
            row_keys = zip(*rows, strict=True)
            opened = keys.open_many(
                HISTORY_NODE, list(zip(row_keys, data, strict=True)), scope=(*tree, branch_id.bytes)
            )
            events = [_NO_EVENTS] * len(opened) if metadata_only else DataBlob.unpack_many(opened)
            nodes += map(_new_node, zip(*rows, events, strict=True))
        return nodes

    size = sum(sum(map(len, part.data)) for part in parts)
    return await open_rows(keyring, namespace_id, size, open_all, keys=keys)


def _checked(wanted: NodeRange) -> NodeRange:
    check_uuid("namespace_id", wanted.namespace_id)
    check_shard_id(wanted.shard_id)
    check_uuid("tree_id", wanted.tree_id)
    check_uuid("branch_id", wanted.branch_id)
    check_number("min_node_id", wanted.begin)
    check_number("max_node_id", wanted.end)
    check_flag("reverse", wanted.reverse)
    return wanted._replace(limit=wanted_page_size(wanted.limit))


def _scope(wanted: NodeRange) -> bytes:
    """Return the parameters that a page token is bound to.

    The bounds are not among them, because Temporal's reverse reads name another end for each page. `_after` keeps within those of
    the call.
    """
    numbers = f"{wanted.shard_id}.{wanted.reverse:d}".encode()
    return wanted.namespace_id.bytes + wanted.tree_id.bytes + wanted.branch_id.bytes + numbers


def _after(wanted: NodeRange, node_id: int, txn_id: int) -> NodeRange:
    """Return what is left of a range after a write."""
    if wanted.reverse:
        return wanted._replace(end=min(wanted.end, node_id + 1), done_node=node_id, done_txn=txn_id)
    return wanted._replace(begin=max(wanted.begin, node_id), done_node=node_id, done_txn=txn_id)


def _lacks(rows: NodeRows, wanted: NodeRange, end: BranchEnd) -> bool:
    """Return whether a page should have the end of its branch, and has not. `rows` may have more writes than the page."""
    place = _place(end.node_id, end.txn_id, reverse=wanted.reverse)
    done = _place(wanted.done_node, wanted.done_txn, reverse=wanted.reverse) if wanted.done_node else None
    if not wanted.begin <= end.node_id < wanted.end or (done is not None and place <= done):
        return False
    if len(rows.node_ids) > wanted.limit and place > _place(
        rows.node_ids[-1], rows.txn_ids[-1], reverse=wanted.reverse
    ):
        return False
    return (end.node_id, end.txn_id) not in zip(rows.node_ids, rows.txn_ids, strict=True)


def _place(node_id: int, txn_id: int, *, reverse: bool) -> tuple[int, int]:
    """Return what writes are sorted by in the order of a read."""
    return (-node_id, txn_id) if reverse else (node_id, -txn_id)


def _in_order(found: SealedNodes, *, reverse: bool) -> SealedNodes:
    """Return writes in Temporal's order: of a node, the newest write comes first forwards, and last backwards."""
    nodes, txns, _ = found.rows
    if len(set(nodes)) == len(nodes):
        return found
    order = sorted(range(len(nodes)), key=lambda place: (nodes[place], -txns[place]), reverse=reverse)
    rows = NodeRows(*([column[place] for place in order] for column in found.rows))
    return SealedNodes(found.branch_id, rows, [found.data[place] for place in order])
