"""The codec server as an ASGI application. It opens payloads for Temporal's web interface and command line."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from starlette.requests import ClientDisconnect, Request

from strongroom.kms import NotAuthenticated, StrongroomError
from strongroom.storage import NamespaceNotFound

from .audit import CodecEvent
from .http import (
    BODY_SECONDS,
    Refused,
    answer,
    cross_origin,
    preflight,
    read_body,
    too_many,
)
from .json import read_payloads, write_payloads
from .limits import RateLimit
from .payload_codec import SealedPayloadCodec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send
    from temporalio.api.common.v1 import Payload

    from strongroom.driver.config import CodecServerConfig
    from strongroom.kms import Keyring

    from .audit import CodecAudit
    from .auth import Authenticator, Caller

PEER = "strongroom.certificate"
"""Key of the client's certificate in an ASGI scope."""
HEALTH = "/health"
_OPERATIONS: dict[str, Literal["codec.decode", "codec.encode"]] = {"decode": "codec.decode", "encode": "codec.encode"}
_UNKNOWN = "the caller has no token or certificate that is accepted here"
_log = logging.getLogger("strongroom.codec")


@dataclass(frozen=True, slots=True)
class _Call:
    """A request of an authenticated caller."""

    operation: Literal["codec.decode", "codec.encode"]
    caller: Caller
    request_id: str


class CodecServer:
    """The ASGI application.

    Args:
        config: The configuration of the server.
        find: Returns the id of a namespace by its name; see `NamespaceStore.find`.
        keyring: The keyring of the cell.
        authenticator: Authenticates callers.
        audit: Records every request to open or seal payloads, before its answer is sent.
        body_seconds: Timeout for the body of a request, in seconds.
    """

    def __init__(
        self,
        config: CodecServerConfig,
        *,
        find: Callable[[str], Awaitable[UUID]],
        keyring: Keyring,
        authenticator: Authenticator,
        audit: CodecAudit,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._config = config
        self._find = find
        self._keyring = keyring
        self._authenticator = authenticator
        self._audit = audit
        self._body_seconds = body_seconds
        self._limit = RateLimit(per_second=config.payloads_per_second, at_once=config.payloads_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. If it fails, only the kind of the error is logged."""
        if scope["type"] != "http":
            return
        request, request_id, reason, headers = Request(scope, receive), secrets.token_hex(8), "", dict[str, str]()
        try:
            headers = cross_origin(request, self._config)
            response = await self._answer(request, request_id, headers)
        except Refused as refused:
            response, reason = refused.response, refused.reason
        except ClientDisconnect:
            response, reason = answer(400), "gone"
        except Exception as error:  # noqa: BLE001 - a traceback could hold a tenant's data
            response, reason = (
                answer(500, {"error": "internal error; the server's log has its kind under the request id"}),
                type(error).__name__,
            )
        response.headers.update({**headers, "x-request-id": request_id})
        operation = scope["path"].rpartition("/")[2]
        _log.info(
            "%s %s %s %s", request_id, operation if operation in _OPERATIONS else "-", response.status_code, reason
        )
        await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str, headers: dict[str, str]) -> Response:
        path: str = request.scope["path"]
        if path == HEALTH and request.method == "GET":
            return answer(204)
        # In Temporal's protocol only the last part of the path counts, so that the endpoint may have any prefix.
        operation = _OPERATIONS.get(path.rpartition("/")[2])
        if operation is None:
            raise Refused(404, "unknown path; use /encode or /decode")
        if request.method == "OPTIONS" and headers and "access-control-request-method" in request.headers:
            return preflight(headers)
        if request.method != "POST":
            raise Refused(405, "use POST", headers={"allow": "POST"})
        call = _Call(operation, self._caller(request), request_id)
        self._take(call, 1)
        namespace_id = await self._namespace(call, request.headers.get("x-namespace"))
        payloads = read_payloads(await self._body(request), self._config.max_payloads)
        self._take(call, len(payloads) - 1)
        return answer(200, write_payloads(await self._coded(call, namespace_id, payloads)))

    async def _body(self, request: Request) -> bytes:
        return await read_body(request, self._config.max_body_bytes, seconds=self._body_seconds)

    def _caller(self, request: Request) -> Caller:
        try:
            return self._authenticator.caller(request.headers.get("authorization"), request.scope.get(PEER))
        except NotAuthenticated as error:
            kind = type(error.__cause__).__name__ if error.__cause__ is not None else "missing"
            raise Refused(401, _UNKNOWN, reason=kind, headers={"www-authenticate": "Bearer"}) from None

    def _take(self, call: _Call, tokens: int) -> None:
        wait = self._limit.take(call.caller.name, max(0, tokens))
        if wait:
            raise too_many(wait)

    async def _namespace(self, call: _Call, name: str | None) -> UUID:
        """Return the id of the namespace that a caller names. A missing namespace is refused like a forbidden one."""
        try:
            if name is not None and name in call.caller.namespaces:
                return await self._find(name)
        except NamespaceNotFound:
            pass
        except StrongroomError as error:
            raise _unusable(error) from None
        await self._record(call, outcome="refused")
        raise Refused(403, "you may not use this namespace, or it does not exist", reason="namespace")

    async def _coded(self, call: _Call, namespace_id: UUID, payloads: Sequence[Payload]) -> list[Payload]:
        codec = SealedPayloadCodec(self._keyring, namespace_id, pass_unsealed=self._config.pass_unsealed)
        event = replace(self._event(call), namespace_id=namespace_id, payloads=len(payloads))
        try:
            done = await (codec.decode if call.operation == "codec.decode" else codec.encode)(payloads)
        except StrongroomError as error:
            await self._keep(replace(event, outcome="failed", error=type(error).__name__))
            raise _unusable(error) from None
        await self._keep(event)
        return done

    async def _record(self, call: _Call, *, outcome: Literal["refused"]) -> None:
        await self._keep(replace(self._event(call), outcome=outcome))

    def _event(self, call: _Call) -> CodecEvent:
        return CodecEvent(call.operation, "done", datetime.now(UTC), call.caller.name, call.request_id)

    async def _keep(self, event: CodecEvent) -> None:
        """Record an event before the answer is sent."""
        try:
            await self._audit.record(event)
        except StrongroomError:
            raise Refused(
                503, "the audit log can't be written, so no payload is returned; try again later", reason="audit"
            ) from None


def _unusable(error: StrongroomError) -> Refused:
    """Return the same refusal for every payload that does not open, and another one for outages."""
    reason = type(error).__name__
    if getattr(error, "retryable", False):
        return Refused(
            503, "the KMS or the database can't be reached; try again", reason=reason, headers={"retry-after": "5"}
        )
    return Refused(400, "these payloads can't be opened or sealed here", reason=reason)
