"""The errors of visibility, on the tree of `strongroom.kms.errors`.

    StrongroomError
    └── VisibilityError
        ├── InvalidQuery
        │   ├── MalformedQuery                  the text is not a list filter
        │   ├── UnsupportedQuery                SQL, or a part of the list filter language, that is not supported
        │   └── InvalidExpression               attribute, operator and value of a condition do not fit together
        │       └── UnknownAttribute
        ├── QueryBudgetExceeded
        │   └── QueryDeadlineExceeded           also a Timeout
        ├── InvalidPageToken
        ├── InvalidRecord
        ├── SearchIndexMismatch
        ├── SearchIndexAuthenticationError      also a NotAuthenticated
        └── SearchIndexUnavailable              also an Unavailable; may be retried
            ├── SearchIndexTimeout              also a Timeout
            ├── SearchSnapshotExpired           the search begins again with another snapshot
            └── SearchIndexAnswerError          another server answered, or the answer is damaged

A message names the position of the fault in the query. It quotes words of the language and the names of built-in attributes. It
never quotes a literal, a custom attribute or an unknown name, because a tenant wrote them.
"""

from __future__ import annotations

from typing import ClassVar

from strongroom.kms import NotAuthenticated, StrongroomError, Timeout, Unavailable


class VisibilityError(StrongroomError):
    """A query or a visibility record can't be used."""


class InvalidQuery(VisibilityError):  # noqa: N818 - Temporal's term
    """The query is not valid.

    Attributes:
        position: The position of the fault in the query, in characters from 0; None for the query as a whole.
    """

    kind: ClassVar[str] = "invalid query"

    def __init__(self, message: str | None = None, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position

    # Composed here, because unpickling the error calls __init__ with the message alone.
    def __str__(self) -> str:
        where = "" if self.position is None else f" at character {self.position}"
        return f"{self.kind}{where}: {super().__str__()}"


class MalformedQuery(InvalidQuery):
    """The text is not a list filter."""

    kind = "malformed query"


class UnsupportedQuery(InvalidQuery):
    """The filter uses an operation that list filters do not have."""

    kind = "operation is not supported"


class InvalidExpression(InvalidQuery):
    """The attribute, operator and value of a condition do not fit together."""

    kind = "invalid expression"


class UnknownAttribute(InvalidExpression):
    """There is no such search attribute."""


class QueryBudgetExceeded(VisibilityError):  # noqa: N818 - the name says what happened
    """An exact answer takes too long, reads too many bytes of records, or has too many groups."""


class QueryDeadlineExceeded(QueryBudgetExceeded, Timeout):
    """The search took too long and was cancelled."""


class InvalidPageToken(VisibilityError):  # noqa: N818 - the name says what is wrong
    """The page token does not belong to this query, or was altered."""


class InvalidRecord(VisibilityError):  # noqa: N818 - the name says what is wrong
    """A visibility record can't be indexed.

    Attributes:
        attribute: The name of the search attribute with the fault; None if the fault is another one, or of no single attribute. It is
            not in the message, because a tenant wrote it.
    """

    attribute: str | None = None

    @classmethod
    def of_attribute(cls, message: str, attribute: str) -> InvalidRecord:
        """Return an error about a search attribute."""
        error = cls(message)
        error.attribute = attribute
        return error


class SearchIndexMismatch(VisibilityError):  # noqa: N818 - the name says what is wrong
    """The search index is missing, refuses the request, or is not of this version."""


class SearchIndexAuthenticationError(VisibilityError, NotAuthenticated):
    """The search index refused the credentials."""


class SearchIndexUnavailable(VisibilityError, Unavailable):  # noqa: N818 - the root's name
    """The search index can't be reached, or can't execute requests now."""


class SearchIndexTimeout(SearchIndexUnavailable, Timeout):
    """The search index did not answer in time."""


class SearchSnapshotExpired(SearchIndexUnavailable):
    """The snapshot of a search no longer exists: a node ended, the index was replaced, or it took too long. Search again."""


class SearchIndexAnswerError(SearchIndexUnavailable):
    """The answer is not one of Elasticsearch: a proxy answered, or it is damaged; check elasticsearch.url and what is in between."""
