"""Change rows of the registry as Strongroom itself would have written them: tests that need an old key or a foreign KEK."""

from __future__ import annotations

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import EVERY_NAMESPACE
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.keys.registry_rows import id_of, read_registry, summary_of
from strongroom.storage.keys.store import heads_of

_SQL = load_queries("keys/registry_heads")
_NAMESPACES = "SELECT DISTINCT namespace_id FROM strongroom.data_keys"


async def authenticate(strongroom):
    """Write heads for the rows of all namespaces as they are now."""
    key = await heads_of(strongroom.keyring).key()
    async with strongroom.database.transaction(EVERY_NAMESPACE, unlimited=True) as connection:
        namespaces = sorted(id_of(row) for row in await connection.fetch(_NAMESPACES))
        made = {}
        for namespace_id, (head, keys) in (await read_registry(connection, namespaces))[1].items():
            version, *shredding = (1,) if head is None else (head.version + 1, head.shredding)
            made[namespace_id] = key.head(namespace_id, version, keys, *shredding)
        columns = zip(*((each, head.version, head.shredding, head.mac) for each, head in made.items()), strict=True)
        await connection.fetch(_SQL["put"], *map(list, columns))
        summary = summary_of(await connection.fetchrow(_SQL["lock_summary"]))
        new = key.summary(summary.version + 1, sum(key.term(*each) for each in made.items()) % 2**256)
        await connection.fetch(_SQL["put_summary"], new.version, new.nonce, new.total, new.mac)


async def authenticate_cell(config_path):
    """Do the same in a process of its own."""
    async with Strongroom.open(load_config(config_path)) as strongroom:
        await authenticate(strongroom)
