"""What visibility raises, on the tree of `strongroom.kms.errors`.

    StrongroomError
    └── VisibilityError
        ├── InvalidQuery
        │   ├── MalformedQuery                 not of the list filter language
        │   ├── UnsupportedQuery               SQL, or a part of the language, that is not served
        │   └── InvalidExpression              an attribute, operator and value that do not fit each other
        │       └── UnknownAttribute
        ├── QueryBudgetExceeded
        ├── InvalidPageToken
        ├── InvalidRecord
        ├── SearchIndexMismatch
        └── SearchIndexUnavailable             also an Unavailable; may be retried
            └── SearchIndexTimeout             also a Timeout

A message says where a query is wrong by its position. It quotes words of the language and names of attributes that are
built in or registered; it never quotes a literal, nor a name that it does not know.
"""

from __future__ import annotations

from typing import ClassVar

from strongroom.kms import StrongroomError, Timeout, Unavailable


class VisibilityError(StrongroomError):
    """A query or a visibility record can't be served."""


class InvalidQuery(VisibilityError):  # noqa: N818 - Temporal's term
    """The query is not valid.

    Attributes:
        position: where, in characters from 0; None where it is the query as a whole.
    """

    kind: ClassVar[str] = "invalid query"

    def __init__(self, message: str | None = None, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position

    # Put together here and not in __init__, which is called again with the bare message when the error is unpickled.
    def __str__(self) -> str:
        where = "" if self.position is None else f" at character {self.position}"
        return f"{self.kind}{where}: {super().__str__()}"


class MalformedQuery(InvalidQuery):
    """The text is not a list filter."""

    kind = "malformed query"


class UnsupportedQuery(InvalidQuery):
    """The filter asks for what list filters do not offer."""

    kind = "operation is not supported"


class InvalidExpression(InvalidQuery):
    """The attribute, operator and value of a condition do not fit each other."""

    kind = "invalid expression"


class UnknownAttribute(InvalidExpression):
    """No such search attribute."""


class QueryBudgetExceeded(VisibilityError):  # noqa: N818 - says what happened
    """More records would have to be opened to answer exactly than one query may."""


class InvalidPageToken(VisibilityError):  # noqa: N818 - says what is wrong
    """This page token does not belong to this query, or was altered."""


class InvalidRecord(VisibilityError):  # noqa: N818 - says what is wrong
    """A visibility record has an attribute that is not registered, or a value that is not of its type."""


class SearchIndexMismatch(VisibilityError):  # noqa: N818 - says what is wrong
    """The search index is missing, refuses us, or is not one that this version works with."""

    retryable: ClassVar[bool] = False


class SearchIndexUnavailable(VisibilityError, Unavailable):  # noqa: N818
    """The search index can't be reached, or can't serve the request now."""


class SearchIndexTimeout(SearchIndexUnavailable, Timeout):
    """The search index did not answer in time."""
