"""The SQL conditions of token queries. Values, namespaces and tokens are parameters, or integers in the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .token_query import All, AnyOf, Bucket, Epoch, Not, Some, TokenQuery, all_of, conjuncts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from .search_index import IndexOrder, IndexPosition

FEW_TOKENS = 4
"""Number of tokens that a count compares with those of each row. The planner underestimates `&&` and would not use the GIN index."""
_MANY_TOKENS = 300
"""Number of tokens up to which `&&` is used in a list. It compares each token of a row with each of them, unless it uses the GIN."""

_AT_ONCE = 32
"""Number of tokens that are looked up in the GIN at once. Each look-up reads what was written since the last vacuum, and for each
row that it finds it compares all of its tokens."""


class Records(NamedTuple):
    """Where the documents are.

    Attributes:
        name: The table, or its view.
        is_distributed: Whether the table is distributed over a Citus cluster. Citus runs no outer join of tokens with the table on the
            nodes: it copies the table to the coordinator, or crashes. So each condition is compared with the rows there.
    """

    name: str
    is_distributed: bool = False


def where(
    namespace_id: UUID,
    query: TokenQuery,
    records: Records,
    *,
    compared: int = _MANY_TOKENS,
    parameters: list[object] | None = None,
) -> tuple[str, list[object]]:
    """Return an SQL condition and its parameters. The namespace comes first, outside all that a query can negate.

    Args:
        namespace_id: The namespace.
        query: The query.
        records: Where the documents are.
        compared: Maximum number of tokens that are compared with those of each row, unless another condition selects rows.
            `FEW_TOKENS` is best for a count.
        parameters: The parameters of another condition of the same namespace in the statement, which get those of this one; None for
            none.
    """
    parameters = [namespace_id] if parameters is None else parameters
    items = conjuncts(query)
    if any(map(_selects, items)):
        compared = _MANY_TOKENS
    parts = [
        _by_gin(item.tokens, parameters, records)
        if isinstance(item, AnyOf) and _is_large(item, compared) and not records.is_distributed
        else f"({condition_of(item, parameters)})"
        for item in items
    ]
    return " AND ".join(["namespace_id = $1", *parts]), parameters


def count_from(namespace_id: UUID, query: TokenQuery, records: Records) -> tuple[str, list[object]]:
    """Return the FROM and WHERE of a count, and its parameters.

    If each document has at most one of many tokens, the GIN finds each document once, so its results are counted directly.
    """
    items = conjuncts(query)
    large = [item for item in items if isinstance(item, AnyOf) and _is_large(item, FEW_TOKENS)]
    is_joined = len(large) == 1 and large[0].is_exclusive and not records.is_distributed
    if not is_joined or any(map(_selects, items)):
        condition, parameters = where(namespace_id, query, records, compared=FEW_TOKENS)
        return f"{records.name} WHERE {condition}", parameters
    others = all_of(*(item for item in items if item is not large[0]))
    condition, parameters = where(namespace_id, others, records, compared=FEW_TOKENS)
    return f"{found_by_gin(large[0].tokens, parameters, records)} WHERE {condition}", parameters


def condition_of(query: TokenQuery, parameters: list[object]) -> str:
    """Return the SQL of a query, and append its parameters."""
    match query:
        case AnyOf():
            return _tokens_condition(query, parameters)
        case Bucket(column, low, high):
            parameters += [low, high]
            return f"{column} BETWEEN ${len(parameters) - 1} AND ${len(parameters)}"
        case Epoch(epoch):
            parameters.append(epoch)
            return f"k = ${len(parameters)}"
        case All(items):
            return _joined(" AND ", items, parameters) or "true"
        case Some(items):
            return _joined(" OR ", items, parameters) or "false"
        case Not(AnyOf(_, _, column, True)):
            return f"{column} IS NULL"  # the partial indexes have this condition
        case Not(item):
            # A condition on a NULL column is not false but NULL.
            return f"({condition_of(item, parameters)}) IS NOT TRUE"


def from_position(order: IndexOrder, position: IndexPosition, parameters: list[object]) -> str:
    """Return the SQL of a position, and append its parameters. A comparison of rows walks the index from there."""
    values: list[object] = [*position.buckets, *(() if position.after is None else (position.after,))]
    columns = (*order.columns, "id")[: len(values)]
    marks = ", ".join(f"${len(parameters) + number}" for number in range(1, len(values) + 1))
    parameters += values
    sign = "<" if order.descending else ">"
    return f"({', '.join(columns)}) {sign if position.after is not None else f'{sign}='} ({marks})"


def _joined(operator: str, items: Sequence[TokenQuery], parameters: list[object]) -> str:
    return operator.join(f"({condition_of(item, parameters)})" for item in items)


def _selects(query: TokenQuery) -> bool:
    """Return whether an index finds the few rows of a condition, so that other conditions are cheap."""
    return isinstance(query, Bucket) or (
        isinstance(query, AnyOf) and len(query.tokens) <= FEW_TOKENS and not query.is_presence
    )


def _is_large(query: AnyOf, most: int = _MANY_TOKENS) -> bool:
    return query.column is None and len(query.tokens) > most


def _by_gin(tokens: Collection[int], parameters: list[object], records: Records) -> str:
    """Return the SQL of a condition that is joined to others by AND: the tokens are looked up in the GIN.

    MATERIALIZED keeps the planner from looking for tokens row by row. Before a table has statistics, it takes each step for one row,
    and would look all tokens up again for each row.
    """
    found = f"SELECT n.shard_id, n.id FROM {found_by_gin(tokens, parameters, records)} WHERE n.namespace_id = $1"
    return f"((shard_id, id) IN (WITH found AS MATERIALIZED ({found}) SELECT shard_id, id FROM found))"


def found_by_gin(tokens: Collection[int], parameters: list[object], records: Records) -> str:
    """Return the SQL of a join that finds the documents of tokens in the GIN, some at a time. A document can come repeatedly.

    An outer join begins with the tokens, and OFFSET keeps the planner from making it an inner one. The planner takes `&&` for cheap,
    so it would begin with the documents, and compare each with all tokens. Tokens without a document give a row of nulls, so a caller
    selects by the namespace. On a cluster the tokens are compared where the rows are.
    """
    if records.is_distributed:
        compared = _tokens_condition(AnyOf(frozenset(tokens)), parameters)
        return f"(SELECT * FROM {records.name} WHERE {compared}) AS n"
    parameters.append(sorted(tokens))
    array = f"${len(parameters)}::bigint[]"
    series = f"generate_series(1, cardinality({array}), {_AT_ONCE}) AS s (at)"
    joined = f"{series} LEFT JOIN {records.name} AS r ON r.t && ({array})[s.at : s.at + {_AT_ONCE - 1}]"
    return f"(SELECT r.* FROM {joined} OFFSET 0) AS n"


def _tokens_condition(query: AnyOf, parameters: list[object]) -> str:
    column = query.column
    if query.is_presence:
        return f"{column} IS NOT NULL"
    if _is_large(query):
        # As constants in the text, because PostgreSQL makes a hash table of constants only. In a list of columns, a row's tokens are
        # made one by one until one is found. In FROM, all of them would be stored first.
        tokens = ",".join(map(str, sorted(query.tokens)))
        return f"EXISTS (SELECT FROM (SELECT unnest(t) AS token) AS u WHERE u.token = ANY ('{{{tokens}}}'::bigint[]))"
    if column is not None and len(query.tokens) == 1:  # with `=` the planner knows how common the value is
        parameters.append(next(iter(query.tokens)))
        found = f"{column} = ${len(parameters)}"
    else:
        parameters.append(sorted(query.tokens))
        array = f"${len(parameters)}::bigint[]"
        found = f"t && {array}" if column is None else f"{column} = ANY({array})"
    if query.implied is None:
        return found
    # Open runs come first, so without this range a list would read all of them. The bounds are constants in the text, so that a
    # plan that is made for all parameters can use them.
    return f"{found} AND {query.implied.column} BETWEEN {query.implied.low} AND {query.implied.high}"
