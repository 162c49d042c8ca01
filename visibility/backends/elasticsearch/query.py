"""Convert token queries to Elasticsearch's query language. All clauses are filters, so nothing is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.visibility.backends.token_query import All, AnyOf, Bucket, Epoch, Not, Some, TokenQuery

from .documents import namespace_text, token_texts

if TYPE_CHECKING:
    from uuid import UUID

MAX_TERMS = 1024
"""Maximum number of terms of one clause: the limit of the smallest hosted clusters. More terms use several clauses."""


def to_query(namespace_id: UUID, query: TokenQuery) -> dict[str, Any]:
    """Return a query for the documents of a namespace. The namespace is a clause outside all that a query can negate."""
    return {"bool": {"filter": [{"term": {"n": namespace_text(namespace_id)}}, to_clause(query)]}}


def to_clause(query: TokenQuery) -> dict[str, Any]:
    """Return a clause for documents of all namespaces. Use it only inside a query that names a namespace."""
    match query:
        case AnyOf(tokens):
            texts = token_texts(sorted(tokens))
            clauses = [{"terms": {"t": texts[i : i + MAX_TERMS]}} for i in range(0, len(texts), MAX_TERMS)]
            return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses, "minimum_should_match": 1}}
        case Bucket(column, low, high):
            return {"range": {column: {"gte": low, "lte": high}}}
        case Epoch(epoch):
            return {"term": {"k": epoch}}
        case All(items):
            return {"bool": {"filter": [to_clause(item) for item in items]}} if items else {"match_all": {}}
        case Some(items):
            if not items:
                return {"match_none": {}}
            return {"bool": {"should": [to_clause(item) for item in items], "minimum_should_match": 1}}
        case Not(item):
            return {"bool": {"must_not": [to_clause(item)]}}
