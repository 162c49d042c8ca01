"""Calls to Cloud KMS over gRPC, with a deadline, without retries, and with tokens refreshed in a thread.

Google's own async client is not used, because at level DEBUG it logs whole requests and answers, and with them roots. We
use its message types, google-auth, and a channel that logs nothing.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import google.auth
import grpc
from google.auth import exceptions
from google.auth.credentials import TokenState, with_scopes_if_required
from google.auth.transport.requests import Request
from google.cloud.kms_v1.types import resources, service

from strongroom.kms.errors import KmsAuthenticationError, KmsError, KmsTimeout, KmsUnavailable
from strongroom.kms.loop_deadline import loop_deadline
from strongroom.kms.transport.pem import CERTIFICATE, read_pem
from strongroom.kms.transport.reloaded import Reloaded
from strongroom.kms.transport.tls import check_address, client_context
from strongroom.kms.transport.unreachable import failed_connection

from .errors import failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.auth.credentials import Credentials

    Result = TypeVar("Result")

_SERVICE = "/google.cloud.kms.v1.KeyManagementService/"
_SCOPES = ("https://www.googleapis.com/auth/cloudkms",)

# For each request its method, its answer, and the field by which the service routes it.
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

_TOKEN_THREADS = 2
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a new channel does not share the dead connection of an old one
    ("grpc.client_idle_timeout_ms", 60_000),
    ("grpc.max_receive_message_length", 2**20),
    ("grpc.enable_retries", 0),
    ("grpc.min_reconnect_backoff_ms", 1000),  # the timeout of a connection attempt
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # otherwise a server that is back would not be tried for minutes
    ("grpc.keepalive_time_ms", 300_000),  # the shortest interval that servers must accept
    ("grpc.keepalive_timeout_ms", 5000),  # TCP also drops a peer that acknowledges nothing for this time
    ("grpc.primary_user_agent", "strongroom"),
)
_OWN_MACHINE = (("grpc.enable_http_proxy", 0),)  # plain text must not use a proxy; TLS may, as it is end to end


class GcpChannel:
    """A connection to Cloud KMS, which is opened at the first call.

    Args:
        endpoint: The https URL.
        credentials: Credentials of google-auth. None means the application default credentials, or none over http.
        ca_certs: The PEM file of the trusted authorities, reloaded when it changes. None means those of gRPC.
        deadline: The seconds that a call may take, and that a refresh of the token may take.
        insecure: Whether http is accepted, for this machine only.

    Raises:
        InvalidRequest: The endpoint is not https, or the file can't be read.
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
        self._is_closed = False
        self._closing: set[asyncio.Task[None]] = set()
        # Its own threads, because a token service that never ends its answer would use up those of the process.
        self._threads = ThreadPoolExecutor(_TOKEN_THREADS, thread_name_prefix="strongroom-gcp-token")

    @property
    def target(self) -> str:
        """The host and port."""
        return self._target

    async def call(self, request: Any, what: str) -> Any:
        """Send a request once, and return the answer.

        Args:
            request: A message of `kms_v1`.
            what: The KEK or the key ring, for the error message.

        Raises:
            IntegrityError: A ciphertext did not open.
            KmsError: The service refuses or does not answer.
        """
        method, answer, field = _METHODS[type(request)]
        metadata = [*(await self._authorization()).items()]
        metadata.append(("x-goog-request-params", f"{field}={quote(attrgetter(field)(request))}"))
        used = self._open()
        call = used.unary_unary(
            _SERVICE + method, request_serializer=type(request).serialize, response_deserializer=answer.deserialize
        )
        try:
            return await call(request, timeout=self._deadline, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            failed = failure(error, what, opening=method == "Decrypt")
            if isinstance(failed, KmsTimeout) and self._channel is used:  # the connection may be dead
                self._abandon_channel()
        self._doubted = self._doubted or isinstance(failed, KmsAuthenticationError)
        raise failed  # raised outside the `except` block, so that it has no context

    async def aclose(self) -> None:
        """Close the connection. A later call fails."""
        self._is_closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        await asyncio.gather(*self._closing)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _open(self) -> grpc.aio.Channel:
        if self._is_closed:
            raise KmsUnavailable(f"the connection to {self._target} is closed")
        if self._plain:
            if self._channel is None:
                self._channel = grpc.aio.insecure_channel(self._target, options=[*_OPTIONS, *_OWN_MACHINE])
            return self._channel
        roots = None if self._trusted is None else self._trusted.current()
        if self._channel is None or roots != self._roots:
            self._abandon_channel()
            trusted = grpc.ssl_channel_credentials(root_certificates=roots)
            self._channel = grpc.aio.secure_channel(self._target, trusted, options=_OPTIONS)
            self._roots = roots
        return self._channel

    def _abandon_channel(self) -> None:
        """Let the next call open a connection. Calls that run are answered first."""
        abandoned, self._channel = self._channel, None
        if abandoned is not None:
            closing = asyncio.create_task(abandoned.close(self._deadline))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _authorization(self) -> dict[str, str]:
        """Return the headers that authenticate the caller. An old or refused token is refreshed first."""
        headers: dict[str, str] = {}
        if self._plain and self._credentials is None:
            return headers
        async with self._refreshing:
            credentials = self._credentials
            if credentials is None:
                credentials = await self._in_thread(_default)
                self._credentials = credentials
            if self._doubted or credentials.token_state is not TokenState.FRESH:
                self._doubted = False
                try:
                    await self._in_thread(lambda: credentials.refresh(Request()))
                except KmsError:
                    if credentials.token_state is TokenState.INVALID:
                        raise
        credentials.apply(headers)
        return headers

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Run a blocking call of google-auth in a thread.

        The thread continues after the deadline, so a later call may use its token.
        """
        failed: KmsError
        try:
            async with loop_deadline(self._deadline):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            failed = KmsTimeout(f"{self._target}: no token in time for the application's credentials")
        except exceptions.GoogleAuthError as error:  # its text may contain what was sent to the token service
            name = type(error).__name__
            if isinstance(error, exceptions.TransportError) or error.retryable:
                reason = f"{name}: {failed_connection(error)}"
                failed = KmsUnavailable(f"{self._target}: the service that gives tokens can't be reached ({reason})")
            else:
                failed = KmsAuthenticationError(f"{self._target}: no credentials, or they give no token ({name})")
        raise failed


def _default() -> Credentials:
    found: Credentials
    found, _ = google.auth.default(scopes=_SCOPES)
    return found


def _read(path: Path) -> bytes:
    client_context(ca_certs=path)  # checks the file now, because gRPC would fail only at the first call
    return read_pem(path, CERTIFICATE)
