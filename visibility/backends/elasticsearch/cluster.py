"""One request to a cluster: retried with growing random waits inside a deadline, answered in full, its errors ours."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from typing import TYPE_CHECKING, Any

from elastic_transport import ApiError, ApiResponse, ConnectionTimeout, TlsError, TransportError

from strongroom.storage import ResourceExhausted
from strongroom.visibility.errors import SearchIndexMismatch, SearchIndexTimeout, SearchIndexUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0
_TOO_MANY, _NOT_FOUND = 429, 404
_PASSING = frozenset({_TOO_MANY, 502, 503, 504})
"""Answers that may be other ones a moment later."""


async def ask(request: Callable[[], Awaitable[ApiResponse[Any]]], *, deadline: float) -> Any:
    """Send a request that may be sent twice, until it is answered; return the answer's body.

    Args:
        request: sends it once.
        deadline: seconds from now after which nothing is tried again.

    Raises:
        SearchIndexUnavailable: nobody answers, or not all shards did.
        SearchIndexTimeout: the answer did not come in time.
        ResourceExhausted: the cluster has too much to do.
        SearchIndexMismatch: the index is missing, or not one of ours.
    """
    until = time.monotonic() + deadline
    wait = _FIRST_WAIT
    while True:
        try:
            answer = (await request()).body
        except (ApiError, TransportError) as failure:
            error = _ours(failure)
        else:
            if _is_whole(answer):
                return answer
            error = SearchIndexUnavailable("some shards of the search index did not answer")
        now = time.monotonic()
        if not error.retryable or now >= until:
            raise error
        await asyncio.sleep(min(random.random() * wait, until - now))  # noqa: S311 - nothing secret
        wait = min(2 * wait, _LONGEST_WAIT)


def _is_whole(answer: Any) -> bool:
    """Whether every shard answered: a part of an answer would be a wrong one."""
    if not isinstance(answer, dict):
        return True  # yes or no
    shards = answer.get("_shards", {})
    return not answer.get("timed_out") and not (isinstance(shards, dict) and shards.get("failed"))


def _ours(error: ApiError | TransportError) -> SearchIndexUnavailable | SearchIndexMismatch | ResourceExhausted:
    """Return our error; the cluster's own may quote the request, tokens included."""
    if isinstance(error, ConnectionTimeout):
        return SearchIndexTimeout("the search index did not answer in time")
    if isinstance(error, TlsError):
        return SearchIndexUnavailable(f"TLS 1.3 with the search index failed: {_tls_reason(error)}")
    if not isinstance(error, ApiError):
        return SearchIndexUnavailable("the search index can't be reached")
    status = error.meta.status
    if status == _TOO_MANY:
        return ResourceExhausted("the search index has too much to do")
    if status == _NOT_FOUND:
        return SearchIndexMismatch("the search index is missing; make it with: strongroom index build")
    if status == 401:  # noqa: PLR2004
        return SearchIndexMismatch("the search index refuses these credentials")
    if status == 403:  # noqa: PLR2004
        return SearchIndexMismatch(
            "the search index refuses this: the credentials have no right to it, or the index is blocked"
        )
    if status in _PASSING:
        return SearchIndexUnavailable(f"the search index is not available now (status {status})")
    return SearchIndexMismatch(f"the search index refused the request (status {status}); is it one of this version?")


def _tls_reason(error: TlsError) -> str:
    """Return what is wrong, without the client's own text; it keeps the cause as nothing but the context."""
    cause = getattr(error.__context__, "certificate_error", error.__context__)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    return "has the cluster TLS 1.3, and this client's certificate?"
