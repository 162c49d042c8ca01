"""Send one request to a cluster: with retries until a deadline, a check of the answer, and errors of this project."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from typing import TYPE_CHECKING, Any, TypeVar

from elastic_transport import ApiError, ApiResponse, ConnectionTimeout, SerializationError, TlsError, TransportError
from elasticsearch import UnsupportedProductError

from strongroom.kms import StrongroomError, failed_connection
from strongroom.storage import ResourceExhausted
from strongroom.visibility.errors import (
    SearchIndexAnswerError,
    SearchIndexAuthenticationError,
    SearchIndexMismatch,
    SearchIndexTimeout,
    SearchIndexUnavailable,
    SearchSnapshotExpired,
)

from .answers import error_type
from .refusals import BLOCKED, CLOSED, CLUSTER_BLOCK, DISK_FULL, INDEX_CLOSED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0
_MULTIPLE_CHOICES, _BAD_REQUEST, _SERVER_ERROR = 300, 400, 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TIMEOUT, _CONFLICT, _TOO_LARGE, _TOO_MANY = 401, 403, 404, 408, 409, 413, 429
_PRODUCT_HEADER, _PRODUCT = "x-elastic-product", "Elasticsearch"

Answer = TypeVar("Answer")


async def ask(
    request: Callable[[], Awaitable[ApiResponse[Any]]], read: Callable[[Any], Answer], *, deadline: float
) -> Answer:
    """Send a request until it is answered; return what `read` makes of the answer. It must be safe to send the request twice.

    Args:
        request: Function that sends the request once.
        read: Function that checks the body of the answer and returns a part of it, of `answers.py`.
        deadline: Time after which it is not sent again, in seconds.

    Raises:
        SearchIndexUnavailable: The cluster does not answer, or some shards did not.
        SearchIndexTimeout: The answer did not come in time.
        SearchSnapshotExpired: The snapshot of a search no longer exists.
        SearchIndexAnswerError: The answer is not one of Elasticsearch.
        ResourceExhausted: The cluster is overloaded and did not execute the request.
        SearchIndexAuthenticationError: The cluster refused the credentials.
        SearchIndexMismatch: The index is missing, or the cluster refused the request permanently.
    """
    until = time.monotonic() + deadline
    wait = _FIRST_WAIT
    while True:
        try:
            return read(_body(await request()))
        except (ApiError, TransportError) as failure:
            error = _translated(failure)
        except StrongroomError as failure:
            error = failure
        except (ValueError, LookupError):  # a header that the client can't parse, such as an unknown charset
            error = SearchIndexAnswerError()
        now = time.monotonic()
        # A snapshot that is gone does not come back.
        if not error.retryable or isinstance(error, SearchSnapshotExpired) or now >= until:
            raise error from None
        await asyncio.sleep(min(random.random() * wait, until - now))  # noqa: S311 - nothing secret
        wait = min(2 * wait, _LONGEST_WAIT)


def _body(answer: ApiResponse[Any]) -> Any:
    """Return the body of an answer.

    Raises:
        SearchIndexAnswerError: Elasticsearch did not give this answer.
    """
    meta = answer.meta
    # The client checks the product only in its first answer.
    from_cluster = meta.status >= _MULTIPLE_CHOICES or meta.headers.get(_PRODUCT_HEADER) == _PRODUCT
    if not from_cluster or not isinstance(answer.body, dict):
        raise SearchIndexAnswerError
    return answer.body


def _translated(error: ApiError | TransportError) -> StrongroomError:
    """Return an error of this project. The client's own error can quote the request, with its tokens."""
    if isinstance(error, ConnectionTimeout):
        return SearchIndexTimeout("the search index did not answer in time")
    if isinstance(error, TlsError):
        return SearchIndexUnavailable(f"TLS 1.3 with the search index failed: {_tls_reason(error)}")
    if isinstance(error, (SerializationError, UnsupportedProductError)):
        return SearchIndexAnswerError()
    if not isinstance(error, ApiError):
        return SearchIndexUnavailable(f"the search index can't be reached: {failed_connection(error)}")
    return _status_error(error.meta.status, error.body)


_NEVER = frozenset((501, 505))
"""Statuses of a server that will not answer such a request later either."""


def _status_error(status: int, body: Any) -> StrongroomError:
    """Return the error for an HTTP status."""
    kind = error_type(body)
    if status < _BAD_REQUEST or (status == _NOT_FOUND and kind is None):
        return SearchIndexAnswerError(
            f"the server at elasticsearch.url answered HTTP {status}, and not as Elasticsearch does; check the URL"
        )
    if (status, kind) in _REASONS:
        error, text = _REASONS[status, kind]
        return error(text)
    if status in _ERRORS:
        error, text = _ERRORS[status]
        return error(text)
    if status in _NEVER:
        return SearchIndexMismatch(
            f"the server at elasticsearch.url does not implement the request (HTTP {status}); it may be a proxy or an old version. "
            "Check the URL and the version"
        )
    if status >= _SERVER_ERROR:
        return SearchIndexUnavailable(f"the search index is unavailable (HTTP {status}); retry later")
    msg = (
        f"the search index refused the request (HTTP {status}); check that this version of strongroom created the index"
    )
    return SearchIndexMismatch(msg)


_ERRORS: dict[int, tuple[type[StrongroomError], str]] = {
    _UNAUTHORIZED: (
        SearchIndexAuthenticationError,
        "the search index refused the credentials (HTTP 401); check its API key",
    ),
    _FORBIDDEN: (
        SearchIndexMismatch,
        "the search index refused the request (HTTP 403): the API key lacks a right, or the index is blocked",
    ),
    _NOT_FOUND: (SearchIndexMismatch, "the search index does not exist; create it with: strongroom index build"),
    _TIMEOUT: (SearchIndexTimeout, "the search index did not answer in time (HTTP 408)"),
    _CONFLICT: (SearchIndexUnavailable, "the search index is changing (HTTP 409); retry later"),
    _TOO_LARGE: (
        SearchIndexMismatch,
        "the request is larger than the cluster or a proxy accepts (HTTP 413); raise http.max_content_length there",
    ),
    _TOO_MANY: (
        ResourceExhausted,
        "Elasticsearch is overloaded (HTTP 429); the request was not executed. Retry later.",
    ),
}


_REASONS: dict[tuple[int, str | None], tuple[type[StrongroomError], str]] = {
    (_BAD_REQUEST, INDEX_CLOSED): (SearchIndexMismatch, CLOSED),
    (_FORBIDDEN, CLUSTER_BLOCK): (SearchIndexMismatch, BLOCKED),
    (_TOO_MANY, CLUSTER_BLOCK): (ResourceExhausted, DISK_FULL),
}
"""Errors of which the type says more than the status."""


def _tls_reason(error: TlsError) -> str:
    """Return why TLS failed, without the client's own text. The client stores the cause as the context of its error."""
    cause = getattr(error.__context__, "certificate_error", error.__context__)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    return "check that the cluster supports TLS 1.3 and trusts the certificate of this client"
