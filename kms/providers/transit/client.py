"""Requests to OpenBao or Vault, and the mapping of their answers to `kms/errors.py`.

The server returns no error codes, so its texts are matched. `tests/providers/test_vault.py` checks each text on the real
binary.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import orjson

from strongroom.kms.errors import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyDisabled,
    KeyNotFound,
    KmsAuthenticationError,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    StrongroomError,
    Throttled,
    UnsupportedOperation,
)
from strongroom.kms.transport.keepalive import IDLE_SECONDS, SOCKET_OPTIONS
from strongroom.kms.transport.tls import check_address, client_context
from strongroom.kms.transport.unreachable import failed_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

T = TypeVar("T")

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
MAX_ANSWER = 2**22
"""Maximum size of an answer, in bytes. The largest one has the roots of a batch."""
CONNECTIONS = 16
_SHOWN_TEXT = 300  # characters
_HEALTHY_STATUS = {200, 429, 472, 473}  # active, or a standby that forwards requests
_REDIRECTS, _REFUSALS = range(300, 400), range(400, 500)
_NO_CONTENT, _FORBIDDEN, _NOT_FOUND = 204, 403, 404
_BY_STATUS: dict[int, type[KmsError]] = {
    403: AccessDenied,
    404: KeyNotFound,
    412: KmsUnavailable,  # a replica that does not have this token yet
    429: Throttled,
}

# Texts of the server for keys and wrapped roots that can't be used. They are searched in this order.
TEXTS: tuple[tuple[str, type[StrongroomError]], ...] = (
    ("message authentication failed", IntegrityError),
    ("invalid ciphertext", IntegrityError),
    ("key not found", KeyNotFound),
    ("no existing key named", KeyNotFound),
    ("could not delete key; not found", KeyNotFound),
    ("disallowed by policy (too old)", KeyDisabled),
    ("soft-deleted", KeyDisabled),
    ("no handler for route", InvalidRequest),
    ("unsupported path", UnsupportedOperation),
)
_FOREIGN = "the answer is not that of OpenBao or Vault; check the address and the proxies in front of it"


@dataclass(slots=True, eq=False)
class _Pool:
    """Connections, and the number of requests that use them."""

    client: httpx.AsyncClient
    users: int = 0


class TransitClient:
    """A client of one server with one token.

    Args:
        provider_id: The id of the provider, for messages that concern no KEK.
        address: The server's URL, https.
        token: Returns the token for each request.
        namespace: The namespace on the server, if it has namespaces.
        tls: The TLS context. None means the system's authorities.
        insecure: Whether http is accepted, for this machine only.

    Raises:
        InvalidRequest: The address is neither https nor accepted by `insecure`.
    """

    def __init__(
        self,
        provider_id: str,
        address: str,
        *,
        token: Callable[[], str],
        namespace: str | None,
        tls: ssl.SSLContext | None,
        insecure: bool = False,
    ) -> None:
        check_address(address, insecure=insecure)
        self._id = provider_id
        self._token = token
        self._free = asyncio.Semaphore(CONNECTIONS)  # the timeouts don't include the wait for a free connection
        self._address = address.rstrip("/") + "/v1/"
        self._headers = {"X-Vault-Request": "true", "Accept-Encoding": "identity"}
        self._headers |= {"X-Vault-Namespace": namespace} if namespace else {}
        self._tls = tls or client_context()
        self._pool = self._new_pool()

    @property
    def address(self) -> str:
        """The server's URL."""
        return self._address

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, what: str
    ) -> dict[str, Any]:
        """Return the data of an answer. `what` is the start of an error message."""
        answer = await self._send(method, path, body)
        parsed = _parsed(answer)
        if parsed is None:
            msg = f"{what}: {_FOREIGN} ({answer.status_code})"
            raise KmsUnavailable(msg, provider_code=str(answer.status_code))
        data = parsed.get("data") or {}
        if answer.is_success or "batch_results" in data:  # a batch in which every item failed has status 400
            return data if isinstance(data, dict) else {}
        text = "; ".join(str(error) for error in parsed.get("errors") or ())
        error = error_of(text, what, status=answer.status_code, retry_after=_retry_after(answer))
        if isinstance(error, AccessDenied) and not await self._is_known():
            msg = f"{what}: the token is expired, revoked or made up, or may not look itself up ({_FORBIDDEN})"
            error = KmsAuthenticationError(msg, provider_code=str(_FORBIDDEN))
        raise error

    async def version(self) -> str:
        """Return the server's version.

        Raises:
            KmsUnavailable: The server is sealed or not initialised.
        """
        health = await self._send("GET", "sys/health", None)
        state = _parsed(health, of="sealed")
        if state is None:
            msg = f"{self._id}: {_FOREIGN} ({health.status_code})"
            raise KmsUnavailable(msg, provider_code=str(health.status_code))
        if health.status_code not in _HEALTHY_STATUS:
            msg = f"{self._id}: the server at {self.address} is sealed, or not initialised ({health.status_code})"
            raise KmsUnavailable(msg, provider_code=str(health.status_code))
        return str(state.get("version", "unknown"))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.client.aclose()

    async def _is_known(self) -> bool:
        """Look up the token, because the server answers "permission denied" both to a bad token and to a bad policy."""
        return (await self._send("GET", "auth/token/lookup-self", None)).status_code != _FORBIDDEN

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        headers = {"X-Vault-Token": self._checked_token()}
        content = None if body is None else orjson.dumps(body)
        failure: KmsError
        try:
            async with (
                self._free,
                self._connections() as client,
                client.stream(method, path, content=content, headers=headers) as answer,
            ):
                whole = await _whole(answer)
            if whole is not None:
                return whole
            failure = KmsUnavailable(
                f"{self._id}: {self.address} sent more than {MAX_ANSWER} bytes, or compressed ones"
            )
        except httpx.TimeoutException as error:
            failure = KmsTimeout(f"{self._id}: no answer in time from {self.address} ({type(error).__name__})")
        except httpx.HTTPError as error:
            reason = failed_connection(error)
            failure = KmsUnavailable(f"{self._id}: {self.address} can't be reached ({type(error).__name__}: {reason})")
        except (
            ssl.SSLError
        ) as error:  # the server refuses our certificate after the handshake, which httpx does not translate
            failure = KmsUnavailable(f"{self._id}: {self.address} ended TLS ({error.reason})")
        raise failure  # raised outside the handler, because the request in httpx's error has the token

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield the connections. After a timeout all callers use new ones, because a firewall drops idle connections together."""
        pool = self._pool
        pool.users += 1
        try:
            yield pool.client
        except httpx.TimeoutException:
            if pool is self._pool:
                self._pool = self._new_pool()
            raise
        finally:
            pool.users -= 1
            if pool is not self._pool and not pool.users:
                await pool.client.aclose()

    def _new_pool(self) -> _Pool:
        client = httpx.AsyncClient(
            base_url=self._address,
            headers=self._headers,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            transport=httpx.AsyncHTTPTransport(
                limits=httpx.Limits(
                    max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
                ),
                verify=self._tls,
                trust_env=False,
                socket_options=SOCKET_OPTIONS,
            ),
            trust_env=False,  # a proxy from the environment would see roots
            follow_redirects=False,  # a token is never sent to another server
        )
        return _Pool(client)

    def _checked_token(self) -> str:
        try:
            token = self._token().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            msg = f"{self._id}: the token can't be read: {reason}"
        else:
            if token and token.isascii() and token.isprintable():
                return token
            msg = f"{self._id}: the token is empty, or has characters that no token has"
        raise KmsAuthenticationError(msg)


async def _whole(answer: httpx.Response) -> httpx.Response | None:
    """Return an answer with its content; None if it is compressed, which no request asks for, or larger than `MAX_ANSWER`."""
    if "Content-Encoding" in answer.headers:
        return None
    content = bytearray()
    async for piece in answer.aiter_raw():
        content += piece
        if len(content) > MAX_ANSWER:
            return None
    return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(content))


def error_of(text: str, what: str, *, status: int, retry_after: float | None = None) -> StrongroomError:
    """Return our error for the server's text. The text names keys, policies and paths, never a value."""
    lowered = text.lower()
    kind = next((kind for fragment, kind in TEXTS if fragment in lowered), None)
    if kind is IntegrityError:
        return IntegrityError()  # one text for every cause
    if kind is None or not issubclass(kind, KmsError):
        kind = _BY_STATUS.get(status, InvalidRequest if status in _REFUSALS else KmsUnavailable)
        if status == _NOT_FOUND and text:
            kind = InvalidRequest  # a missing key has no text; another engine or namespace has one
    shown = " ".join(text[:_SHOWN_TEXT].split()) or str(kind.__doc__)
    if status in _REDIRECTS:
        shown = "the server redirects, and redirects are not followed; name the active server"
    return kind(f"{what}: {shown} ({status})", retry_after=retry_after, provider_code=str(status))


def field(data: Mapping[str, Any], name: str, kind: type[T], what: str) -> T:
    """Return a field of an answer.

    Raises:
        KmsUnavailable: The field is missing, so the answer is not from a Transit engine.
    """
    value = data.get(name)
    if not isinstance(value, kind):
        msg = f"{what}: the answer has no {name}, so it is not that of a Transit engine"
        raise KmsUnavailable(msg)
    return value


def _retry_after(answer: httpx.Response) -> float | None:
    given = answer.headers.get("Retry-After")
    return float(given) if given is not None and given.isascii() and given.isdecimal() else None


def _parsed(answer: httpx.Response, of: str = "request_id") -> dict[str, Any] | None:
    """Return the JSON object of an answer; None if something else than the server answered, such as a proxy.

    Args:
        answer: The answer.
        of: A field that each successful answer with content has.
    """
    if answer.status_code == _NO_CONTENT:
        return {}
    try:
        parsed = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        return {} if answer.status_code not in _REFUSALS and not answer.is_success else None
    return parsed if of in parsed or isinstance(parsed.get("errors"), list) or "data" in parsed else None
