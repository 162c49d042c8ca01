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
    """A namespace with a sealed row, and what a process can do with it now."""

    def __init__(self, deployment, namespace, sealed):
        self.deployment = deployment
        self.namespace = namespace
        self.sealed = sealed

    async def opens(self):
        """Open the row."""
        return (await self.deployment.keyring.open(self.namespace)).open(KIND, (1,), self.sealed)

    async def seals(self):
        """Seal another one."""
        return (await self.deployment.keyring.open(self.namespace)).seal(KIND, (2,), b"new")

    async def settled(self):
        """Let what goes on in the background end."""
        while tasks := list(self.deployment.keyring._loading.values()):
            await asyncio.wait(tasks)
            await asyncio.sleep(0)

    @property
    def asked(self):
        """How often the KMS was asked to unwrap."""
        return self.deployment.provider.unwraps


@pytest.fixture
async def warm(deployment):
    """A namespace whose keys were unwrapped a moment ago."""
    namespace = await deployment.namespace()
    keys = await deployment.keyring.open(namespace)
    return Opened(deployment, namespace, keys.seal(KIND, (1,), b"text"))


# --- fresh, refreshed, too old


async def test_fresh_keys_ask_nobody(deployment, warm):
    """Until nine tenths of the soft time neither the registry nor the KMS is asked again, however often keys are used."""
    reads = deployment.store.reads
    deployment.clock.now += 0.89 * SOFT
    for _ in range(100):
        await warm.seals()
    await warm.settled()
    assert (warm.asked, deployment.store.reads) == (1, reads)


async def test_soft_ttl_refreshes_in_the_background(deployment, warm):
    """After the soft time a use is served at once, and one refresh runs behind it, however many uses there are."""
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
    """A namespace in constant use is unwrapped again after each soft time, as one that is used now and then."""
    for _ in range(100):
        deployment.clock.now += 15
        await warm.seals()
        await warm.settled()
    assert 1 + 1500 // SOFT <= warm.asked <= 2 + 1500 // (0.9 * SOFT)


async def test_idle_keys_past_the_hard_time_are_unwrapped_before_use(deployment, warm):
    """Keys that nobody used past the encrypt time are unwrapped again before they seal or open anything."""
    deployment.clock.now += ENCRYPT
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    with pytest.raises(KeyDisabled):
        await warm.opens()
    with pytest.raises(KeyDisabled):
        await warm.seals()


async def test_refreshes_are_bounded(deployment):
    """However many namespaces are due at the same moment, so many are refreshed at a time, and all are in the end."""
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


async def test_number_of_namespaces_is_bounded(deployment):
    """The cache holds as many namespaces as configured, and drops the one that was used longest ago."""
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


# --- how old they are, for telemetry


class Looks:
    """Notes how keys were found."""

    def __init__(self):
        self.results = []

    def looked_up(self, result):
        """Note it."""
        self.results.append(result)


