"""Find, count and group runs exactly (DESIGN.md, "Two sides")."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from strongroom.visibility.backends.search_index import FEW, LARGE_CHUNK, IndexPosition
from strongroom.visibility.backends.token_query import NOTHING, Epoch, all_of
from strongroom.visibility.errors import QueryBudgetExceeded
from strongroom.visibility.filter.tree import STATUS_NAMES, Compare
from strongroom.visibility.index.record import value_reader
from strongroom.visibility.index.tokens import Tokenizer, active_tokenizer, first_group_token, group_token, grouped

from .compiler import compile_query
from .evaluate import predicate
from .explain import Explanation, explain_conditions
from .group_names import GroupNames
from .listing import listed_page, listing_of
from .scan import matching, open_rows
from .token_conditions import present

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from strongroom.kms import NamespaceKeys
    from strongroom.storage import Row
    from strongroom.visibility.backends.search_index import IndexReader
    from strongroom.visibility.backends.token_query import TokenQuery
    from strongroom.visibility.filter.tree import Attribute
    from strongroom.visibility.index.record import VisibilityRecord

    from .page_token import ListState
    from .prepared import PreparedFilter
    from .scan import Scan
    from .scanning import Scanner

MAX_GROUPS = 10_000
"""Maximum number of values that a GROUP BY returns."""
_OTHER_TOKENS = 1000
"""Tokens of other attributes that may be among the group tokens of one. One in 2^20 of all tokens of the documents has its tag."""
_NO_VALUE = ""
"""Temporal's name for the group of runs without a value."""


class _Counted(NamedTuple):
    """The sure documents of each value, and whether each group is among them that was counted."""

    groups: Mapping[str, int]
    is_complete: bool


