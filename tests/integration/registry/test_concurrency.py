"""Legitimate changes of the registry at the same time never look like an attack."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage import DatabaseUnavailable, DataBlob, NamespaceAlreadyExists
from strongroom.storage.keys.registry_heads import RegistryHeads

pytestmark = pytest.mark.integration

TENANT = KekRef("local", "tenant")


async def _waiting(connection, statement):
    """Wait until a statement waits for a lock."""
    async with asyncio.timeout(60):
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
        while not await connection.fetchval(query, statement):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


async def test_a_client_that_hangs_does_not_block_the_registry(strongroom, attacker):
    """The server ends its change. Every change needs the summary, so the whole cell would wait for a client that is gone."""
    cell_id = strongroom.keyring.cell_id
    heads = RegistryHeads(cell_id, strongroom.keyring.registry.key, idle_timeout=0.2)

    async def hang():
        async with heads.change(strongroom.database, cell_id, [cell_id]):
            await attacker.execute("SELECT FROM registry_heads WHERE namespace_id = $1 FOR UPDATE", cell_id)

    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(hang(), 60)
    await strongroom.namespaces.create("other", kek=KekRef("local", "cell"))


async def test_the_loser_of_two_creations_of_a_namespace_sees_no_attack(config, attacker, dsn):
    """The keys of the winner may be committed between two statements of the loser, which then finds keys without a head."""
    namespace_id = uuid4()
    observer = await asyncpg.connect(dsn)
    summary = await asyncpg.connect(dsn, server_settings={"search_path": "strongroom"})
    async with Strongroom.open(config) as strongroom, Strongroom.open(config) as other:
        await strongroom.create_kek(TENANT)
        for cell in (strongroom, other):
            await cell.keyring.open(cell.keyring.cell_id)

        async def create(cell):
            await cell.metadata.create_namespace(namespace_id, "both", data=DataBlob(b""), kek=TENANT)

        held = summary.transaction()
        await held.start()
        await summary.execute("SELECT FROM registry_summary FOR UPDATE")
        winner = asyncio.create_task(create(strongroom))
        await _waiting(observer, "%FROM registry_summary FOR UPDATE%")
        between = attacker.transaction()
        await between.start()
        table = asyncio.create_task(attacker.execute("LOCK TABLE data_keys"))
        await _waiting(observer, "LOCK TABLE%")
        loser = asyncio.create_task(create(other))
        await _waiting(observer, "%JOIN data_keys%")
        await held.rollback()
        await table
        await between.rollback()
        done = await asyncio.gather(winner, loser, return_exceptions=True)
    assert {type(each) for each in done} == {type(None), NamespaceAlreadyExists}, done
    for each in (observer, summary):
        await each.close()
