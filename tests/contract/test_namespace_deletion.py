"""Deletion of a namespace by its service: gone at once, restorable for a while, then shredded by a job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from strongroom.driver.config import NamespacesConfig
from strongroom.driver.deletions import Deletions
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KeyState, KeyWithdrawn, verify_certificate
from strongroom.storage import (
    ConditionFailed,
    DataBlob,
    HistoryBranch,
    HistoryNode,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
    NotFound,
)
from strongroom.storage.engine.server_clock import SteadyClock
from strongroom.storage.namespaces.deletion_store import DeletionStore
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.metadata import BLOB
from tests.support.fixtures.raw_rows import fetch

pytestmark = pytest.mark.integration

NODE = HistoryNode(1, 1, 0, DataBlob(b"events"))


async def made(cell, name="tenant"):
    """Create a namespace with one node of history; return its id and the node's branch."""
    namespace_id = uuid4()
    await cell.metadata.create_namespace(namespace_id, name, data=BLOB, kek=KEK)
    branch = HistoryBranch(1, uuid4(), uuid4())
    await cell.history.append_history_nodes(namespace_id, branch, [NODE], is_new_branch=True, info="")
    return namespace_id, branch


async def read(cell, namespace_id, branch):
    """Return the nodes of a branch."""
    return list((await cell.history.read_history_branch(namespace_id, branch, page_size=10)).nodes)


def states(keys):
    """Return the state of each key, by class and version."""
    return {(key.key_class, key.version): key.state for key in keys}


async def nodes_of(cell, namespace_id):
    """Return the number of nodes that a namespace has."""
    return len(await fetch(cell, "SELECT FROM history_node WHERE namespace_id = $1", namespace_id))


def at_once(cell):
    """Open the cell without a grace period."""
    return Strongroom.open(replace(cell.config, namespaces=NamespacesConfig(shred_after_days=0)))


@pytest.mark.parametrize("by_name", [True, False])
async def test_a_deleted_namespace_is_gone_at_once_and_destroyed_later(own_cell, by_name):
    """Nobody finds it, calls about it raise `NamespaceNotFound`, and its name is free. Keys and rows stay for the grace period."""
    namespace_id, branch = await made(own_cell)
    if by_name:
        await own_cell.metadata.delete_namespace_by_name("tenant")
    else:
        await own_cell.metadata.delete_namespace(namespace_id)
    for call in (
        own_cell.metadata.get_namespace(namespace_id=namespace_id),
        own_cell.metadata.get_namespace(name="tenant"),
        own_cell.namespaces.get("tenant"),
        own_cell.history.append_history_nodes(namespace_id, branch, [NODE], is_new_branch=False),
        own_cell.metadata.update_namespace(namespace_id, data=BLOB, is_global=False, notification_version=1),
    ):
        with pytest.raises((NamespaceNotFound, KeyWithdrawn)):
            await call
    with pytest.raises(KeyWithdrawn):
        await own_cell.keyring.open(namespace_id)
    assert (await own_cell.metadata.list_namespaces(page_size=10)).namespaces == ()
    request = await own_cell.shredding().store.find(namespace_id)
    assert (request.automatic, request.confirmed_at, request.keep_kek) == (True, None, True)
    assert request.due_at - request.requested_at == timedelta(days=7)
    assert own_cell.deletions.background in own_cell.background  # so that its failures are in the metrics
    assert await own_cell.deletions.finish_due() == []
    assert await nodes_of(own_cell, namespace_id) == 1
    other, _ = await made(own_cell)
    assert (await own_cell.metadata.get_namespace(name="tenant")).namespace_id == other
    with pytest.raises(NamespaceAlreadyExists, match="deleted namespace had this id"):
        await own_cell.metadata.create_namespace(namespace_id, "again", data=BLOB, kek=KEK)


async def test_an_operator_restores_a_deleted_namespace(own_cell):
    """Name, settings, keys in their states and rows are as before, if no other namespace took the name."""
    namespace_id, branch = await made(own_cell)
    before = states(await own_cell.keyring.store.list_data_keys(namespace_id))
    record = await own_cell.metadata.get_namespace(namespace_id=namespace_id)
    await own_cell.metadata.delete_namespace(namespace_id)
    other, _ = await made(own_cell)
    with pytest.raises(ConditionFailed, match="another namespace has the name"):
        await own_cell.shredding().cancel(namespace_id)
    with pytest.raises(KeyWithdrawn):
        await own_cell.keyring.open(namespace_id)
    await own_cell.metadata.delete_namespace(other)
    await own_cell.shredding().cancel(namespace_id)
    assert await own_cell.metadata.get_namespace(name="tenant") == record
    assert states(await own_cell.keyring.store.list_data_keys(namespace_id)) == before
    assert await read(own_cell, namespace_id, branch) == [NODE]
    await own_cell.metadata.delete_namespace(namespace_id)  # it can be deleted again
    with pytest.raises(NamespaceNotFound):
        await own_cell.metadata.get_namespace(namespace_id=namespace_id)


