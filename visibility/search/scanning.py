"""Begin scans of a search index, with the limits and the cost model that all searches of a process share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.errors import QueryBudgetExceeded

from .cost import CostModel
from .scan import Scan, explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage import Row
    from strongroom.visibility.backends.search_index import IndexReader, SearchIndex
    from strongroom.visibility.backends.token_query import TokenQuery

    from .cost import SearchLimits
    from .list_plan import Group
    from .prepared import PreparedFilter

_UNCHECKED = 2000
"""Number of documents that a scan opens before it is estimated how many are left. Most scans are shorter, and save a count."""


class Scanner:
    """See the module.

    Attributes:
        keyring: The keys of the namespaces.
        limits: What one search may use.
        costs: The cost model.
        clock: The clock, in seconds.

    Args:
        index: The search index.
        keyring: The keys of the namespaces.
        limits: What one search may use.
        costs: The cost model.
        clock: The clock, in seconds.
    """

    def __init__(
        self,
        index: SearchIndex,
        keyring: Keyring,
        limits: SearchLimits,
        costs: CostModel | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keyring = keyring
        self.limits = limits
        self.costs = CostModel() if costs is None else costs
        self.clock = clock
        self._index = index

    def reading(self, namespace_id: UUID, *, snapshot: bool) -> AbstractAsyncContextManager[IndexReader]:
        """See `SearchIndex.reading`."""
        return self._index.reading(namespace_id, snapshot=snapshot)

    def scan(
        self,
        prepared: PreparedFilter,
        pages: AsyncIterator[Sequence[Row]],
        *,
        portion: int = CHUNK,
        group_of: Callable[[Row], Group] | None = None,
    ) -> Scan:
        """Return a scan; see `Scan`."""
        return Scan(
            self.keyring,
            prepared.keys.namespace_id,
            prepared.parsed.where,
            pages,
            limits=self.limits,
            costs=self.costs,
            portion=portion,
            group_of=group_of,
        )

    async def check_cost(self, scan: Scan, prepared: PreparedFilter, reader: IndexReader, query: TokenQuery) -> None:
        """Refuse a scan of very many documents that can't end in time. It is checked once, when the scan turns out to be long.

        Args:
            scan: The scan.
            prepared: The filter.
            reader: The reader that the scan reads from.
            query: The query whose documents are all opened.

        Raises:
            QueryBudgetExceeded: The scan can't end in time.
        """
        if scan.is_checked or scan.documents < _UNCHECKED:
            return
        scan.is_checked = True
        cost = self.costs.estimate(await reader.count(query))
        if cost.exceeds(self.limits):
            raise QueryBudgetExceeded(
                f"an exact answer needs {cost.documents} opened documents, which takes about {cost.seconds:.0f} s and "
                f"{cost.bytes >> 20} MiB; a search may take {self.limits.seconds:g} s and {self.limits.bytes >> 20} MiB; "
                f"{explained(prepared.parsed.where, prepared.keys)}"
            )
