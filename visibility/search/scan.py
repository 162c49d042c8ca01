"""Read documents from a search index and open them, portion by portion (DESIGN.md, "Order and pages")."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.errors import QueryBudgetExceeded
from strongroom.visibility.index.document import open_documents
from strongroom.visibility.index.tokens import active_tokenizer

from .explain import what_to_add, why_opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage import Row
    from strongroom.visibility.filter.tree import Node
    from strongroom.visibility.index.record import VisibilityRecord

    from .cost import CostModel, SearchLimits
    from .list_plan import Group

SLICE = 0.005
"""Time for which records are compared with a filter before other tasks run, in seconds."""
LONGEST_WAIT = 1000
"""Number of documents of one group that are read before they are handed out, although more of the group may follow."""


class Portion(NamedTuple):
    """Opened documents.

    Attributes:
        rows: Their rows, in the order of the index.
        records: Their records.
        is_complete: Whether the last group is complete. Otherwise all documents are of one group, and more of it may follow.
    """

    rows: Sequence[Row]
    records: Sequence[VisibilityRecord]
    is_complete: bool


class Scan:
    """Opens documents in portions. The memory that it needs does not depend on the number of documents.

    Attributes:
        documents: Number of documents that were opened.
        is_checked: Whether the cost of the scan was checked, see `scanning.py`.

    Args:
        keyring: The keys of the namespaces.
        namespace_id: The namespace.
        where: The filter, which an error explains.
        pages: The rows of the documents, in the order of the index.
        limits: What the search may use.
        costs: The model that learns from this scan.
        portion: Number of documents to open at a time. The rest of the last document's group is added to a portion.
        group_of: Function that returns the group of a row; None if a portion may end within a group.
    """

    def __init__(
        self,
        keyring: Keyring,
        namespace_id: UUID,
        where: Node,
        pages: AsyncIterator[Sequence[Row]],
        *,
        limits: SearchLimits,
        costs: CostModel,
        portion: int = CHUNK,
        group_of: Callable[[Row], Group] | None = None,
    ) -> None:
        self.documents = 0
        self.is_checked = False
        self._keyring = keyring
        self._namespace_id = namespace_id
        self._where = where
        self._pages = pages
        self._limits = limits
        self._costs = costs
        self._portion = portion
        self._group_of = group_of
        self._waiting: list[Row] = []
        self._read = 0

    @property
    def bytes(self) -> int:
        """The size of the sealed records that were read."""
        return self._read

    async def next_portion(self, *, unsorted: Group | None = None) -> Portion | None:
        """Return the next portion, or None at the end.

        Args:
            unsorted: A group whose documents are wanted in the order of the index, so that a portion may end within it.

        Raises:
            QueryBudgetExceeded: The search reads more than it may.
            IntegrityError: A document was altered.
        """
        began = time.monotonic()
        while not (end := self._complete()):
            if self._may_end_within(unsorted):
                return await self._opened(len(self._waiting), began, is_complete=False)
            page = await anext(self._pages, None)
            if page is None:
                end = len(self._waiting)
                break
            self._waiting += page
            await self._spend(page)
        return await self._opened(end, began, is_complete=True) if end else None

    def _complete(self) -> int:
        if self._group_of is None:
            return len(self._waiting)
        return whole_groups(self._waiting, self._portion, self._group_of)

    def _may_end_within(self, unsorted: Group | None) -> bool:
        """Return whether the waiting rows, which are of one group, are handed out although more of the group may follow."""
        if not self._waiting or self._group_of is None:
            return False
        return len(self._waiting) >= LONGEST_WAIT or self._group_of(self._waiting[0]) == unsorted

    async def _opened(self, end: int, began: float, *, is_complete: bool) -> Portion:
        rows, self._waiting = self._waiting[:end], self._waiting[end:]
        records = await open_rows(self._keyring, self._namespace_id, rows)
        self._costs.learn(len(rows), time.monotonic() - began, sum(len(row["s"]) for row in rows))
        self.documents += len(rows)
        return Portion(rows, records, is_complete)

    async def _spend(self, rows: Sequence[Row]) -> None:
        self._read += sum(len(row["s"]) for row in rows)
        if self._read > self._limits.bytes:
            keys = await self._keyring.open(self._namespace_id)
            raise QueryBudgetExceeded(
                f"the search read more than {self._limits.bytes} bytes of sealed records; {explained(self._where, keys)}"
            )


def explained(where: Node, keys: NamespaceKeys) -> str:
    """Return which conditions of a filter need opened documents, and what to add to it."""
    reasons = why_opened(where, active_tokenizer(keys))
    return f"expensive are: {reasons}. {what_to_add(where)}"


async def open_rows(keyring: Keyring, namespace_id: UUID, rows: Sequence[Row]) -> list[VisibilityRecord]:
    """Open the documents of rows, in pieces, so that other tasks run in between."""
    opened: list[VisibilityRecord] = []
    for start in range(0, len(rows), CHUNK):
        if start:
            await asyncio.sleep(0)
        opened += await keyring.with_keys(namespace_id, partial(_open, rows[start : start + CHUNK]))
    return opened


def _open(rows: Sequence[Row], keys: NamespaceKeys) -> list[VisibilityRecord]:
    return open_documents(keys, rows)


async def matching(
    records: Sequence[VisibilityRecord], is_match: Callable[[VisibilityRecord], bool]
) -> list[VisibilityRecord]:
    """Return the records that satisfy a filter; see `matching_places`."""
    return [records[place] for place in await matching_places(records, is_match)]


async def matching_places(
    records: Sequence[VisibilityRecord], is_match: Callable[[VisibilityRecord], bool]
) -> list[int]:
    """Return the places of the records that satisfy a filter. After each `SLICE`, other tasks run: a filter can be expensive."""
    found, until = [], time.monotonic() + SLICE
    for place, record in enumerate(records):
        if is_match(record):
            found.append(place)
        if time.monotonic() >= until:
            await asyncio.sleep(0)
            until = time.monotonic() + SLICE
    return found


def whole_groups(rows: Sequence[Row], wanted: int, group_of: Callable[[Row], Group]) -> int:
    """Return how many rows to take, so that they include all rows of each group that they touch.

    Args:
        rows: Rows in the order of the index. More rows of the last group may follow, so that group is never taken.
        wanted: The number of rows to take, if there are as many. The rest of the last one's group is added.
        group_of: Function that returns the group of a row.

    Returns:
        The number of rows; 0 if all rows are of one group.
    """
    if not rows or group_of(rows[0]) == group_of(rows[-1]):
        return 0
    for end in range(wanted, len(rows)):
        if group_of(rows[end]) != group_of(rows[end - 1]):
            return end
    for end in range(min(wanted, len(rows)) - 1, 0, -1):
        if group_of(rows[end]) != group_of(rows[end - 1]):
            return end
    return 0
