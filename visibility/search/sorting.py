"""Sort runs by values that the index has no order for: open all documents and keep the first runs.

If that takes long, the scan stops and a page token carries what it has found. The next request continues it, so a list of any size is
sorted with bounded memory and no request waits long. When all documents are opened, the token carries the runs after the page, so
that the following pages open only what they list.

The order of the index makes this exact although runs change meanwhile. Open runs come first, and a run that closes moves behind
them, to the latest closes. So a run that existed when the list began is opened at least once. A run of the token is opened again
before it is listed, and moves back if its values have changed. A run that begins to match or moves forward is found by the next
scan, which lists only what comes after the runs of the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.visibility.backends.search_index import IndexPosition
from strongroom.visibility.index.layout import coarsest_bucket, has_one_order

from .entries import selector
from .ordering import rank, rank_of_values, sorted_values
from .page_token import SortedRun, SortedRuns
from .scan import open_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.visibility.backends.token_query import TokenQuery

    from .entries import Entry
    from .page_token import ListState, ScanPosition
    from .prepared import PreparedFilter
    from .scanning import Scanner

AHEAD = 100
"""Number of runs that are sorted beyond a page. The following pages list without another scan those that fit into the token."""


class Candidate(NamedTuple):
    """A run that may be listed next.

    Attributes:
        rank: Its rank in the order of the list.
        run: Its values, and the place of its document.
        entry: The opened run; None if an earlier request opened it, or if the page does not need it so far.
    """

    rank: tuple[Any, ...]
    run: SortedRun
    entry: Entry | None = None


@dataclass(slots=True)
class Sorting:
    """The next runs of a list in an order that the index does not have.

    Attributes:
        candidates: The runs, in order.
        is_rest: See `SortedRuns`.
        wanted: Number of candidates that the page needs. Only they keep their opened runs, which may be large.
        most: Maximum number of candidates.
        bucket: See `SortedRuns`.
        end: The rank of the last run before those that were left out; None if none were.
        scanned: See `SortedRuns`.
    """

    candidates: list[Candidate]
    is_rest: bool
    wanted: int
    most: int
    bucket: int
    end: tuple[Any, ...] | None = None
    scanned: ScanPosition | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all documents were opened."""
        return self.scanned is None

    def rest(self, listed: tuple[Any, ...] | None) -> SortedRuns:
        """Return what a token carries: the runs after the rank of the last run that was listed; None for no such run."""
        runs = tuple(each.run for each in self.candidates if listed is None or each.rank > listed)
        return SortedRuns(runs, self.is_rest, self.most, self.end is not None, self.scanned, self.bucket).limited()

    def replace(self, opened: set[str], found: Sequence[Candidate]) -> None:
        """Put runs that were opened in their places.

        Args:
            opened: The ids of their documents. Older candidates of them are dropped, because they may have changed.
            found: Those of them that may be listed, up to the end.
        """
        kept = [each for each in self.candidates if each.run.document not in opened]
        kept += found
        kept.sort(key=lambda each: each.rank)
        if len(kept) > self.most:
            del kept[self.most :]
            self.end = kept[-1].rank
        kept[self.wanted :] = [each._replace(entry=None) for each in kept[self.wanted :]]
        self.candidates = kept


async def sort_runs(
    scanner: Scanner,
    prepared: PreparedFilter,
    query: TokenQuery,
    *,
    after: ListState,
    wanted: int,
    is_rest: bool,
    until: float,
) -> Sorting:
    """Return the next runs of a query in the order of the list. If the sorting is complete, the wanted ones are opened.

    Args:
        scanner: The scanner of the search index.
        prepared: The filter.
        query: The query whose documents are sorted.
        after: Where the list continues.
        wanted: Number of runs.
        is_rest: Whether the index orders the other runs of the list. If this has changed since the page before, the sort begins again.
        until: Time of the scanner's clock at which the sort stops. It opens at least one chunk of documents.

    Raises:
        QueryBudgetExceeded: The search reads more than it may, or it must end in this request and can't end in time.
    """
    last = () if after.position is None else rank(after.position, prepared.parsed.order_by)
    known = after.sorted_runs
    sorting = None if known is None or known.is_rest != is_rest else _resumed(prepared, known, last, wanted)
    is_new = sorting is None
    if sorting is None:
        sorting = Sorting([], is_rest, wanted, wanted + AHEAD, coarsest_bucket(prepared.keys))
    if is_new or not sorting.is_complete:
        await _scan(scanner, prepared, query, sorting, last, until)
    if sorting.is_complete:
        await _open_first(scanner, prepared, sorting, last)
    return sorting


