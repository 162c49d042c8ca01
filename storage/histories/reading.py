"""Read a branch in pages, forwards or backwards. Ranges that a branch shares are read from its ancestors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.checks import check_number, open_keys
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import NotFound

from .branch import FIRST_NODE, LAST_NODE
from .chain import NO_LIMIT, ChainReader, NodeRows
from .nodes import NodeRange, SealedNodes, open_nodes
from .pages import HistoryPage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

    from .ends import BranchEnd, EndChecks
    from .nodes import NodeReader
    from .pages import BranchRead

_SQL = load_queries("histories/histories")
_TREE_BYTES = 16
_LEAST_ROWS = 20
"""Minimum number of rows of each further fetch in a range. Otherwise a long series of shadowed rows could cost one query per row."""


class _Counted(NamedTuple):
    """The nodes of a page, which are still sealed, and the token of the next page."""

    parts: list[SealedNodes]
    next_page_token: bytes | None


class HistoryReader:
    """Reads pages of branches.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        nodes: The reader of single ranges.
        ends: Compares pages with the ends that the rows of runs name.
    """

    def __init__(self, database: Database, keyring: Keyring, nodes: NodeReader, ends: EndChecks) -> None:
        self._ends = ends
        self._database = database
        self._keyring = keyring
        self._nodes = nodes

    async def read(
        self, read: BranchRead, *, page_size: int, token: bytes | None, last_txn_id: int | None = None
    ) -> HistoryPage:
        """Return a page; see `HistoryManager.read_history_branch`."""
        page_size, token = read.check(page_size), token or None
        if last_txn_id is not None:
            check_number("last_txn_id", last_txn_id, limit=LAST_NODE if read.reverse else 0)
        keys = await open_keys(self._keyring, read.namespace_id)

        async def attempt(end: BranchEnd | None) -> tuple[_Counted, bool]:
            chain, below = await self._start(read, last_txn_id) if token is None else read.resume(token)
            if chain is None:
                return _Counted([], None), end is not None and read.covers(end.node_id, after=0, last=None)
            if end is not None and end.txn_id > chain.newest and not (token is None and last_txn_id is None):
                end = None  # it was written after the read began
            return await self._attempt(read, chain, below, page_size, end)

        counted, next_page_token = await self._ends.read(read.namespace_id, read.branch, attempt)
        if not counted and token is None:
            raise NotFound("the history branch has no node in this range")
        tree, only = (read.branch.shard_id, read.branch.tree_id.bytes), read.metadata_only
        nodes = await open_nodes(self._keyring, read.namespace_id, tree, counted, keys, metadata_only=only)
        return HistoryPage(tuple(nodes), next_page_token)

    async def _attempt(
        self, read: BranchRead, chain: ChainReader, below: int | None, page_size: int, end: BranchEnd | None
    ) -> tuple[_Counted, bool]:
        """Return a page, and whether the known end of the branch should be on it and is not."""
        after = chain.node_id
        parts, is_empty = await self._follow(read, chain, page_size)
        last = chain.node_id if chain.has_more else None
        if end is not None and read.covers(end.node_id, after=after, last=last) and not _has(parts, end):
            return _Counted([], None), True
        if chain.has_more:
            return _Counted(parts, read.token(chain, below)), False
        if read.reverse and not (is_empty and after == 0):
            chain.finish(below)
        return _Counted(parts, None), False

    async def _start(self, read: BranchRead, last_txn_id: int | None) -> tuple[ChainReader | None, int | None]:
        """Return a chain reader that has read no row yet, and the newest transaction before the range.

        The reader is None if the range of a backward read has no node.
        """
        if not read.reverse:
            _, below = await self._newest(read, read.min_node_id, NO_LIMIT)
            return ChainReader(reverse=False, link=below), below
        if last_txn_id is not None:
            _, below = await self._newest(read, read.min_node_id, last_txn_id)
            return ChainReader(reverse=True, link=last_txn_id, newest=last_txn_id), below
        newest, below = await self._newest(read, read.max_node_id, NO_LIMIT)
        if newest is None:
            return None, None
        return ChainReader(reverse=True, link=newest, newest=newest), below

    async def _follow(self, read: BranchRead, chain: ChainReader, page_size: int) -> tuple[list[SealedNodes], bool]:
        """Read until one more row counts than fits on the page, or until the range ends.

        Returns:
            The counted rows, and whether the range has no row at all.
        """
        counted: list[SealedNodes] = []
        room, is_empty = page_size, True
        for part in read.ranges_after(chain.node_id):
            begin, end = part.begin_node, part.end_node
            limit = room + 1  # one more row shows whether there is a next page
            while begin < end and not chain.has_more:
                _, rows, data = await self._nodes.fetch(_range(read, part.branch_id, begin, end, limit))
                if not rows.node_ids:
                    break
                is_empty = False
                indexes = chain.follow(rows, room=room)
                room -= len(indexes)
                counted += _select(part.branch_id, rows, data, indexes)
                if len(rows.node_ids) < limit:
                    break
                if read.reverse:
                    end = rows.node_ids[-1]
                else:
                    begin = rows.node_ids[-1] + 1
                limit = max(room + 1, _LEAST_ROWS)
            if chain.has_more:
                break
        return counted, is_empty

    async def _newest(self, read: BranchRead, end: int, as_of: int) -> tuple[int | None, int | None]:
        """Return the newest transaction of the nodes before `end`, and of those before the read's range. Both are at most `as_of`."""
        parts = read.ranges(FIRST_NODE, end)
        if not parts:
            return None, None
        branch = read.branch
        async with self._database.connection(read.namespace_id) as connection:
            row = await connection.fetchrow(
                _SQL["newest_writes"],
                branch.shard_id,
                read.namespace_id,
                branch.tree_id,
                [part.branch_id for part in parts],
                [part.begin_node for part in parts],
                [part.end_node for part in parts],
                read.min_node_id,
                as_of,
            )
        return (row["newest"], row["below"]) if row is not None else (None, None)


def _range(read: BranchRead, branch_id: UUID, begin: int, end: int, limit: int) -> NodeRange:
    branch = read.branch
    tree = (branch.shard_id, read.namespace_id, branch.tree_id)
    return NodeRange(*tree, branch_id, begin, end, limit, read.reverse)


def _select(branch_id: UUID, rows: NodeRows, data: Sequence[bytes], indexes: Sequence[int]) -> list[SealedNodes]:
    """Return the rows at the indexes; an empty list if there are none."""
    if not indexes:
        return []
    if isinstance(indexes, range):  # the first rows
        end = indexes.stop
        return [SealedNodes(branch_id, NodeRows(*(column[:end] for column in rows)), data[:end])]
    selected = NodeRows(*([column[index] for index in indexes] for column in rows))
    return [SealedNodes(branch_id, selected, [data[index] for index in indexes])]


def _has(parts: Sequence[SealedNodes], end: BranchEnd) -> bool:
    """Return whether the end of a branch is among the counted nodes of a page."""
    wanted = end.node_id, end.txn_id
    return any(
        branch_id.bytes == end.branch[_TREE_BYTES:] and wanted in zip(rows.node_ids, rows.txn_ids, strict=True)
        for branch_id, rows, _ in parts
    )
