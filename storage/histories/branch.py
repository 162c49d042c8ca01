"""A branch of a history tree, its ranges, and the content of its sealed row."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson

from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import DataLoss, InvalidPersistenceRequest

FIRST_NODE = 1
LAST_NODE = 2**63 - 1
_U32 = struct.Struct(">I")
_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BranchRange:
    """The nodes [begin_node, end_node) of a branch."""

    branch_id: UUID
    begin_node: int
    end_node: int


@dataclass(frozen=True, slots=True)
class HistoryBranch:
    """One line of a run's history: the ranges of its ancestors, oldest first, then its own nodes.

    Attributes:
        shard_id: The shard of the workflow.
        tree_id: The history tree. Each run has one.
        branch_id: The id of this branch.
        ancestors: The ranges that it shares with older branches: contiguous, from node 1.
    """

    shard_id: int
    tree_id: UUID
    branch_id: UUID
    ancestors: tuple[BranchRange, ...] = ()

    @property
    def begin_node(self) -> int:
        """The first of the branch's own nodes."""
        return self.ancestors[-1].end_node if self.ancestors else FIRST_NODE

    def ranges(self) -> tuple[BranchRange, ...]:
        """Return all ranges, oldest first. The last one is the branch's own."""
        return (*self.ancestors, BranchRange(self.branch_id, self.begin_node, LAST_NODE))

    def fork(self, *, at_node: int, branch_id: UUID) -> HistoryBranch:
        """Return a new branch that shares all nodes before `at_node`.

        Raises:
            InvalidPersistenceRequest: `at_node` is 1 or less, so no node is before it.
        """
        if at_node <= FIRST_NODE:
            msg = "a branch forks at node 2 or later"
            raise InvalidPersistenceRequest(msg)
        shared = [part for part in self.ranges() if part.begin_node < at_node]
        shared[-1] = replace(shared[-1], end_node=min(shared[-1].end_node, at_node))
        return replace(self, branch_id=branch_id, ancestors=tuple(shared))


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """The sealed content of a branch's row in `history_tree`.

    Attributes:
        branch: The branch.
        info: The note of the caller that created the branch.
        fork_time_ns: The time of that call by the caller's clock, in nanoseconds since 1970.
        tree_info: The caller's own description of the branch, exactly as it was written; None if there is none.
    """

    branch: HistoryBranch
    info: str
    fork_time_ns: int
    tree_info: DataBlob | None = None

    def pack(self, more: Mapping[str, object] = _NOTHING) -> bytes:
        """Return the bytes to seal. They leave out shard, tree and branch id, which are in the row's key.

        Args:
            more: Further members of the row's JSON object (`members.py`).
        """
        ancestors = [[str(part.branch_id), part.begin_node, part.end_node] for part in self.branch.ancestors]
        own = {"ancestors": ancestors, "info": self.info, "fork_time_ns": self.fork_time_ns}
        content = orjson.dumps({**own, **more})
        return _U32.pack(len(content)) + content + (b"" if self.tree_info is None else self.tree_info.pack())

    @classmethod
    def unpack(
        cls, packed: bytes, *, shard_id: int, tree_id: UUID, branch_id: UUID
    ) -> tuple[BranchInfo, dict[str, Any]]:
        """Undo `pack`. Return the content, and the row's JSON object with its further members.

        Raises:
            DataLoss: `pack` did not make these bytes.
        """
        try:
            end = _U32.size + _U32.unpack_from(packed)[0]
            content: dict[str, Any] = orjson.loads(packed[_U32.size : end])
            ancestors = tuple(BranchRange(UUID(part), begin, last) for part, begin, last in content["ancestors"])
            branch = HistoryBranch(shard_id, tree_id, branch_id, ancestors)
            tree_info = DataBlob.unpack(packed[end:]) if packed[end:] else None
            return cls(branch, content["info"], content["fork_time_ns"], tree_info), content
        except (struct.error, ValueError, KeyError, TypeError):
            msg = f"the row of history branch {branch_id} has a form that this version does not know"
            raise DataLoss(msg) from None
