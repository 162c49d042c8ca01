"""Servers of tests: a server on a socket of its own, in the process of the test."""

from __future__ import annotations

import socket
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.driver.config import ServeConfig
from strongroom.driver.serve.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.driver.strongroom import Strongroom


@dataclass
class Running:
    """A server that runs, and the path of its socket."""

    server: Server
    path: Path


@asynccontextmanager
async def serving(
    strongroom: Strongroom, settings: ServeConfig | None = None, **options: Any
) -> AsyncIterator[Running]:
    """Serve a cell. The folder's path is short enough for a socket, and other users can reach it."""
    with tempfile.TemporaryDirectory(prefix="strongroom-serve-") as folder, socket.socket(socket.AF_UNIX) as listening:
        path = Path(folder) / "socket"
        listening.bind(str(path))
        open_to_all(path)
        listening.listen(16)
        server = Server(strongroom, settings or ServeConfig(), **options)
        await server.start(listening)
        try:
            yield Running(server, path)
        finally:
            await server.drain(10)


def open_to_all(path: Path) -> None:
    """Let other users reach a socket, as an operator may."""
    path.parent.chmod(0o755)
    path.chmod(0o777)
