"""The databases of the functional tests: one PostgreSQL, and in it a new cell for each cluster of a test."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from strongroom.driver import ServeConfig, Server, Strongroom, load_config, write_config
from strongroom.driver.demo import embedded_postgres
from strongroom.storage import NO_NAMESPACE, Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {"max_connections": "500", "fsync": "off"}
"""Settings of PostgreSQL. Each service of a cluster on Temporal's own stores has a pool; nothing here outlives the tests."""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL with room for the connections of several clusters, and yield the connection string of its superuser."""
    with embedded_postgres(folder) as superuser:
        asyncio.run(_execute(superuser, *(f"ALTER SYSTEM SET {name} = {value}" for name, value in SETTINGS.items())))
    with embedded_postgres(folder) as superuser:
        yield superuser


class Cells:
    """Makes cells in one PostgreSQL.

    Args:
        folder: The folder of the cells.
        superuser: The connection string of the server's superuser.
    """

    def __init__(self, folder: Path, superuser: str) -> None:
        self._folder, self._superuser = folder, superuser
        self._numbers = count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Make a cell with the number of shards that the peer sends, send its socket, and remove the cell with the connection."""
        shards, name = int(await reader.readline()), f"cell{next(self._numbers)}"
        await _execute(self._superuser, f"CREATE DATABASE {name}")
        home = self._folder / name
        home.mkdir()
        path = home / "strongroom.toml"
        write_config(path, dsn=urlunsplit(urlsplit(self._superuser)._replace(path=f"/{name}")), shards=shards)
        with path.open("a") as settings:
            settings.write('\n[namespaces]\nkek = "local:{id}"\n')
        config = load_config(path)
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(home / "socket"))
                listening.listen()
                server = Server(strongroom, ServeConfig(max_in_flight=1024))
                await server.start(listening)
                writer.write(f"{home / 'socket'}\n".encode())
                with suppress(ConnectionError):
                    await reader.read()
                await server.drain(5)
        await _execute(self._superuser, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(superuser: str, *statements: str) -> None:
    database = Database(superuser, size=1, insecure=True)
    try:
        async with database.connection(NO_NAMESPACE) as connection:
            for statement in statements:
                await connection.execute(statement)
    finally:
        await database.aclose()
