"""List runs page by page: in the order of the index if it has one, otherwise by their opened values (DESIGN.md, "Order and pages")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.index.layout import coarsest_bucket, has_one_order

from .evaluate import predicate
from .list_plan import list_plan
from .ordering import position_of, rank, ranking
from .scan import matching_places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.storage import Row
    from strongroom.visibility.index.record import VisibilityRecord

    from .list_plan import Group, ListPlan
    from .page_token import Position
    from .prepared import PreparedFilter
    from .scan import Portion
    from .scanning import Scanner

SORTED_RUNS = 2000
"""Number of matching runs of one second that are still sorted by their exact times. More are listed in the order of the index."""


class Entry(NamedTuple):
    """A run of a list.

    Attributes:
        rank: Its rank in the order of the list.
        row: The row of its document.
        record: Its record.
        group: Its group, see `list_plan.py`.
    """

    rank: tuple[Any, ...]
    row: Row
    record: VisibilityRecord
    group: Group


class OrderedPage:
    """Collects a page from portions that come in the order of the index.

    Attributes:
        entries: The runs, in order.
        unsorted: The group whose runs are listed in the order of the index; None for none.

    Args:
        wanted: Number of runs to collect.
        plan: The plan of the list.
        after: The last run that was listed before; None for the first page.
        last: Its rank.
    """

    def __init__(self, wanted: int, plan: ListPlan, after: Position | None, last: tuple[Any, ...]) -> None:
        self.entries: list[Entry] = []
        self.unsorted: Group | None = None
        self._wanted = wanted
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
            (self.entries if entry.group == self.unsorted else self._pending).append(entry)
        if is_complete:
            self.finish()
        elif len(self._pending) > SORTED_RUNS:
            self._bound_pending()

    def finish(self) -> None:
        """Add the runs of groups that are complete."""
        self.entries += sorted(self._pending, key=_rank)
        self._pending = []

    def _bound_pending(self) -> None:
        group = self._pending[0].group  # all of them are of this group
        if self._is_sorted or group == self._resumed:
            self._pending = sorted(self._pending, key=_rank)[: self._wanted - len(self.entries)]
        else:
            self.unsorted = group
            self.entries += self._pending
            self._pending = []


def _rank(entry: Entry) -> tuple[Any, ...]:
    return entry.rank


async def listed_page(
    scanner: Scanner, prepared: PreparedFilter, *, after: Position | None, page_size: int
) -> tuple[list[VisibilityRecord], Position | None]:
    """Return the runs of a page, and the position of the last one if more runs follow.

    Args:
        scanner: The scanner of the search index.
        prepared: The filter.
        after: The last run of the page before; None for the first page.
        page_size: Maximum number of runs.

    Raises:
        QueryBudgetExceeded: The search reads more than it may, or can't end in time.
    """
    plan = list_plan(prepared.parsed.order_by, coarsest_bucket(prepared.keys))
    if plan is None:
        return await _sorted_page(scanner, prepared, after=after, page_size=page_size)
    return await _ordered_page(scanner, prepared, plan, after=after, page_size=page_size)


async def _ordered_page(
    scanner: Scanner, prepared: PreparedFilter, plan: ListPlan, *, after: Position | None, page_size: int
) -> tuple[list[VisibilityRecord], Position | None]:
    keys, parsed, compiled, overlap = prepared
    order, select = parsed.order_by, _selector(prepared, plan.group_of)
    collected = OrderedPage(page_size + 1, plan, after, () if after is None else rank(after, order))
    async with scanner.reading(keys.namespace_id, snapshot=not has_one_order(keys)) as reader:
        rows = plan.pages(reader, compiled.possible, after=after, chunk=min(page_size + overlap.documents, CHUNK))
        scan = scanner.scan(prepared, rows, portion=page_size + 1, group_of=plan.group_of)
        while not collected.is_full and (portion := await scan.next_portion(unsorted=collected.unsorted)) is not None:
            collected.add(await select(portion), is_complete=portion.is_complete)
    collected.finish()
    overlap.was(scan.documents - page_size + 1)  # the document after them shows where their last group ends
    listed = [entry.record for entry in collected.entries[:page_size]]
    if len(collected.entries) <= page_size:
        return listed, None
    last = collected.entries[page_size - 1]
    return listed, position_of(last.record, order, last.row, is_in_index_order=last.group == collected.unsorted)


async def _sorted_page(
    scanner: Scanner, prepared: PreparedFilter, *, after: Position | None, page_size: int
) -> tuple[list[VisibilityRecord], Position | None]:
    """Open all documents that may match, and keep the first ones of the order: no more than a page of runs is in memory."""
    keys, parsed, compiled, _ = prepared
    order, select = parsed.order_by, _selector(prepared, lambda _: ())
    last = () if after is None else rank(after, order)
    found: list[Entry] = []
    async with scanner.reading(keys.namespace_id, snapshot=True) as reader:
        scan = scanner.scan(prepared, reader.pages(compiled.possible))
        while (portion := await scan.next_portion()) is not None:
            await scanner.check_cost(scan, prepared, reader, compiled.possible)
            bound = found[page_size].rank if len(found) > page_size else None
            entries = await select(portion)
            found += [entry for entry in entries if entry.rank > last and (bound is None or entry.rank < bound)]
            found = sorted(found, key=_rank)[: page_size + 1]
    listed = [entry.record for entry in found[:page_size]]
    if len(found) <= page_size:
        return listed, None
    end = found[page_size - 1]
    return listed, position_of(end.record, order, end.row, is_in_index_order=False)


def _selector(prepared: PreparedFilter, group_of: Callable[[Row], Group]) -> Any:
    """Return a function that returns the matching runs of a portion."""
    is_match, rank_of = predicate(prepared.parsed.where), ranking(prepared.parsed.order_by)

    async def select(portion: Portion) -> list[Entry]:
        rows, records, _ = portion
        places = await matching_places(records, is_match)
        return [Entry(rank_of(records[at]), rows[at], records[at], group_of(rows[at])) for at in places]

    return select
