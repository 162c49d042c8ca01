"""The REST API of one Azure Key Vault or Managed HSM, with the SDK's pipeline and authentication and our errors.

Requests go through the SDK's public `KeyClient.send_request`. Its `CryptographyClient` is not used, because it wraps
locally when it has a public key, and keeps that key after the vault has disabled it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestTimeoutError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.policies import AsyncRetryPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from azure.identity.aio import DefaultAzureCredential
from azure.keyvault.keys.aio import KeyClient

from strongroom.kms.aiohttp_connections import KeptConnections
from strongroom.kms.errors import (
    AccessDenied,
    InvalidRequest,
    KeyConflict,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    Throttled,
)
from strongroom.kms.transport.tls import client_context, is_loopback
from strongroom.kms.transport.unreachable import failed_connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.rest import AsyncHttpResponse

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
CONNECTIONS = 16
"""Number of connections to one vault, and so of concurrent requests. The timeouts don't include the wait for a connection."""
MAX_ANSWER = 2**20
"""Maximum size of an answer, in bytes. The largest ones are lists of the versions of a key."""
_OK = range(200, 300)
_RESULTS = {"key", "value"}  # each successful answer has one of them
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 401, 403, 404, 409

_BY_STATUS: dict[int, type[KmsError]] = {
    400: InvalidRequest,
    _UNAUTHORIZED: KmsAuthenticationError,
    _FORBIDDEN: AccessDenied,
    _NOT_FOUND: KeyNotFound,
    408: KmsTimeout,
    _CONFLICT: KeyConflict,
    429: Throttled,
}
# The `innererror` is more precise than the status.
_BY_INNER_CODE: dict[str, type[KmsError]] = {
    "KeyDisabled": KeyDisabled,
    "ObjectIsBeingDeleted": KeyPendingDeletion,
    "ObjectIsDeletedButRecoverable": KeyPendingDeletion,
}
# The texts of these statuses name keys, callers and rights. The text of a 400 may repeat the request, which has a root.
_SHOWN = {_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT}
_NEED_AN_ERROR = {InvalidRequest, AccessDenied, KeyNotFound, KeyConflict}
# These codes refuse the network or the vault, and are not about a key.
_ABOUT_THE_VAULT = {"ForbiddenByFirewall", "ForbiddenByConnection", "VaultNotFound", "TenantNotFound"}
_ENTRA_CODE = re.compile(r"AADSTS\d+")


def default_credential() -> AsyncTokenCredential:
    """Return the default credential: a service principal, a workload or managed identity, or the CLI's login.

    `AZURE_TOKEN_CREDENTIALS=prod`, a setting of azure-identity, excludes the credentials of developers' machines.
    """
    return DefaultAzureCredential(retry_total=0, connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)


