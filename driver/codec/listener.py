"""Where the codec server listens: sockets, TLS 1.3, and the client's certificate for the application."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from contextlib import contextmanager, suppress
from stat import S_ISSOCK
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from strongroom.driver.config import ConfigError
from strongroom.kms.transport.tls import ReloadingContext, load_own, load_trusted

from .audit import CodecRecords
from .auth import Authenticator
from .server import PEER, CodecServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from pathlib import Path

    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable

    from strongroom.driver.config import CodecServerConfig, Listen
    from strongroom.driver.strongroom import Strongroom

CONNECTIONS = 200
HEAD_BYTES = 32 * 1024
"""Of the head of a request; tokens are long."""
FIRST_SECONDS = 10.0
"""In which a new connection must have sent the head of a request."""
LAST_SECONDS = 10
"""That requests have to be answered in, once the server is asked to stop."""


async def serve(strongroom: Strongroom, config: CodecServerConfig, *, ready: Callable[[str], None]) -> None:
    """Serve until a signal asks to stop; what was begun is answered first.

    Args:
        strongroom: the open cell.
        config: of the server.
        ready: is called with the address once connections are taken.

    Raises:
        ConfigError: an address or a file can't be used.
        InvalidRequest: a certificate, a key or a revocation list can't be used.
    """
    audit = strongroom.needed_audit("the codec server needs an audit log")
    app = CodecServer(
        config,
        find=strongroom.namespaces.find,
        keyring=strongroom.keyring,
        authenticator=Authenticator(config),
        audit=CodecRecords(audit),
    )
    context = None if config.certificate is None else server_context(config)
    listening = _listening(config.listen)
    try:
        server = _Server(_uvicorn_config(app, context))
        ready(_address(listening, secure=context is not None))
        await server.serve(sockets=[listening])
    finally:
        listening.close()
        if config.listen.socket is not None:
            config.listen.socket.unlink(missing_ok=True)


def server_context(config: CodecServerConfig) -> ssl.SSLContext:
    """Return what the server listens with: TLS 1.3, and a certificate from each client where callers have them.

    Each new connection has certificate, key, authority and revocation list as the files are then.

    Raises:
        InvalidRequest: a file can't be read, or is not what it should be.
    """
    own, certificates = config.certificate, config.client_certificates
    assert own is not None  # noqa: S101 - else there is no TLS

    def load() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # a session that is taken up again would pass by the revocation list
        context.set_alpn_protocols(["http/1.1"])
        load_own(context, own, config.key)
        if certificates is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            load_trusted(context, certificates.authority)
            if certificates.revoked is not None:
                load_trusted(context, certificates.revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context

    callers = () if certificates is None else (certificates.authority, certificates.revoked)
    return ReloadingContext(load, own, config.key, *callers)


def _uvicorn_config(app: CodecServer, context: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,  # it would hold paths
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=LAST_SECONDS,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )


class _Server(uvicorn.Server):
    """Ends with 0 when it is asked to stop; uvicorn would send itself the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


class _Protocol(H11Protocol):
    """Hands the application the client's certificate, and hangs up on who says nothing."""

    _first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in its parent
        super().connection_made(transport)
        self.app = _with_certificate(self.app, transport.get_extra_info("peercert"))
        self._first = self.loop.call_later(FIRST_SECONDS, self._silent)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._first is not None:
            self._first.cancel()
        super().connection_lost(exc)

    def _silent(self) -> None:
        if getattr(self, "cycle", None) is None:  # set with the first request
            self.transport.close()


def _with_certificate(app: ASGI3Application, certificate: dict[str, Any] | None) -> ASGI3Application:
    async def wrapped(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        told: MutableMapping[str, Any] = scope
        told[PEER] = certificate
        await app(scope, receive, send)

    return wrapped


def _listening(listen: Listen) -> socket.socket:
    try:
        if listen.socket is not None:
            return _unix_socket(listen.socket)
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        listening = socket.create_server((listen.host, listen.port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        where = listen.socket or f"{listen.host}:{listen.port}"
        msg = f"codec_server.listen: {where} can't be listened on: {error.strerror}"
        raise ConfigError(msg) from None
    # Or the body of each answer waits 40 ms for its head to be acknowledged. asyncio sets it for sockets of its own making only.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _unix_socket(path: Path) -> socket.socket:
    """Listen on a socket of mode 0600; one that a server left behind is taken away, one that answers is not."""
    listening = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as other:
        if S_ISSOCK(path.stat().st_mode):
            other.connect(str(path))
            msg = f"codec_server.listen: another server listens on {path}"
            raise ConfigError(msg)
    with suppress(FileNotFoundError):
        if S_ISSOCK(path.stat().st_mode):
            path.unlink()
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen(CONNECTIONS)
    return listening


def _address(listening: socket.socket, *, secure: bool) -> str:
    name = listening.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if secure else 'http'}://{host}:{name[1]}"
