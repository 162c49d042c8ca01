"""Send one request to a cluster: with retries until a deadline, a check for missing shards, and errors of this project."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from typing import TYPE_CHECKING, Any

from elastic_transport import ApiError, ApiResponse, ConnectionTimeout, TlsError, TransportError

from strongroom.storage import ResourceExhausted
from strongroom.visibility.errors import (
    SearchIndexAuthenticationError,
    SearchIndexMismatch,
    SearchIndexTimeout,
    SearchIndexUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from strongroom.kms import StrongroomError

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0
_TOO_MANY, _NOT_FOUND = 429, 404
_PASSING = frozenset({_TOO_MANY, 502, 503, 504})
"""Statuses of failures that can pass without a change."""


async def ask(request: Callable[[], Awaitable[ApiResponse[Any]]], *, deadline: float) -> Any:
    """Send a request until it is answered; return the body of the answer. It must be safe to send the request twice.

    Args:
        request: Function that sends the request once.
        deadline: Time after which it is not sent again, in seconds.

    Raises:
        SearchIndexUnavailable: The cluster does not answer, or some shards did not.
        SearchIndexTimeout: The answer did not come in time.
        ResourceExhausted: The cluster is overloaded and did not execute the request.
        SearchIndexAuthenticationError: The cluster refused the credentials.
        SearchIndexMismatch: The index is missing, or the cluster refused the request permanently.
    """
    until = time.monotonic() + deadline
    wait = _FIRST_WAIT
    while True:
        try:
            answer = (await request()).body
        except (ApiError, TransportError) as failure:
            error = _translated(failure)
        else:
            if _is_complete(answer):
                return answer
            error = SearchIndexUnavailable("some shards of the search index did not answer; retry later")
        now = time.monotonic()
        if not error.retryable or now >= until:
            raise error
        await asyncio.sleep(min(random.random() * wait, until - now))  # noqa: S311 - nothing secret
        wait = min(2 * wait, _LONGEST_WAIT)


def _is_complete(answer: Any) -> bool:
    """Return whether every shard answered. A partial answer would be wrong."""
    if not isinstance(answer, dict):
        return True  # the answer of an existence check
    shards = answer.get("_shards", {})
    return not answer.get("timed_out") and not (isinstance(shards, dict) and shards.get("failed"))


def _translated(error: ApiError | TransportError) -> StrongroomError:
    """Return an error of this project. The client's own error can quote the request, with its tokens."""
    if isinstance(error, ConnectionTimeout):
        return SearchIndexTimeout("the search index did not answer in time")
    if isinstance(error, TlsError):
        return SearchIndexUnavailable(f"TLS 1.3 with the search index failed: {_tls_reason(error)}")
    if not isinstance(error, ApiError):
        return SearchIndexUnavailable("the search index can't be reached")
    status = error.meta.status
    if status == _TOO_MANY:
        return ResourceExhausted("Elasticsearch is overloaded (HTTP 429); the request was not executed. Retry later.")
    if status == _NOT_FOUND:
        return SearchIndexMismatch("the search index does not exist; create it with: strongroom index build")
    if status == 401:  # noqa: PLR2004
        return SearchIndexAuthenticationError("the search index refused the credentials (HTTP 401); check its API key")
    if status == 403:  # noqa: PLR2004
        return SearchIndexMismatch(
            "the search index refused the request (HTTP 403): the API key lacks a right, or the index is blocked"
        )
    if status in _PASSING:
        return SearchIndexUnavailable(f"the search index is unavailable (HTTP {status}); retry later")
    msg = (
        f"the search index refused the request (HTTP {status}); check that this version of strongroom created the index"
    )
    return SearchIndexMismatch(msg)


def _tls_reason(error: TlsError) -> str:
    """Return why TLS failed, without the client's own text. The client stores the cause as the context of its error."""
    cause = getattr(error.__context__, "certificate_error", error.__context__)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    return "check that the cluster supports TLS 1.3 and trusts the certificate of this client"