class Vault:
    """A client of one vault. It also closes the credential.

    Args:
        provider_id: The id of the provider, for messages.
        url: The https URL of the vault or HSM.
        credential: A credential of azure-identity.
        tls: The TLS context. None means the system's authorities and TLS 1.3.
        connect_seconds: The timeout of a connection, in seconds.
        read_seconds: The timeout of an answer, in seconds.

    Raises:
        InvalidRequest: The URL is invalid.
    """

    def __init__(
        self,
        provider_id: str,
        url: str,
        *,
        credential: AsyncTokenCredential,
        tls: ssl.SSLContext | None,
        connect_seconds: float,
        read_seconds: float,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            msg = f"{provider_id}: a vault's URL is https://NAME.vault.azure.net, with no path"
            raise InvalidRequest(msg)
        self.host = parts.netloc
        self._id = provider_id
        self._credential = credential
        self._tls = tls or client_context()
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._client: KeyClient | None = None
        self._is_closed = False
        self._connections: KeptConnections | None = None

    async def ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Mapping[str, Any] | None = None,
        read_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send one request.

        Args:
            method: The HTTP method.
            path: The path and query, starting with a slash.
            what: The key or vault, for error messages.
            body: The body, sent as JSON.
            read_seconds: The timeout of this answer, if it differs from the usual one.

        Returns:
            The answer's JSON object.

        Raises:
            KmsError: The status is not 2xx. `InvalidRequest` is raised only for a 400.
        """
        request = HttpRequest(method, path, json=body, headers={"Accept-Encoding": "identity"})
        try:
            answer = await self._opened().send_request(
                request, read_timeout=read_seconds or self._read_seconds, stream=True
            )
            body_read = await _body(answer)
        except ClientAuthenticationError as error:
            failure: KmsError = _no_token(self._id, error)
        except (ServiceRequestTimeoutError, ServiceResponseTimeoutError) as error:
            if self._connections is not None:
                self._connections.drop_idle()
            failure = KmsTimeout(
                f"{self._id}: no answer in time from {self.host}, or for a token ({type(error).__name__})"
            )
        except AzureError as error:
            reason = f"{type(error).__name__}: {failed_connection(error)}"
            failure = KmsUnavailable(f"{self._id}: {self.host}, or where tokens come from, can't be reached ({reason})")
        except ValueError:
            # The SDK raises it if the server's challenge asks for a token of another service.
            failure = KmsAuthenticationError(
                f"{self._id}: {self.host} asks for a token of a service that it is not part of"
            )
        else:
            if body_read is not None:
                return _content(self._id, what, answer, body_read)
            failure = KmsUnavailable(f"{self._id}: {self.host} sent more than {MAX_ANSWER} bytes, or compressed ones")
        raise failure  # raised outside the handlers, because the request in the SDK's error has token and root

    async def aclose(self) -> None:
        """Close the connections and the credential. A later request fails."""
        self._is_closed = True
        try:
            if self._client is not None:
                await self._client.close()
        finally:
            await self._credential.close()

    def _opened(self) -> KeyClient:
        if self._is_closed:
            raise KmsUnavailable(f"{self._id}: the connection to {self.host} is closed")
        if self._client is None:  # opened late, because a session belongs to a running event loop
            self._connections = KeptConnections(self._tls, limit=CONNECTIONS)
            session = aiohttp.ClientSession(
                connector=self._connections,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
            url = f"https://{self.host}"
            self._client = KeyClient(
                url,
                self._credential,
                transport=AioHttpTransport(session=session, connection_timeout=self._connect_seconds),
                retry_policy=AsyncRetryPolicy.no_retries(),  # `resilience.py` retries
                permit_redirects=False,
                logging_enable=False,  # the SDK would log bodies
                # A loopback address has no domain of Azure with which the challenge could be compared.
                verify_challenge_resource=not is_loopback(url),
            )
        return self._client


async def _body(answer: AsyncHttpResponse) -> bytes | None:
    """Return the body of an answer; None if it is compressed, which no request asks for, or larger than `MAX_ANSWER`."""
    body = bytearray()
    try:
        if "Content-Encoding" in answer.headers:
            return None
        async for piece in answer.iter_raw():
            body += piece
            if len(body) > MAX_ANSWER:
                return None
    finally:
        await answer.close()
    return bytes(body)


def _content(provider_id: str, what: str, answer: AsyncHttpResponse, body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        content = None
    if answer.status_code in _OK and isinstance(content, dict) and _RESULTS & content.keys():
        return content
    raise _error(provider_id, what, answer, content if isinstance(content, dict) else {})


def _error(provider_id: str, what: str, answer: AsyncHttpResponse, content: Mapping[str, Any]) -> KmsError:
    status = answer.status_code
    fault = content.get("error")
    fault = fault if isinstance(fault, dict) else {}
    inner = fault.get("innererror") or fault.get("innerError")  # the service uses both spellings
    code = str((inner or {}).get("code") or fault.get("code") or status) if isinstance(inner, dict | None) else ""
    kind = _BY_INNER_CODE.get(code) or _BY_STATUS.get(status, KmsUnavailable)
    if not fault and kind in _NEED_AN_ERROR:
        msg = f"{what}: the answer is not that of Key Vault; check the URL and the proxies in front of it ({status})"
        return KmsUnavailable(msg, provider_code=str(status))
    if kind is AccessDenied and ("Expired" in code or "NotYetValid" in code):
        kind = KeyDisabled
    text = f"{what}: {kind.__doc__} ({status} {code})"
    if status in _SHOWN and fault.get("message"):
        text += f": {str(fault['message']).strip()}"
    return kind(
        f"{provider_id}: {text}" if not what.startswith(provider_id) else text,
        retry_after=_seconds(answer.headers.get("Retry-After")),
        provider_code=code,
        request_id=answer.headers.get("x-ms-request-id"),
        is_refusal=False if code in _ABOUT_THE_VAULT else None,
    )


def _no_token(provider_id: str, error: ClientAuthenticationError) -> KmsError:
    """Return the error for a missing token. It has only the Entra code from azure-identity's text."""
    match = _ENTRA_CODE.search(str(error))
    code = match[0] if match else type(error).__name__
    msg = f"{provider_id}: no token for the vault ({code}); see the log of azure-identity"
    return KmsAuthenticationError(msg, provider_code=code)


def _seconds(given: str | None) -> float | None:
    return float(given) if given is not None and given.isdecimal() else None
