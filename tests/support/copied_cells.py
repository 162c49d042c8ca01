"""Copies of a cell that was initialised once.

Initialising a cell and giving rights to a driver role take half of the time of a short test. A copy has the cell's id, its keys, its
owner and its driver role. Each is a database of its own with a folder of its own, so a test sees nothing of another copy.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from tests.support.databases import administer, of_copy, quoted
from tests.support.fixtures.driver_role import as_driver

CONFIG = "strongroom.toml"
SHARDS = 16384


class Connections(NamedTuple):
    """How a database is reached: as the owner of the tables, and as the role of services."""

    owner: str
    driver: str


@dataclass(frozen=True, slots=True)
class Original:
    """The cell that is copied. Nobody is connected to its database, because PostgreSQL copies no database that is in use."""

    folder: Path
    connections: Connections


async def initialised_cell(folder, dsn):
    """Initialise a cell in a database; return the path of its configuration."""
    path = folder / CONFIG
    write_config(path, dsn=dsn, shards=SHARDS)
    await Strongroom.init(load_config(path))
    return path


@asynccontextmanager
async def copied_cell(databases, folder):
    """Copy the cell of a server into a folder and a new database, which is dropped at the end. Yield the `Connections`.

    Args:
        databases: The server's `Databases`.
        folder: The folder of the copy's configuration and keyring.
    """
    if databases.original is None:
        databases.original = await _original(databases)
    original = databases.original
    shutil.copytree(original.folder, folder, dirs_exist_ok=True)
    old = original.connections
    name, owner = databases.new_name(), unquote(urlsplit(old.owner).username)
    template = quoted(unquote(urlsplit(old.owner).path[1:]))
    await administer(
        databases.superuser_dsn, f"CREATE DATABASE {quoted(name)} TEMPLATE {template} OWNER {quoted(owner)}"
    )
    new = Connections(*(of_copy(dsn, old.owner, name) for dsn in old))
    path = folder / CONFIG
    path.write_text(path.read_text().replace(old.owner, new.owner))
    try:
        yield new
    finally:
        roles = (quoted(unquote(urlsplit(dsn).username)) for dsn in old)
        settings = [f"ALTER ROLE {role} RESET ALL" for role in roles]  # the next copy has the same roles
        await administer(databases.superuser_dsn, f"DROP DATABASE {quoted(name)} WITH (FORCE)", *settings)


async def _original(databases):
    dsn = await databases.create_prepared()
    folder = Path(tempfile.mkdtemp(prefix="strongroom-cell-"))
    await initialised_cell(folder, dsn)
    return Original(folder, Connections(dsn, await as_driver(dsn)))
