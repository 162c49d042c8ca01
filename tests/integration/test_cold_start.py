"""After a restart many namespaces are needed at once, over a slow network. Statements and calls are counted, nothing is timed."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, Keyring, PartType, RecordKind, Suite, create_data_keys
from strongroom.storage import Database, PostgresDataKeyStore
from strongroom.storage.keys.registry_heads import RegistryHeads
from tests.support.faults.slow_proxy import distant
from tests.unit.kms.conftest import MemoryStore

pytestmark = pytest.mark.integration

KIND = RecordKind("record", "data", (PartType.INT64,))
CELL = KekRef("local", "cell")
MANY = 500
FEW = 20
"""Statements that may be sent for many look-ups: a setting and a query for each of few batches."""

LOOKED_UP = re.compile(r"FROM namespaces|JOIN data_keys")


async def registered(strongroom, count, suite=Suite.XAES_256_GCM):
    """Register the keys of many namespaces in one transaction, and return their ids."""
    store = MemoryStore()
    keyring = Keyring(cell_id=strongroom.keyring.cell_id, providers=strongroom.keyring.providers, store=store)
    ids = [uuid4() for _ in range(count)]
    for namespace_id in ids:
        await create_data_keys(keyring, namespace_id, CELL, suite=suite)
    await strongroom.keyring.store.insert_data_keys(list(store.records.values()))
    return ids


@asynccontextmanager
async def cold(strongroom, proxy):
    """Yield a keyring of a process that has started a moment ago, with one connection to a distant registry."""
    database = Database(proxy.dsn, size=1, insecure=True)
    heads = RegistryHeads(strongroom.keyring.cell_id, lambda: keyring.registry.key())  # noqa: PLW0108 - made below
    keyring = Keyring(
        cell_id=strongroom.keyring.cell_id,
        providers=strongroom.keyring.providers,
        store=PostgresDataKeyStore(database, heads),
    )
    yield keyring
    await keyring.aclose()
    await database.aclose()


async def test_500_cold_namespaces_share_statements(strongroom):
    """All namespaces open at once over a network of 100 ms, with one connection. Each one had its own two statements before."""
    ids = await registered(strongroom, MANY)
    async with distant(strongroom.config.dsn) as proxy, cold(strongroom, proxy) as keyring:
        opened = await asyncio.gather(*map(keyring.open, ids), return_exceptions=True)
        assert [keys for keys in opened if isinstance(keys, BaseException)] == []
        assert [keys.namespace_id for keys in opened] == ids
        assert len(proxy.sent) <= FEW
        for keys in opened[::50]:
            assert keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"


async def test_500_cold_namespaces_of_suite_1_share_leases(strongroom):
    """A key of suite 1 needs a lease before it seals. The leases of many namespaces are one statement too."""
    ids = await registered(strongroom, MANY, Suite.AES_256_GCM)
    async with distant(strongroom.config.dsn) as proxy, cold(strongroom, proxy) as keyring:
        opened = await asyncio.gather(*map(keyring.open, ids), return_exceptions=True)
        assert [keys for keys in opened if isinstance(keys, BaseException)] == []
        for keys in opened:
            keys.seal(KIND, (1,), b"text")
        assert len(proxy.sent) <= FEW + 10, "a batch of leases also writes the heads and their summary"


async def test_names_are_looked_up_together(config):
    """`get` by name and by id, of many cold namespaces: names, ids and keys are each read with few statements."""
    async with Strongroom.open(config) as here:
        names = [f"namespace-{number}" for number in range(60)]
        made = await asyncio.gather(*(here.namespaces.create(name, kek=CELL) for name in names))
    async with distant(config.dsn) as proxy, Strongroom.open(replace(config, dsn=proxy.dsn)) as there:
        before = len(proxy.sent)
        found = await asyncio.gather(*map(there.namespaces.get, names))
        assert [each.namespace_id for each in found] == [each.namespace_id for each in made]
        read = await asyncio.gather(*(there.metadata.get_namespace(namespace_id=each.namespace_id) for each in made))
        assert [each.name for each in read] == names
        # How many connections are opened, and what the cell does in the background, depends on the speed.
        reads = [text for text in proxy.sent[before:] if LOOKED_UP.search(text)]
        assert 3 <= len(reads) <= FEW, reads


async def test_a_list_of_all_namespaces_reads_their_keys_together(config):
    """A new process lists many namespaces with few statements. Before, each namespace had two of its own, one after the other."""
    async with Strongroom.open(config) as here:
        names = {f"namespace-{number}" for number in range(60)}
        await asyncio.gather(*(here.namespaces.create(name, kek=CELL) for name in names))
    async with distant(config.dsn) as proxy, Strongroom.open(replace(config, dsn=proxy.dsn)) as there:
        before = len(proxy.sent)
        assert {each.name for each in await there.namespaces.list_namespaces()} == names
        reads = [text for text in proxy.sent[before:] if LOOKED_UP.search(text)]
        assert 2 <= len(reads) <= FEW, reads


async def test_an_unknown_namespace_is_not_mixed_up(strongroom):
    """Of look-ups in one statement each gets its own rows, and an unknown namespace gets none."""
    ids = await registered(strongroom, 20)
    store = strongroom.keyring.store
    asked = [*ids, UUID(int=7), *ids]
    found = await asyncio.gather(*map(store.list_data_keys, asked))
    for namespace_id, records in zip(asked, found, strict=True):
        assert {record.namespace_id for record in records} == ({namespace_id} if namespace_id in ids else set())
        assert [record.key_class.value for record in records] == (
            ["data", "identity", "index"] if namespace_id in ids else []
        )
