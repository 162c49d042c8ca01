"""A running process refuses an older row of a small table at once, and no honest operation looks like an older row.

The attacks are in the list of `tests/support/freshness`. Here are their controls: other processes, re-creation, and acceptance.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from strongroom.storage import (
    ClusterMetadataStore,
    ConditionFailed,
    DatabaseUnavailable,
    DataLoss,
    NexusEndpoint,
    NexusEndpointStore,
    NexusTableVersionConflict,
    NotFound,
)
from strongroom.storage.journal.images import CELL
from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.newest_rows import MOST_ROWS, NewestRows
from strongroom.storage.journal.writer import Journal
from strongroom.storage.namespaces.metadata import MetadataStore
from tests.support.fixtures.executions import blob

if TYPE_CHECKING:
    from strongroom.storage import ClusterMetadata

pytestmark = pytest.mark.integration


@dataclass
class Process:
    """The stores of another process of the cell."""

    keeper: JournalKeeper
    clusters: ClusterMetadataStore
    endpoints: NexusEndpointStore
    metadata: MetadataStore


def process_of(cell: Any) -> Process:
    """Start another process."""
    journal = Journal(cell.keyring)
    place = (cell.database, cell.keyring, journal)
    return Process(
        JournalKeeper(*place),
        ClusterMetadataStore(*place),
        NexusEndpointStore(*place),
        MetadataStore(*place, delete=_no_deletion, index_layout=""),
    )


async def _no_deletion(_namespace_id: object) -> None:
    raise AssertionError


@pytest.fixture
def two_processes(attacked_cell):
    """Two processes."""
    return process_of(attacked_cell), process_of(attacked_cell)


async def _older_cluster(process: Process, admin: Any, name: str) -> ClusterMetadata:
    """Write a cluster twice, read it, and put its first row back. Return the first one."""
    await process.clusters.save_cluster_metadata(name, data=blob(), version=0)
    first = await process.clusters.get_cluster_metadata(name)
    older = await admin.copies("cluster_metadata", "cluster_name = $1", name)
    await process.clusters.save_cluster_metadata(name, data=blob(), version=1)
    await admin.put_back("cluster_metadata", older)
    return first


async def test_only_a_process_that_saw_the_newer_row_refuses_the_older_one(scene, two_processes):
    """The control: a process that has seen no newer row reads the older one, which is authentic."""
    one, other = two_processes
    name = f"cluster {scene.shard_id}"
    first = await _older_cluster(one, scene.admin, name)
    for _ in range(2):
        with pytest.raises(DataLoss, match=r"cluster_metadata has version 1, and this process has seen version 2"):
            await one.clusters.get_cluster_metadata(name)
        assert await other.clusters.get_cluster_metadata(name) == first
    with pytest.raises(DataLoss):
        await one.clusters.save_cluster_metadata(name, data=blob(), version=1)


async def test_an_accepted_state_is_used_by_a_running_process(scene, two_processes):
    """Once a person accepted the cell's rows as they are, the process that refused them reads them. It then remembers them again."""
    one, other = two_processes
    name = f"cluster {scene.shard_id}"
    first = await _older_cluster(one, scene.admin, name)
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)
    await other.keeper.fold(CELL)  # no acceptance
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)
    await other.keeper.accept(CELL, digest=(await other.keeper.verify(CELL)).digest)
    assert await one.clusters.get_cluster_metadata(name) == first
    older = await scene.admin.copies("cluster_metadata", "cluster_name = $1", name)
    await one.clusters.save_cluster_metadata(name, data=blob(), version=1)
    await scene.admin.put_back("cluster_metadata", older)
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)


async def test_an_acceptance_of_this_process_counts_once(scene, two_processes):
    """The process that accepted the rows refuses the next older row at once."""
    one, _ = two_processes
    name = f"cluster {scene.shard_id}"
    await one.clusters.save_cluster_metadata(name, data=blob(), version=0)
    await one.keeper.accept(CELL, digest=(await one.keeper.verify(CELL)).digest)
    older = await scene.admin.copies("cluster_metadata", "cluster_name = $1", name)
    await one.clusters.save_cluster_metadata(name, data=blob(), version=1)
    await scene.admin.put_back("cluster_metadata", older)
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)


