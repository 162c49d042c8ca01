"""Calls to Cloud KMS over gRPC: one deadline each, no retries, tokens refreshed beside the event loop.

Google's own async client is not used, for at level DEBUG it writes each request and answer whole into the log record,
and with them roots. Its messages are used, google-auth, and a channel in which nothing logs.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import google.auth
import grpc
from google.auth import exceptions
from google.auth.credentials import TokenState, with_scopes_if_required
from google.auth.transport.requests import Request
from google.cloud.kms_v1.types import resources, service

from strongroom.kms.errors import InvalidRequest, KmsAuthenticationError, KmsError, KmsTimeout, KmsUnavailable
from strongroom.kms.transport.reloaded import Reloaded
from strongroom.kms.transport.tls import check_address, client_context

from .errors import failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.auth.credentials import Credentials

    Result = TypeVar("Result")

_SERVICE = "/google.cloud.kms.v1.KeyManagementService/"
_SCOPES = ("https://www.googleapis.com/auth/cloudkms",)

# Each request's method, its answer, and the field by which the service routes it.
_METHODS: dict[type[Any], tuple[str, type[Any], str]] = {
    service.EncryptRequest: ("Encrypt", service.EncryptResponse, "name"),
    service.DecryptRequest: ("Decrypt", service.DecryptResponse, "name"),
    service.GetKeyRingRequest: ("GetKeyRing", resources.KeyRing, "name"),
    service.GetCryptoKeyRequest: ("GetCryptoKey", resources.CryptoKey, "name"),
    service.GetCryptoKeyVersionRequest: ("GetCryptoKeyVersion", resources.CryptoKeyVersion, "name"),
    service.ListCryptoKeyVersionsRequest: (
        "ListCryptoKeyVersions",
        service.ListCryptoKeyVersionsResponse,
        "parent",
    ),
    service.CreateCryptoKeyRequest: ("CreateCryptoKey", resources.CryptoKey, "parent"),
    service.CreateCryptoKeyVersionRequest: ("CreateCryptoKeyVersion", resources.CryptoKeyVersion, "parent"),
    service.UpdateCryptoKeyRequest: ("UpdateCryptoKey", resources.CryptoKey, "crypto_key.name"),
    service.UpdateCryptoKeyPrimaryVersionRequest: ("UpdateCryptoKeyPrimaryVersion", resources.CryptoKey, "name"),
    service.DestroyCryptoKeyVersionRequest: ("DestroyCryptoKeyVersion", resources.CryptoKeyVersion, "name"),
}

_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.min_reconnect_backoff_ms", 1000),  # the time that a connection may take to be made
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # or a server that is back would be left alone for minutes
    ("grpc.keepalive_time_ms", 300_000),  # the shortest that a server has to put up with
    ("grpc.keepalive_timeout_ms", 5000),  # and with it TCP gives up a peer that acknowledges nothing for so long
    ("grpc.primary_user_agent", "strongroom"),
)
_OWN_MACHINE = (("grpc.enable_http_proxy", 0),)  # through a proxy TLS goes end to end, plain text must not go at all


class GcpChannel:
    """A connection to Cloud KMS, made at the first call.

    Args:
        endpoint: https.
        credentials: of google-auth; None for the application default credentials, or for none at all over http.
        ca_certs: PEM file of the authorities to trust, taken up anew when it changes; None for those that gRPC comes with.
        deadline: seconds that a call may take, and that a refresh of the token may take.
        insecure: accepts http, for this machine only.

    Raises:
        InvalidRequest: the endpoint is not https, or the file can't be read.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        credentials: Credentials | None,
        ca_certs: Path | None,
        deadline: float,
        insecure: bool = False,
    ) -> None:
        check_address(endpoint, insecure=insecure)
        parts = urlsplit(endpoint)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._target = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        self._plain = parts.scheme == "http"
        self._trusted = None if ca_certs is None else Reloaded(lambda: _read(ca_certs), ca_certs)
        self._roots: bytes | None = None
        self._credentials: Credentials | None = credentials and with_scopes_if_required(credentials, _SCOPES)
        self._deadline = deadline
        self._doubted = False
        self._refreshing = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def target(self) -> str:
        """Host and port."""
        return self._target

    async def call(self, request: Any, what: str) -> Any:
        """Send a request, once, and return the answer.

        Args:
            request: a message of `kms_v1`.
            what: the KEK or the key ring that it is about.

        Raises:
            IntegrityError: a Decrypt did not open.
            KmsError: whatever else the service refused.
        """
        method, answer, field = _METHODS[type(request)]
        metadata = [*(await self._authorization()).items()]
        metadata.append(("x-goog-request-params", f"{field}={quote(attrgetter(field)(request))}"))
        call = self._open().unary_unary(
            _SERVICE + method, request_serializer=type(request).serialize, response_deserializer=answer.deserialize
        )
        try:
            return await call(request, timeout=self._deadline, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            failed = failure(error, what, opening=method == "Decrypt")
        self._doubted = self._doubted or isinstance(failed, KmsAuthenticationError)
        raise failed  # outside of the `except`, so that nothing hangs on it

    async def aclose(self) -> None:
        """Close the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        await asyncio.gather(*self._closing)

    def _open(self) -> grpc.aio.Channel:
        if self._plain:
            if self._channel is None:
                self._channel = grpc.aio.insecure_channel(self._target, options=[*_OPTIONS, *_OWN_MACHINE])
            return self._channel
        roots = None if self._trusted is None else self._trusted.current()
        if self._channel is None or roots != self._roots:
            if self._channel is not None:
                closing = asyncio.create_task(self._channel.close(self._deadline))  # calls under way are answered
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            trusted = grpc.ssl_channel_credentials(root_certificates=roots)
            self._channel = grpc.aio.secure_channel(self._target, trusted, options=_OPTIONS)
            self._roots = roots
        return self._channel

    async def _authorization(self) -> dict[str, str]:
        """Return the headers that say who asks, after a refresh where the token is old or was refused."""
        headers: dict[str, str] = {}
        if self._plain and self._credentials is None:
            return headers
        async with self._refreshing:
            credentials = self._credentials
            if credentials is None:
                credentials = await self._beside(_default)
                self._credentials = credentials
            if self._doubted or credentials.token_state is not TokenState.FRESH:
                self._doubted = False
                try:
                    await self._beside(lambda: credentials.refresh(Request()))
                except KmsError:
                    if credentials.token_state is TokenState.INVALID:
                        raise
        credentials.apply(headers)
        return headers

    async def _beside(self, work: Callable[[], Result]) -> Result:
        """Do what google-auth does in blocking calls; past the deadline its thread goes on, for the next caller's good."""
        failed: KmsError
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.to_thread(work)
        except TimeoutError:
            failed = KmsTimeout(f"{self._target}: no token in time for the application's credentials")
        except exceptions.GoogleAuthError as error:  # whose text can hold what the token service was sent
            name = type(error).__name__
            if isinstance(error, exceptions.TransportError) or error.retryable:
                failed = KmsUnavailable(f"{self._target}: the service that gives tokens can't be reached ({name})")
            else:
                failed = KmsAuthenticationError(f"{self._target}: no credentials, or they give no token ({name})")
        raise failed


def _default() -> Credentials:
    found: Credentials
    found, _ = google.auth.default(scopes=_SCOPES)
    return found


def _read(path: Path) -> bytes:
    client_context(ca_certs=path)  # gRPC would not say before the first call that a file is of no use
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"TLS: {path} can't be used: {error.strerror}"
        raise InvalidRequest(msg) from None
