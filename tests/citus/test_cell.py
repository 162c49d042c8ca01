from __future__ import annotations

from collections import Counter

import pytest

from strongroom.driver.importing.importer import history_nodes, import_executions, imported_branch
from strongroom.kms import KeyDestroyed, KeyNotFound, rotate_data_key
from strongroom.storage import NamespaceNotFound
from strongroom.visibility import attribute_types
from tests.support.every_table import every_table
from tests.support.fixtures.contract import KEK
from tests.support.sealed_versions import versions_in_use
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

JOURNAL = {"journal.data", "journal_sums.data"}
"""Columns of the cell's own keys."""


@pytest.fixture(params=["as services", "as the owner"])
def cell_on_citus(request):
    """A distributed cell, with row-level security and without."""
    return request.getfixturevalue("citus_cell" if request.param == "as services" else "owned_citus_cell")


async def verified(cell, namespace_id):
    """Every shard of the namespace is verified without a finding, before and after its entries are folded."""
    shards = await cell.journal.shards_of(namespace_id)
    assert shards
    for shard_id in shards:
        for fold in (False, True):
            if fold:
                assert await cell.journal.fold(shard_id) == []
            found = await cell.journal.verify(shard_id)
            assert found.ok, found


async def test_all_tables_are_written_read_resealed_verified_and_shredded(cell_on_citus):
    """Every kind of row is found again after a rotation and a resealing of all rows, and is gone after the shredding."""
    cell = cell_on_citus
    filled = await every_table(cell)
    await filled.read()
    await verified(cell, filled.namespace_id)
    key = await rotate_data_key(cell.keyring, filled.namespace_id)
    done = await cell.reseal(wait=0).run(filled.namespace_id)
    assert sum(done.resealed.values()) > 0
    assert not done.unreadable
    used = await versions_in_use(cell, filled.namespace_id)
    assert {version for versions in used.values() for version in versions} == {key.version}
    await cell.reseal(wait=0).run(cell.keyring.cell_id)
    await filled.read()
    await verified(cell, filled.namespace_id)
    await shred(cell, filled.namespace_id)
    assert await versions_in_use(cell, filled.namespace_id) == {}
    with pytest.raises((KeyDestroyed, KeyNotFound, NamespaceNotFound)):
        await filled.read()


async def test_an_import_is_read_searched_and_verified(cell_on_citus, sample):
    """346 histories come back byte for byte, and filters find what is in them."""
    cell = cell_on_citus
    namespace = await cell.namespaces.create("orders", kek=KEK)
    done = await import_executions(cell, namespace, sample)
    assert (done.executions, done.records) == (len(sample), len(sample))
    namespace = await cell.namespaces.get("orders")
    types, namespace_id = attribute_types(namespace), namespace.namespace_id
    for execution in sample:
        record = execution.record
        shard_id = await cell.shards.shard_of(namespace_id, record.workflow_id)
        page = await cell.history.read_history_branch(namespace_id, imported_branch(record.run_id, shard_id))
        assert list(page.nodes) == history_nodes(execution)
        key = {"shard_id": shard_id, "workflow_id": record.workflow_id, "run_id": record.run_id}
        assert await cell.visibility.get_workflow_execution(namespace_id, **key) == record
    found = await cell.visibility.list_workflow_executions(namespace_id, "", types, page_size=1000)
    assert len(found.executions) == len(sample)
    statuses = [execution.record.execution_status for execution in sample]
    for status in set(statuses):
        counted = await cell.visibility.count_workflow_executions(namespace_id, f"ExecutionStatus = '{status}'", types)
        assert counted.count == statuses.count(status)
    groups = await cell.visibility.count_workflow_executions(namespace_id, "GROUP BY ExecutionStatus", types)
    assert dict(groups.groups) == Counter(statuses)
    again = await import_executions(cell, namespace, sample[:20])
    assert again.records == 0
    await verified(cell, namespace_id)


async def test_the_index_is_rotated(cell_on_citus):
    """New tokens are written for all records, in all shards, while searches go on."""
    cell = cell_on_citus
    filled = await every_table(cell)
    types = attribute_types(await cell.namespaces.get(filled.name))
    await cell.index_rotation(wait=0).rotate(filled.namespace_id, types)
    await filled.read()
    await verified(cell, filled.namespace_id)
