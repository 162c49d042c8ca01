"""Read a branch in pages, up or down, through the ranges of its ancestors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms.sealing.record_kinds import HISTORY_NODE
from strongroom.storage.checks import check_number, open_keys
from strongroom.storage.data_blob import DataBlob, Encoding
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import NotFound
from strongroom.storage.sealing import open_rows

from .branch import FIRST_NODE, LAST_NODE
from .chain import Backwards, Forwards, NodeRows
from .pages import NO_WRITE, HistoryPage
from .rows import HistoryNode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.database import Database

    from .pages import BranchRead

_SQL = load_queries("histories/histories")
_NO_EVENTS = DataBlob(b"", Encoding.UNSPECIFIED)


class _Taken(NamedTuple):
    branch_id: UUID
    rows: NodeRows
    data: Sequence[bytes]


class HistoryReader:
    """Reads pages of branches.

    Args:
        database: for look-ups by key.
        keyring: unwrapped keys.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def read(
        self, read: BranchRead, *, page_size: int, token: bytes | None, last_txn_id: int | None = None
    ) -> HistoryPage:
        """Read a page; see `HistoryManager.read_history_branch`."""
        read.check(page_size)
        if last_txn_id is not None:
            check_number("last_txn_id", last_txn_id, limit=LAST_NODE if read.reverse else 0)
        keys = None if read.metadata_only else await open_keys(self._keyring, read.namespace_id)
        if read.reverse:
            taken, follows = await self._backwards(read, page_size, token, last_txn_id)
        else:
            taken, follows = await self._forwards(read, page_size, token)
        if not taken and token is None:
            msg = "this history branch has no such nodes"
            raise NotFound(msg)
        return HistoryPage(tuple(await self._open(read, taken, keys)), follows)

    async def _forwards(
        self, read: BranchRead, page_size: int, token: bytes | None
    ) -> tuple[list[_Taken], bytes | None]:
        from_start = read.min_node_id <= FIRST_NODE
        if token is not None:
            node_id, txn_id = read.position(token, numbers=2)
            chain = Forwards(node_id, txn_id, from_start)
        else:
            below = None if from_start else (await self._newest(read, read.min_node_id))[0]
            chain = Forwards(0, below, from_start)
        taken: list[_Taken] = []
        room = page_size
        for part in read.ranges(max(read.min_node_id, chain.node_id + 1), read.max_node_id):
            begin: int | None = part.begin_node
            limit = room + 1  # one more than there is room for tells whether there is a next page
            while begin is not None and not chain.left_over:
                rows, data = await self._fetch(read, "forwards", part.branch_id, begin, part.end_node, limit)
                if not rows.node_ids:
                    break
                places = chain.take(rows, room=room, complete=len(rows.node_ids) < limit)
                room -= len(places)
                taken += _cut(part.branch_id, rows, data, places)
                # More writes of one node than were asked for: ask for more of them.
                limit = 2 * limit if chain.resume == begin else room + 1
                begin = chain.resume
            if chain.left_over:
                return taken, read.token(chain.node_id, chain.txn_id or 0)
        return taken, None

    async def _backwards(
        self, read: BranchRead, page_size: int, token: bytes | None, last_txn_id: int | None
    ) -> tuple[list[_Taken], bytes | None]:
        first = max(read.min_node_id, FIRST_NODE)
        newest: int | None
        below: int | None
        if token is not None:
            node_id, wanted, newest, below = read.position(token, numbers=4)
            below = None if below == NO_WRITE else below
            chain = Backwards(node_id, wanted, newest)
        else:
            newest, below = last_txn_id, None
            if last_txn_id is None or first > FIRST_NODE:
                found, below = await self._newest(read, read.max_node_id)
                newest = found if last_txn_id is None else last_txn_id
            if newest is None:
                return [], None
            chain = Backwards(LAST_NODE, newest, newest)
        taken: list[_Taken] = []
        room, is_empty = page_size, True
        for part in reversed(read.ranges(first, min(read.max_node_id, chain.node_id))):
            position: tuple[int, int] | None = (part.end_node, NO_WRITE)
            while position is not None and room:
                rows, data = await self._fetch(read, "backwards", part.branch_id, part.begin_node, *position, room)
                if not rows.node_ids:
                    break
                is_empty = False
                position = (rows.node_ids[-1], rows.txn_ids[-1]) if len(rows.node_ids) == room else None
                places = chain.take(rows)
                room -= len(places)
                taken += _cut(part.branch_id, rows, data, places)
        is_last = bool(room) or chain.node_id <= first
        if not is_last and chain.wanted == below:
            # What comes next stands below the first node, unless both have the same transaction.
            is_last = taken[-1].rows.txn_ids[-1] != below
        if not is_last:
            return taken, read.token(chain.node_id, chain.wanted, chain.newest, NO_WRITE if below is None else below)
        if token is not None or not is_empty:
            chain.check_end(first=first, below=below)
        return taken, None

    async def _newest(self, read: BranchRead, end: int) -> tuple[int | None, int | None]:
        """Return the newest transaction below a node, and below the first node wanted."""
        parts = read.ranges(FIRST_NODE, end)
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
            )
        return (row["newest"], row["below"]) if row is not None else (None, None)

    async def _fetch(
        self, read: BranchRead, way: str, branch_id: UUID, *bounds: int
    ) -> tuple[NodeRows, Sequence[bytes]]:
        branch = read.branch
        name = f"{'scan' if read.metadata_only else 'read'}_{way}"
        async with self._database.connection(read.namespace_id) as connection:
            row = await connection.fetchrow(
                _SQL[name], branch.shard_id, read.namespace_id, branch.tree_id, branch_id, *bounds
            )
        if row is None or row["node_ids"] is None:
            return NodeRows([], [], []), ()
        rows = NodeRows(row["node_ids"], row["txn_ids"], row["prev_txn_ids"])
        return rows, () if read.metadata_only else row["data"]

    async def _open(self, read: BranchRead, taken: Sequence[_Taken], keys: NamespaceKeys | None) -> list[HistoryNode]:
        if keys is None:
            return [HistoryNode(*key, _NO_EVENTS) for part in taken for key in zip(*part.rows, strict=True)]
        shard_id, tree = read.branch.shard_id, read.branch.tree_id.bytes

        def open_all(keys: NamespaceKeys) -> list[HistoryNode]:
            nodes: list[HistoryNode] = []
            for branch_id, rows, data in taken:
                places = list(zip(*rows, strict=True))
                opened = keys.open_many(
                    HISTORY_NODE, list(zip(places, data, strict=True)), scope=(shard_id, tree, branch_id.bytes)
                )
                nodes += map(_new_node, zip(*rows, DataBlob.unpack_many(opened), strict=True))
            return nodes

        size = sum(sum(map(len, part.data)) for part in taken)
        return await open_rows(self._keyring, read.namespace_id, size, open_all, keys=keys)


_new_node = partial(tuple.__new__, HistoryNode)


def _cut(branch_id: UUID, rows: NodeRows, data: Sequence[bytes], places: Sequence[int]) -> list[_Taken]:
    """Return the rows at some places; none at all for no places."""
    if not places:
        return []
    if isinstance(places, range):  # the first ones
        end = places.stop
        return [_Taken(branch_id, NodeRows(*(column[:end] for column in rows)), data[:end])]
    chosen = NodeRows(*([column[place] for place in places] for column in rows))
    return [_Taken(branch_id, chosen, [data[place] for place in places] if data else ())]
