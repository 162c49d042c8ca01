"""Rows of a shredded namespace that an administrator brings back do not open, with or without those of the registry."""

from __future__ import annotations

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KeyDestroyed, RegistryAltered
from strongroom.storage.namespaces.purge import PURGED_TABLES
from tests.support.earlier_rows import administrator
from tests.support.fixtures.driver_role import owner_dsn
from tests.support.freshness.scene import new_scene
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

ROWS = (*(table.name for table in PURGED_TABLES), "namespaces")
REGISTRY = ("data_keys", "registry_heads", "registry_summary", "shreddings", "shredded_keks", "erasure_certificates")


@pytest.fixture
async def shredded(own_cell):
    """A namespace that was shredded, and whose KEK was kept. An administrator copied all rows away before."""
    async with administrator(owner_dsn(own_cell.config)) as admin:
        scene = await new_scene(own_cell, admin)
        await scene.start(2)
        await scene.read_run()
        for table in (*ROWS, *REGISTRY):
            of_namespace = table in ROWS
            where = "namespace_id = $1" if of_namespace else "true"
            await scene.keep(table, table, where, *[scene.namespace_id] * of_namespace)
        await shred(own_cell, scene.namespace_id)
        yield scene


async def put_back(scene, tables):
    """Put all rows of tables back as they were before the shredding."""
    for table in tables:
        if scene.kept[table]:
            await scene.admin.put_back(table, scene.kept[table])


async def test_rows_of_a_shredded_namespace_do_not_open(shredded):
    """Without their keys, rows open neither in the process that shredded the namespace nor in one that starts afterwards."""
    await put_back(shredded, ROWS)
    async with Strongroom.open(shredded.cell.config) as fresh:
        for scene in (shredded, shredded.on(fresh)):
            for read in (scene.read_run, scene.read_history):
                with pytest.raises(KeyDestroyed):
                    await read()


async def test_keys_of_a_shredded_namespace_stay_destroyed(shredded):
    """With the registry put back as it was, a process that has seen the shredding refuses the registry."""
    await put_back(shredded, (*ROWS, *REGISTRY))
    shredded.cell.keyring.evict(shredded.namespace_id)
    with pytest.raises(RegistryAltered):
        await shredded.read_run()
