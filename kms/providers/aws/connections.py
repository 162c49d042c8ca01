"""The connections to AWS. Each request ends within its time, and its answer has a limited size."""

from __future__ import annotations

import io
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from strongroom.kms.transport.keepalive import IDLE_SECONDS, SOCKET_OPTIONS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from botocore.awsrequest import AWSPreparedRequest

MAX_ANSWER = 2**20
"""Maximum size of an answer of AWS KMS, in bytes. The largest ones are lists of keys."""
_current = threading.local()


class _Noted(HTTPConnection):
    """A connection that adds itself to the list of its thread, so that a timer can shut it down."""

    open_socket: socket.socket | None = None

    def connect(self) -> None:
        super().connect()
        self.open_socket = self.sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        _current.connections.append(self)
        super().request(*args, **kwargs)


class _NotedOverTls(_Noted, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Noted


class _PoolOverTls(HTTPSConnectionPool):
    ConnectionCls = _NotedOverTls


class AwsConnections:
    """Connections for a number of threads.

    After a timeout all connections are replaced, because a firewall drops idle connections together. Connections that were not
    used for a minute are closed before the next request.

    Args:
        at_once: The number of threads.
        tls: The TLS context.
        max_answer: The maximum size of an answer, in bytes.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        at_once: int,
        tls: ssl.SSLContext,
        *,
        max_answer: int = MAX_ANSWER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once, self._tls, self._max_answer, self._clock = at_once, tls, max_answer, clock
        self._made = self._new()
        self._used = clock()

    def close(self) -> None:
        """Close all connections."""
        self._made.clear()

    def send(self, request: AWSPreparedRequest, *, connect_seconds: float, read_seconds: float) -> AWSResponse:
        """Send a request once, and return its answer.

        Args:
            request: The signed request.
            connect_seconds: The timeout of the connection.
            read_seconds: The timeout of each read of the answer. The whole request may take twice this time after the connection's.

        Raises:
            HTTPTimeoutError: The answer did not arrive, or did not end, in time.
            HTTPError: The connection failed, or the answer is too large.
        """
        if self._clock() - self._used > IDLE_SECONDS:
            self._replace(self._made)
        used = self._made
        try:
            with _limited(connect_seconds + 2 * read_seconds):
                answer = used.urlopen(
                    request.method,
                    request.url,
                    body=request.body,
                    headers=request.headers,
                    timeout=Timeout(connect=connect_seconds, read=read_seconds),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
                content = answer.read(self._max_answer + 1)
                if len(content) > self._max_answer:
                    answer.close()
                    msg = f"the answer has more than {self._max_answer} bytes"
                    raise HTTPError(msg)
                answer.release_conn()
        except HTTPTimeoutError:
            self._replace(used)
            raise
        self._used = self._clock()
        stream = io.BytesIO(content)  # for bodies that are streams
        response = AWSResponse(request.url, answer.status, answer.headers, stream)
        response._content = content  # noqa: SLF001 - read here, so that a broken connection is an error of this call
        return response

    def _replace(self, old: PoolManager) -> None:
        if self._made is old:
            self._made = self._new()
        old.clear()  # a connection in use is closed when its answer is there

    def _new(self) -> PoolManager:
        made = PoolManager(maxsize=self._at_once, ssl_context=self._tls, socket_options=SOCKET_OPTIONS)
        made.pool_classes_by_scheme = {"http": _Pool, "https": _PoolOverTls}
        return made


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Shut the connection of the block's request down after some seconds. A timeout of one read begins again with each byte.

    Raises:
        HTTPTimeoutError: The time was over.
    """
    connections: list[_Noted] = []
    late = threading.Event()

    def end() -> None:
        late.set()
        for connection in connections:
            if connection.open_socket is not None:
                with suppress(OSError):
                    # Not SSLSocket's method, which takes the TLS state away from the thread that reads.
                    socket.socket.shutdown(connection.open_socket, socket.SHUT_RDWR)

    _current.connections = connections
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (HTTPError, OSError, ValueError):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():  # an answer that was cut looks like one that has ended
        msg = f"the answer did not end within {seconds:g} s"
        raise HTTPTimeoutError(msg)