class Searcher:
    """Answers prepared filters from a search index.

    Args:
        scanner: The scanner of the search index.
    """

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._names = GroupNames()

    def sorts_until(self) -> float:
        """Return the time until which a list that is asked for now may sort; see `SearchLimits`."""
        return self._scanner.clock() + self._scanner.limits.sorting

    async def page(
        self, prepared: PreparedFilter, *, after: ListState, page_size: int, until: float
    ) -> tuple[list[VisibilityRecord], ListState | None]:
        """See `listed_page`."""
        return await listed_page(self._scanner, prepared, after=after, page_size=page_size, until=until)

    async def count(self, prepared: PreparedFilter) -> int:
        """Return the number of runs that match: sure documents are counted in the index, and the possible others are opened.

        Raises:
            QueryBudgetExceeded: The count can't end in time, or reads more than it may.
        """
        return await self._count(prepared, expected=prepared.earlier.opened)

    async def groups(self, prepared: PreparedFilter, attribute: Attribute) -> Mapping[str, int]:
        """Return the number of runs of each value of an attribute; runs without a value have the empty text.

        The index counts the values of sure documents if it knows them. All other documents that may match are opened, once.

        Args:
            prepared: The filter.
            attribute: The attribute to group by.

        Raises:
            QueryBudgetExceeded: The count can't end in time, or reads more than it may, or there are too many values.
        """
        # One request sees one moment. Only a snapshot can add up the answers of several.
        one_epoch = len(prepared.keys.epochs()) == 1
        is_one_request = prepared.compiled.exact and (one_epoch or attribute.name == "ExecutionStatus")
        return await self._groups(prepared, attribute, snapshot=not is_one_request)

    async def explain(self, prepared: PreparedFilter) -> Explanation:
        """Explain how a filter is answered. No document is opened."""
        keys, parsed, compiled, _ = prepared
        listed = listing_of(prepared)
        async with self._scanner.reading(keys.namespace_id, snapshot=True) as reader:
            sure = await reader.count(compiled.sure)
            possible = sure if compiled.exact else await reader.count(compiled.possible)
            sorted_here = await reader.count(listed.opened) if listed.opened != NOTHING else 0
        return Explanation(
            conditions=explain_conditions(parsed.where, active_tokenizer(keys)),
            sure=sure,
            possible=possible,
            cost=self._scanner.costs.estimate(sorted_here or possible - sure),
            limits=self._scanner.limits,
            sorted_here=sorted_here,
            epochs=len(keys.epochs()),
        )

    async def _groups(self, prepared: PreparedFilter, attribute: Attribute, *, snapshot: bool) -> Mapping[str, int]:
        """See `groups`. Without a snapshot, one request counts all documents. If it can't, the groups are counted in a snapshot."""
        keys, _, compiled, _ = prepared
        async with self._scanner.reading(keys.namespace_id, snapshot=snapshot) as reader:
            counted = await self._counted_in_index(prepared, reader, attribute)
            if snapshot or (counted is not None and counted.is_complete):
                groups = Counter({} if counted is None else counted.groups)
                _check_groups(groups)
                opened = compiled.possible if counted is None else compiled.between
                if opened != NOTHING:
                    read = value_reader(attribute.name)
                    async for found in self._matching(prepared, reader, opened):
                        groups.update(_group(read(record)) for record in found)
                        _check_groups(groups)
                return groups
        return await self._groups(prepared, attribute, snapshot=True)

    async def _counted_in_index(
        self, prepared: PreparedFilter, reader: IndexReader, attribute: Attribute
    ) -> _Counted | None:
        """Count the sure documents of each value of an attribute; return None if the index does not know the values."""
        keys, _, compiled, _ = prepared
        if attribute.name == "ExecutionStatus":
            statuses = [compile_query(Compare(attribute, "=", value), keys) for value in STATUS_NAMES]
            if all(status.exact for status in statuses):
                counts = await reader.counts(compiled.sure, [status.sure for status in statuses])
                return _Counted(dict(zip(STATUS_NAMES, counts, strict=True)), is_complete=True)
        tokenizers = [Tokenizer(keys, epoch=epoch) for epoch in keys.epochs()]
        if all(each.layout.has_group_tokens(attribute.name, attribute.type) for each in tokenizers):
            return await self._counted_by_token(prepared, reader, attribute, tokenizers)
        return None

    async def _counted_by_token(
        self, prepared: PreparedFilter, reader: IndexReader, attribute: Attribute, tokenizers: Sequence[Tokenizer]
    ) -> _Counted:
        """Count sure documents by group token. A value has another token in each epoch."""
        groups: Counter[str] = Counter()
        documents, is_complete = 0, True
        for tokenizer in tokenizers:
            first = first_group_token(tokenizer.key(attribute.name))
            of_epoch = () if len(tokenizers) == 1 else (Epoch(tokenizer.epoch),)
            sure, having = all_of(prepared.compiled.sure, *of_epoch), present(attribute, tokenizer).possible
            most = MAX_GROUPS + _OTHER_TOKENS
            found = await reader.groups(sure, first, having=having, most=most)
            if len(found.tokens) > most:
                raise _too_many_groups()
            known = self._names.known(prepared.keys, tokenizer.epoch, attribute.name)
            if unknown := found.tokens.keys() - known.keys():
                rows = await reader.of_groups(all_of(sure, having), first, unknown)
                named = await self._named(prepared.keys, attribute, tokenizer, rows)
                self._names.keep(prepared.keys, tokenizer.epoch, attribute.name, named)
                known = {**known, **named}
                # Without a snapshot, a group may have no document any more.
                is_complete = is_complete and unknown <= rows.keys()
            for token, size in found.tokens.items():
                if token in known:
                    groups[known[token]] += size
            documents += found.documents
        groups[_NO_VALUE] += documents - groups.total()
        return _Counted(groups, is_complete)

    async def _named(
        self, keys: NamespaceKeys, attribute: Attribute, tokenizer: Tokenizer, rows: Mapping[int, Row]
    ) -> dict[int, str]:
        """Open one document of each group, and return the value of each token.

        A token is left out if the value of its document has another one. It is a token of another attribute with the same tag, or was
        added to the document.
        """
        read, key = value_reader(attribute.name), tokenizer.key(attribute.name)
        records = await open_rows(self._scanner.keyring, keys.namespace_id, list(rows.values()))
        values = [_group(read(record)) for record in records]
        numbers = key.numbers(list(map(grouped(attribute.type), values)))
        first = first_group_token(key)
        return {
            token: value
            for token, value, number in zip(rows, values, numbers, strict=True)
            if token == group_token(first, number)
        }

    async def _count(self, prepared: PreparedFilter, *, expected: int) -> int:
        """Count the runs of a filter. One request counts the sure documents and fetches those to open.

        If there turn out to be more to open than it fetches, the count begins again: with the largest page, and then in a snapshot.

        Args:
            prepared: The filter.
            expected: Number of documents that are probably opened.
        """
        keys, _, compiled, earlier = prepared
        limit, snapshot = FEW if expected < FEW else LARGE_CHUNK, expected >= LARGE_CHUNK
        async with self._scanner.reading(keys.namespace_id, snapshot=snapshot) as reader:
            if compiled.exact:
                return await reader.count(compiled.sure)
            count, first = await reader.count_and_first(compiled.sure, compiled.between, limit=limit)
            if snapshot or len(first) < limit:
                opened = self._scanner.scan(prepared, _continued(reader, compiled.between, first))
                async for found in self._matching(prepared, reader, compiled.between, opened):
                    count += len(found)
                earlier.opened = opened.documents
                return count
        return await self._count(prepared, expected=limit)

    async def _matching(
        self, prepared: PreparedFilter, reader: IndexReader, query: TokenQuery, scan: Scan | None = None
    ) -> AsyncIterator[Sequence[VisibilityRecord]]:
        """Open all documents of a query, and yield those that match, some at a time. `scan` is a scan of them, if there is one."""
        is_match = predicate(prepared.parsed.where)
        scan = scan or self._scanner.scan(prepared, reader.pages(query))
        while (portion := await scan.next_portion()) is not None:
            await self._scanner.check_cost(scan, prepared, reader, query)
            yield await matching(portion.records, is_match)


async def _continued(reader: IndexReader, query: TokenQuery, first: Sequence[Row]) -> AsyncIterator[Sequence[Row]]:
    """Yield the first `LARGE_CHUNK` documents of a query, and then the others."""
    yield first
    if len(first) == LARGE_CHUNK:
        last = first[-1]
        position = IndexPosition((last["b1"], last["b2"]), last["id"])
        async for rows in reader.pages(query, start=position, chunk=LARGE_CHUNK):
            yield rows


def _group(value: object) -> str:
    return _NO_VALUE if value is None else str(value)


def _check_groups(groups: Mapping[str, int]) -> None:
    if len(groups) > MAX_GROUPS and sum(map(bool, groups.values())) > MAX_GROUPS:
        raise _too_many_groups()


def _too_many_groups() -> QueryBudgetExceeded:
    return QueryBudgetExceeded(f"more than {MAX_GROUPS} groups; add a condition")
