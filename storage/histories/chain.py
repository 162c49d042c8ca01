"""Which rows of a branch count: a chain, each link naming the transaction of the node before it. No keys, no database.

A node may have been written several times, and what a failed attempt wrote may stand there for good. Read from the first node on,
a row counts if its transaction is the highest of its node and no lower than that of the last row that counted; all others are
shadowed. So the last row that counts is the one with the highest transaction, and each names the one before it, which is how the
chain is found from its end. Both ways give the same rows, and both refuse to step over a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.errors import DataLoss

from .branch import FIRST_NODE, LAST_NODE

if TYPE_CHECKING:
    from collections.abc import Sequence


class NodeRows(NamedTuple):
    """Rows of one range, as columns; at least one row."""

    node_ids: list[int]
    txn_ids: list[int]
    prev_txn_ids: list[int]


@dataclass(slots=True)
class Forwards:
    """Where a reader that goes up stands.

    Attributes:
        node_id: the last node that was taken; before the first, 0.
        txn_id: its transaction; before the first, the newest one below the first node wanted, None where nothing stands there.
        from_start: whether the first node must be the history's first.
        left_over: whether a row that counts was met when there was no room for it.
        resume: the node from which to read on; None when the rows given were all looked at.
    """

    node_id: int
    txn_id: int | None
    from_start: bool
    left_over: bool = False
    resume: int | None = None

    def take(self, rows: NodeRows, *, room: int, complete: bool) -> Sequence[int]:
        """Choose from rows in the order of node and transaction; return the places of those that count.

        Args:
            rows: what to choose from.
            room: how many to take at most.
            complete: whether the range ends with them. If not, more writes of the last node may follow, and there are more rows
                than room.

        Raises:
            DataLoss: a row does not name the one before it.
        """
        if self.from_start and self.node_id == 0 and rows.node_ids[0] != FIRST_NODE:
            msg = f"the history begins at node {rows.node_ids[0]}: what stood before it is missing"
            raise DataLoss(msg)
        if not self._is_straight(rows):
            return self._pick(rows, room, complete=complete)
        count = len(rows.node_ids)
        self.resume, self.left_over = None, count > room
        if room:
            last = min(room, count) - 1
            self.node_id, self.txn_id = rows.node_ids[last], rows.txn_ids[last]
        return range(min(room, count))

    def _is_straight(self, rows: NodeRows) -> bool:
        """Whether each node was written once, and all rows are one chain: nearly always, and seen without a loop."""
        nodes, txns, prevs = rows
        return (
            (self.txn_id is None or prevs[0] == self.txn_id <= txns[0])
            and prevs[1:] == txns[:-1]
            and len(set(nodes)) == len(nodes)
            and sorted(txns) == txns
        )

    def _pick(self, rows: NodeRows, room: int, *, complete: bool) -> Sequence[int]:
        nodes, txns, prevs = rows
        taken: list[int] = []
        begin, count = 0, len(nodes)
        while begin < count:
            place = begin
            while place + 1 < count and nodes[place + 1] == nodes[begin]:
                place += 1  # the last write of a node is its highest
            counts = self.txn_id is None or txns[place] >= self.txn_id
            if counts and len(taken) == room:
                self.left_over = True  # a later write of the node could only be higher
                return taken
            if place + 1 == count and not complete:
                self.resume = nodes[begin]
                return taken
            if counts:
                if self.txn_id is not None and prevs[place] != self.txn_id:
                    raise _gap(nodes[place])
                self.node_id, self.txn_id = nodes[place], txns[place]
                taken.append(place)
            begin = place + 1
        self.resume = None
        return taken


@dataclass(slots=True)
class Backwards:
    """Where a reader that goes down stands.

    Attributes:
        node_id: the last node that was taken; before the first, above all nodes.
        wanted: the transaction of the node that comes next.
        newest: the transaction of the first node; whatever is newer was written since.
        lowest: the last node that was looked at, taken or not.
    """

    node_id: int
    wanted: int
    newest: int
    lowest: int = LAST_NODE

    def take(self, rows: NodeRows) -> Sequence[int]:
        """Choose from rows in falling order of node and transaction; return the places of those that count.

        Raises:
            DataLoss: a row stands where the chain has none.
        """
        nodes, txns, prevs = rows
        if (
            txns[0] == self.wanted
            and nodes[0] < self.node_id
            and txns[1:] == prevs[:-1]
            and len(set(nodes)) == len(nodes)
        ):
            self.node_id, self.wanted = nodes[-1], prevs[-1]
            return range(len(nodes))
        taken = []
        for place, (node_id, txn_id) in enumerate(zip(nodes, txns, strict=True)):
            if node_id == self.node_id:
                continue  # an older write of the node that was taken
            if txn_id == self.wanted:
                self.node_id, self.wanted = node_id, prevs[place]
                taken.append(place)
            elif self.wanted < txn_id <= self.newest:
                raise _gap(self.node_id)
        return taken

    def check_end(self, *, first: int, below: int | None) -> None:
        """Refuse a chain that ends too early.

        Args:
            first: the first node that was wanted.
            below: the newest transaction below that node; None where nothing stands there.

        Raises:
            DataLoss: the node that comes next is missing.
        """
        reaches_start = self.node_id == FIRST_NODE
        reaches_below = first > FIRST_NODE and (self.lowest >= self.node_id if below is None else below == self.wanted)
        if not (reaches_start or reaches_below):
            msg = f"the node that transaction {self.wanted} wrote is missing from the history"
            raise DataLoss(msg)


def _gap(node_id: int) -> DataLoss:
    return DataLoss(f"history node {node_id} does not follow the one before it: a node between them is missing")
