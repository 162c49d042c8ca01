"""What is read of a branch: which nodes of whose history, in which order; its pages and their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.checks import check_number, check_page_size, check_uuid
from strongroom.storage.errors import InvalidPersistenceRequest
from strongroom.storage.page_tokens import page_position, page_token

from .branch import FIRST_NODE, BranchRange
from .rows import check_branch

if TYPE_CHECKING:
    from uuid import UUID

    from .branch import HistoryBranch
    from .rows import HistoryNode

NO_WRITE = -1
"""In a token, and where a transaction is looked for: before all of them."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Nodes in the order asked for, and a token for what follows; None at the end."""

    nodes: tuple[HistoryNode, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class BranchRead:
    """What is read of a branch; the same for all pages.

    Attributes:
        namespace_id: whose history.
        branch: which.
        min_node_id: first node wanted, inclusive.
        max_node_id: last node wanted, exclusive.
        reverse: newest first.
        metadata_only: without the events, and without opening anything.
    """

    namespace_id: UUID
    branch: HistoryBranch
    min_node_id: int
    max_node_id: int
    reverse: bool
    metadata_only: bool

    def check(self, page_size: int) -> None:
        """Refuse what can't be read.

        Raises:
            InvalidPersistenceRequest: ids or numbers out of their range.
        """
        check_uuid("namespace_id", self.namespace_id)
        check_branch(self.branch)
        check_number("min_node_id", self.min_node_id)
        check_number("max_node_id", self.max_node_id)
        check_page_size(page_size)

    def scope(self) -> bytes:
        """Return what a page token is bound to."""
        branch = self.branch
        numbers = f"{branch.shard_id}.{self.min_node_id}.{self.max_node_id}.{self.reverse:d}".encode()
        return self.namespace_id.bytes + branch.tree_id.bytes + branch.branch_id.bytes + numbers

    def token(self, *position: int) -> bytes:
        """Return a token of this read."""
        return page_token("history branch", self.scope(), *position)

    def position(self, token: bytes, *, numbers: int) -> tuple[int, ...]:
        """Return the position in a token.

        Raises:
            InvalidPersistenceRequest: it is not one of this read.
        """
        position = page_position(token, "history branch", self.scope(), numbers=numbers)
        if position[0] < FIRST_NODE or min(position[1:]) < NO_WRITE:
            msg = "this is not a page token of a history"
            raise InvalidPersistenceRequest(msg)
        return position

    def ranges(self, begin: int, end: int) -> list[BranchRange]:
        """Return the ranges that hold nodes from `begin` to below `end`, cut to them, oldest first."""
        cut = [
            BranchRange(part.branch_id, max(part.begin_node, begin), min(part.end_node, end))
            for part in self.branch.ranges()
        ]
        return [part for part in cut if part.begin_node < part.end_node]
