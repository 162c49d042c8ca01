"""The list of a tree's branches, so that a hidden row is noticed.

A deletion of a branch also deletes the nodes that no other branch shares. A row that a database administrator hid would make shared
nodes look unshared. So each fork and each deletion raises the version of the tree, and one row, the holder, has that version and the
list of all branches. A tree that was never forked has version 0 and no list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from strongroom.storage.errors import DataLoss

from .branch import BranchInfo

if TYPE_CHECKING:
    from collections.abc import Sequence


class TreeRow(NamedTuple):
    """A row of a tree.

    Attributes:
        info: The branch.
        version: The version of the tree that wrote the row; 0 before the first fork.
        members: The branches of the tree in that version; None if the row is not the holder.
    """

    info: BranchInfo
    version: int = 0
    members: frozenset[UUID] | None = None

    @property
    def branch_id(self) -> UUID:
        """The branch."""
        return self.info.branch.branch_id

    def pack(self) -> bytes:
        """Return the bytes to seal."""
        content: dict[str, object] = {"tree_version": self.version}
        if self.members is not None:
            content["members"] = sorted(map(str, self.members))
        return self.info.pack(content)

    @classmethod
    def unpack(cls, packed: bytes, *, shard_id: int, tree_id: UUID, branch_id: UUID) -> TreeRow:
        """Undo `pack`, and `BranchInfo.pack`.

        Raises:
            DataLoss: Neither made these bytes.
        """
        info, content = BranchInfo.unpack(packed, shard_id=shard_id, tree_id=tree_id, branch_id=branch_id)
        members = content.get("members")
        return cls(info, content.get("tree_version", 0), None if members is None else frozenset(map(UUID, members)))


def check_members(rows: Sequence[TreeRow]) -> None:
    """Refuse the rows of a tree that lack a branch, or that have one that was deleted.

    Raises:
        DataLoss: A branch is missing, or came back.
    """
    version = max((row.version for row in rows), default=0)
    if not version:
        return
    members = next((row.members for row in rows if row.version == version and row.members is not None), None)
    if members is None:
        raise _loss(rows, "the row with the list of its branches is missing")
    present = {row.branch_id for row in rows}
    for branch_id in sorted(members - present, key=str):
        raise _loss(rows, f"branch {branch_id} is missing")
    for row in rows:
        if row.version and row.branch_id not in members:
            raise _loss(rows, f"branch {row.branch_id} was deleted, and came back")


def forked_rows(rows: Sequence[TreeRow], base: UUID, forked: BranchInfo) -> tuple[TreeRow, TreeRow]:
    """Return the row of a new branch, and the new row of the holder, which is the base in a tree without one."""
    version = 1 + max(row.version for row in rows)
    members = frozenset(row.branch_id for row in rows) | {forked.branch.branch_id}
    holder = _holder(rows) or next(row for row in rows if row.branch_id == base)
    return TreeRow(forked, version), TreeRow(holder.info, version, members)


def holder_without(rows: Sequence[TreeRow], deleted: UUID) -> TreeRow | None:
    """Return the new row of the holder after a branch was deleted; None if no branch is left, or the branch has no row."""
    left = [row for row in rows if row.branch_id != deleted]
    if not left or len(left) == len(rows):
        return None
    holder = _holder(left) or left[0]
    version = 1 + max(row.version for row in rows)
    return TreeRow(holder.info, version, frozenset(row.branch_id for row in left))


def _holder(rows: Sequence[TreeRow]) -> TreeRow | None:
    """Return the row with the newest list; None if no row has one."""
    return max((row for row in rows if row.members is not None), key=lambda row: row.version, default=None)


def _loss(rows: Sequence[TreeRow], what: str) -> DataLoss:
    return DataLoss(f"history tree {rows[0].info.branch.tree_id}: {what}; restore the tree from a backup")
