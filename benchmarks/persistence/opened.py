"""Open the cells that the store benchmarks measure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg

from benchmarks.persistence.cells import Fixtures
from benchmarks.persistence.pass_through import PassThroughKeyring
from strongroom.driver import cell_keys
from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from strongroom.driver.config import StrongroomConfig
    from strongroom.storage import Namespace


async def open_strongroom(stack: AsyncExitStack, server: str, name: str, folder: Path) -> Fixtures:
    """Open a cell in its own database.

    Args:
        stack: The stack that closes the cell.
        server: The connection string of the server, without a database.
        name: The name of the database. The keys of a cell with the name "plain" seal nothing.
        folder: The folder for the configuration and the keyring.
    """
    await create_database(server, name)
    path = folder / f"{name}.toml"
    write_config(path, dsn=f"{server}/{name}", keyring=f"{name}.json")
    config = load_config(path)
    created = await new_namespace(config)
    keyring = PassThroughKeyring if name == "plain" else cell_keys.Keyring
    with patch.object(cell_keys, "Keyring", keyring):
        cell = await stack.enter_async_context(Strongroom.unchecked(config))
    return Fixtures(cell, created.namespace_id)


async def new_namespace(config: StrongroomConfig) -> Namespace:
    """Prepare a cell, and create a namespace in it."""
    await Strongroom.init(config)
    kek = KekRef.parse("local:bench")
    async with Strongroom.open(config) as opened:
        await opened.create_kek(kek)
        return await opened.namespaces.create("bench", kek=kek)


async def create_database(server: str, name: str) -> None:
    """Create an empty database."""
    admin = await asyncpg.connect(f"{server}/postgres")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