async def test_the_job_shreds_what_is_due_and_nothing_else(own_cell):
    """Keys are destroyed, rows deleted and a certificate signed. A namespace whose grace period lasts is not touched."""
    waiting, _ = await made(own_cell, "waiting")
    await own_cell.metadata.delete_namespace(waiting)
    living, branch = await made(own_cell, "living")
    async with at_once(own_cell) as cell:
        due = [(await made(cell, f"due {number}"))[0] for number in range(2)]
        for namespace_id in due:
            await cell.metadata.delete_namespace(namespace_id)
            await cell.metadata.delete_namespace(namespace_id)  # a retry changes nothing
        assert list(await cell.deletions.finish_due(limit=1)) == due[:1]
        assert list(await cell.deletions.finish_due()) == due[1:]
        assert await cell.deletions.finish_due() == []
        for namespace_id in due:
            assert set(states(await cell.keyring.store.list_data_keys(namespace_id)).values()) == {KeyState.DESTROYED}
            assert await nodes_of(cell, namespace_id) == 0
            certificate = verify_certificate(await cell.shredding().store.certificate(namespace_id))
            assert dict(certificate.rows_deleted) == {"history_node": 1, "history_tree": 1}
            assert [kek.disposal for kek in certificate.keks] == ["kept"]
        with pytest.raises(NotFound):
            await cell.shredding().store.certificate(waiting)
        assert await nodes_of(cell, waiting) == 1
        assert await read(cell, living, branch) == [NODE]


@pytest.mark.parametrize("seconds", [600, 0])
async def test_the_job_waits_for_a_steady_clock(own_cell, seconds):
    """A database server's clock that may have jumped destroys no keys by itself. A person still can with `shred-due`."""
    async with at_once(own_cell) as cell:
        namespace_id, _ = await made(cell)
        await cell.metadata.delete_namespace(namespace_id)
    deletions = Deletions(
        DeletionStore(own_cell.database, own_cell.keyring),
        own_cell.shredding(),
        own_cell.keyring,
        grace=timedelta(days=7),
        clock=SteadyClock(own_cell.database, seconds),
    )
    assert list(await deletions.finish_automatically()) == ([] if seconds else [namespace_id])
    assert list(await deletions.finish_due()) == ([namespace_id] if seconds else [])


async def test_a_job_that_was_interrupted_continues(own_cell):
    """After the keys were destroyed the rest can be done by any process, and it can't be cancelled."""
    async with at_once(own_cell) as cell:
        namespace_id, _ = await made(cell)
        await cell.metadata.delete_namespace(namespace_id)
        request = await cell.shredding().store.find(namespace_id)
        await cell.shredding().confirm(namespace_id, request.code)  # and then the process was killed
        with pytest.raises(ConditionFailed):
            await cell.shredding().cancel(namespace_id)
    assert list(await own_cell.deletions.finish_due()) == [namespace_id]
    assert await nodes_of(own_cell, namespace_id) == 0


async def test_a_namespace_that_an_operator_scheduled_keeps_that_request(own_cell):
    """The service's deletion succeeds and frees the name. The job leaves the request, which needs a second confirmation."""
    namespace_id, _ = await made(own_cell)
    earlier = await own_cell.shredding().request(namespace_id, grace=timedelta(0))
    async with at_once(own_cell) as cell:
        await cell.metadata.delete_namespace(namespace_id)
        assert await cell.deletions.finish_due() == []
    assert await own_cell.shredding().store.find(namespace_id) == earlier
    await made(own_cell)
    await own_cell.shredding().finish(namespace_id, earlier.code)
    assert await nodes_of(own_cell, namespace_id) == 0


async def test_a_namespace_that_does_not_exist_is_no_error(own_cell):
    """An unknown id, an unknown name and a shredded namespace are ignored. The cell itself is refused."""
    namespace_id, _ = await made(own_cell)
    async with at_once(own_cell) as cell:
        await cell.metadata.delete_namespace(namespace_id)
        await cell.deletions.finish_due()
        for unknown in (uuid4(), namespace_id):
            await cell.metadata.delete_namespace(unknown)
        await cell.metadata.delete_namespace_by_name("tenant")
        assert await cell.deletions.finish_due() == []
        with pytest.raises(InvalidPersistenceRequest):
            await cell.metadata.delete_namespace(cell.keyring.cell_id)


async def test_a_deleted_namespace_is_listed_for_the_operator(own_cell):
    """The list has its id, the time of the deletion and the time of the shredding, and no name."""
    namespace_id, _ = await made(own_cell)
    await own_cell.metadata.delete_namespace(namespace_id)
    [listed] = await own_cell.namespaces.list_namespaces()
    assert (listed.namespace_id, listed.name, listed.shredded_at) == (namespace_id, None, None)
    assert listed.shred_due_at - listed.deleted_at == timedelta(days=7)
