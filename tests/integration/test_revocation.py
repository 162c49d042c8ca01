from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    CachePolicy,
    KekRef,
    KeyDestroyed,
    KeyNotFound,
    PartType,
    RecordKind,
    destroy_data_keys,
    rotate_data_key,
)
from strongroom.storage import EVERY_NAMESPACE
from strongroom.storage.keys import changes as key_changes
from strongroom.storage.keys.registry_changes import KEY_CHANNEL
from tests.support.fixtures.command_line import run_command

pytestmark = pytest.mark.integration

KIND = RecordKind("record", "data", (PartType.INT64,))
SOON = CachePolicy(soft_ttl=0.3, encrypt_ttl=0.6, decrypt_ttl=1.2, failure_ttl=0.2, retry_pause=0.1)
LATE = CachePolicy(soft_ttl=3000, encrypt_ttl=3000, decrypt_ttl=3000)


async def until(condition, seconds=120.0):
    """Wait until something is so. The time is only reached by a failing test, and is shorter than `LATE`."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() < began + seconds, "it did not come about"
        await asyncio.sleep(0.02)


async def usable(strongroom, namespace_id):
    """Return whether a namespace can be sealed to and opened in a process."""
    try:
        keys = await strongroom.keyring.open(namespace_id)
        return keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"
    except (KeyNotFound, KeyDestroyed):
        return False


async def listeners(strongroom, number):
    """Return whether this number of processes is notified of key changes.

    A statement begins with the 20 characters of its session's mark. Some seconds after LISTEN, a connection probes itself with NOTIFY.
    """
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND (substr(query, 21) IN ($1, $2) OR substr(query, 21) LIKE 'NOTIFY strongroom_echo_%')"
    )
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        (row,) = await connection.fetch(query, f'LISTEN "{KEY_CHANNEL}"', f"LISTEN {KEY_CHANNEL}")
    return row["count"] >= number


async def test_revoked_kek_stops_every_process_and_heals(config, config_path):
    """A customer takes the KEK away: every process stops within the printed bound, neighbours go on; given back, all serve again."""
    config = replace(config, cache=SOON)
    keyring_file = config_path.parent / "strongroom-keyring.json"
    async with Strongroom.open(config) as first, Strongroom.open(config) as second, Strongroom.open(config) as idle:
        customer = await first.create_kek(KekRef("local", "customer"))
        own = (await first.namespaces.create("own", kek=customer)).namespace_id
        other = (
            await first.namespaces.create("other", kek=await first.create_kek(KekRef("local", "ours")))
        ).namespace_id
        for process in (first, second, idle):
            assert await usable(process, own)
        copy = shutil.copy2(keyring_file, config_path.parent / "copy.json")
        await first.keyring.provider("local").delete_kek(customer)
        revoked = time.monotonic()
        for process in (first, second):
            await until(lambda process=process: _not(usable(process, own)))
        await asyncio.sleep(max(0.0, revoked + SOON.encrypt_ttl - time.monotonic()))
        assert not await usable(idle, own), "a process that did not use it stops as well, with its first use"
        for process in (first, second, idle):
            assert await usable(process, other)
        shutil.copy2(copy, keyring_file)
        for process in (first, second, idle):
            await until(lambda process=process: usable(process, own))


async def _not(condition):
    return not await condition


async def test_rotation_and_shredding_are_heard_of(config):
    """Another process learns at once that keys were rotated or destroyed: by NOTIFY, long before its times are up."""
    config = replace(config, cache=LATE)
    async with Strongroom.open(config) as here, Strongroom.open(config) as there:
        kek = await here.create_kek(KekRef("local", "k"))
        namespace_id = (await here.namespaces.create("a", kek=kek)).namespace_id
        await until(lambda: listeners(here, 2))
        assert await usable(there, namespace_id)
        await rotate_data_key(here.keyring, namespace_id)

        async def took_it_up():
            return (await there.keyring.open(namespace_id)).active_data_key().version == 2

        await until(took_it_up)
        await destroy_data_keys(here.keyring, namespace_id)
        await until(lambda: _not(usable(there, namespace_id)))


async def test_what_was_missed_is_looked_for(config, monkeypatch):
    """A process whose connection for notifications is cut looks again at all keys as soon as it has a new one."""
    monkeypatch.setattr(key_changes, "RELISTEN", 0.5)
    config = replace(config, cache=LATE)
    async with Strongroom.open(config) as here, Strongroom.open(config) as there:
        kek = await here.create_kek(KekRef("local", "k"))
        namespace_id = (await here.namespaces.create("a", kek=kek)).namespace_id
        await until(lambda: listeners(here, 2))
        assert await usable(there, namespace_id)
        async with here.database.connection(EVERY_NAMESPACE) as connection:
            cut = await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ~ '(LISTEN|NOTIFY strongroom_echo)'"
            )
        assert len(cut) >= 2
        await destroy_data_keys(here.keyring, namespace_id)
        await until(lambda: _not(usable(there, namespace_id)))


async def test_a_foreign_notification_does_no_harm(config):
    """Whatever is sent on the channel, keys are looked at again and nothing breaks."""
    async with Strongroom.open(config) as here:
        kek = await here.create_kek(KekRef("local", "k"))
        namespace_id = (await here.namespaces.create("a", kek=kek)).namespace_id
        await until(lambda: listeners(here, 1))
        async with here.database.connection(EVERY_NAMESPACE) as connection:
            for payload in ("", "nonsense", "x" * 7000, str(namespace_id)):
                await connection.execute("SELECT pg_notify($1, $2)", KEY_CHANNEL, payload)
        await asyncio.sleep(0.2)
        assert await usable(here, namespace_id)


def test_the_bound_is_printed(config_path):
    """A tenant with their own KEK reads how soon taking it away stops all use."""
    folder = config_path.parent
    assert run_command(folder, "init").returncode == 0
    done = run_command(folder, "namespace", "create", "a", "--kek", "local:own", "--create-kek")
    assert "revoked KEK stops within 300 s" in done.stdout