async def test_rows_that_another_process_deletes_and_creates_again_are_used(scene, two_processes):
    """A cluster and an endpoint with a former name or id begin at version 1 again, in every process."""
    one, other = two_processes
    name, endpoint_id = f"cluster {scene.shard_id}", uuid4()
    for version in (0, 1):
        await one.clusters.save_cluster_metadata(name, data=blob(), version=version)
        table = (await one.endpoints.list_nexus_endpoints(page_size=0)).table_version
        endpoint = NexusEndpoint(endpoint_id, version, blob())
        await one.endpoints.create_or_update_nexus_endpoint(endpoint, last_known_table_version=table)
    await other.clusters.delete_cluster_metadata(name)
    await other.endpoints.delete_nexus_endpoint(endpoint_id, last_known_table_version=table + 1)
    with pytest.raises(NotFound):
        await one.clusters.get_cluster_metadata(name)
    assert await other.clusters.save_cluster_metadata(name, data=blob(), version=0)
    await other.endpoints.create_or_update_nexus_endpoint(
        NexusEndpoint(endpoint_id, 0, blob()), last_known_table_version=table + 2
    )
    assert (await one.clusters.get_cluster_metadata(name)).version == 1
    assert (await one.endpoints.get_nexus_endpoint(endpoint_id)).version == 1


async def test_many_writers_and_readers_raise_no_alarm(scene, two_processes):
    """Two processes write and read the same rows at the same time. They may get conflicts, and never an older row."""
    name, endpoint_id = f"cluster {scene.shard_id}", uuid4()

    async def write(process: Process) -> None:
        for _ in range(15):
            try:
                found = await process.clusters.get_cluster_metadata(name)
                await process.clusters.save_cluster_metadata(name, data=blob(), version=found.version)
            except NotFound:
                await process.clusters.save_cluster_metadata(name, data=blob(), version=0)
            except DatabaseUnavailable:
                pass
            table = (await process.endpoints.list_nexus_endpoints(page_size=10)).table_version
            version = await process.metadata.get_metadata()
            try:
                try:
                    stored = (await process.endpoints.get_nexus_endpoint(endpoint_id)).version
                except NotFound:
                    stored = 0
                endpoint = NexusEndpoint(endpoint_id, stored, blob())
                await process.endpoints.create_or_update_nexus_endpoint(endpoint, last_known_table_version=table)
                await process.metadata.update_namespace(
                    scene.namespace_id, data=blob(), is_global=False, notification_version=version
                )
            except (ConditionFailed, NexusTableVersionConflict):
                pass
            await process.metadata.get_namespace(namespace_id=scene.namespace_id)

    await asyncio.gather(*(write(process) for process in two_processes for _ in range(4)))


async def test_a_row_that_a_rolled_back_transaction_wrote_is_not_remembered(scene):
    """Only a commit counts. The control: after a commit, the older version is refused."""
    rows = NewestRows(scene.cell.keyring, {})
    database = scene.cell.database
    for ends_well in (False, True):
        with nullcontext() if ends_well else pytest.raises(ZeroDivisionError):
            async with database.transaction(scene.namespace_id) as connection:
                rows.written(connection, "table", "key", (2,))
                if not ends_well:
                    raise ZeroDivisionError
        if not ends_well:
            await rows.check(database, "table", "key", (1,), rows.moment)
    with pytest.raises(DataLoss):
        await rows.check(database, "table", "key", (1,), rows.moment)


async def test_a_row_is_compared_with_what_was_known_before_its_statement(scene):
    """An answer that comes late is no older row. So statements may overtake each other."""
    rows, database = NewestRows(scene.cell.keyring, {}), scene.cell.database
    await rows.check(database, "table", "key", (1,), rows.moment)
    before = rows.moment
    await rows.check(database, "table", "key", (2,), rows.moment)
    await rows.check(database, "table", "key", (1,), before)
    with pytest.raises(DataLoss):
        await rows.check(database, "table", "key", (1,), rows.moment)


async def test_a_bounded_number_of_rows_is_remembered(scene):
    """The rows that were seen first are forgotten, so that memory does not grow with the number of task queues."""
    rows, database = NewestRows(scene.cell.keyring, {}), scene.cell.database
    for key in range(MOST_ROWS + 1):
        await rows.check(database, "table", key, (2,), rows.moment)
    await rows.check(database, "table", 0, (1,), rows.moment)
    with pytest.raises(DataLoss):
        await rows.check(database, "table", MOST_ROWS, (1,), rows.moment)
