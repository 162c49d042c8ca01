"""The branches of history trees: fork a branch, list those of a tree, list those of the cell."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import StrongroomError
from strongroom.kms.sealing.record_kinds import HISTORY_TREE
from strongroom.storage.checks import check_blob, check_number, check_shard_id, check_uuid, open_keys, wanted_page_size
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, SET_BY_FUNCTION
from strongroom.storage.errors import (
    ConditionFailed,
    DatabaseUnavailable,
    DataLoss,
    InvalidPersistenceRequest,
    NotFound,
)
from strongroom.storage.page_tokens import token_bytes, token_of_bytes
from strongroom.storage.sealing import open_each, open_rows

from .branch import BranchInfo
from .journal import forked_branch
from .members import TreeRow, check_members, forked_rows
from .rows import check_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys, RecordKey
    from strongroom.storage.data_blob import DataBlob
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .branch import HistoryBranch

_SQL = load_queries("histories/histories")
_LISTING = "list of history branches"
_POSITION = struct.Struct(">i16s16s16s")
ATTEMPTS = 20
"""Number of attempts to change a tree that other callers change too."""
_LONGEST_WAIT = 0.5  # seconds
_START = (0, UUID(int=0), UUID(int=0), UUID(int=0))


@dataclass(frozen=True, slots=True)
class ListedBranch:
    """A branch in the list of all namespaces.

    Attributes:
        shard_id: The shard of the workflow.
        namespace_id: The namespace of the history.
        tree_id: The history tree.
        branch_id: The branch.
        info: The content of its row; None if the row can't be opened.
        unreadable: The error of opening the row, for example `KeyDestroyed` or `IntegrityError`; None if it was opened.
    """

    shard_id: int
    namespace_id: UUID
    tree_id: UUID
    branch_id: UUID
    info: BranchInfo | None
    unreadable: StrongroomError | None = None


@dataclass(frozen=True, slots=True)
class BranchPage:
    """A page of the list of all branches.

    Attributes:
        branches: The branches in the order of shard, namespace, tree and branch.
        next_page_token: The token of the next page; None at the end.
    """

    branches: tuple[ListedBranch, ...]
    next_page_token: bytes | None


class HistoryTrees:
    """Reads and writes the rows of history trees.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
        distributed: Whether the tables are distributed over a Citus cluster.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal, *, distributed: bool = False) -> None:
        self._journal = journal
        self._database = database
        self._keyring = keyring
        self._fork = load_functions(distributed=distributed)["fork_history_branch"]

    async def fork(
        self, namespace_id: UUID, branch: HistoryBranch, forked: HistoryBranch, *, info: str, tree_info: DataBlob | None
    ) -> HistoryBranch:
        """Write the row of a branch that was forked from another one; see `HistoryManager.fork_history_branch`."""
        check_note(info)
        if tree_info is not None:
            check_blob("tree_info", tree_info)
        keys = await open_keys(self._keyring, namespace_id)
        added = BranchInfo(forked, info, time.time_ns(), tree_info)
        for attempt in range(ATTEMPTS):
            await wait_before(attempt)
            rows = await self.rows(namespace_id, branch.shard_id, branch.tree_id)
            stored = {row.branch_id: row.info.branch for row in rows}
            if branch.branch_id not in stored:
                msg = "the branch has no row in its tree, so it can't be forked: it was deleted, or never appended as a new branch"
                raise NotFound(msg)
            if forked.branch_id in stored:
                if stored[forked.branch_id] != forked:
                    msg = "another branch has this branch_id; fork with a new one"
                    raise ConditionFailed(msg)
                return forked
            if await self._write_fork(keys, rows, *forked_rows(rows, branch.branch_id, added)):
                return forked
        raise tree_kept_changing("forked")

    async def _write_fork(self, keys: NamespaceKeys, rows: Sequence[TreeRow], added: TreeRow, holder: TreeRow) -> bool:
        """Write the row of a new branch and the list of all branches. Return False if the tree has changed since it was read."""
        branch = added.info.branch
        sealed, sealed_holder = sealed_row(keys, added), sealed_row(keys, holder)
        changes = forked_branch(keys.namespace_id, branch, sealed, (holder.branch_id, sealed_holder))
        async with (
            self._journal.entry(changes) as entry,
            self._database.connection(SET_BY_FUNCTION) as connection,
        ):
            answer = await self._fork.call(
                connection,
                branch.shard_id,
                keys.namespace_id,
                branch.tree_id,
                [row.branch_id for row in rows],
                branch.branch_id,
                sealed,
                holder.branch_id,
                sealed_holder,
                *entry.arguments,
            )
            entry.digest = answer[0]["result"]
            entry.refused = entry.digest is None
        return not entry.refused

    async def namespace_of(self, shard_id: int, tree_id: UUID) -> UUID:
        """Return the namespace of a tree; see `HistoryManager.namespace_of_tree`."""
        check_shard_id(shard_id)
        check_uuid("tree_id", tree_id)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["namespaces_of_tree"], shard_id, tree_id)
        if not rows:
            msg = "no namespace has this history tree in this shard"
            raise NotFound(msg)
        if len(rows) > 1:
            msg = "several namespaces have this history tree; name the namespace in the call"
            raise InvalidPersistenceRequest(msg)
        return _uuid(rows[0]["namespace_id"])

    async def get(self, namespace_id: UUID, shard_id: int, tree_id: UUID) -> list[BranchInfo]:
        """Return all branches of a tree; see `HistoryManager.get_history_tree`."""
        return [row.info for row in await self.rows(namespace_id, shard_id, tree_id)]

    async def rows(self, namespace_id: UUID, shard_id: int, tree_id: UUID) -> list[TreeRow]:
        """Return all rows of a tree, in the order of their ids.

        Raises:
            DataLoss: A row is missing, or came back.
        """
        check_shard_id(shard_id)
        check_uuid("tree_id", tree_id)
        await open_keys(self._keyring, namespace_id)
        async with self._database.connection(namespace_id) as connection:
            rows = await connection.fetch(_SQL["get_tree"], shard_id, namespace_id, tree_id)
        opened = await self._open(namespace_id, [(shard_id, tree_id, _uuid(row["branch_id"])) for row in rows], rows)
        check_members(opened)
        return opened

    async def note(self, namespace_id: UUID, branch: HistoryBranch) -> str | None:
        """Return the note in the row of a branch; None if it has no row.

        Raises:
            IntegrityError: The row does not open.
        """
        shard_id, tree_id, branch_id = branch.shard_id, branch.tree_id, branch.branch_id
        async with self._database.connection(namespace_id) as connection:
            rows = await connection.fetch(_SQL["get_branch"], shard_id, namespace_id, tree_id, branch_id)
        opened = await self._open(namespace_id, [(shard_id, tree_id, branch_id)] * len(rows), rows)
        return opened[0].info.info if opened else None

    async def list_all(self, *, page_size: int, page_token: bytes | None) -> BranchPage:
        """List a page of all branches; see `HistoryManager.get_all_history_tree_branches`."""
        page_size = wanted_page_size(page_size)
        position = _parse(page_token) if page_token else _START
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["list_trees"], *position, page_size + 1)
        by_namespace: dict[UUID, list[Row]] = {}
        for row in rows[:page_size]:
            by_namespace.setdefault(_uuid(row["namespace_id"]), []).append(row)
        listed: list[ListedBranch] = []
        for namespace_id, namespace_rows in by_namespace.items():
            listed += await self._list(namespace_id, namespace_rows)
        listed.sort(key=lambda each: (each.shard_id, each.namespace_id.int, each.tree_id.int, each.branch_id.int))
        token = None
        if len(rows) > page_size:
            last = listed[-1]
            ids = (last.namespace_id.bytes, last.tree_id.bytes, last.branch_id.bytes)
            token = token_of_bytes(_LISTING, b"", _POSITION.pack(last.shard_id, *ids))
        return BranchPage(tuple(listed), token)

    async def _list(self, namespace_id: UUID, rows: Sequence[Row]) -> list[ListedBranch]:
        """Open rows of one namespace. A row that can't be opened is listed with the error and hides no other."""
        ids = [(row["shard_id"], _uuid(row["tree_id"]), _uuid(row["branch_id"])) for row in rows]
        sealed: list[tuple[RecordKey, bytes]] = [
            ((shard_id, tree_id.bytes, branch_id.bytes), row["data"])
            for (shard_id, tree_id, branch_id), row in zip(ids, rows, strict=True)
        ]
        opened = await open_each(self._keyring, namespace_id, HISTORY_TREE, (), sealed)
        return [_listed(namespace_id, *each) for each in zip(ids, opened, strict=True)]

    async def _open(
        self, namespace_id: UUID, ids: Sequence[tuple[int, UUID, UUID]], rows: Sequence[Row]
    ) -> list[TreeRow]:
        """Open rows, each given with its shard, tree and branch id."""
        sealed = [
            ((shard_id, tree_id.bytes, branch_id.bytes), row["data"])
            for (shard_id, tree_id, branch_id), row in zip(ids, rows, strict=True)
        ]

        def open_all(keys: NamespaceKeys) -> list[bytes]:
            return keys.open_many(HISTORY_TREE, sealed)

        opened = await open_rows(self._keyring, namespace_id, sum(len(value) for _, value in sealed), open_all)
        return [
            TreeRow.unpack(packed, shard_id=shard_id, tree_id=tree_id, branch_id=branch_id)
            for (shard_id, tree_id, branch_id), packed in zip(ids, opened, strict=True)
        ]


