"""List runs page by page: in the order of the index if it has one, otherwise by their opened values (DESIGN.md, "Order and pages")."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.backends.token_query import NOTHING, all_of, none_of
from strongroom.visibility.errors import InvalidPageToken
from strongroom.visibility.index.buckets import start_bucket
from strongroom.visibility.index.layout import coarsest_bucket, has_one_order

from .compiler import same_as_start
from .entries import entry_rank, selector
from .list_plan import by_start, list_plan
from .ordering import position_of, rank
from .page_token import ListState
from .sorting import sort_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.visibility.backends.token_query import TokenQuery
    from strongroom.visibility.index.record import VisibilityRecord

    from .entries import Entry
    from .list_plan import Group, ListPlan
    from .page_token import Position
    from .prepared import PreparedFilter
    from .scanning import Scanner
    from .sorting import Sorting

SORTED_RUNS = 2000
"""Number of matching runs of one second that are still sorted by their exact times. More are listed in the order of the index."""


class OrderedPage:
    """Collects a page from portions that come in the order of the index.

    Attributes:
        entries: The runs, in order.
        unsorted: The last group whose runs are listed in the order of the index; None for none.

    Args:
        wanted: Number of runs to collect.
        plan: The plan of the list.
        after: The last run that was listed before; None for the first page.
        last: Its rank.
        sorted_runs: Number of matching runs of a group that are still sorted.
    """

    def __init__(
        self,
        wanted: int,
        plan: ListPlan,
        after: Position | None,
        last: tuple[Any, ...],
        *,
        sorted_runs: int = SORTED_RUNS,
    ) -> None:
        self.entries: list[Entry] = []
        self.unsorted: Group | None = None
        self._wanted = wanted
        self._sorted_runs = sorted_runs
        self._is_sorted = plan.is_sorted
        self._resumed: Group | None = None
        self._last = last
        self._pending: list[Entry] = []
        if after is not None and after.document is not None:
            self.unsorted = plan.group(*after.buckets)
        elif after is not None:
            self._resumed = plan.group(*after.buckets)

    @property
    def is_full(self) -> bool:
        """Whether all wanted runs are collected."""
        return len(self.entries) >= self._wanted

    def add(self, found: Sequence[Entry], *, is_complete: bool) -> None:
        """Add the matching runs of a portion. `is_complete` is that of the portion."""
        # A run that changed since an earlier portion can come twice.
        known = {entry.row["id"] for entry in (*self.entries, *self._pending)}
        for entry in found:
            if entry.row["id"] in known or (entry.group == self._resumed and entry.rank <= self._last):
                continue
            if entry.group == self.unsorted:
                # Marked here, because a page may touch several groups in the order of the index.
                self.entries.append(entry._replace(is_in_index_order=True))
            else:
                self._pending.append(entry)
        if is_complete:
            self.finish()
        elif len(self._pending) > self._sorted_runs:
            self._bound_pending()

    def finish(self) -> None:
        """Add the runs of groups that are complete."""
        self.entries += sorted(self._pending, key=entry_rank)
        self._pending = []

    def _bound_pending(self) -> None:
        group = self._pending[0].group  # all of them are of this group
        if self._is_sorted or group == self._resumed:
            self._pending = sorted(self._pending, key=entry_rank)[: self._wanted - len(self.entries)]
        else:
            self.unsorted = group
            self.entries += [entry._replace(is_in_index_order=True) for entry in self._pending]
            self._pending = []


class Listing(NamedTuple):
    """How a list is answered: some documents come in the order of the index, and the others are opened and sorted.

    Attributes:
        plan: The plan of the documents that the index orders; None if it orders none.
        ordered: The documents that the index orders.
        opened: The documents that are opened and sorted.
    """

    plan: ListPlan | None
    ordered: TokenQuery
    opened: TokenQuery


def listing_of(prepared: PreparedFilter) -> Listing:
    """Return how a list is answered. The index orders runs by ExecutionTime if their first task was due at their start."""
    keys, order, possible = prepared.keys, prepared.parsed.order_by, prepared.compiled.possible
    bucket = coarsest_bucket(keys)
    plan = list_plan(order, bucket)
    if plan is not None:
        return Listing(plan, possible, NOTHING)
    if order[0].attribute.name == "ExecutionTime" and bucket == 1:
        at_start = same_as_start(order[0].attribute, keys)
        if at_start is not None:
            plan = by_start(descending=order[0].descending, is_sorted=True)
            return Listing(plan, all_of(possible, at_start), all_of(possible, none_of(at_start)))
    return Listing(None, NOTHING, possible)


async def listed_page(
    scanner: Scanner, prepared: PreparedFilter, *, after: ListState, page_size: int, until: float
) -> tuple[list[VisibilityRecord], ListState | None]:
    """Return the runs of a page, and where the list continues; None at its end.

    A list whose documents take too long to be sorted has pages without runs until all are opened.

    Args:
        scanner: The scanner of the search index.
        prepared: The filter.
        after: Where the page before ended.
        page_size: Maximum number of runs.
        until: Time of the scanner's clock at which a sort stops.

    Raises:
        QueryBudgetExceeded: The search reads more than it may, or can't end in time.
        InvalidPageToken: The buckets of the index have become wider since the page before, which was in the order of the index.
    """
    plan, ordered, opened = listing_of(prepared)
    order, position, sorting = prepared.parsed.order_by, after.position, None
    if position is not None and position.document is not None and (plan is None or plan.is_sorted):
        raise InvalidPageToken  # the buckets have become wider since, so the order of the index is another one, or is of no use
    entries: list[Entry] = []
    if opened != NOTHING:
        sorting = await sort_runs(
            scanner, prepared, opened, after=after, wanted=page_size + 1, is_rest=plan is not None, until=until
        )
        if not sorting.is_complete:
            return [], ListState(position, sorting.rest(None))
        entries = [each.entry for each in sorting.candidates[: page_size + 1] if each.entry is not None]
    if plan is not None:
        start = position
        if start is not None and sorting is not None:
            # The last run may be one that was opened, so its execution time leads to the position.
            start = replace(start, buckets=(start.buckets[0], start_bucket(cast("int", start.values[0]))))
        found = await _in_order(scanner, prepared, plan, ordered, after=start, wanted=page_size + 1)
        entries = _merged(found, entries, sorting)
    listed = entries[:page_size]
    if len(entries) <= page_size and (sorting is None or sorting.end is None):
        return [entry.record for entry in listed], None
    if listed:
        last = listed[-1]
        position = position_of(last.record, order, last.row, is_in_index_order=last.is_in_index_order)
    rest = None if sorting is None else sorting.rest(listed[-1].rank if listed else None)
    return [entry.record for entry in listed], ListState(position, rest)


def _merged(in_order: list[Entry], opened: Sequence[Entry], sorting: Sorting | None) -> list[Entry]:
    """Merge runs that come in the order of the index with runs that were sorted."""
    if sorting is None:
        return in_order
    # A run that changed between the two searches can be in both.
    merged = sorted({entry.row["id"]: entry for entry in (*in_order, *opened)}.values(), key=entry_rank)
    return [entry for entry in merged if sorting.end is None or entry.rank <= sorting.end]


async def _in_order(
    scanner: Scanner,
    prepared: PreparedFilter,
    plan: ListPlan,
    query: TokenQuery,
    *,
    after: Position | None,
    wanted: int,
) -> list[Entry]:
    """Return at least the wanted runs of a query, if there are as many, in the order of a plan."""
    keys, parsed, _, earlier = prepared
    select = selector(prepared, plan.group_of)
    collected = OrderedPage(wanted, plan, after, () if after is None else rank(after, parsed.order_by))
    async with scanner.reading(keys.namespace_id, snapshot=not has_one_order(keys)) as reader:
        rows = plan.pages(reader, query, after=after, chunk=min(wanted - 1 + earlier.overlap, CHUNK))
        scan = scanner.scan(prepared, rows, portion=wanted, group_of=plan.group_of)
        while not collected.is_full and (portion := await scan.next_portion(unsorted=collected.unsorted)) is not None:
            found = await select(portion.rows, portion.records)
            collected.add(found, is_complete=portion.is_complete)
    collected.finish()
    earlier.listed(scan.documents - wanted + 2)  # the document after them shows where their last group ends
    return collected.entries
