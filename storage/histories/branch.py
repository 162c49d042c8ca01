"""Branches of a history tree: what they are, how they fork, how they are sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

import orjson

from strongroom.storage.errors import DataLoss, InvalidPersistenceRequest

FIRST_NODE = 1
LAST_NODE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BranchRange:
    """Nodes [begin, end) of a branch."""

    branch_id: UUID
    begin_node: int
    end_node: int


@dataclass(frozen=True, slots=True)
class HistoryBranch:
    """A branch: the ranges of its ancestors, oldest first, then its own nodes.

    Attributes:
        shard_id: of the workflow.
        tree_id: one tree per run.
        branch_id: of this branch.
        ancestors: ranges that it shares with older branches; contiguous from node 1.
    """

    shard_id: int
    tree_id: UUID
    branch_id: UUID
    ancestors: tuple[BranchRange, ...] = ()

    @property
    def begin_node(self) -> int:
        """The first node that is this branch's own."""
        return self.ancestors[-1].end_node if self.ancestors else FIRST_NODE

    def ranges(self) -> tuple[BranchRange, ...]:
        """Return all ranges, oldest first, this branch's own last."""
        return (*self.ancestors, BranchRange(self.branch_id, self.begin_node, LAST_NODE))

    def fork(self, *, at_node: int, branch_id: UUID) -> HistoryBranch:
        """Return a new branch that shares everything before `at_node`.

        Raises:
            InvalidPersistenceRequest: there is nothing before that node.
        """
        if at_node <= FIRST_NODE:
            msg = "a branch forks at node 2 or later"
            raise InvalidPersistenceRequest(msg)
        shared = [part for part in self.ranges() if part.begin_node < at_node]
        shared[-1] = replace(shared[-1], end_node=min(shared[-1].end_node, at_node))
        return replace(self, branch_id=branch_id, ancestors=tuple(shared))


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """What a tree row holds, sealed: the branch's ancestors, and what its maker noted."""

    branch: HistoryBranch
    info: str
    fork_time_ns: int

    def pack(self) -> bytes:
        """Return the bytes to seal. Shard, tree and branch id are in the row's key."""
        ancestors = [[str(part.branch_id), part.begin_node, part.end_node] for part in self.branch.ancestors]
        return orjson.dumps({"ancestors": ancestors, "info": self.info, "fork_time_ns": self.fork_time_ns})

    @classmethod
    def unpack(cls, packed: bytes, *, shard_id: int, tree_id: UUID, branch_id: UUID) -> BranchInfo:
        """Undo `pack`.

        Raises:
            DataLoss: not what `pack` makes.
        """
        try:
            content = orjson.loads(packed)
            ancestors = tuple(BranchRange(UUID(part), begin, end) for part, begin, end in content["ancestors"])
            branch = HistoryBranch(shard_id, tree_id, branch_id, ancestors)
            return cls(branch, content["info"], content["fork_time_ns"])
        except (ValueError, KeyError, TypeError):
            msg = f"the row of history branch {branch_id} is not of a form that this version knows"
            raise DataLoss(msg) from None
