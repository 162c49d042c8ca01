"""Find and count runs exactly (DESIGN.md, "Two sides")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import KeyClass
from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.errors import QueryBudgetExceeded
from strongroom.visibility.filter.tree import STATUS_NAMES, And, Compare, In, IsNull, Not
from strongroom.visibility.index.record import value_reader
from strongroom.visibility.index.tokens import Tokenizer

from .compiler import compile_query
from .evaluate import predicate
from .explain import Explanation, explain_conditions
from .ordering import rank, ranking, start_of_second
from .scan import Scan, matching, open_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.visibility.backends.search_index import IndexReader, SearchIndex
    from strongroom.visibility.backends.token_query import TokenQuery
    from strongroom.visibility.filter.tree import Attribute, Node
    from strongroom.visibility.index.record import VisibilityRecord

    from .page_token import Position
    from .prepared import PreparedFilter

MAX_GROUPS = 1000
"""Maximum number of values that a GROUP BY returns."""
_NO_VALUE = ""
"""Temporal's name for the group of runs without a value."""


class Searcher:
    """Answers prepared filters from a search index.

    Args:
        index: The search index.
        keyring: The keys of the namespaces.
        open_budget: Maximum number of documents that one query opens beyond those that it returns.
    """

    def __init__(self, index: SearchIndex, keyring: Keyring, *, open_budget: int) -> None:
        self._index = index
        self._keyring = keyring
        self._open_budget = open_budget

    async def page(
        self, prepared: PreparedFilter, *, after: Position | None, page_size: int
    ) -> tuple[list[VisibilityRecord], bool]:
        """Return the runs of a page, and whether more runs follow.

        Args:
            prepared: The filter.
            after: The last run of the page before; None for the first page.
            page_size: Maximum number of runs.

        Raises:
            QueryBudgetExceeded: Too many documents would have to be opened.
        """
        keys, parsed, compiled, overlap = prepared
        order = parsed.order_by
        is_match, rank_of = predicate(parsed.where), ranking(order)
        last = None if after is None else rank(after, order)
        # The index can't sort by ORDER BY, so all documents that may match are opened then.
        start = None if after is None or order else start_of_second(after)
        chunk, portion = (CHUNK, CHUNK) if order else (min(page_size + overlap.documents, CHUNK), page_size + 1)
        page: list[VisibilityRecord] = []
        taken = 0
        async with self._index.reading(keys.namespace_id, snapshot=False) as reader:
            pages = reader.pages(compiled.possible, start=start, chunk=chunk)
            budget = self._open_budget + page_size
            scan = Scan(self._keyring, keys.namespace_id, parsed.where, pages, budget=budget, portion=portion)
            while (records := await scan.next_portion()) is not None:
                found = await matching(records, is_match)
                fresh = found if last is None else [each for each in found if rank_of(each) > last]
                if order:
                    page = sorted(page + fresh, key=rank_of)[: page_size + 1]
                    continue
                taken += len(records)
                page += sorted(fresh, key=rank_of)
                if len(page) > page_size:
                    break
        overlap.was(taken - page_size + 1)  # the document after them shows where their last second ends
        return page[:page_size], len(page) > page_size

    async def count(self, prepared: PreparedFilter) -> int:
        """Return the number of runs that match.

        Raises:
            QueryBudgetExceeded: Too many documents would have to be opened.
        """
        keys, parsed, compiled, _ = prepared
        async with self._index.reading(keys.namespace_id, snapshot=False) as reader:
            if compiled.exact:
                return await reader.count(compiled.sure)
            sure, rows = await reader.count_and_first(compiled.sure, compiled.between, limit=CHUNK)
            if len(rows) < CHUNK and len(rows) <= self._open_budget:
                records = await open_rows(self._keyring, keys.namespace_id, rows)
                return sure + len(await matching(records, predicate(parsed.where)))
        async with self._index.reading(keys.namespace_id, snapshot=True) as reader:
            return await self._count(reader, keys, parsed.where)

    async def groups(self, prepared: PreparedFilter, attribute: Attribute) -> dict[str, int]:
        """Return the number of runs of each value of an attribute; runs without a value have the empty text.

        The values of ExecutionStatus are known. The values of another attribute are found one after another: a run that has none
        of the values found so far shows the next one.

        Args:
            prepared: The filter.
            attribute: The attribute to group by.

        Raises:
            QueryBudgetExceeded: Too many documents would have to be opened, or there are too many values.
        """
        keys, parsed, compiled, _ = prepared
        where, is_status = parsed.where, attribute.name == "ExecutionStatus"
        if is_status:
            statuses = [compile_query(Compare(attribute, "=", value), keys) for value in STATUS_NAMES]
            if all(each.exact for each in (compiled, *statuses)):  # one request counts all groups
                async with self._index.reading(keys.namespace_id, snapshot=False) as reader:
                    counts = await reader.counts(compiled.sure, [status.sure for status in statuses])
                return dict(zip(STATUS_NAMES, counts, strict=True))
        async with self._index.reading(keys.namespace_id, snapshot=True) as reader:
            values = STATUS_NAMES if is_status else await self._values(reader, keys, where, attribute)
            groups = {
                value: await self._count(reader, keys, And((where, Compare(attribute, "=", value)))) for value in values
            }
            without_value = await self._count(reader, keys, And((where, IsNull(attribute))))
        groups[_NO_VALUE] = groups.get(_NO_VALUE, 0) + without_value
        return groups

    async def explain(self, prepared: PreparedFilter) -> Explanation:
        """Explain how a filter is answered. No document is opened."""
        keys, parsed, compiled, _ = prepared
        async with self._index.reading(keys.namespace_id, snapshot=True) as reader:
            sure = await reader.count(compiled.sure)
            possible = sure if compiled.exact else await reader.count(compiled.possible)
        tokenizer = Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))
        return Explanation(
            conditions=explain_conditions(parsed.where, tokenizer),
            sure=sure,
            possible=possible,
            budget=self._open_budget,
            sorted_here=bool(parsed.order_by),
            epochs=len(keys.epochs()),
        )

    async def _count(self, reader: IndexReader, keys: NamespaceKeys, where: Node) -> int:
        """Count sure documents in the index, and open those that are possible and not sure."""
        compiled = compile_query(where, keys)
        count = await reader.count(compiled.sure)
        if compiled.exact:
            return count
        is_match = predicate(where)
        scan = self._scan(reader, keys.namespace_id, where, compiled.between)
        while (records := await scan.next_portion()) is not None:
            count += len(await matching(records, is_match))
        return count

    async def _values(
        self, reader: IndexReader, keys: NamespaceKeys, where: Node, attribute: Attribute
    ) -> Sequence[str]:
        """Return all values that matching runs have for an attribute."""
        values: list[str] = []
        with_value = And((where, Not(IsNull(attribute))))
        while len(values) <= MAX_GROUPS:
            others = And((with_value, Not(In(attribute, tuple(values))))) if values else with_value
            more = await self._some_values(reader, keys, others, attribute)
            if not more:
                return values
            values += sorted(more)
        msg = f"more than {MAX_GROUPS} groups; add a condition"
        raise QueryBudgetExceeded(msg)

    async def _some_values(
        self, reader: IndexReader, keys: NamespaceKeys, where: Node, attribute: Attribute
    ) -> set[str]:
        """Return the values in the first portion that has a matching run; none if no run matches."""
        is_match, read = predicate(where), value_reader(attribute.name)
        scan = self._scan(reader, keys.namespace_id, where, compile_query(where, keys).possible)
        while (records := await scan.next_portion()) is not None:
            if values := {str(read(record)) for record in await matching(records, is_match)}:
                return values
        return set()

    def _scan(self, reader: IndexReader, namespace_id: UUID, where: Node, query: TokenQuery) -> Scan:
        """Return a scan of all documents that satisfy a token query."""
        pages = reader.pages(query)
        return Scan(self._keyring, namespace_id, where, pages, budget=self._open_budget, portion=CHUNK)