async def test_ages_are_of_keys_in_use(deployment):
    """Keys that nobody used within the soft time have no age, however old they are; those in use do, above all in an outage.

    Idle keys are never unwrapped again: if they counted, each namespace that fell silent would look like a KMS that is away.
    """
    looks = Looks()
    ring = deployment.another_process(watch=looks)
    used, idle = [await deployment.namespace() for _ in range(2)]
    assert ring.ages() == []
    await ring.open(used)
    await ring.open(idle)
    deployment.clock.now += 0.5 * SOFT
    assert ring.ages() == [0.5 * SOFT] * 2
    for _ in range(int(ENCRYPT // SOFT) * 4):  # the KMS answers: keys in use are refreshed
        deployment.clock.now += 0.5 * SOFT
        await ring.open(used)
        while tasks := list(ring._loading.values()):
            await asyncio.wait(tasks)
            await asyncio.sleep(0)
        assert len(ring.ages()) == (1 if deployment.clock.now - 1000.0 >= SOFT else 2)
        assert max(ring.ages()) < SOFT
    assert len(ring._cache) == 2
    assert deployment.clock.now - ring._cache[idle].age.unwrapped_at > ENCRYPT  # the control: it is kept, and old
    deployment.provider.error = KmsUnavailable()
    for _ in range(int(ENCRYPT // 100)):
        deployment.clock.now += 100
        await ring.open(used)
    assert max(ring.ages()) >= ENCRYPT
    deployment.clock.now += SOFT
    assert ring.ages() == []
    assert looks.results[:2] == ["miss", "miss"]
    assert set(looks.results[2:]) == {"hit", "aged"}


# --- the KMS is away


@pytest.mark.parametrize("error", AWAY)
async def test_outage_is_served_to_the_hard_times(deployment, warm, error):
    """While the KMS is away, warm keys seal to the encrypt time and open to the decrypt time; then all is refused, and heals."""
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
    assert await warm.opens() == b"text"
    await warm.seals()


async def test_outage_extends_nothing(deployment, warm):
    """However often a KMS that is away is asked, and whenever, the hard times count from the last time that it gave the keys."""
    deployment.provider.error = KmsUnavailable()
    for step in (SOFT, 100, 400, 2000, DECRYPT - SOFT - 2500 - 0.1):
        deployment.clock.now += step
        await warm.opens()
        await warm.settled()
    deployment.clock.now += 0.1
    with pytest.raises(KmsUnavailable):
        await warm.opens()


async def test_outage_is_asked_about_once_a_second(deployment, warm):
    """A KMS that is away is asked at most once a second for a namespace, whatever the load."""
    deployment.provider.error = KmsUnavailable()
    deployment.clock.now += SOFT
    for _ in range(100):
        for _ in range(10):
            await warm.opens()
            await warm.settled()
        deployment.clock.now += 0.1
    assert 8 <= warm.asked - 1 <= 11


async def test_cold_namespace_fails_at_once_in_an_outage(deployment, warm):
    """What a process has not unwrapped yet fails with the KMS's error, and is there with its first answer."""
    cold = await deployment.namespace()
    deployment.provider.error = KmsUnavailable()
    with pytest.raises(KmsUnavailable):
        await deployment.keyring.open(cold)
    assert await warm.opens() == b"text"
    deployment.provider.error = None
    await deployment.keyring.open(cold)


async def test_recovery_needs_no_restart(deployment, warm):
    """The first answer after an outage starts a new count: keys seal again and are fresh."""
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


# --- the KMS refuses


@pytest.mark.parametrize("error", REFUSED)
async def test_refusal_stops_at_once(deployment, warm, error):
    """The first answer that refuses a key ends its use, however young it is; a caller that asked before it came is served."""
    deployment.provider.errors_by_version["data", 1] = error()
    deployment.clock.now += SOFT
    assert await warm.opens() == b"text"
    await warm.settled()
    for use in (warm.opens, warm.seals):
        with pytest.raises(error):
            await use()


async def test_refused_key_comes_back(deployment, warm):
    """A key that was refused is asked for again after five seconds, and serves as soon as it is given back."""
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
    """A KMS that refused a version and is then away leaves it refused; other versions serve to their hard times."""
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
    """When the registry says something new and the KMS can't be asked about it, the old keys are not used any more."""
    other = deployment.another_process()
    await rotate_data_key(other, warm.namespace)
    deployment.provider.error = KmsUnavailable()
    deployment.clock.now += SOFT
    assert await warm.opens() == b"text"  # nobody has asked yet
    await warm.settled()
    with pytest.raises(KmsUnavailable):
        await warm.opens()
    deployment.provider.error = None
    assert await warm.opens() == b"text"


async def test_shredding_elsewhere_ends_use_with_the_next_look(deployment, warm):
    """Keys that another process destroyed are gone here with the next look at the registry, an outage of the KMS or not."""
    await destroy_data_keys(deployment.another_process(), warm.namespace)
    deployment.provider.error = KmsUnavailable()
    deployment.clock.now += SOFT
    await warm.opens()
    await warm.settled()
    with pytest.raises(KeyDestroyed):
        await warm.opens()


async def test_registry_that_is_away_ends_use_at_the_encrypt_time(deployment, warm):
    """No process uses keys for longer than the encrypt time without having read the registry: rotations wait for that."""
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
    """While only the KMS is away, each look at the registry counts, and keys open for longer than the encrypt time."""
    deployment.provider.error = KmsUnavailable()
    for _ in range(int(DECRYPT) // 60 - 1):
        deployment.clock.now += 60
        assert await warm.opens() == b"text"
        await warm.settled()


async def test_disabled_in_the_registry_counts_in_an_outage(deployment, warm):
    """A key that is disabled in the registry is refused with the next look, whether its KMS answers or not."""
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
    """After notifications may have been missed, each namespace is looked at again at its next use, and served meanwhile."""
    await destroy_data_keys(deployment.another_process(), warm.namespace)
    deployment.keyring.doubt()
    await warm.opens()
    await warm.settled()
    with pytest.raises(KeyDestroyed):
        await warm.opens()


# --- the rest


async def test_uses_of_suite_2_are_reported(deployment, warm):
    """What keys of suite 2 sealed is written to the registry with each refresh and at the end; nothing is written twice."""
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
    """A closed keyring keeps no key."""
    await deployment.keyring.aclose()
    assert not deployment.keyring._cache
    assert await warm.opens() == b"text"  # it was read again
    assert warm.asked == 2


@pytest.mark.parametrize("times", [(0, 1, 2), (2, 1, 3), (1, 3, 2), (-1, 1, 2)])
def test_times_out_of_order_are_refused(times):
    """Times that contradict one another are an error, with their names."""
    soft, encrypt, decrypt = times
    with pytest.raises(InvalidRequest, match="soft_ttl"):
        CachePolicy(soft_ttl=soft, encrypt_ttl=encrypt, decrypt_ttl=decrypt)


async def test_the_rules_once_in_real_time(deployment):
    """The same on a real clock: soft refresh, outage to both hard times, recovery, and a refusal that stops at once."""
    policy = CachePolicy(soft_ttl=0.1, encrypt_ttl=0.3, decrypt_ttl=0.9, failure_ttl=0.1, retry_pause=0.02)
    loop = asyncio.get_running_loop()
    deployment.keyring = deployment.another_process(policy=policy, clock=loop.time)
    namespace = await deployment.namespace()
    began = loop.time()
    keys = await deployment.keyring.open(namespace)
    warm = Opened(deployment, namespace, keys.seal(KIND, (1,), b"text"))
    await asyncio.sleep(0.12)
    refreshed = loop.time()
    await warm.opens()
    await warm.settled()
    assert warm.asked == 2
    deployment.provider.error = KmsUnavailable()
    sealed = opened = began
    while loop.time() < refreshed + 1.5:
        try:
            await warm.opens()
            opened = loop.time()
            await warm.seals()
            sealed = loop.time()
        except KmsUnavailable:
            pass
        await asyncio.sleep(0.01)
    assert refreshed < sealed < opened
    assert sealed < refreshed + 0.3 + 0.3  # and what a busy machine adds
    assert opened < refreshed + 0.9 + 0.3
    deployment.provider.error = None
    await asyncio.sleep(0.03)
    await warm.seals()
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    await asyncio.sleep(0.12)
    await warm.opens()
    await warm.settled()
    with pytest.raises(KeyDisabled):
        await warm.seals()
    deployment.provider.errors_by_version.clear()
    await asyncio.sleep(0.15)
    await warm.seals()
