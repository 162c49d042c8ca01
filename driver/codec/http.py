"""HTTP of the codec server: the limits of bodies, the answers, and the web pages that may call."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from strongroom.driver.config import CodecServerConfig

BODY_SECONDS = 15.0
"""Timeout for the body of a request, in seconds."""
PREFLIGHT_SECONDS = 600
_ALWAYS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Refused(Exception):  # noqa: N818 - says what happened
    """A request that is answered with an error.

    Attributes:
        response: The answer.
        reason: A word for the server's log.
    """

    def __init__(self, status: int, error: str, *, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.response = answer(status, {"error": error}, headers)
        self.reason = reason


def answer(status: int, content: object = None, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON, or an empty one."""
    body = b"" if content is None else orjson.dumps(content)
    return Response(body, status, {**_ALWAYS, **(headers or {})}, None if content is None else "application/json")


def too_many(seconds: float) -> Refused:
    """Return the refusal of a caller that is over its limit.

    Args:
        seconds: The time until the request may be sent again.
    """
    return Refused(
        429,
        "too many payloads; send the request again after Retry-After seconds",
        headers={"retry-after": str(max(1, ceil(seconds)))},
    )


def cross_origin(request: Request, config: CodecServerConfig) -> dict[str, str]:
    """Return the headers that let a page of another origin read the answer.

    Raises:
        Refused: The page's origin is not listed. The request is not carried out.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return {}
    if origin not in config.origins:
        raise Refused(
            403,
            "pages of this origin may not call; add it to codec_server.origins",
            reason="origin",
            headers={"vary": "Origin"},
        )
    headers = {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "Retry-After, X-Request-Id",
        "vary": "Origin",
    }
    if config.credentials:
        headers["access-control-allow-credentials"] = "true"
    return headers


def preflight(headers: Mapping[str, str]) -> Response:
    """Return the answer to a browser that asks whether a page may call."""
    allowed = {
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "Authorization, Authorization-Extras, Content-Type, X-Namespace",
        "access-control-max-age": str(PREFLIGHT_SECONDS),
    }
    return answer(204, headers={**headers, **allowed})


async def read_body(request: Request, limit: int, *, seconds: float = BODY_SECONDS) -> bytes:
    """Return the body of a request.

    Args:
        request: The request.
        limit: The maximum size, in bytes.
        seconds: The timeout.

    Raises:
        Refused: The body is too long or too slow, or its type is not JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "the body must be application/json, not compressed")
    too_long = Refused(
        413, f"the body is longer than {limit} bytes; send fewer payloads", headers={"connection": "close"}
    )
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_long
    except TimeoutError:
        raise Refused(
            408, "the body did not arrive in time; send the request again", headers={"connection": "close"}
        ) from None
    return bytes(body)
