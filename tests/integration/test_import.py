from __future__ import annotations

from statistics import correlation

import pytest

from strongroom.driver.importing.importer import history_nodes, import_executions, imported_branch
from strongroom.storage import EVERY_NAMESPACE
from strongroom.visibility import attribute_types
from strongroom.visibility.index.document import document_id, imported_version

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


async def test_the_version_of_an_imported_record_does_not_show_its_number_of_events(strongroom, namespace, sample):
    """The column is in clear. Nothing of the order of the numbers is left in it, and a longer export of a run has a later version."""
    await import_executions(strongroom, namespace, sample)
    keys = await strongroom.keyring.open(namespace.namespace_id)
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        stored = {
            row["id"]: row["version"] for row in await connection.fetch("SELECT id, version FROM visibility_records")
        }
    numbers, versions = [], []
    for execution in sample:
        ids, number = (execution.record.workflow_id, execution.record.run_id), len(execution.events)
        numbers.append(number)
        versions.append(stored[document_id(keys, *ids)])
        assert versions[-1] == imported_version(keys, *ids, number) < imported_version(keys, *ids, number + 1)
    five_deviations = 5 / len(sample) ** 0.5
    assert correlation(numbers, [number + 1 for number in numbers]) > five_deviations  # the control: plain numbers
    assert abs(correlation(numbers, versions)) < five_deviations
