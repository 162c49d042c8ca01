from __future__ import annotations

import pytest

from strongroom.driver.importing.importer import history_nodes, import_executions, imported_branch
from strongroom.storage import EVERY_NAMESPACE
from strongroom.visibility import attribute_types

pytestmark = pytest.mark.integration


async def test_every_history_and_record_comes_back_as_it_went_in(strongroom, namespace, sample):
    """Imported histories and visibility records are read back byte for byte."""
    imported = await import_executions(strongroom, namespace, sample)
    assert (imported.executions, imported.records) == (len(sample), len(sample))
    for execution in sample:
        shard_id = await strongroom.shards.shard_of(namespace.namespace_id, execution.record.workflow_id)
        branch = imported_branch(execution.record.run_id, shard_id)
        page = await strongroom.history.read_history_branch(namespace.namespace_id, branch)
        assert list(page.nodes) == history_nodes(execution)
        record = await strongroom.visibility.get_workflow_execution(
            namespace.namespace_id,
            shard_id=shard_id,
            workflow_id=execution.record.workflow_id,
            run_id=execution.record.run_id,
        )
        assert record == execution.record


async def test_importing_again_ends_with_the_same_rows(strongroom, namespace, sample):
    """An interrupted import can be run again, and no row is missing or stored twice."""
    await import_executions(strongroom, namespace, sample[:40])
    await import_executions(strongroom, namespace, sample[:60])
    namespace = await strongroom.namespaces.get("first")
    again = await import_executions(strongroom, namespace, sample[:60])
    assert again.records == 0
    count = await strongroom.visibility.count_workflow_executions(
        namespace.namespace_id, "", attribute_types(namespace)
    )
    assert count.count == 60
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        nodes = await connection.fetchrow("SELECT count(*) AS nodes FROM history_node")
    assert nodes["nodes"] == sum(len(history_nodes(execution)) for execution in sample[:60])
