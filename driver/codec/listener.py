"""The listener of the codec server: sockets, TLS 1.3, and the client's certificate for the application."""

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
"""Maximum size of the head of a request, in bytes. It is large because tokens are long."""
FIRST_SECONDS = 10.0
"""Timeout for the head of the first request of a connection, in seconds."""
LAST_SECONDS = 10
"""Time for answering open requests when the server stops, in seconds."""


async def serve(strongroom: Strongroom, config: CodecServerConfig, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. Open requests are answered first.

    Args:
        strongroom: The open cell.
        config: The configuration of the server.
        ready: Is called with the address when the server accepts connections.

    Raises:
        ConfigError: The address or a file can't be used, or the cell has no audit log.
        InvalidRequest: A certificate, a key or a revocation list can't be used.
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
    listening = listening_socket(config.listen)
    try:
        server = _Server(_uvicorn_config(app, context))
        ready(_address(listening, secure=context is not None))
        await server.serve(sockets=[listening])
    finally:
        listening.close()
        if config.listen.socket is not None:
            config.listen.socket.unlink(missing_ok=True)


def server_context(config: CodecServerConfig) -> ssl.SSLContext:
    """Return the TLS context of the server: TLS 1.3, and client certificates if they are configured.

    Each new connection uses the current content of the certificate, key, authority and revocation list.

    Raises:
        InvalidRequest: A file can't be read, or has the wrong content.
    """
    own, certificates = config.certificate, config.client_certificates
    assert own is not None  # noqa: S101 - the caller checks it

    def load() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # a resumed session would skip the revocation list
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
        access_log=False,  # it would log paths
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=LAST_SECONDS,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )


class _Server(uvicorn.Server):
    """A server that exits with code 0 after a signal. uvicorn's own handler would raise the signal again at the end."""

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
    """Gives the application the client's certificate, and closes silent connections."""

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
        extended: MutableMapping[str, Any] = scope
        extended[PEER] = certificate
        await app(scope, receive, send)

    return wrapped


def listening_socket(listen: Listen) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        ConfigError: The address can't be used.
    """
    try:
        if listen.socket is not None:
            return _unix_socket(listen.socket)
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        listening = socket.create_server((listen.host, listen.port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        address = listen.socket or f"{listen.host}:{listen.port}"
        msg = f"the codec server can't listen on {address}: {error.strerror}; change codec_server.listen, or stop the other program"
        raise ConfigError(msg) from None
    # Otherwise an answer's body waits 40 ms for the acknowledgement of its head. asyncio sets this only for its own sockets.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _unix_socket(path: Path) -> socket.socket:
    """Listen on a socket of mode 0600. A stale socket is removed. A socket that answers is an error."""
    listening = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as other:
        if S_ISSOCK(path.stat().st_mode):
            other.connect(str(path))
            msg = f"another server listens on {path}; change codec_server.listen, or stop that server"
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
