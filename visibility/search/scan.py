"""Read documents from a search index and open them, portion by portion (DESIGN.md, "Order and pages")."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from strongroom.kms import KeyClass
from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.errors import QueryBudgetExceeded
from strongroom.visibility.index.buckets import OPEN_RUN
from strongroom.visibility.index.document import open_documents
from strongroom.visibility.index.tokens import Tokenizer

from .explain import why_opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage import Row
    from strongroom.visibility.filter.tree import Node
    from strongroom.visibility.index.record import VisibilityRecord

SLICE = 0.005
"""Time for which records are compared with a filter before other tasks run, in seconds."""


class Scan:
    """Opens documents in portions. Every document of a portion comes before the next portion in a list.

    An index orders documents by second. So all runs that closed in one second (for open runs: that started in it) are in the same
    portion. Within a portion, the caller orders them.

    Args:
        keyring: The keys of the namespaces.
        namespace_id: The namespace.
        where: The filter, which an error explains.
        pages: The rows of the documents, in the order of the index.
        budget: Maximum number of documents to read.
        portion: Number of documents to open at a time. The rest of the last document's second is added to a portion.
    """

    def __init__(
        self,
        keyring: Keyring,
        namespace_id: UUID,
        where: Node,
        pages: AsyncIterator[Sequence[Row]],
        *,
        budget: int,
        portion: int,
    ) -> None:
        self._keyring = keyring
        self._namespace_id = namespace_id
        self._where = where
        self._pages = pages
        self._budget = budget
        self._portion = portion
        self._waiting: list[Row] = []
        self._seen: set[bytes] = set()
        self._exceeds_budget = False

    async def next_portion(self) -> list[VisibilityRecord] | None:
        """Return the next portion, or None at the end.

        Raises:
            QueryBudgetExceeded: More documents would have to be read than the budget allows.
            IntegrityError: A document was altered.
        """
        while not (end := whole_seconds(self._waiting, self._portion)):
            if self._exceeds_budget:
                raise QueryBudgetExceeded(await self._explain_budget())
            page = await anext(self._pages, None)
            if page is None:
                end = len(self._waiting)
                break
            self._receive(page)
        if not end:
            return None
        rows, self._waiting = self._waiting[:end], self._waiting[end:]
        return await open_rows(self._keyring, self._namespace_id, rows)

    def _receive(self, rows: Sequence[Row]) -> None:
        """Add the rows of a page, up to the budget. A document that changed during the scan can come twice; the second is dropped."""
        fresh = [row for row in rows if row["id"] not in self._seen]
        allowed = fresh[: self._budget - len(self._seen)]
        self._seen.update(row["id"] for row in allowed)
        self._waiting += allowed
        self._exceeds_budget = len(allowed) < len(fresh)

    async def _explain_budget(self) -> str:
        keys = await self._keyring.open(self._namespace_id)
        reasons = why_opened(self._where, Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX)))
        return (
            f"more than {self._budget} documents would have to be opened: {reasons}; "
            "add a condition that the index can answer"
        )


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
    """Return the records that satisfy a filter. After each `SLICE`, other tasks run, because a filter can be expensive."""
    found, until = [], time.monotonic() + SLICE
    for record in records:
        if is_match(record):
            found.append(record)
        if time.monotonic() >= until:
            await asyncio.sleep(0)
            until = time.monotonic() + SLICE
    return found


def whole_seconds(rows: Sequence[Row], wanted: int) -> int:
    """Return how many rows to take, so that they include all rows of each second that they touch.

    Args:
        rows: Rows in the order of the index. More rows of the last second may follow, so that second is never taken.
        wanted: The number of rows to take, if there are as many. The rest of the last one's second is added.

    Returns:
        The number of rows; 0 if all rows are of one second.
    """
    for end in range(wanted, len(rows)):
        if _second(rows[end]) != _second(rows[end - 1]):
            return end
    for end in range(min(wanted, len(rows)) - 1, 0, -1):
        if _second(rows[end]) != _second(rows[end - 1]):
            return end
    return 0


def _second(row: Row) -> tuple[int, int]:
    return (row["b1"], row["b2"] if row["b1"] == OPEN_RUN else 0)
