from __future__ import annotations

import asyncio

import pytest

from strongroom.kms import (
    AccessDenied,
    CachePolicy,
    InvalidRequest,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyState,
    KmsTimeout,
    KmsUnavailable,
    PartType,
    RecordKind,
    StrongroomError,
    Throttled,
    destroy_data_keys,
    rotate_data_key,
)

KIND = RecordKind("record", "data", (PartType.INT64,))
POLICY = CachePolicy()
SOFT, ENCRYPT, DECRYPT = POLICY.soft_ttl, POLICY.encrypt_ttl, POLICY.decrypt_ttl
AWAY = [KmsUnavailable, Throttled, KmsTimeout]
REFUSED = [KeyDisabled, AccessDenied, KeyDestroyed, KeyNotFound]


class Opened:
    """A namespace with a sealed row, and the operations of a process on it."""

    def __init__(self, deployment, namespace, sealed):
        self.deployment = deployment
        self.namespace = namespace
        self.sealed = sealed

    async def opens(self):
        """Open the row."""
        return (await self.deployment.keyring.open(self.namespace)).open(KIND, (1,), self.sealed)

    async def seals(self):
        """Seal another row."""
        return (await self.deployment.keyring.open(self.namespace)).seal(KIND, (2,), b"new")

    async def settled(self):
        """Wait until background tasks have ended."""
        while tasks := list(self.deployment.keyring._loading.values()):
            await asyncio.wait(tasks)
            await asyncio.sleep(0)

    @property
    def asked(self):
        """Return the number of calls that unwrapped keys."""
        return self.deployment.provider.unwraps


@pytest.fixture
async def warm(deployment):
    """Return a namespace whose keys were unwrapped a moment ago."""
    namespace = await deployment.namespace()
    keys = await deployment.keyring.open(namespace)
    return Opened(deployment, namespace, keys.seal(KIND, (1,), b"text"))


# --- ages of keys


async def test_fresh_keys_ask_nobody(deployment, warm):
    """Until nine tenths of the soft TTL, uses of a key call neither the registry nor the KMS."""
    reads = deployment.store.reads
    deployment.clock.now += 0.89 * SOFT
    for _ in range(100):
        await warm.seals()
    await warm.settled()
    assert (warm.asked, deployment.store.reads) == (1, reads)


async def test_soft_ttl_refreshes_in_the_background(deployment, warm):
    """After the soft TTL, each use is served at once, and all uses together start one background refresh."""
    deployment.clock.now += SOFT
    deployment.provider.gate = asyncio.Event()
    for _ in range(100):
        assert await warm.opens() == b"text"
    assert warm.deployment.keyring._loading
    deployment.provider.gate.set()
    await warm.settled()
    assert warm.asked == 2
    deployment.clock.now += 0.89 * SOFT
    await warm.seals()
    await warm.settled()
    assert warm.asked == 2


async def test_use_does_not_extend(deployment, warm):
    """Keys in constant use are unwrapped again after each soft TTL, as are keys in occasional use."""
    for _ in range(100):
        deployment.clock.now += 15
        await warm.seals()
        await warm.settled()
    assert 1 + 1500 // SOFT <= warm.asked <= 2 + 1500 // (0.9 * SOFT)


async def test_idle_keys_past_the_hard_time_are_unwrapped_before_use(deployment, warm):
    """Keys that were idle for longer than the encrypt TTL are unwrapped again before they are used."""
    deployment.clock.now += ENCRYPT
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    with pytest.raises(KeyDisabled):
        await warm.opens()
    with pytest.raises(KeyDisabled):
        await warm.seals()


async def test_refreshes_are_bounded(deployment):
    """If many namespaces are due at once, a limited number is refreshed at a time, and all are refreshed in the end."""
    ring = deployment.keyring = deployment.another_process(policy=CachePolicy(refreshes=3))
    namespaces = [await deployment.namespace() for _ in range(20)]
    for namespace in namespaces:
        await ring.open(namespace)
    before, running, most = deployment.provider.unwraps, 0, 0
    inner = deployment.provider.unwrap_many

    async def watched(items):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        try:
            return await inner(items)
        finally:
            running -= 1

    deployment.provider.unwrap_many = watched
    deployment.clock.now += SOFT
    for namespace in namespaces:
        await ring.open(namespace)
    await Opened(deployment, None, None).settled()
    assert deployment.provider.unwraps == before + 20
    assert most == 3


