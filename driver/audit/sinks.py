"""Collectors of an export. When `send` returns, the sink has stored the lines. When it raises, they are sent again."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Protocol

from strongroom.driver.config import ConfigError
from strongroom.kms import system_reason
from strongroom.kms.private_files import check_descriptor

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from pathlib import Path

CONNECT_SECONDS = 10.0
"""Timeout for connecting to a collector."""
ANSWER_SECONDS = 30.0
"""Timeout for a collector's answer."""
_PIECE = 2**14
"""Bytes of one TLS record."""


class SinkUnavailable(ConfigError):  # noqa: N818 - says what happened
    """The collector did not take the records; they are sent again."""

    retryable = True


class Sink(Protocol):
    """Takes the lines of an export."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Return once the lines are stored.

        Raises:
            SinkUnavailable: The lines may not be stored.
        """


class Output:
    """Standard output."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Write lines."""
        sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
        sys.stdout.buffer.flush()


class File:
    """A file of mode 0600 to which lines are appended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, lines: Sequence[bytes]) -> None:
        """Append lines, and return once they are on disk."""
        await asyncio.to_thread(self._append, b"".join(line + b"\n" for line in lines))

    def _append(self, data: bytes) -> None:
        try:
            # Without O_NONBLOCK, opening a pipe that nobody reads would wait for ever, and so would the end of this process.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o600)
            try:
                check_descriptor(self._path, descriptor)
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

    Syslog has no answer, and data that was written to a socket may never arrive. So each call uses its own connection, which both
    sides end with TLS's close_notify. The collector sends its close_notify after it has read everything.

    Args:
        host: The collector's host name, which its certificate must contain.
        port: The collector's port.
        context: Returns the TLS context. It is called for each connection, so that certificates can change.
        connect_seconds: The timeout of the connection, and that of the TLS handshake.
        answer_seconds: The time from the handshake until the collector has taken all lines and ended TLS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: Callable[[], ssl.SSLContext],
        *,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._host, self._port, self._context = host, port, context
        self._connect_seconds, self._answer_seconds = connect_seconds, answer_seconds

    async def send(self, lines: Sequence[bytes]) -> None:
        """Send messages, each after its length."""
        framed = b"".join(b"%d %b" % (len(line), line) for line in lines)
        await asyncio.to_thread(self._deliver, framed)

    def _deliver(self, data: bytes) -> None:
        try:
            with (
                socket.create_connection((self._host, self._port), timeout=self._connect_seconds) as plain,
                self._context().wrap_socket(plain, server_hostname=self._host) as secured,
            ):
                end = time.monotonic() + self._answer_seconds
                rest = memoryview(data)
                # The lines go out in pieces, because the timeout of `sendall` begins again with each byte that the collector takes.
                while rest:
                    secured.settimeout(_until(end))
                    rest = rest[secured.send(rest[:_PIECE]) :]
                secured.settimeout(_until(end))
                secured.unwrap()
        except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
            late = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            why = system_reason(error) or error.strerror or late
            msg = f"the collector {self._host}:{self._port} did not take the records: {why}"
            raise SinkUnavailable(msg) from None


def _until(end: float) -> float:
    """Return the seconds until a monotonic time.

    Raises:
        TimeoutError: It is over.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
