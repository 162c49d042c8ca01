"""The server of one worker process: it accepts connections on a Unix socket until it is drained."""

from __future__ import annotations

import asyncio
import os
import pwd
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from strongroom.driver.config import ConfigError
from strongroom.storage import current_version

from .callers import callers_of
from .calls import Service
from .connection import Connection, ConnectionLimits
from .counts import Counts
from .deadlines import Deadlines
from .handshake import Welcome, peer_not_allowed, shutting_down, too_many
from .operations import served_operations
from .sockets import BACKLOG, KEEP_FILE

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from strongroom.driver.strongroom import Strongroom

    from .handshake import Refused


class Settings(Protocol):
    """What the server reads from the configuration's section `serve`."""

    @property
    def principal(self) -> str | None:
        """The principal of the Temporal server in the access policy and the audit log."""

    @property
    def users(self) -> Collection[str]:
        """Names or numbers of users that may connect besides the server's own."""

    @property
    def max_in_flight(self) -> int:
        """The number of calls that a connection may have in flight."""


class Server:
    """Serves a cell's stores.

    Attributes:
        counts: What the server counts.

    Args:
        strongroom: The open cell.
        settings: The section `serve` of the configuration.
        worker: The index of this worker process, from 0.
        workers: The number of worker processes.
        api_key: The API key of the principal, in a cell with an access policy; None for the principal in the configuration.
        limits: The limits of connections.

    Raises:
        ConfigError: A user of the configuration does not exist.
    """

    def __init__(
        self,
        strongroom: Strongroom,
        settings: Settings,
        *,
        worker: int = 0,
        workers: int = 1,
        api_key: str | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._strongroom, self._settings = strongroom, settings
        self._worker, self._workers, self._api_key = worker, workers, api_key
        self._uids = frozenset({os.getuid(), *map(uid_of_user, settings.users)})
        self._limits = limits or ConnectionLimits()
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._is_draining = False
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self.counts = Counts()

    async def start(self, listening: socket.socket) -> None:
        """Accept connections.

        Args:
            listening: A bound Unix socket that listens.

        Raises:
            ConfigError: The principal may not serve the cell.
            StrongroomError: The cell's keys or its access policy can't be read.
        """
        strongroom, cell = self._strongroom, self._strongroom.config.cell
        self._service = Service(
            operations=served_operations(),
            callers=await callers_of(strongroom, self._settings.principal, self._api_key),
            numbers=await strongroom.bare_stores()["shards"].numbers.get(),
            counts=self.counts,
            deadlines=Deadlines(asyncio.get_running_loop()),
            max_in_flight=self._settings.max_in_flight,
        )
        self._welcome = Welcome(
            product=version("strongroom"),
            schema=current_version(),
            cell_id=cell.cell_id,
            shard_count=cell.shard_count,
            worker=self._worker,
            workers=self._workers,
            max_in_flight=self._settings.max_in_flight,
        )
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(self._connected, sock=listening, backlog=BACKLOG, **KEEP_FILE)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let the calls in flight end, and close. Calls that are left after `seconds` are given up."""
        self._is_draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(seconds):
                await self._all_ended.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.end()

    def _connected(self) -> Connection:
        connection = Connection(self._service, self._welcome, self._limits, refused=self._refused, ended=self._ended)
        self._connections.add(connection)
        self._all_ended.clear()
        return connection

    def _refused(self, uid: int) -> Refused | None:
        if uid not in self._uids:
            return peer_not_allowed(uid)
        if self._is_draining:
            return shutting_down()
        most = self._limits.connections
        return too_many(most) if len(self._connections) > most else None

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_ended.set()


def uid_of_user(user: str) -> int:
    """Return the id of a user.

    Args:
        user: A name or a number.

    Raises:
        ConfigError: There is no such user.
    """
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        msg = f"[serve] users: there is no user {user} on this host; use a user id, or create the user"
        raise ConfigError(msg) from None
