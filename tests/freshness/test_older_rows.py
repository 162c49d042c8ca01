"""A running process refuses an older row of a small table at once, and no honest operation looks like an older row.

The attacks are in the list of `tests/support/freshness`. Here are their controls: other processes, re-creation, and acceptance.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from strongroom.kms import IntegrityError
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
from strongroom.storage.journal.sums import ACCEPTANCE
from strongroom.storage.journal.writer import Journal
from strongroom.storage.namespaces.metadata import MetadataStore
from strongroom.storage.namespaces.store import NamespaceStore
from tests.support.fixtures.executions import blob
from tests.support.freshness.verification import accept

if TYPE_CHECKING:
    from strongroom.storage import ClusterMetadata

pytestmark = pytest.mark.integration

_NAMESPACE = "namespace_id = $1"


@dataclass
class Process:
    """The stores of another process of the cell."""

    keeper: JournalKeeper
    clusters: ClusterMetadataStore
    endpoints: NexusEndpointStore
    metadata: MetadataStore
    namespaces: NamespaceStore

    async def update_namespace(self, namespace_id: UUID) -> None:
        """Replace the settings of a namespace."""
        version = await self.metadata.get_metadata()
        await self.metadata.update_namespace(namespace_id, data=blob(), is_global=False, notification_version=version)

    async def accept(self) -> None:
        """Accept the stored rows of the cell."""
        await self.keeper.accept(CELL, digest=(await self.keeper.verify(CELL)).digest)


def process_of(cell: Any) -> Process:
    """Start another process."""
    journal = Journal(cell.keyring)
    place = (cell.database, cell.keyring, journal)
    return Process(
        JournalKeeper(*place),
        ClusterMetadataStore(*place),
        NexusEndpointStore(*place),
        MetadataStore(*place, delete=_no_deletion, index_layout=""),
        NamespaceStore(*place, index_layout=""),
    )


async def _no_deletion(_namespace_id: object) -> None:
    raise AssertionError


@pytest.fixture
def two_processes(attacked_cell):
    """Two processes."""
    return process_of(attacked_cell), process_of(attacked_cell)


async def _older_cluster(process: Process, admin: Any, name: str) -> ClusterMetadata:
    """Write a cluster twice, and put its first row back. Return what the first row held."""
    await process.clusters.save_cluster_metadata(name, data=blob(), version=0)
    first = await process.clusters.get_cluster_metadata(name)
    await _undo_second_version(process, admin, name)
    return first


async def _undo_second_version(process: Process, admin: Any, name: str) -> None:
    """Write the second version of a cluster, and put the row of its first version back."""
    older = await admin.copies("cluster_metadata", "cluster_name = $1", name)
    await process.clusters.save_cluster_metadata(name, data=blob(), version=1)
    await admin.put_back("cluster_metadata", older)


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
    """A process that refused an older row reads it after another process accepted the cell's rows. Folding is not enough.

    Afterwards, the process remembers the versions that it sees, so it refuses the next older row.
    """
    one, other = two_processes
    name = f"cluster {scene.shard_id}"
    first = await _older_cluster(one, scene.admin, name)
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)
    await other.keeper.fold(CELL)  # no acceptance
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)
    await other.accept()
    assert await one.clusters.get_cluster_metadata(name) == first
    await _undo_second_version(one, scene.admin, name)
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)


async def test_an_acceptance_of_this_process_counts_once(scene, two_processes):
    """The process that accepted the rows refuses the next older row at once."""
    one, _ = two_processes
    name = f"cluster {scene.shard_id}"
    await one.clusters.save_cluster_metadata(name, data=blob(), version=0)
    await one.accept()
    await _undo_second_version(one, scene.admin, name)
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)


async def test_reads_at_the_same_time_find_one_acceptance(scene, two_processes):
    """After another process accepted older rows, several reads of them at the same time succeed. Before, each is refused."""
    one, other = two_processes
    names = [f"cluster {scene.shard_id} {number}" for number in range(5)]
    older = [await _older_cluster(one, scene.admin, name) for name in names]
    row = await scene.admin.copies("namespaces", _NAMESPACE, scene.namespace_id)
    await one.update_namespace(scene.namespace_id)
    await scene.admin.put_back("namespaces", row)

    async def read() -> list[Any]:
        clusters = (one.clusters.get_cluster_metadata(name) for name in names)
        listed = one.metadata.list_namespaces(page_size=0)
        return await asyncio.gather(*clusters, listed, return_exceptions=True)

    def unreadable(page: Any) -> object:
        return next(each.unreadable for each in page.namespaces if each.namespace_id == scene.namespace_id)

    *found, page = await read()
    assert {type(each) for each in (*found, unreadable(page))} == {DataLoss}
    await other.accept()
    *found, page = await read()
    assert found == older
    assert unreadable(page) is None


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_a_check_overlaps_an_acceptance_of_this_process(scene, monkeypatch, is_accepted):
    """A row that was read before this process accepted the rows is not refused. The control: without the acceptance it is."""
    rows, database = NewestRows(scene.cell.keyring, {}), scene.cell.database
    await accept(scene.cell)
    await rows.check(database, "table", "key", (2,), rows.moment)
    counted = rows._accepted

    async def accepted(place: Any) -> int | None:
        if is_accepted:
            rows.forget()
        return await counted(place)

    monkeypatch.setattr(rows, "_accepted", accepted)
    with nullcontext() if is_accepted else pytest.raises(DataLoss):
        await rows.check(database, "table", "key", (1,), rows.moment)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["a lower number", "no sums"])
async def test_an_edited_count_is_no_acceptance(scene, two_processes, is_deleted):
    """An administrator edits or deletes the count of acceptances while a process starts. Putting it back makes no older row readable.

    The control: an acceptance that comes afterwards counts.
    """
    one, other = two_processes
    name, of_cell = f"cluster {scene.shard_id}", ("journal_sums", "shard_id = $1", CELL)
    await other.accept()
    await other.clusters.save_cluster_metadata(name, data=blob(), version=0)
    older = await scene.admin.copies("cluster_metadata", "cluster_name = $1", name)
    await other.clusters.save_cluster_metadata(name, data=blob(), version=1)
    sums = await scene.admin.copies(*of_cell)
    assert sums[0]["number"] >= ACCEPTANCE
    if is_deleted:
        await scene.admin.delete(*of_cell)
    else:
        await scene.admin.edit(of_cell[0], "number = 1", *of_cell[1:])
    assert (await one.clusters.get_cluster_metadata(name)).version == 2
    await scene.admin.put_back("journal_sums", sums)
    await scene.admin.put_back("cluster_metadata", older)
    with pytest.raises(DataLoss):
        await one.clusters.get_cluster_metadata(name)
    await other.accept()
    assert (await one.clusters.get_cluster_metadata(name)).version == 1


async def test_first_checks_share_a_statement(scene, monkeypatch):
    """The first list of a process reads the sums once or twice, not once for each row."""
    await accept(scene.cell)
    counted, statements = NewestRows._counted, []

    async def counting(rows: NewestRows, databases: Any) -> Any:
        statements.append(databases)
        return await counted(rows, databases)

    monkeypatch.setattr(NewestRows, "_counted", counting)
    rows, database = NewestRows(scene.cell.keyring, {}), scene.cell.database
    await asyncio.gather(*(rows.check(database, "table", key, (1,), rows.moment) for key in range(1000)))
    assert 1 <= len(statements) <= 2


_HUGE = 10**9
_READS = {
    "get": lambda one, scene: one.metadata.get_namespace(namespace_id=scene.namespace_id, unavailable=True),
    "list": lambda one, _: one.metadata.list_namespaces(page_size=0),
    "list of an administrator": lambda one, _: one.namespaces.list_namespaces(),
    "new attributes": lambda one, scene: one.namespaces.add_search_attributes(scene.namespace_id, {"City": "Keyword"}),
    "new settings": lambda one, scene: one.update_namespace(scene.namespace_id),
}


@pytest.mark.parametrize("call", _READS.values(), ids=_READS)
async def test_an_edited_number_that_is_set_back_is_forgotten(scene, two_processes, call):
    """Only authenticated versions are remembered, so that an edited one does not make a process refuse the row permanently.

    The control: an older row is refused afterwards.
    """
    one, other = two_processes
    place = ("namespaces", _NAMESPACE, scene.namespace_id)
    [row] = older = await scene.admin.copies(*place)
    await scene.admin.edit("namespaces", f"notification_version = {_HUGE}", *place[1:])
    with suppress(IntegrityError):
        await call(one, scene)
    if (await scene.admin.copies(*place))[0]["notification_version"] == _HUGE:
        await scene.admin.edit("namespaces", "notification_version = $2", *place[1:], row["notification_version"])
    await one.metadata.get_namespace(namespace_id=scene.namespace_id)
    await other.update_namespace(scene.namespace_id)
    await one.metadata.get_namespace(namespace_id=scene.namespace_id)
    await scene.admin.put_back("namespaces", older)
    with pytest.raises(DataLoss):
        await one.metadata.get_namespace(namespace_id=scene.namespace_id)


async def test_an_edited_version_of_a_table_that_is_set_back_is_forgotten(scene, two_processes):
    """The version of a table is not sealed, so it is compared with the sealed versions of its rows.

    The control: once a process has read a row of a later version, an older version of the table is refused.
    """
    one, other = two_processes

    def version_of_namespaces() -> Any:
        return one.metadata.get_metadata()

    def version_of_endpoints() -> Any:
        return one.endpoints.list_nexus_endpoints(page_size=0)

    async def write() -> None:
        await other.update_namespace(scene.namespace_id)
        version = (await other.endpoints.list_nexus_endpoints(page_size=0)).table_version
        endpoint = NexusEndpoint(uuid4(), 0, blob())
        await other.endpoints.create_or_update_nexus_endpoint(endpoint, last_known_table_version=version)
        written.append(endpoint.endpoint_id)

    written: list[UUID] = []
    await write()
    tables = {
        ("namespace_metadata", "notification_version"): version_of_namespaces,
        ("nexus_endpoints_status", "version"): version_of_endpoints,
    }
    for (table, column), read in tables.items():
        [row] = await scene.admin.copies(table)
        await scene.admin.edit(table, f"{column} = {_HUGE}", f"{column} = $1", row[column])
        await read()
        await scene.admin.edit(table, f"{column} = {row[column]}", f"{column} = $1", _HUGE)
        await read()
    older = {table: await scene.admin.copies(table) for table, _ in tables}
    await write()
    await one.metadata.get_namespace(namespace_id=scene.namespace_id)
    await one.endpoints.get_nexus_endpoint(written[-1])
    for (table, _), read in tables.items():
        newest = await scene.admin.copies(table)
        await scene.admin.put_back(table, older[table])
        with pytest.raises(DataLoss):
            await read()
        await scene.admin.put_back(table, newest)


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
    """Two processes write and read the same rows at the same time. They may get conflicts, but no row is reported as older.

    The control: each of the three rows was replaced.
    """
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

    one, _ = two_processes
    before = await one.metadata.get_namespace(namespace_id=scene.namespace_id)
    await asyncio.gather(*(write(process) for process in two_processes for _ in range(4)))
    assert (await one.clusters.get_cluster_metadata(name)).version > 1
    assert (await one.endpoints.get_nexus_endpoint(endpoint_id)).version > 1
    after = await one.metadata.get_namespace(namespace_id=scene.namespace_id)
    assert after.notification_version > before.notification_version


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
    """A late answer of an earlier statement is not refused, because statements may overtake each other.

    The control: the same row is refused as the answer of a later statement.
    """
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
