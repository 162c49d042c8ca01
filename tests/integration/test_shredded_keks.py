"""The KEKs of a shredded namespace, and backups that depend on them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.importing.importer import import_executions
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KekRef,
    KeyNotFound,
    KeyPendingDeletion,
    KeyState,
    verify_certificate,
)
from strongroom.storage import (
    NamespaceNotFound,
)
from tests.support.databases import administer
from tests.support.shredding import NOW, RUNS, count_runs, request_and_finish

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "by", ["another namespace", "the cell", "nobody, but it is to be kept", "a shredded namespace"]
)
async def test_only_a_kek_of_its_own_is_deleted(strongroom, make_filled_namespace, by):
    """A KEK that wraps another living key, or that the operator keeps, stays, and the certificate says that backups open."""
    kek = KekRef.parse("local:cell" if by == "the cell" else "local:both")
    namespace = await make_filled_namespace("gone", kek=kek)
    other = await make_filled_namespace("other", kek=kek) if "namespace" in by else None
    if by == "a shredded namespace":
        await request_and_finish(strongroom, other.namespace_id)
    said = verify_certificate(await request_and_finish(strongroom, namespace.namespace_id, keep_kek="kept" in by))
    [answer] = said.keks
    if by == "a shredded namespace":
        assert (answer.disposal, answer.state) == ("delete", "destroyed")
        return
    assert (answer.disposal, answer.state) == ("kept" if "kept" in by else "shared", None)
    assert any(str(kek) in sentence and "can open it" in sentence for sentence in said.does_not_cover)
    assert (await strongroom.keyring.provider("local").describe(kek)).state == "enabled"
    if other is not None:
        assert await count_runs(strongroom, other) == RUNS


async def test_a_kek_that_is_being_deleted_takes_no_new_keys(strongroom, make_filled_namespace):
    """A creation that wrapped its keys shortly before the KEK was deleted fails."""
    kek = KekRef.parse("local:doomed")
    namespace = await make_filled_namespace("gone", kek=kek)
    provider, store = strongroom.keyring.provider("local"), strongroom.keyring.store
    wrapped, insert = asyncio.Event(), store.insert_data_keys
    shredded = asyncio.Event()

    async def late(records):
        wrapped.set()
        await shredded.wait()
        await insert(records)

    store.insert_data_keys = late
    creating = asyncio.create_task(strongroom.namespaces.create("late", kek=kek))
    await wrapped.wait()
    said = verify_certificate(await request_and_finish(strongroom, namespace.namespace_id))
    assert said.keks[0].state == "destroyed"
    shredded.set()
    with pytest.raises(KeyPendingDeletion):
        await creating
    with pytest.raises(NamespaceNotFound):
        await strongroom.namespaces.find("late")
    store.insert_data_keys = insert
    await provider.create_kek("doomed")  # another key with the old name
    with pytest.raises(KeyPendingDeletion):
        await strongroom.namespaces.create("later", kek=kek)


async def test_a_creation_that_came_first_keeps_the_kek(strongroom, make_filled_namespace):
    """The control: keys that are registered before the decision make the KEK a shared one."""
    kek = KekRef.parse("local:contested")
    namespace = await make_filled_namespace("gone", kek=kek)
    request = await strongroom.shredding().request(namespace.namespace_id, grace=NOW)
    first = await make_filled_namespace("first", kek=kek)
    said = verify_certificate(await strongroom.shredding().finish(namespace.namespace_id, request.code))
    assert said.keks[0].disposal == "shared"
    assert await count_runs(strongroom, first) == RUNS


async def test_a_kms_that_refuses_is_told_and_asked_again(strongroom, make_filled_namespace):
    """If the KMS refuses, all other steps are done and the certificate says so. The next run deletes the KEK and certifies it."""
    namespace = await make_filled_namespace("gone")
    shredding, keyring_file = strongroom.shredding(), strongroom.config.kms["local"].keyring
    request = await shredding.request(namespace.namespace_id, grace=NOW)
    [kek] = (await shredding.loss(request)).keks
    provider = strongroom.keyring.provider("local")
    cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
    keyring_file.chmod(0o644)  # the provider refuses to use it
    try:
        refused = await shredding.finish(namespace.namespace_id, request.code)
    finally:
        keyring_file.chmod(0o600)
    said = verify_certificate(refused, public_key=cell.certificate_key().public_key)
    assert said.keks[0].state is None
    assert said.keks[0].error.startswith("KeyringFileError: ")
    assert any("could NOT be deleted" in sentence for sentence in said.does_not_cover)
    assert not await shredding.store.rows(namespace.namespace_id)
    with pytest.raises(NamespaceNotFound):
        await strongroom.namespaces.find("gone")
    assert (await provider.describe(kek.kek)).state == "enabled"
    finished = await shredding.finish(namespace.namespace_id, request.code)
    again = verify_certificate(finished)
    assert (again.keks[0].state, again.keks[0].error) == ("destroyed", None)
    assert again.rows_deleted == said.rows_deleted
    assert again.confirmed_at == said.confirmed_at
    assert await shredding.store.certificate(namespace.namespace_id) == finished
    assert await shredding.finish(namespace.namespace_id, request.code) == finished


@asynccontextmanager
async def restored_backup(strongroom, superuser_dsn):
    """Copy the database, and yield the configuration of the copy, which uses the same KMS.

    Only a superuser can copy a database whose owner may not create any.
    """
    name = f"backup_{uuid4().hex[:12]}"
    config = strongroom.config
    source = urlsplit(config.dsn).path.lstrip("/")
    end_sessions = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{source}'"  # noqa: S608 - our own name
    await administer(superuser_dsn, end_sessions, f"CREATE DATABASE {name} TEMPLATE {source} OWNER {source}")
    try:
        yield replace(config, dsn=urlunsplit(urlsplit(config.dsn)._replace(path=f"/{name}")))
    finally:
        await administer(superuser_dsn, f"DROP DATABASE {name} WITH (FORCE)")


async def opened_runs(config, name):
    async with Strongroom.open(config, accept_older=True) as restored:  # its registry is older, on purpose
        return await count_runs(restored, await restored.namespaces.get(name))


@pytest.mark.parametrize("own", [True, False], ids=["own KEK", "shared KEK"])
async def test_a_backup_taken_before_does_not_open_where_the_kek_was_its_own(config_path, superuser_dsn, sample, own):
    """A backup does not open if the deleted KEK was the namespace's own. The controls: before, and with a shared KEK, it opens."""
    config = load_config(config_path)  # the test's own cell, which is closed while it is copied
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        keks = [KekRef.parse("local:a"), KekRef.parse("local:b" if own else "local:a")]
        ids = []
        for name, kek in zip(("gone", "stays"), keks, strict=True):
            await strongroom.create_kek(kek)
            namespace = await strongroom.namespaces.create(name, kek=kek)
            await import_executions(strongroom, namespace, sample[:RUNS])
            ids.append(namespace.namespace_id)
    async with restored_backup(strongroom, superuser_dsn) as backup:
        assert await opened_runs(backup, "gone") == RUNS
        async with Strongroom.open(config) as strongroom:
            said = verify_certificate(await request_and_finish(strongroom, ids[0]))
            with pytest.raises(NamespaceNotFound):
                await strongroom.namespaces.get("gone")
        covered = any("only someone with a copy of it can open earlier backups" in sentence for sentence in said.covers)
        assert covered == own
        if own:
            with pytest.raises(KeyNotFound):
                await opened_runs(backup, "gone")
            async with Strongroom.open(backup, accept_older=True) as restored:
                keys = await restored.keyring.open(ids[0])
                records = await restored.keyring.store.list_data_keys(ids[0])
                assert {record.state for record in records} == {KeyState.ACTIVE}, "only the KEK is missing"
                with pytest.raises(KeyNotFound):
                    keys.active_data_key()
        else:
            assert await opened_runs(backup, "gone") == RUNS
        assert await opened_runs(backup, "stays") == RUNS
        assert await opened_runs(config, "stays") == RUNS
