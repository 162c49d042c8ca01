"""Evaluate a token query on a sealed row in memory, as each backend does."""

from __future__ import annotations

from strongroom.storage import VisibilityRow
from strongroom.storage.visibility_rows.records import HASHED_COLUMNS
from strongroom.visibility.backends.token_query import All, AnyOf, Bucket, Epoch, Not, Some

COLUMNS = {"b1": "close_bucket", "b2": "start_bucket"}
"""The attribute of a row for each bucket's column."""


def holds(query, row):
    """Return whether a document satisfies a token query in PostgreSQL, which has columns for some tokens."""
    match query:
        case AnyOf(tokens, implied, column, is_presence):
            in_column = None if column is None else row.hashes[HASHED_COLUMNS.index(column)]
            if is_presence:
                return in_column is not None
            found = not tokens.isdisjoint(row.tokens if column is None else (in_column,))
            assert not found or implied is None or holds(implied, row), (
                "every document with such a token is in the implied bucket"
            )
            return found
        case Bucket(column, low, high):
            name = COLUMNS[column] if isinstance(row, VisibilityRow) else column
            return low <= getattr(row, name) <= high
        case Epoch(epoch):
            return row.epoch == epoch
        case All(items):
            return all(holds(item, row) for item in items)
        case Some(items):
            return any(holds(item, row) for item in items)
        case Not(item):
            return not holds(item, row)


def holds_in_one_set(query, row):
    """Return whether a document satisfies a token query in Elasticsearch, which has all tokens in one set."""
    match query:
        case AnyOf(tokens):
            return not tokens.isdisjoint((*row.tokens, *row.hashes))
        case All(items):
            return all(holds_in_one_set(item, row) for item in items)
        case Some(items):
            return any(holds_in_one_set(item, row) for item in items)
        case Not(item):
            return not holds_in_one_set(item, row)
    return holds(query, row)