def sealed_row(keys: NamespaceKeys, row: TreeRow) -> bytes:
    """Seal a row of a tree."""
    branch = row.info.branch
    return keys.seal(HISTORY_TREE, (branch.shard_id, branch.tree_id.bytes, branch.branch_id.bytes), row.pack())


async def wait_before(attempt: int) -> None:
    """Wait before an attempt to change a tree. Of several callers one succeeds at each attempt, and random waits spread the others."""
    if attempt:
        await asyncio.sleep(min(0.002 * 2**attempt, _LONGEST_WAIT) * random.random())  # noqa: S311 - nothing secret


def tree_kept_changing(what: str) -> DatabaseUnavailable:
    """Return the error of a change of a tree that failed at every attempt."""
    return DatabaseUnavailable(
        f"other callers kept changing the branches of this tree; nothing was {what}, so try again"
    )


def _listed(namespace_id: UUID, ids: tuple[int, UUID, UUID], packed: bytes | StrongroomError) -> ListedBranch:
    shard_id, tree_id, branch_id = ids
    if isinstance(packed, bytes):
        try:
            info, _ = BranchInfo.unpack(packed, shard_id=shard_id, tree_id=tree_id, branch_id=branch_id)
            return ListedBranch(shard_id, namespace_id, tree_id, branch_id, info)
        except DataLoss as error:
            packed = error
    return ListedBranch(shard_id, namespace_id, tree_id, branch_id, None, packed)


def _uuid(value: UUID) -> UUID:
    """Return an id of a row as Python's UUID. asyncpg's own class is equal to it, and slower to compare."""
    return UUID(bytes=value.bytes)


def _parse(token: bytes) -> tuple[int, UUID, UUID, UUID]:
    packed = token_bytes(token, _LISTING, b"")
    check_number("position", len(packed), least=_POSITION.size, limit=_POSITION.size + 1)
    shard_id, *ids = _POSITION.unpack(packed)
    namespace, tree, branch = (UUID(bytes=part) for part in ids)
    return shard_id, namespace, tree, branch
