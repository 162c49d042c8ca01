"""A TCP proxy in front of PostgreSQL that falls silent: connections stay open, and nothing passes any more."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

from .tcp_silence import TcpSilence, served


class SilentProxy(TcpSilence):
    """A proxy that forwards bytes until it is silent. It answers keepalives, and accepts new connections, for ever.

    Attributes:
        silent: Whether nothing passes, in both directions.
        at: A text. The proxy falls silent when a request has it. None for no text.
        forwards: Whether that request itself still reaches the server.
        reached: Set when a request has the text.
    """

    def __init__(self, server_dsn):
        self._parts = parts = urlsplit(server_dsn)
        socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        super().__init__(lambda: asyncio.open_unix_connection(socket))
        self.silent = False
        self.at = None
        self.forwards = True
        self.reached = asyncio.Event()

    @property
    def dsn(self):
        """The connection string through the proxy."""
        user = self._parts.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}{self._parts.path}"

    def heal(self):
        """Forward everything again on new connections. What was swallowed is lost."""
        self.silent, self.at = False, None
        self.reached.clear()

    def _passes(self, number):
        return not self.silent and super()._passes(number)

    def _request_passes(self, data, number):
        if self.at is None or self.at not in data:
            return self._passes(number)
        self.silent = True
        self.reached.set()
        return self.forwards


def silent_proxy(server_dsn):
    """Serve a proxy of a database."""
    return served(SilentProxy(server_dsn))
