"""Rotation of the data keys that are due by age or by use."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KeyClass,
    RotationPolicy,
    Suite,
    create_data_keys,
    rewrap_data_keys,
    rotate_due_keys,
)
from strongroom.storage import EVERY_NAMESPACE
from tests.support.fixtures.command_line import run_command
from tests.support.registered_keys import FIRST, SECOND, Writer, registered, written
from tests.support.registry import authenticate

pytestmark = pytest.mark.integration


async def test_old_keys_are_rotated_when_due(strongroom):
    """A data key that is older than the policy allows is rotated once by concurrent processes, and younger keys are not."""
    first, second = await registered(strongroom, 2)
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(
            "UPDATE data_keys SET created_at = now() - interval '91 days' WHERE namespace_id = $1", first
        )
    policy = RotationPolicy()
    done = await asyncio.gather(*(rotate_due_keys(strongroom.keyring, policy) for _ in range(3)))
    assert sorted(namespace for each in done for namespace in each.rotated) == [first]
    assert all(not each.failed for each in done)
    versions = {
        namespace: max(
            record.version
            for record in await strongroom.keyring.store.list_data_keys(namespace)
            if record.key_class is KeyClass.DATA
        )
        for namespace in (first, second)
    }
    assert versions == {first: 2, second: 1}
    every_age = RotationPolicy(max_age=timedelta(0))
    assert len((await rotate_due_keys(strongroom.keyring, every_age)).rotated) == 3  # the cell's own key too


async def test_keys_that_sealed_much_are_rotated_when_due(strongroom):
    """A data key that all processes together used as often as the policy allows is rotated."""
    (namespace_id,) = await registered(strongroom, 1)
    policy = RotationPolicy(max_rows=100)  # a node and its branch are one row each
    writers = []
    for _ in range(2):
        async with Strongroom.open(strongroom.config) as process:
            writer = Writer(process, namespace_id)
            await written(writer, 50)
            writers.append(writer)
        done = await rotate_due_keys(strongroom.keyring, policy)
        assert (namespace_id in done.rotated) == (len(writers) == 2)
    assert (await rotate_due_keys(strongroom.keyring, policy)).rotated == []


async def test_suite_1_is_due_before_its_limit(strongroom):
    """An AES-256-GCM key is due at half of its uses, whatever the policy is."""
    await strongroom.create_kek(FIRST)
    namespace_id = uuid4()
    await create_data_keys(strongroom.keyring, namespace_id, FIRST, suite=Suite.AES_256_GCM)
    for leased, due in ((2**29 - 1, False), (2**29, True)):
        async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(
                "UPDATE data_keys SET record_lease = $2 WHERE namespace_id = $1 AND class = 'data'",
                namespace_id,
                leased,
            )
        await authenticate(strongroom)
        done = await rotate_due_keys(strongroom.keyring, RotationPolicy())
        assert (namespace_id in done.rotated) == due


async def test_a_namespace_whose_kms_refuses_stops_no_other(strongroom, config_path):
    """If the KEK of one due namespace is deleted, the namespace is named, the others are rotated, and the exit code is 1."""
    first, second = await registered(strongroom, 2)
    await strongroom.create_kek(SECOND)
    await rewrap_data_keys(strongroom.keyring, FIRST, to=SECOND, namespace_id=first)
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("UPDATE data_keys SET created_at = '2020-01-01T00:00:00Z'")
    await strongroom.keyring.provider("local").delete_kek(SECOND)
    done = await asyncio.to_thread(run_command, config_path.parent, "keys", "rotate", "--due")
    assert done.returncode == 1
    assert "2 data keys rotated" in done.stdout
    assert f"namespace {first}" in done.stdout
    assert str(second) not in done.stdout


@pytest.mark.parametrize("arguments", [(), ("a", "--due"), ("--due", "--suite", "aes-256-gcm")])
def test_rotate_wants_one_thing(config_path, arguments):
    """`keys rotate` needs a namespace or `--due`, not both, and its error says so."""
    done = run_command(config_path.parent, "keys", "rotate", *arguments)
    assert (done.returncode, "--due" in done.stderr) == (2, True)
