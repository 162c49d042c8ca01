"""The listener of the codec server: sockets, TLS 1.3, and the client's certificate for the application."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from contextlib import contextmanager, suppress
from functools import partial
from stat import S_ISSOCK
from typing import TYPE_CHECKING

import uvicorn

from strongroom.driver.config import ConfigError
from strongroom.kms.transport.tls import ReloadingContext, load_own, load_revoked, load_trusted

from .audit import CodecRecords
from .auth import Authenticator
from .connections import CONNECTIONS, Connections, Deadlines
from .framing import HEAD_BYTES
from .protocol import CodecProtocol
from .server import CodecServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from strongroom.driver.config import CodecServerConfig, Listen
    from strongroom.driver.strongroom import Strongroom

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
        server = http_server(app, context)
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
                load_revoked(context, certificates.revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context

    callers = () if certificates is None else (certificates.authority, certificates.revoked)
    return ReloadingContext(load, own, config.key, *callers)


def http_server(
    app: CodecServer,
    context: ssl.SSLContext | None,
    *,
    deadlines: Deadlines | None = None,
    connections: Connections | None = None,
) -> uvicorn.Server:
    """Return a server that serves the application on sockets; see `uvicorn.Server.serve`.

    Args:
        app: The application.
        context: The TLS context; None for a server without TLS.
        deadlines: The deadlines of each connection.
        connections: The register of connections, with their limits.
    """
    protocol = partial(
        CodecProtocol,
        context=context,
        connections=Connections() if connections is None else connections,
        deadlines=deadlines or Deadlines(),
    )
    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type] # it is called with the arguments of uvicorn's protocols
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,  # it would log paths
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=2 * HEAD_BYTES,  # the framing has the limit
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    return _Server(config)


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
    with suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as other:
        if S_ISSOCK(path.stat().st_mode):
            other.connect(str(path))
            msg = f"another server listens on {path}; change codec_server.listen, or stop that server"
            raise ConfigError(msg)
    with suppress(FileNotFoundError):
        if S_ISSOCK(path.stat().st_mode):
            path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen(CONNECTIONS)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def _address(listening: socket.socket, *, secure: bool) -> str:
    name = listening.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if secure else 'http'}://{host}:{name[1]}"
