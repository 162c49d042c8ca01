"""Decide which stored writes of a branch are its history. This module uses no keys and no database.

A node may have been written several times, and a failed attempt may have left nodes behind. A write *counts* if it has the highest
transaction of its node, and if no counted write of a lower node has a higher transaction. All other writes are shadowed. Each write
names the transaction of the counted write before it (`prev_txn_id`), so the counted writes are a chain of links.

`ChainReader` follows the chain in either direction with one rule: a write that has the expected link counts, a write that is older
than the expected link is shadowed, and any other write proves that a write between the two is missing. Both directions return the same
writes, and both raise `DataLoss` for the same losses.

An accepted read of the nodes [min, max) is the branch as it was right after some transaction. Two losses can't be noticed here:

- A cut tail: if all writes after a transaction are gone, the read returns the branch as it was after that transaction. `ends.py`
  compares it with the run's row. A caller that knows the last transaction passes it as `last_txn_id`.
- A node between two nodes of the same transaction, because the link names the transaction and not the node. Temporal gives each node
  its own transaction id.

Nodes outside the range are not checked, except for the counted node in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.errors import DataLoss

from .branch import FIRST_NODE

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_LIMIT = 2**63 - 1
"""The value of `ChainReader.newest` if the reader accepts every transaction."""


class NodeRows(NamedTuple):
    """Writes of a range in the order of reading, as columns. Contains every write of each of its nodes; at least one row.

    Attributes:
        node_ids: Ascending, or descending in a backward read.
        txn_ids: The transaction of each write. The writes of one node may be in any order.
        prev_txn_ids: The transaction that each write names as the one before it.
    """

    node_ids: list[int]
    txn_ids: list[int]
    prev_txn_ids: list[int]


@dataclass(slots=True)
class ChainReader:
    """The position of a reader in the chain.

    Attributes:
        reverse: Whether the reader goes from newer nodes to older ones.
        link: The transaction that joins the next write to the last one. Forwards, the transaction of the last counted write, or None
            if no write precedes the first row. Backwards, the transaction of the next counted write.
        newest: The highest transaction that is part of the read. Later ones were written after a backward read began.
        node_id: The last counted node; 0 before the first.
        has_more: Whether a write that counts was found when there was no room for it.
    """

    reverse: bool
    link: int | None
    newest: int = NO_LIMIT
    node_id: int = 0
    has_more: bool = False

    def follow(self, rows: NodeRows, *, room: int) -> Sequence[int]:
        """Return the indexes of the rows that count, and advance past them.

        Args:
            rows: The next rows of the branch.
            room: The maximum number of rows to return. If more rows count, `has_more` is set.

        Raises:
            DataLoss: A write between two of the rows, or before the first of them, is missing.
        """
        nodes, txns, prevs = rows
        if self.link is None and nodes[0] != FIRST_NODE:
            raise DataLoss(f"the history begins at node {nodes[0]}: the nodes before it are missing")
        near, far = (txns, prevs) if self.reverse else (prevs, txns)
        # Nearly always each node was written once and the rows are one chain. No Python loop is needed to see that.
        is_linked = self.link is None or self.link == near[0]
        if is_linked and near[1:] == far[:-1] and len(set(nodes)) == len(nodes):
            self.has_more = len(nodes) > room
            counted = range(min(room, len(nodes)))
            if counted:
                self.node_id, self.link = nodes[counted[-1]], far[counted[-1]]
            return counted
        return self._select(rows, near, far, room)

    def _select(self, rows: NodeRows, near: list[int], far: list[int], room: int) -> list[int]:
        counted: list[int] = []
        for index in self._newest_writes(rows):
            if self.link is None:
                self.link = near[index]
            if rows.txn_ids[index] < self.link:
                continue  # shadowed
            if len(counted) == room:
                self.has_more = True
                break
            if near[index] != self.link:
                raise DataLoss(f"a node next to history node {rows.node_ids[index]} is missing")
            self.node_id, self.link = rows.node_ids[index], far[index]
            counted.append(index)
        return counted

    def _newest_writes(self, rows: NodeRows) -> list[int]:
        """Return the index of the newest write of each node. The other writes of a node never count."""
        indexes: dict[int, int] = {}
        for index, (node_id, txn_id) in enumerate(zip(rows.node_ids, rows.txn_ids, strict=True)):
            best = indexes.get(node_id)
            if txn_id <= self.newest and (best is None or txn_id > rows.txn_ids[best]):
                indexes[node_id] = index
        return list(indexes.values())

    def finish(self, below: int | None) -> None:
        """Refuse a backward read whose chain does not reach the start of its range.

        Args:
            below: The newest transaction in front of the first node of the range; None if no write is in front of it.

        Raises:
            DataLoss: The next write of the chain is missing.
        """
        is_complete = self.node_id == FIRST_NODE if below is None else self.link == below
        if not is_complete:
            raise DataLoss(f"the history node of transaction {self.link} is missing")