async def test_namespaces_that_were_loaded_together_are_not_due_together(deployment):
    """No tenth of the soft TTL has a third of the refreshes of 600 namespaces in constant use. The control: a small cell."""
    for count, spread in ((600, True), (60, False)):
        ring = deployment.keyring = deployment.another_process()
        namespaces = [await deployment.namespace() for _ in range(count)]
        for namespace in namespaces:
            await ring.open(namespace)
        asked = []
        for _ in range(10):
            before = deployment.provider.unwraps
            deployment.clock.now += SOFT / 10
            for namespace in namespaces:
                await ring.open(namespace)
            await Opened(deployment, None, None).settled()
            asked.append(deployment.provider.unwraps - before)
        assert (max(asked) < count / 3) is spread
        assert sum(asked) >= count


async def test_number_of_namespaces_is_bounded(deployment):
    """The cache holds the configured number of namespaces, and evicts the least recently used one."""
    ring = deployment.another_process(policy=CachePolicy(max_namespaces=2))
    first, second, third = [await deployment.namespace() for _ in range(3)]
    for namespace in (first, second, first, third):
        await ring.open(namespace)
    assert deployment.provider.unwraps == 3
    assert len(ring._cache) == 2
    await ring.open(first)
    await ring.open(third)
    assert deployment.provider.unwraps == 3
    await ring.open(second)
    assert deployment.provider.unwraps == 4


# --- reported ages


class Looks:
    """A telemetry that keeps the outcome of each cache lookup."""

    def __init__(self):
        self.results = []

    def looked_up(self, result):
        """Append the outcome of a lookup."""
        self.results.append(result)


