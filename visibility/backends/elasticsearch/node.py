"""A node of the client whose answers have a limited size, and whose dead connections cost one request at most."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from elastic_transport import AiohttpHttpNode, ConnectionError, ConnectionTimeout  # noqa: A004 - the name of the client's error

from strongroom.kms.aiohttp_connections import KeptConnections, limited_response

MAX_ANSWER = 2**28
"""Maximum size of an answer, in bytes. The largest ones are pages of documents."""


class BoundedNode(AiohttpHttpNode):
    """See `AiohttpHttpNode`. After a timeout its unused connections are closed, because a firewall drops connections together.

    A closed node stays closed. The client's own one would open connections for a late request, which nothing closes.
    """

    _is_closed = False

    async def close(self) -> None:  # type: ignore[override]  # their asynchronous node ignores it too
        """Close all connections."""
        self._is_closed = True
        await super().close()

    async def perform_request(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # their asynchronous node ignores it too
        """Send a request once."""
        if self._is_closed:
            raise ConnectionError("the client is closed")
        try:
            return await super().perform_request(*args, **kwargs)
        except ConnectionTimeout:
            if self.session is not None and isinstance(self.session.connector, KeptConnections):
                self.session.connector.drop_idle()
            raise

    def _create_aiohttp_session(self) -> None:
        self._loop = self._loop or asyncio.get_running_loop()
        self.session = aiohttp.ClientSession(
            headers=self.headers,
            skip_auto_headers=("accept", "accept-encoding", "user-agent"),
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=KeptConnections(self._ssl_context, limit=self._connections_per_node),
            response_class=limited_response(MAX_ANSWER),
        )
