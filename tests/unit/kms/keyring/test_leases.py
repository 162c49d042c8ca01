from __future__ import annotations

import asyncio

import pytest

from strongroom.kms import (
    KeyDisabled,
    PartType,
    RecordKind,
    SealingLimitExceeded,
    Suite,
    rotate_data_key,
)

KIND = RecordKind("record", "data", (PartType.INT64,))
TTL = 300.0


def version_of(sealed):
    return int.from_bytes(sealed[4:8], "big")


@pytest.fixture
def small_leases(deployment):
    deployment.lease = {"size": 40, "limit": 100}
    deployment.keyring = deployment.another_process()


def rows(count):
    return [((number,), b"") for number in range(count)]


@pytest.mark.usefixtures("small_leases")
async def test_suite_1_never_seals_more_than_was_leased(deployment):
    """A key of suite 1 seals as many records as were leased, and then refuses to seal."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    sealed = 0
    for _ in range(50):
        keys = await deployment.keyring.open(namespace)
        try:
            sealed += len(keys.seal_many(KIND, rows(7)))
        except SealingLimitExceeded:
            break
        assert sealed <= deployment.store.leased[namespace, 1]
    assert deployment.store.leased[namespace, 1] == 80
    assert sealed == 77
    keys.seal_many(KIND, rows(3))  # the last leased use
    with pytest.raises(SealingLimitExceeded):
        keys.seal(KIND, (1,), b"")


@pytest.mark.usefixtures("small_leases")
async def test_suite_1_still_opens_when_its_uses_are_spent(deployment):
    """A key of suite 1 without uses left still opens rows. After a rotation, its namespace seals again."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    keys = await deployment.keyring.open(namespace)
    sealed = keys.seal_many(KIND, rows(40))
    deployment.store.leased[namespace, 1] = 100
    keys = await deployment.keyring.open(namespace)
    with pytest.raises(SealingLimitExceeded):
        keys.seal(KIND, (1,), b"")
    assert keys.open_many(KIND, list(zip([(n,) for n in range(40)], sealed, strict=True))) == [b""] * 40
    await rotate_data_key(deployment.keyring, namespace)
    assert version_of((await deployment.keyring.open(namespace)).seal(KIND, (1,), b"")) == 2


@pytest.mark.usefixtures("small_leases")
async def test_suite_1_is_never_sealed_by_processes_beyond_the_limit(deployment):
    """All processes together seal no more rows under one key of suite 1 than its limit."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    sealed = 0
    for _ in range(6):
        keys = await deployment.another_process().open(namespace)
        try:
            sealed += len(keys.seal_many(KIND, rows(40)))
        except SealingLimitExceeded:
            continue
    assert sealed == 80


async def test_batch_larger_than_the_lease_seals_nothing(deployment):
    """A batch that exceeds the lease is refused whole, and uses nothing of the lease."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    key = (await deployment.keyring.open(namespace)).active_data_key()
    key._lease.left = 5
    with pytest.raises(SealingLimitExceeded):
        key.seal_groups([(KIND, b"", (), rows(6))])
    assert key._lease.left == 5


async def test_suite_2_takes_no_lease(deployment):
    """A key of suite 2 takes no lease from the registry, because it needs no count."""
    namespace = await deployment.namespace()
    (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"")
    assert deployment.store.leases == 0


async def test_concurrent_opens_take_one_lease(deployment):
    """Concurrent callers of a namespace of suite 1 take one lease, because a key has only 1,024 leases."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    await asyncio.gather(*(deployment.keyring.open(namespace) for _ in range(1000)))
    assert deployment.store.leases == 1


async def test_reload_goes_on_with_the_lease(deployment):
    """Keys that are unwrapped again keep the rest of their lease, so that idle hours do not use up the key."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    for _ in range(10):
        (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"")
        deployment.clock.now += TTL
    assert deployment.store.leases == 1


async def test_refused_version_does_not_use_up_the_active_one(deployment):
    """Repeated requests for a refused version take no leases of the active version."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    await rotate_data_key(deployment.keyring, namespace)
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    for _ in range(1100):  # an hour and a half
        keys = await deployment.keyring.open(namespace)
        deployment.clock.now += 5
    keys.seal(KIND, (1,), b"")