def _resumed(prepared: PreparedFilter, known: SortedRuns, last: tuple[Any, ...], wanted: int) -> Sorting | None:
    """Return the sorting that a token continues; None if all documents must be opened, from the first one on."""
    order = prepared.parsed.order_by
    # A scan continues if any run is known. A finished sort needs the runs of the whole page, or as many as a token can carry.
    if known.is_cut and len(known.runs) < (1 if known.scanned else min(wanted, known.most)):
        return None
    if known.scanned and (known.bucket != coarsest_bucket(prepared.keys) or not has_one_order(prepared.keys)):
        return None  # documents have moved in the order of the index
    candidates = [Candidate(rank_of_values(run.values, run.run_id, order), run) for run in known.runs]
    end = candidates[-1].rank if known.is_cut else None
    candidates = [each for each in candidates if each.rank > last]
    return Sorting(candidates, known.is_rest, wanted, known.most, known.bucket, end, known.scanned)


async def _scan(
    scanner: Scanner,
    prepared: PreparedFilter,
    query: TokenQuery,
    sorting: Sorting,
    last: tuple[Any, ...],
    until: float,
) -> None:
    """Open documents until all are opened, or until the request has taken its time."""
    keys, limits, select, start = prepared.keys, scanner.limits, selector(prepared), None
    if sorting.scanned is not None:
        *buckets, document = sorting.scanned
        start = IndexPosition(tuple(buckets), bytes.fromhex(document))
    may_stop = has_one_order(keys)
    async with scanner.reading(keys.namespace_id, snapshot=True) as reader:
        scan = scanner.scan(prepared, reader.pages(query, start=start))
        while (portion := await scan.next_portion()) is not None:
            found = await select(portion.rows, portion.records)
            # Only what an earlier request opened can come again: this one reads a snapshot.
            again = {row["id"].hex() for row in portion.rows} if start else set()
            if again or found:
                sorting.replace(again, _candidates(prepared, found, last, sorting.end))
            if may_stop and (scanner.clock() >= until or scan.bytes > limits.bytes // 2):
                row = portion.rows[-1]
                sorting.scanned = row["b1"], row["b2"], row["id"].hex()
                return
            if not may_stop:
                await scanner.check_cost(scan, prepared, reader, query)
    sorting.scanned = None


async def _open_first(scanner: Scanner, prepared: PreparedFilter, sorting: Sorting, last: tuple[Any, ...]) -> None:
    """Open the wanted first candidates that are not open. One that has changed meanwhile is sorted again."""
    namespace_id, select = prepared.keys.namespace_id, selector(prepared)
    while unopened := [each.run for each in sorting.candidates[: sorting.wanted] if each.entry is None]:
        async with scanner.reading(namespace_id, snapshot=False) as reader:
            rows = await reader.rows([(run.shard_id, bytes.fromhex(run.document)) for run in unopened])
        found = await select(rows, await open_rows(scanner.keyring, namespace_id, rows))
        sorting.replace({run.document for run in unopened}, _candidates(prepared, found, last, sorting.end))


def _candidates(
    prepared: PreparedFilter, found: Sequence[Entry], last: tuple[Any, ...], end: tuple[Any, ...] | None
) -> list[Candidate]:
    """Return the candidates among runs that match: those after the last run that was listed, up to an end."""
    order = prepared.parsed.order_by
    return [
        Candidate(
            entry.rank,
            SortedRun(
                sorted_values(entry.record, order), entry.record.run_id, entry.row["shard_id"], entry.row["id"].hex()
            ),
            entry,
        )
        for entry in found
        if entry.rank > last and (end is None or entry.rank <= end)
    ]
