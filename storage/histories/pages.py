"""A read of a branch: its bounds and direction, its pages, and their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.checks import check_number, check_uuid, wanted_page_size
from strongroom.storage.errors import InvalidPersistenceRequest
from strongroom.storage.page_tokens import page_position, page_token

from .branch import FIRST_NODE, BranchRange
from .chain import ChainReader
from .rows import check_branch

if TYPE_CHECKING:
    from uuid import UUID

    from .branch import HistoryBranch
    from .rows import HistoryNode

_READ = "history branch"
_NONE = -1
"""The number that stands for None in a page token. All other numbers there are 0 or more."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of a branch.

    Attributes:
        nodes: The nodes in the order of the read.
        next_page_token: The token of the next page; None at the end.
    """

    nodes: tuple[HistoryNode, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class BranchRead:
    """The parameters of a read, which are the same for all of its pages.

    Attributes:
        namespace_id: The namespace of the history.
        branch: The branch.
        min_node_id: The lower bound, inclusive.
        max_node_id: The upper bound, exclusive.
        reverse: Whether the newest node comes first.
        metadata_only: Whether the read leaves out the events.
    """

    namespace_id: UUID
    branch: HistoryBranch
    min_node_id: int
    max_node_id: int
    reverse: bool
    metadata_only: bool

    def check(self, page_size: int) -> int:
        """Refuse invalid parameters. Return the size of a page.

        Raises:
            InvalidPersistenceRequest: An id or a number is invalid.
        """
        check_uuid("namespace_id", self.namespace_id)
        check_branch(self.branch)
        check_number("min_node_id", self.min_node_id)
        check_number("max_node_id", self.max_node_id)
        return wanted_page_size(page_size)

    def scope(self) -> bytes:
        """Return the parameters that a page token is bound to."""
        branch = self.branch
        numbers = f"{branch.shard_id}.{self.min_node_id}.{self.max_node_id}.{self.reverse:d}".encode()
        return self.namespace_id.bytes + branch.tree_id.bytes + branch.branch_id.bytes + numbers

    def token(self, chain: ChainReader, below: int | None) -> bytes:
        """Return a token for the page after the reader's position."""
        numbers = (chain.node_id, chain.link, chain.newest, below)
        return page_token(_READ, self.scope(), *(_NONE if number is None else number for number in numbers))

    def resume(self, token: bytes) -> tuple[ChainReader, int | None]:
        """Return the reader at a token's position, and the newest transaction in front of the range.

        Raises:
            InvalidPersistenceRequest: The token was not made by this read.
        """
        node_id, link, newest, below = page_position(token, _READ, self.scope(), numbers=4)
        if node_id < FIRST_NODE or min(link, newest) < 0 or below < _NONE:
            msg = "this is not a page token of a history; start again without one"
            raise InvalidPersistenceRequest(msg)
        return ChainReader(self.reverse, link, newest, node_id), None if below == _NONE else below

    def ranges(self, begin: int, end: int) -> list[BranchRange]:
        """Return the ranges that hold the nodes [begin, end), cut to them, oldest first."""
        cut = [
            BranchRange(part.branch_id, max(part.begin_node, begin), min(part.end_node, end))
            for part in self.branch.ranges()
        ]
        return [part for part in cut if part.begin_node < part.end_node]

    def ranges_after(self, node_id: int) -> list[BranchRange]:
        """Return the ranges that are still to be read, in the order of reading.

        Args:
            node_id: The last node that was read; 0 before the first.
        """
        if not self.reverse:
            return self.ranges(max(self.min_node_id, node_id + 1), self.max_node_id)
        end = min(self.max_node_id, node_id) if node_id else self.max_node_id
        return self.ranges(self.min_node_id, end)[::-1]

    def covers(self, node_id: int, *, after: int, last: int | None) -> bool:
        """Return whether a page should have a node of the branch.

        Args:
            node_id: The node.
            after: The last node of the previous page; 0 for the first page.
            last: The last node of the page; None if the page is the last one.
        """
        if not self.min_node_id <= node_id < self.max_node_id:
            return False
        if self.reverse:
            return (after == 0 or node_id < after) and (last is None or node_id >= last)
        return node_id > after and (last is None or node_id <= last)
