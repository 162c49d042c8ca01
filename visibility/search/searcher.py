"""Find and count runs: compile a filter, ask an index, open what it gives, and let the plaintext decide (DESIGN.md, "Two sides")."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from strongroom.kms import KeyClass
from strongroom.visibility.backends.search_index import CHUNK, Place
from strongroom.visibility.errors import QueryBudgetExceeded
from strongroom.visibility.filter.tree import STATUS_NAMES, And, Compare, In, IsNull, Not
from strongroom.visibility.index.buckets import OPEN_RUN
from strongroom.visibility.index.document import open_documents
from strongroom.visibility.index.ranges import NANOSECONDS
from strongroom.visibility.index.record import value_reader
from strongroom.visibility.index.tokens import Tokenizer

from .compiler import compile_query
from .evaluate import predicate
from .explain import Explanation, explain_conditions, why_opened
from .ordering import rank, ranking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage import Row
    from strongroom.visibility.backends.search_index import IndexReader, VisibilityIndex
    from strongroom.visibility.filter.tree import Attribute, Node
    from strongroom.visibility.index.record import VisibilityRecord

    from .page_token import Position
    from .prepared import PreparedFilter

MAX_GROUPS = 1000
"""Values that a GROUP BY may find."""
_BEYOND = 16
"""Documents fetched beyond a page at first: what shows that the last second of it is whole."""
_NO_GROUP = ""
"""The group of runs without a value, as Temporal names it."""


class Searcher:
    """Answers parsed filters from an index, exactly.

    Args:
        index: of sealed documents.
        keyring: for the namespaces' keys.
        open_budget: how many documents one query may open beyond those that it returns.
    """

    def __init__(self, index: VisibilityIndex, keyring: Keyring, *, open_budget: int) -> None:
        self._index = index
        self._keyring = keyring
        self._open_budget = open_budget

    async def page(
        self, prepared: PreparedFilter, *, after: Position | None, page_size: int
    ) -> tuple[list[VisibilityRecord], bool]:
        """Return the runs of a page, and whether more follow.

        Raises:
            QueryBudgetExceeded: too many documents would have to be opened to find them.
        """
        found: list[VisibilityRecord] = []
        async with aclosing(self._found(prepared, after, page_size)) as growing:
            async for found in growing:
                if len(found) > page_size and not prepared.parsed.order_by:
                    break  # what follows comes later in the list
        return found[:page_size], len(found) > page_size

    async def count(self, prepared: PreparedFilter) -> int:
        """Return how many runs match.

        Raises:
            QueryBudgetExceeded: too many documents would have to be opened to count exactly.
        """
        keys, parsed, compiled = prepared
        namespace_id, where = keys.namespace_id, parsed.where
        async with self._index.reading(namespace_id, snapshot=False) as reader:
            if compiled.exact:
                return await reader.count(compiled.sure)
            sure, rows = await reader.count_and_first(compiled.sure, compiled.between, limit=CHUNK)
            if len(rows) < CHUNK and len(rows) <= self._open_budget:
                opened = await self._open(namespace_id, rows)
                return sure + sum(map(predicate(where), opened))
        async with self._index.reading(namespace_id, snapshot=True) as reader:
            return await self._count(reader, namespace_id, keys, where)

    async def groups(self, prepared: PreparedFilter, attribute: Attribute) -> dict[str, int]:
        """Count the runs of each value of an attribute; those without one under the empty text.

        Only the values of ExecutionStatus are known beforehand. Of others, one run that has none of the values found so far shows
        the next, until there is none left.

        Raises:
            QueryBudgetExceeded: as in `count`, or too many values.
        """
        keys, parsed, compiled = prepared
        namespace_id, where = keys.namespace_id, parsed.where
        if attribute.name == "ExecutionStatus":
            parts = [compile_query(Compare(attribute, "=", value), keys) for value in STATUS_NAMES]
            if all(part.exact for part in (compiled, *parts)):  # then one request is enough, and nothing is opened
                async with self._index.reading(namespace_id, snapshot=False) as reader:
                    counts = await reader.counts(compiled.sure, [part.sure for part in parts])
                return dict(zip(STATUS_NAMES, counts, strict=True))
        async with self._index.reading(namespace_id, snapshot=True) as reader:
            values: Sequence[str] = STATUS_NAMES
            if attribute.name != "ExecutionStatus":
                values = await self._values(reader, namespace_id, keys, And((where, Not(IsNull(attribute)))), attribute)
            groups = {
                value: await self._count(reader, namespace_id, keys, And((where, Compare(attribute, "=", value))))
                for value in values
            }
            without = await self._count(reader, namespace_id, keys, And((where, IsNull(attribute))))
        groups[_NO_GROUP] = groups.get(_NO_GROUP, 0) + without
        return groups

    async def explain(self, prepared: PreparedFilter) -> Explanation:
        """Say how a filter is answered; nothing is opened."""
        keys, parsed, compiled = prepared
        async with self._index.reading(keys.namespace_id, snapshot=True) as reader:
            sure = await reader.count(compiled.sure)
            possible = sure if compiled.exact else await reader.count(compiled.possible)
        return Explanation(
            explain_conditions(parsed.where, _active_tokenizer(keys)),
            sure,
            possible,
            self._open_budget,
            bool(parsed.order_by),
            len(keys.epochs()),
        )

    async def _found(
        self, prepared: PreparedFilter, after: Position | None, page_size: int
    ) -> AsyncGenerator[list[VisibilityRecord], None]:
        """Yield what belongs on a page, and the run that follows it, as more and more documents are opened.

        With ORDER BY all possible documents are: the index can't sort by what it does not know.
        """
        keys, parsed, compiled = prepared
        namespace_id, order = keys.namespace_id, parsed.order_by
        start = None if after is None or order else Place(*_bucket(after))
        last = None if after is None else rank(after, order)
        matching, ranked = predicate(parsed.where), ranking(order)
        found: list[VisibilityRecord] = []
        async with self._index.reading(namespace_id, snapshot=False) as reader:
            chunk = CHUNK if order else min(page_size + _BEYOND, CHUNK)
            scanned = reader.pages(compiled.possible, start=start, chunk=chunk)
            async for settled in self._opened(
                namespace_id,
                parsed.where,
                scanned,
                allowed=self._open_budget + page_size,
                portion=CHUNK if order else page_size + 1,
            ):
                fresh = [record for record in settled if matching(record) and (last is None or ranked(record) > last)]
                if order:
                    found = sorted(found + fresh, key=ranked)[: page_size + 1]
                else:
                    found += sorted(fresh, key=ranked)
                yield found

    async def _open(self, namespace_id: UUID, rows: Sequence[Row]) -> list[VisibilityRecord]:
        return await self._keyring.with_keys(namespace_id, lambda keys: open_documents(keys, rows))

    async def _opened(
        self, namespace_id: UUID, where: Node, scanned: AsyncIterator[Sequence[Row]], *, allowed: int, portion: int
    ) -> AsyncIterator[list[VisibilityRecord]]:
        """Yield opened documents, in portions of which each comes wholly before the next in the order of a list.

        The index can't order what closed, or if open started, within one second: of that a portion has all or none.

        Args:
            namespace_id: whose.
            where: the filter, for the error.
            scanned: rows in the order of the index.
            allowed: how many may be read.
            portion: how many are opened at once, and those of the last one's second: who asks for no more has opened no more.

        Raises:
            QueryBudgetExceeded: more documents than are allowed.
        """
        waiting: list[Row] = []
        seen: set[bytes] = set()
        async for rows in scanned:
            # One that changed while we read comes where it was and where it is.
            fresh = [row for row in rows if row["id"] not in seen]
            within = fresh[: allowed - len(seen)]
            seen.update(row["id"] for row in within)
            waiting += within
            while end := _whole_seconds(waiting, portion):
                yield await self._open(namespace_id, waiting[:end])
                del waiting[:end]
            if len(within) < len(fresh):
                reasons = why_opened(where, _active_tokenizer(await self._keyring.open(namespace_id)))
                msg = f"more than {allowed} documents would have to be opened: {reasons}; add a condition that the index can answer"
                raise QueryBudgetExceeded(msg)
        if waiting:
            yield await self._open(namespace_id, waiting)

    async def _count(self, reader: IndexReader, namespace_id: UUID, keys: NamespaceKeys, where: Node) -> int:
        """Count what surely matches in the index, and open only what is between sure and possible."""
        compiled = compile_query(where, keys)
        sure = await reader.count(compiled.sure)
        if compiled.exact:
            return sure
        scanned = reader.pages(compiled.between)
        matching = predicate(where)
        async for records in self._opened(namespace_id, where, scanned, allowed=self._open_budget, portion=CHUNK):
            sure += sum(map(matching, records))
        return sure

    async def _values(
        self, reader: IndexReader, namespace_id: UUID, keys: NamespaceKeys, where: Node, attribute: Attribute
    ) -> list[str]:
        found: list[str] = []
        while len(found) <= MAX_GROUPS:
            others: Node = And((where, Not(In(attribute, tuple(found))))) if found else where
            scanned = reader.pages(compile_query(others, keys).possible)
            matching, read = predicate(others), value_reader(attribute.name)
            fresh: set[str] = set()
            async for records in self._opened(namespace_id, others, scanned, allowed=self._open_budget, portion=CHUNK):
                fresh = {str(read(record)) for record in records if matching(record)}
                if fresh:
                    break
            if not fresh:
                return found
            found += sorted(fresh)
        msg = f"more than {MAX_GROUPS} groups; add a condition"
        raise QueryBudgetExceeded(msg)


def _active_tokenizer(keys: NamespaceKeys) -> Tokenizer:
    return Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))


def _bucket(position: Position) -> tuple[int, int]:
    """Return where in the order of the index the group of a position begins."""
    if position.is_open:
        return OPEN_RUN, position.start_time // NANOSECONDS
    return position.close_time // NANOSECONDS, OPEN_RUN


def _whole_seconds(rows: Sequence[Row], wanted: int) -> int:
    """Return how many rows to take for as many as are wanted, or all that there are, and the rest of the last one's second.

    More of the last row's second may follow, so that is not taken; 0 if there is no other.
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
