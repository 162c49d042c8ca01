"""The next documents of a list in PostgreSQL, and how those that have certain tokens are found.

PostgreSQL estimates how many rows have one of many tokens by adding up a share for each token that it does not know. If that is too
high, it walks the order of the list for rows that are hardly there. So lists that select by the token set choose their plan here,
by what they have found so far and not by statistics:

1. A *walk* reads documents in the order of the list, up to a bound, and compares their tokens.
2. A *look-up* finds the documents of tokens in the GIN index, up to a bound, and sorts them.

Both return the page or that there are more documents than the bound. One statement sees one snapshot, so an answer is never a mixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.visibility_rows.records import HASHED_COLUMNS

from .postgres_query import FEW_TOKENS, condition_of, found_by_gin, from_position, where
from .search_index import LIST_ORDER
from .token_query import All, AnyOf, Some, all_of, conjuncts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.storage import Connection, Row

    from .postgres_query import Records
    from .search_index import IndexOrder, IndexPosition
    from .token_query import TokenQuery

COLUMNS = "shard_id, id, version, k, b1, b2, s"
"""The columns of a page."""
_COMPARED = f"{COLUMNS}, t, {', '.join(HASHED_COLUMNS)}"
WALKED = 2
"""Number of documents that a first walk reads, for each one that is wanted."""
GROWTH = 8
"""Factor by which the bounds grow until a walk or a look-up has the page."""


class Page(NamedTuple):
    """Which documents of a list are wanted.

    Attributes:
        records: Where the documents are.
        namespace_id: The namespace.
        order: The order of the list.
        start: The position to start at; None for the beginning.
        size: Maximum number of documents.
    """

    records: Records
    namespace_id: UUID
    order: IndexOrder
    start: IndexPosition | None
    size: int

    def condition(self, query: TokenQuery) -> tuple[str, list[object]]:
        """Return the SQL condition of the documents of a query from the position on, and its parameters."""
        condition, parameters = where(self.namespace_id, query, self.records)
        return f"{condition}{self.after(parameters)}", parameters

    def after(self, parameters: list[object]) -> str:
        """Return the SQL of the position, to be joined to a condition, and append its parameters."""
        return "" if self.start is None else f" AND {from_position(self.order, self.start, parameters)}"


class ListedSet(NamedTuple):
    """A query that selects by the token set, in two parts.

    Attributes:
        chosen: The conditions whose number of documents PostgreSQL can't estimate.
        others: The other conditions.
        needed: Sets of tokens. Each document of the query has at least one token of each set.
    """

    chosen: TokenQuery
    others: TokenQuery
    needed: tuple[frozenset[int], ...]


def listed_set(query: TokenQuery) -> ListedSet | None:
    """Return the parts of a query that has a condition of more than a few tokens of the token set; None for any other query."""
    items = conjuncts(query)
    needed = [tokens for item in items if (tokens := _needed(item)) is not None]
    chosen = [item for item in items if _has_many(item)]
    if not chosen or not needed:
        return None
    # Without the range that the tokens imply, a walk of closed runs would read all open ones first.
    implied = [item.implied for item in chosen if isinstance(item, AnyOf) and item.implied is not None]
    others = [*(item for item in items if item not in chosen), *implied]
    return ListedSet(all_of(*chosen), all_of(*others), tuple(sorted(needed, key=len)))


def _has_many(query: TokenQuery) -> bool:
    """Return whether a query has a condition of many tokens that is not negated."""
    match query:
        case AnyOf():
            return query.column is None and len(query.tokens) > FEW_TOKENS
        case All(items) | Some(items):
            return any(map(_has_many, items))
    return False


def _needed(query: TokenQuery) -> frozenset[int] | None:
    """Return tokens of the token set of which each document of a query has at least one; None if there may be none."""
    match query:
        case AnyOf():
            return query.tokens if query.column is None else None
        case All(items):
            return min((tokens for item in items if (tokens := _needed(item)) is not None), key=len, default=None)
        case Some(items) if items:
            parts = [_needed(item) for item in items]
            known = [tokens for tokens in parts if tokens is not None]
            return frozenset().union(*known) if len(known) == len(parts) else None
    return None


async def next_documents(connection: Connection, query: TokenQuery, page: Page) -> Sequence[Row]:
    """Return the next documents of a query.

    With conditions on the token set, walks and look-ups take turns with growing bounds. A look-up comes after the second walk, and is
    left out while a walk finds enough to need no more than the next bound: before its bound counts, PostgreSQL collects the places of
    all documents with the tokens. So a page costs a small multiple of the cheaper way, whatever the planner expects.
    """
    listed = listed_set(query)
    if listed is None:
        condition, parameters = page.condition(query)
        return await connection.fetch(in_order(page.records.name, condition, page.size, page.order), *parameters)
    bound, walks = WALKED * page.size, 0
    while True:
        rows, is_complete = await _bounded(connection, walked(listed, page, bound))
        if is_complete:
            return rows
        walks += 1
        is_sparse = len(rows) * GROWTH < page.size
        for tokens in listed.needed if is_sparse and walks > 1 else ():
            rows, is_complete = await _bounded(connection, looked_up(query, tokens, page, bound))
            if is_complete:
                return rows
        bound *= GROWTH


async def _bounded(connection: Connection, statement: tuple[str, list[object]]) -> tuple[Sequence[Row], bool]:
    """Return the rows of a walk or look-up, and whether they are the page."""
    text, parameters = statement
    rows = await connection.fetch(text, *parameters)
    return [row for row in rows if row["id"] is not None], rows[0]["is_complete"]


def walked(listed: ListedSet, page: Page, bound: int) -> tuple[str, list[object]]:
    """Return the statement of a walk, and its parameters.

    It reads documents that satisfy the other conditions, in the order of the list, until the page is full or `bound` is reached. The
    page is complete if it is full, or if no more documents than `bound` satisfy the other conditions.
    """
    condition, parameters = page.condition(listed.others)
    read = in_order(page.records.name, condition, bound, page.order, _COMPARED)
    left = f"SELECT 1 FROM {page.records.name} WHERE {condition} LIMIT {bound + 1}"  # Citus writes a list without columns wrongly
    found = f"SELECT {COLUMNS} FROM ({read}) AS w WHERE {condition_of(listed.chosen, parameters)}"
    full = f"(SELECT count(*) FROM p) >= {page.size}"
    is_complete = f"CASE WHEN {full} THEN true ELSE (SELECT count(*) FROM ({left}) AS l) <= {bound} END"
    return _with_page(f"WITH p AS MATERIALIZED ({_first(found, page)})", is_complete, page.order), parameters


def looked_up(query: TokenQuery, tokens: frozenset[int], page: Page, bound: int) -> tuple[str, list[object]]:
    """Return the statement of a look-up, and its parameters.

    It reads the documents that have one of the tokens. The page is complete if there are at most `bound`. A document that has several
    of the tokens is read repeatedly.
    """
    parameters: list[object] = [page.namespace_id]
    columns = ", ".join(f"n.{column}" for column in _COMPARED.split(", "))
    # PostgreSQL plans what is materialized as if all of it were wanted, and runs it only as far as it is read.
    found = f"SELECT {columns} FROM {found_by_gin(tokens, parameters, page.records)} WHERE n.namespace_id = $1{page.after(parameters)}"
    bounded = f"SELECT * FROM found LIMIT {bound + 1}"
    distinct = ", ".join((*page.order.columns, "id"))
    chosen = f"SELECT DISTINCT ON ({distinct}) {COLUMNS} FROM bounded WHERE {condition_of(query, parameters)}"
    steps = f"WITH found AS MATERIALIZED ({found}), bounded AS MATERIALIZED ({bounded}), p AS MATERIALIZED ({_first(chosen, page)})"
    return _with_page(steps, f"(SELECT count(*) FROM bounded) <= {bound}", page.order), parameters


def _with_page(steps: str, is_complete: str, order: IndexOrder) -> str:
    """Return a statement that returns the page `p`, or a row without an id, and in each row whether the page is complete."""
    return f"{steps} SELECT {is_complete} AS is_complete, p.* FROM (SELECT) AS one LEFT JOIN p ON true ORDER BY {_ordered(order)}"


def _first(found: str, page: Page) -> str:
    return f"{found} ORDER BY {_ordered(page.order)} LIMIT {page.size}"


def in_order(records: str, condition: str, limit: int, order: IndexOrder = LIST_ORDER, columns: str = COLUMNS) -> str:
    """Return the statement for the first documents that satisfy a condition, in an order."""
    return f"SELECT {columns} FROM {records} WHERE {condition} ORDER BY {_ordered(order)} LIMIT {limit}"


def _ordered(order: IndexOrder) -> str:
    direction = "DESC" if order.descending else "ASC"
    return ", ".join(f"{column} {direction}" for column in (*order.columns, "id"))
