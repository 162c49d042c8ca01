"""Where an export goes. A sink that returns from `send` has kept what it was given; else it is sent again."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING, Protocol

from strongroom.driver.config import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from pathlib import Path

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0


class SinkUnavailable(ConfigError):  # noqa: N818 - says what happened
    """The collector did not take what was sent; it is sent again."""

    retryable = True


class Sink(Protocol):
    """Takes lines."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Return once the lines are kept.

        Raises:
            SinkUnavailable: they may not be.
        """


class Output:
    """Standard output."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Write lines."""
        sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
        sys.stdout.buffer.flush()


class File:
    """A file that lines are added to, of mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, lines: Sequence[bytes]) -> None:
        """Add lines, and have them on disk."""
        await asyncio.to_thread(self._append, b"".join(line + b"\n" for line in lines))

    def _append(self, data: bytes) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                with open(descriptor, "ab", closefd=False) as file:
                    file.write(data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            msg = f"{self._path} can't be written: {error.strerror}"
            raise SinkUnavailable(msg) from None


class SyslogOverTls:
    """A collector of syslog over TLS (RFC 5425).

    Syslog has no answer, and what was written to a socket may never arrive. So each call has a connection of its own, which ends
    with TLS's close_notify from both sides: the collector's comes after it has read all that was sent.

    Args:
        host: of the collector; its certificate is checked against it.
        port: of the collector.
        context: returns what to connect with; asked for each connection, so that certificates can change.
    """

    def __init__(self, host: str, port: int, context: Callable[[], ssl.SSLContext]) -> None:
        self._host, self._port, self._context = host, port, context

    async def send(self, lines: Sequence[bytes]) -> None:
        """Send messages, each with its length before it."""
        framed = b"".join(b"%d %b" % (len(line), line) for line in lines)
        await asyncio.to_thread(self._deliver, framed)

    def _deliver(self, data: bytes) -> None:
        try:
            with (
                socket.create_connection((self._host, self._port), timeout=CONNECT_SECONDS) as plain,
                self._context().wrap_socket(plain, server_hostname=self._host) as secured,
            ):
                secured.settimeout(ANSWER_SECONDS)
                secured.sendall(data)
                secured.unwrap()
        except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
            why = getattr(error, "reason", None) or error.strerror or type(error).__name__
            msg = f"the collector {self._host}:{self._port} did not take the records: {why}"
            raise SinkUnavailable(msg) from None