async def test_ages_are_of_keys_in_use(deployment):
    """Keys that were used within the soft TTL have a reported age, in an outage too. Idle keys have none.

    Idle keys are not unwrapped again. If they had an age, each idle namespace would look like an outage of the KMS.
    """
    looks = Looks()
    ring = deployment.another_process(watch=looks)
    used, idle = [await deployment.namespace() for _ in range(2)]
    assert ring.ages() == []
    await ring.open(used)
    await ring.open(idle)
    deployment.clock.now += 0.5 * SOFT
    assert ring.ages() == [0.5 * SOFT] * 2
    for _ in range(int(ENCRYPT // SOFT) * 4):  # the KMS is up, so keys in use are refreshed
        deployment.clock.now += 0.5 * SOFT
        await ring.open(used)
        while tasks := list(ring._loading.values()):
            await asyncio.wait(tasks)
            await asyncio.sleep(0)
        assert len(ring.ages()) == (1 if deployment.clock.now - 1000.0 >= SOFT else 2)
        assert max(ring.ages()) < SOFT
    assert len(ring._cache) == 2
    assert (
        deployment.clock.now - ring._cache[idle].age.unwrapped_at > ENCRYPT
    )  # the control: the idle key is cached, and old
    deployment.provider.error = KmsUnavailable()
    for _ in range(int(ENCRYPT // 100)):
        deployment.clock.now += 100
        await ring.open(used)
    assert max(ring.ages()) >= ENCRYPT
    deployment.clock.now += SOFT
    assert ring.ages() == []
    assert looks.results[:2] == ["miss", "miss"]
    assert set(looks.results[2:]) == {"hit", "aged"}


# --- outages of the KMS


@pytest.mark.parametrize("error", AWAY)
async def test_outage_is_served_to_the_hard_times(deployment, warm, error):
    """During an outage, warm keys seal until the encrypt TTL and open until the decrypt TTL. After it, they work again."""
    deployment.provider.error = error()
    for _ in range(int(ENCRYPT) // 10):
        assert await warm.opens() == b"text"
        await warm.seals()
        await warm.settled()
        deployment.clock.now += 10
    for _ in range(int(DECRYPT - ENCRYPT) // 10):
        assert await warm.opens() == b"text"
        with pytest.raises(error):
            await warm.seals()
        await warm.settled()
        deployment.clock.now += 10
    for _ in range(3):
        with pytest.raises(error):
            await warm.opens()
    deployment.provider.error = None
    deployment.clock.now += POLICY.failure_ttl
    assert await warm.opens() == b"text"
    await warm.seals()


async def test_outage_extends_nothing(deployment, warm):
    """Failed calls of the KMS extend no TTL: the hard TTLs count from the last successful unwrap."""
    deployment.provider.error = KmsUnavailable()
    for step in (SOFT, 100, 400, 2000, DECRYPT - SOFT - 2500 - 0.1):
        deployment.clock.now += step
        await warm.opens()
        await warm.settled()
    deployment.clock.now += 0.1
    with pytest.raises(KmsUnavailable):
        await warm.opens()


async def test_outage_is_asked_about_once_a_second(deployment, warm):
    """During an outage, the KMS is called at most once a second for a namespace, whatever the load."""
    deployment.provider.error = KmsUnavailable()
    deployment.clock.now += SOFT
    for _ in range(100):
        for _ in range(10):
            await warm.opens()
            await warm.settled()
        deployment.clock.now += 0.1
    assert 8 <= warm.asked - 1 <= 11


async def test_cold_namespace_fails_at_once_in_an_outage(deployment, warm):
    """A namespace that is not cached fails with the KMS's error, and works after the first successful call."""
    cold = await deployment.namespace()
    deployment.provider.error = KmsUnavailable()
    with pytest.raises(KmsUnavailable):
        await deployment.keyring.open(cold)
    assert await warm.opens() == b"text"
    deployment.provider.error = None
    deployment.clock.now += 1
    await deployment.keyring.open(cold)


async def test_recovery_needs_no_restart(deployment, warm):
    """The first successful call after an outage restarts the TTLs, so that keys seal again."""
    deployment.provider.error = KmsTimeout()
    deployment.clock.now += ENCRYPT + 10
    with pytest.raises(KmsTimeout):
        await warm.seals()
    deployment.provider.error = None
    deployment.clock.now += 1
    await warm.seals()
    asked = warm.asked
    deployment.clock.now += 0.89 * SOFT
    await warm.seals()
    await warm.settled()
    assert warm.asked == asked


# --- refusals by the KMS


@pytest.mark.parametrize("error", REFUSED)
async def test_refusal_stops_at_once(deployment, warm, error):
    """A refusal by the KMS ends the use of a key at once, whatever its age. A use that began before it is served."""
    deployment.provider.errors_by_version["data", 1] = error()
    deployment.clock.now += SOFT
    assert await warm.opens() == b"text"
    await warm.settled()
    for use in (warm.opens, warm.seals):
        with pytest.raises(error):
            await use()


async def test_refused_key_comes_back(deployment, warm):
    """A refused key is requested again after five seconds, and works as soon as the KMS allows it."""
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    deployment.clock.now += SOFT
    await warm.opens()
    await warm.settled()
    deployment.provider.errors_by_version.clear()
    deployment.clock.now += 4.9
    with pytest.raises(KeyDisabled):
        await warm.opens()
    deployment.clock.now += 0.1
    assert await warm.opens() == b"text"
    await warm.seals()


async def test_outage_after_a_refusal_gives_nothing_back(deployment, warm):
    """An outage after a refusal leaves the version refused. Other versions work until their hard TTLs."""
    await rotate_data_key(deployment.keyring, warm.namespace)
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    new = await warm.seals()
    deployment.provider.error = KmsUnavailable()
    for _ in range(20):
        deployment.clock.now += 10
        with pytest.raises(KeyDisabled):
            await warm.opens()
        keys = await deployment.keyring.open(warm.namespace)
        assert keys.open(KIND, (2,), new) == b"new"
        await warm.settled()


# --- the registry


async def test_change_of_the_registry_in_an_outage_fails_closed(deployment, warm):
    """If the registry has changed and the KMS is down, the old keys are not used any more."""
    other = deployment.another_process()
    await rotate_data_key(other, warm.namespace)
    deployment.provider.error = KmsUnavailable()
    deployment.clock.now += SOFT
    assert await warm.opens() == b"text"  # no lookup has happened yet
    await warm.settled()
    with pytest.raises(KmsUnavailable):
        await warm.opens()
    deployment.provider.error = None
    deployment.clock.now += 2
    assert await warm.opens() == b"text"


async def test_shredding_elsewhere_ends_use_with_the_next_look(deployment, warm):
    """Keys that another process destroyed are unusable after the next read of the registry, in an outage too."""
    await destroy_data_keys(deployment.another_process(), warm.namespace)
    deployment.provider.error = KmsUnavailable()
    deployment.clock.now += SOFT
    await warm.opens()
    await warm.settled()
    with pytest.raises(KeyDestroyed):
        await warm.opens()


async def test_registry_that_is_away_ends_use_at_the_encrypt_time(deployment, warm):
    """Keys are used for at most the encrypt TTL without a read of the registry. Rotations rely on that."""
    deployment.store.error = StrongroomError("the database is away")
    deployment.clock.now += ENCRYPT - 0.1
    assert await warm.opens() == b"text"
    await warm.settled()
    deployment.clock.now += 0.1
    with pytest.raises(StrongroomError, match="away"):
        await warm.opens()
    deployment.store.error = None
    deployment.clock.now += 1
    assert await warm.opens() == b"text"


async def test_registry_that_answers_confirms_what_the_kms_gave(deployment, warm):
    """While only the KMS is down, reads of the registry confirm keys, which then open for longer than the encrypt TTL."""
    deployment.provider.error = KmsUnavailable()
    for _ in range(int(DECRYPT) // 60 - 1):
        deployment.clock.now += 60
        assert await warm.opens() == b"text"
        await warm.settled()


async def test_disabled_in_the_registry_counts_in_an_outage(deployment, warm):
    """A key that is disabled in the registry is refused after the next read, also during an outage of the KMS."""
    for key_class in list(deployment.store.records):
        record = deployment.store.records[key_class]
        deployment.store.change(record.namespace_id, record.version, record.key_class, state=KeyState.DISABLED)
    deployment.provider.error = KmsUnavailable()
    deployment.clock.now += SOFT
    await warm.opens()
    await warm.settled()
    with pytest.raises(KeyDisabled):
        await warm.opens()


async def test_doubt_looks_again_at_the_next_use(deployment, warm):
    """If notifications may have been lost, each namespace is checked at its next use, and is served meanwhile."""
    await destroy_data_keys(deployment.another_process(), warm.namespace)
    deployment.keyring.doubt()
    await warm.opens()
    await warm.settled()
    with pytest.raises(KeyDestroyed):
        await warm.opens()


@pytest.mark.parametrize("age", [1, SOFT], ids=["unchanged keys", "keys that are due"])
async def test_doubt_during_a_load_counts(deployment, warm, monkeypatch, age):
    """If notifications are lost after a load has read the registry, the keys are checked at their next use, not a soft TTL later."""
    read, has_read, gate = deployment.store.list_data_keys, asyncio.Event(), asyncio.Event()

    async def slow(namespace):
        records = await read(namespace)
        has_read.set()
        await gate.wait()
        return records

    monkeypatch.setattr(deployment.store, "list_data_keys", slow)
    deployment.clock.now += age
    deployment.keyring.doubt()
    await warm.opens()
    await has_read.wait()
    monkeypatch.undo()
    await destroy_data_keys(deployment.another_process(), warm.namespace)
    deployment.clock.now += 1
    deployment.keyring.doubt()
    gate.set()
    await warm.settled()
    await warm.opens()
    await warm.settled()
    with pytest.raises(KeyDestroyed):
        await warm.opens()


async def test_doubt_about_unchanged_keys_asks_no_kms(deployment, warm):
    """A lost connection costs a read of the registry for each namespace, and no KMS call. The KMS is asked when it was due before."""
    reads = deployment.store.reads
    deployment.clock.now += 0.5 * SOFT
    deployment.keyring.doubt()
    for _ in range(3):
        await warm.seals()
        await warm.settled()
    assert (warm.asked, deployment.store.reads) == (1, reads + 1)
    deployment.clock.now += 0.5 * SOFT
    await warm.seals()
    await warm.settled()
    assert warm.asked == 2


# --- use counts, closing, configuration


async def test_uses_of_suite_2_are_reported(deployment, warm):
    """Uses of keys of suite 2 are written to the registry with each refresh and on close, and no use twice."""
    await warm.seals()
    deployment.clock.now += SOFT
    await warm.opens()
    await warm.settled()
    assert deployment.store.leased[warm.namespace, 1] == 2
    await warm.seals()
    await deployment.keyring.aclose()
    await deployment.keyring.aclose()
    assert deployment.store.leased[warm.namespace, 1] == 3


async def test_close_forgets_keys(deployment, warm):
    """A closed keyring holds no key."""
    await deployment.keyring.aclose()
    assert not deployment.keyring._cache
    assert await warm.opens() == b"text"  # the keys were read again
    assert warm.asked == 2


@pytest.mark.parametrize("times", [(0, 1, 2), (2, 1, 3), (1, 3, 2), (-1, 1, 2)])
def test_times_out_of_order_are_refused(times):
    """TTLs that contradict each other raise an error that names them."""
    soft, encrypt, decrypt = times
    with pytest.raises(InvalidRequest, match="soft_ttl"):
        CachePolicy(soft_ttl=soft, encrypt_ttl=encrypt, decrypt_ttl=decrypt)
