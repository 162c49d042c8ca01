from __future__ import annotations

import asyncio

import pytest

from strongroom.kms import (
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyClass,
    KeyConflict,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyState,
    KmsTimeout,
    KmsUnavailable,
    PartType,
    RecordKind,
    Suite,
    Throttled,
    UnsupportedOperation,
    create_data_keys,
    destroy_data_keys,
    refuse_rotation,
    rotate_data_key,
)

KIND = RecordKind("record", "data", (PartType.INT64,))
TTL = 300.0


def version_of(sealed):
    return int.from_bytes(sealed[4:8], "big")


# --- concurrent callers share one call


async def test_thousand_concurrent_opens_make_one_kms_call(deployment):
    """A thousand callers that wait for one namespace cause one read of the registry and one KMS call."""
    namespace = await deployment.namespace()
    reads = deployment.store.reads
    opened = await asyncio.gather(*(deployment.keyring.open(namespace) for _ in range(1000)))
    assert deployment.provider.unwraps == 1
    assert deployment.store.reads == reads + 1
    assert len({id(keys) for keys in opened}) == 1


async def test_namespaces_are_not_mixed_up_by_concurrent_opens(deployment):
    """Concurrent callers each get the keys of the namespace that they requested."""
    namespaces = [await deployment.namespace() for _ in range(10)]
    wanted = namespaces * 20
    opened = await asyncio.gather(*(deployment.keyring.open(namespace) for namespace in wanted))
    assert [keys.namespace_id for keys in opened] == wanted
    assert deployment.provider.unwraps == len(namespaces)


async def held_load(deployment, namespace):
    """Return a task that opens a namespace. The KMS is unwrapping its keys, and waits until the test lets it answer."""
    deployment.provider.gate = asyncio.Event()
    waiter = asyncio.create_task(deployment.keyring.open(namespace))
    await deployment.provider.called.wait()
    return waiter


async def test_cancelled_waiter_does_not_cancel_others(deployment):
    """A cancelled caller, even the first, does not cancel other callers that wait for the same keys."""
    namespace = await deployment.namespace()
    deployment.provider.gate = asyncio.Event()
    first, second, third = (asyncio.create_task(deployment.keyring.open(namespace)) for _ in range(3))
    await deployment.provider.called.wait()
    first.cancel()
    third.cancel()
    await asyncio.sleep(0)
    deployment.provider.gate.set()
    keys = await second
    assert keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"
    assert first.cancelled()
    assert third.cancelled()
    assert deployment.provider.unwraps == 1


async def test_keys_arrive_though_all_waiters_left(deployment):
    """If every waiting caller is cancelled, the keys are still cached for the next caller."""
    namespace = await deployment.namespace()
    waiter = await held_load(deployment, namespace)
    waiter.cancel()
    deployment.provider.gate.set()
    await deployment.keyring.open(namespace)
    await deployment.keyring.open(namespace)
    assert deployment.provider.unwraps == 1


async def test_evicted_while_loading_is_not_kept(deployment):
    """Keys whose namespace is evicted while they load are not cached, because they may be outdated."""
    namespace = await deployment.namespace()
    waiter = await held_load(deployment, namespace)
    deployment.keyring.evict(namespace)
    deployment.provider.gate.set()
    await waiter
    await deployment.keyring.open(namespace)
    assert deployment.provider.unwraps == 2


async def test_no_load_outlives_the_keyring(deployment):
    """A load goes on when its namespace is evicted. It ends with the keyring, because it would call a provider that is closed."""
    namespace = await deployment.namespace()
    waiter = await held_load(deployment, namespace)
    deployment.keyring.evict(namespace)
    await deployment.keyring.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiter


# --- failures


@pytest.mark.parametrize("error", [KmsUnavailable, Throttled, KmsTimeout])
async def test_retryable_failure_is_forgotten_after_a_second(deployment, error):
    """An outage or timeout fails the callers of one second. The next call asks the KMS again."""
    namespace = await deployment.namespace()
    await deployment.fails_once(namespace, error())
    deployment.clock.now += 1
    await deployment.keyring.open(namespace)
    assert deployment.provider.unwraps == 2


async def test_retryable_failure_of_one_version_is_forgotten_after_a_second(deployment):
    """A retryable failure of one version is tried again, even if the KMS returns the other versions."""
    namespace = await deployment.namespace()
    deployment.provider.errors_by_version["data", 1] = Throttled()
    with pytest.raises(Throttled):
        await deployment.keyring.open(namespace)
    deployment.provider.errors_by_version.clear()
    deployment.clock.now += 1
    keys = await deployment.keyring.open(namespace)
    assert keys.active_data_key().version == 1


async def test_permanent_failure_is_retried_after_five_seconds(deployment):
    """A refusal is cached for five seconds and then requested again, so that an enabled KEK works soon."""
    namespace = await deployment.namespace()
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    keys = await deployment.keyring.open(namespace)
    with pytest.raises(KeyDisabled):
        keys.seal(KIND, (1,), b"text")
    deployment.provider.errors_by_version.clear()
    deployment.clock.now += 4.9
    with pytest.raises(KeyDisabled):
        (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"text")
    assert deployment.provider.unwraps == 1
    deployment.clock.now += 0.1
    (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"text")
    assert deployment.provider.unwraps == 2


async def test_one_failed_version_leaves_the_others(deployment):
    """A version that the KMS refuses fails only its own rows. Rows of other versions open, and new rows are sealed."""
    namespace = await deployment.namespace()
    old = (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"old")
    await rotate_data_key(deployment.keyring, namespace)
    deployment.provider.errors_by_version["data", 1] = KeyDisabled()
    keys = await deployment.keyring.open(namespace)
    with pytest.raises(KeyDisabled):
        keys.open(KIND, (1,), old)
    assert keys.open(KIND, (2,), keys.seal(KIND, (2,), b"new")) == b"new"


async def test_unknown_namespace_is_not_found_until_it_is_made(deployment):
    """A namespace without keys raises KeyNotFound, and works as soon as it has keys."""
    namespace = await deployment.namespace()
    del deployment.store.records[namespace, KeyClass.DATA, 1]
    for key_class in (KeyClass.INDEX, KeyClass.IDENTITY):
        del deployment.store.records[namespace, key_class, 1]
    with pytest.raises(KeyNotFound):
        await deployment.keyring.open(namespace)
    await create_data_keys(deployment.keyring, namespace, deployment.kek)
    await deployment.keyring.open(namespace)


async def test_unknown_provider_fails_its_versions_only(deployment):
    """A version whose provider is not configured raises KeyNotFound. The other versions work."""
    namespace = await deployment.namespace()
    old = (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"old")
    await rotate_data_key(deployment.keyring, namespace)
    deployment.store.change(namespace, 1, provider="elsewhere")
    keys = await deployment.keyring.open(namespace)
    with pytest.raises(KeyNotFound):
        keys.open(KIND, (1,), old)
    keys.seal(KIND, (2,), b"new")


# --- commitments


async def test_wrong_commitment_fails_at_use(deployment):
    """A root that does not match its commitment raises IntegrityError when it is used. Other versions still open."""
    namespace = await deployment.namespace()
    old = (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"old")
    await rotate_data_key(deployment.keyring, namespace)
    before = await deployment.keyring.open(namespace)
    new = before.seal(KIND, (2,), b"new")
    record = deployment.store.get(namespace, 2)
    deployment.store.change(namespace, 2, commitment=bytes(31) + bytes((record.commitment[31] ^ 1,)))
    deployment.keyring.evict(namespace)
    keys = await deployment.keyring.open(namespace)
    with pytest.raises(IntegrityError):
        keys.open(KIND, (2,), new)
    with pytest.raises(IntegrityError):
        keys.seal(KIND, (2,), b"new")
    assert keys.open(KIND, (1,), old) == b"old"


@pytest.mark.parametrize("change", [{"suite": Suite.AES_256_GCM}, {"commitment": b""}])
async def test_commitment_covers_the_registry_row(deployment, change):
    """A row with an altered suite or an empty commitment gives no key."""
    namespace = await deployment.namespace()
    deployment.store.change(namespace, **change)
    keys = await deployment.keyring.open(namespace)
    with pytest.raises(IntegrityError):
        keys.seal(KIND, (1,), b"text")


@pytest.mark.parametrize("with_commitment", [False, True], ids=["wrapped", "wrapped-and-commitment"])
async def test_keys_swapped_between_namespaces_are_refused(deployment, with_commitment):
    """A wrapped key that was copied to another namespace's row is refused, with or without its commitment."""
    first, second = [await deployment.namespace() for _ in range(2)]
    donor = deployment.store.get(first)
    stolen = {"wrapped": donor.wrapped} | ({"commitment": donor.commitment} if with_commitment else {})
    deployment.store.change(second, **stolen)
    keys = await deployment.keyring.open(second)
    with pytest.raises(IntegrityError):
        keys.seal(KIND, (1,), b"text")


async def test_keys_swapped_between_versions_are_refused(deployment):
    """Two versions whose wrapped keys and commitments were exchanged both fail."""
    namespace = await deployment.namespace()
    await rotate_data_key(deployment.keyring, namespace)
    first, second = (deployment.store.get(namespace, version) for version in (1, 2))
    deployment.store.change(namespace, 1, wrapped=second.wrapped, commitment=second.commitment)
    deployment.store.change(namespace, 2, wrapped=first.wrapped, commitment=first.commitment)
    roots = await deployment.keyring.unwrap([deployment.store.get(namespace, version) for version in (1, 2)])
    assert [type(root) for root in roots] == [IntegrityError, IntegrityError]


async def test_keys_swapped_between_classes_are_refused(deployment):
    """The identity key does not work in place of the index key."""
    namespace = await deployment.namespace()
    donor = deployment.store.get(namespace, 1, KeyClass.IDENTITY)
    deployment.store.change(namespace, 1, KeyClass.INDEX, wrapped=donor.wrapped, commitment=donor.commitment)
    keys = await deployment.keyring.open(namespace)
    keys.identity("workflow_id")
    with pytest.raises(IntegrityError):
        keys.index("CustomerId", epoch=1)


async def test_commitment_alone_refuses_a_swap(deployment):
    """If the provider does not bind the context, the commitment still refuses a swapped key."""
    first, second = [await deployment.namespace() for _ in range(2)]
    wrapped_of = {}
    for namespace in (first, second):
        record = deployment.store.get(namespace)
        (root,) = await deployment.keyring.unwrap([record])
        wrapped_of[namespace] = (await deployment.local.wrap(deployment.kek, root, context={})).ciphertext

    unwrap_many = deployment.local.unwrap_many
    deployment.provider.provider = type(
        "Forgetful", (), {"unwrap_many": staticmethod(lambda items: unwrap_many([(w, {}) for w, _ in items]))}
    )
    deployment.store.change(first, wrapped=wrapped_of[first])
    deployment.store.change(second, wrapped=wrapped_of[first])
    own, swapped = await deployment.keyring.unwrap([deployment.store.get(first), deployment.store.get(second)])
    assert not isinstance(own, Exception)
    assert isinstance(swapped, IntegrityError)


async def test_another_cell_gets_nothing(deployment):
    """A registry that was copied to another deployment with the same KEK gives no key there."""
    namespace = await deployment.namespace()
    stranger = deployment.another_process(cell_id=namespace)
    keys = await stranger.open(namespace)
    with pytest.raises(IntegrityError):
        keys.seal(KIND, (1,), b"text")


# --- rotation


async def test_rotation_keeps_old_rows_and_seals_new_ones(deployment):
    """After a rotation, old rows open and new rows have the new version. One KMS call unwraps both versions."""
    namespace = await deployment.namespace()
    old = (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"old")
    successor = await rotate_data_key(deployment.keyring, namespace)
    unwraps = deployment.provider.unwraps
    keys = await deployment.keyring.open(namespace)
    new = keys.seal(KIND, (2,), b"new")
    assert (version_of(old), version_of(new), successor.version) == (1, 2, 2)
    assert keys.open_many(KIND, [((1,), old), ((2,), new)]) == [b"old", b"new"]
    assert deployment.provider.unwraps == unwraps + 1
    assert deployment.store.get(namespace, 1).state is KeyState.DECRYPT_ONLY


async def test_rotation_leaves_tokens_alone(deployment):
    """A rotation of the data key changes neither identifiers nor index tokens."""
    namespace = await deployment.namespace()
    before = await deployment.keyring.open(namespace)
    await rotate_data_key(deployment.keyring, namespace)
    after = await deployment.keyring.open(namespace)
    assert before.identity("id").token(b"x") == after.identity("id").token(b"x")
    assert before.index("a", epoch=1).token(b"x") == after.index("a", epoch=1).token(b"x")


async def test_rotation_to_another_suite(deployment):
    """A rotation may change the suite, and rows of both suites open."""
    namespace = await deployment.namespace(suite=Suite.AES_256_GCM)
    old = (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"old")
    await rotate_data_key(deployment.keyring, namespace, suite=Suite.XAES_256_GCM)
    keys = await deployment.keyring.open(namespace)
    new = keys.seal(KIND, (2,), b"new")
    assert (old[2], new[2]) == (1, 2)
    assert keys.open_many(KIND, [((1,), old), ((2,), new), ((1,), old)]) == [b"old", b"new", b"old"]


async def test_race_of_rotations_has_one_winner(deployment):
    """Of concurrent rotations, one succeeds and the others raise KeyConflict. One version is active afterwards."""
    namespace = await deployment.namespace()
    rings = [deployment.another_process() for _ in range(2)]
    outcomes = await asyncio.gather(*(rotate_data_key(ring, namespace) for ring in rings), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DataKeyRecord", "KeyConflict"]
    states = [r.state for r in await deployment.store.list_data_keys(namespace) if r.key_class is KeyClass.DATA]
    assert states == [KeyState.DECRYPT_ONLY, KeyState.ACTIVE]


async def test_second_creation_is_a_conflict(deployment):
    """Creating keys again for a namespace raises KeyConflict, and keeps the first keys."""
    namespace = await deployment.namespace()
    before = deployment.store.get(namespace)
    with pytest.raises(KeyConflict):
        await create_data_keys(deployment.keyring, namespace, deployment.kek)
    assert deployment.store.get(namespace) is before


async def test_unknown_kek_registers_nothing(deployment):
    """If the KEK does not exist, no key of the namespace is registered."""
    namespace = await deployment.namespace()
    await destroy_data_keys(deployment.keyring, namespace)
    deployment.store.records.clear()
    with pytest.raises(KeyNotFound):
        await create_data_keys(deployment.keyring, namespace, KekRef("local", "absent"))
    with pytest.raises(KeyNotFound):
        await create_data_keys(deployment.keyring, namespace, KekRef("elsewhere", "tests"))
    assert not deployment.store.records


async def test_with_keys_sees_a_version_of_another_process(deployment):
    """A row that another process sealed under a new version opens at once, before the TTL ends."""
    namespace = await deployment.namespace()
    await deployment.keyring.open(namespace)
    other = deployment.another_process()
    await rotate_data_key(other, namespace)
    sealed = (await other.open(namespace)).seal(KIND, (1,), b"theirs")
    with pytest.raises(KeyNotFound):
        (await deployment.keyring.open(namespace)).open(KIND, (1,), sealed)
    assert await deployment.keyring.with_keys(namespace, lambda keys: keys.open(KIND, (1,), sealed)) == b"theirs"


async def test_with_keys_asks_anew_once_only(deployment):
    """A version that the registry does not have raises KeyNotFound, so that a forged row costs no KMS call."""
    namespace = await deployment.namespace()
    await deployment.keyring.open(namespace)
    calls = []

    def use(keys):
        calls.append(keys)
        raise KeyNotFound

    with pytest.raises(KeyNotFound):
        await deployment.keyring.with_keys(namespace, use)
    assert len(calls) == 1
    assert deployment.provider.unwraps == 1


async def test_with_keys_does_not_retry_other_errors(deployment):
    """An altered row is refused at once, because reading the keys again would not help."""
    namespace = await deployment.namespace()
    calls = []

    def use(keys):
        calls.append(keys)
        raise IntegrityError

    with pytest.raises(IntegrityError):
        await deployment.keyring.with_keys(namespace, use)
    assert len(calls) == 1


@pytest.mark.parametrize("key_class", [KeyClass.INDEX, KeyClass.IDENTITY])
def test_other_classes_do_not_rotate(key_class):
    """Rotating an index or identity key is refused with the reason. Rotating a data key succeeds."""
    refuse_rotation(KeyClass.DATA)
    with pytest.raises(UnsupportedOperation, match=key_class.value):
        refuse_rotation(key_class)


# --- destruction


async def test_destruction_shreds_one_namespace_only(deployment):
    """Rows of a destroyed namespace raise KeyDestroyed permanently. Other namespaces work as before."""
    shredded, neighbour = [await deployment.namespace() for _ in range(2)]
    sealed = {n: (await deployment.keyring.open(n)).seal(KIND, (1,), b"text") for n in (shredded, neighbour)}
    tombstones = await destroy_data_keys(deployment.keyring, shredded)
    assert {(record.state, record.wrapped) for record in tombstones} == {(KeyState.DESTROYED, None)}
    keys = await deployment.keyring.open(shredded)
    for use in (
        lambda: keys.open(KIND, (1,), sealed[shredded]),
        lambda: keys.seal(KIND, (1,), b"text"),
        lambda: keys.identity("id"),
        lambda: keys.index("a", epoch=1),
    ):
        with pytest.raises(KeyDestroyed):
            use()
    with pytest.raises(KeyDestroyed):
        await rotate_data_key(deployment.keyring, shredded)
    assert (await deployment.keyring.open(neighbour)).open(KIND, (1,), sealed[neighbour]) == b"text"


async def test_destroyed_state_wins_over_a_wrapped_key(deployment):
    """A registry row in state destroyed is not unwrapped, even if its wrapped key was restored."""
    namespace = await deployment.namespace()
    wrapped = deployment.store.get(namespace).wrapped
    await destroy_data_keys(deployment.keyring, namespace)
    deployment.store.change(namespace, wrapped=wrapped)
    unwraps = deployment.provider.unwraps
    (root,) = await deployment.keyring.unwrap([deployment.store.get(namespace)])
    assert isinstance(root, KeyDestroyed)
    assert deployment.provider.unwraps == unwraps


@pytest.mark.parametrize(
    ("state", "error"), [(KeyState.DISABLED, KeyDisabled), (KeyState.PENDING, KeyNotFound), (KeyState.ACTIVE, None)]
)
async def test_state_of_a_version_decides(deployment, state, error):
    """A disabled or pending version neither seals nor opens."""
    namespace = await deployment.namespace()
    sealed = (await deployment.keyring.open(namespace)).seal(KIND, (1,), b"text")
    deployment.store.change(namespace, state=state)
    deployment.keyring.evict(namespace)
    keys = await deployment.keyring.open(namespace)
    if error is None:
        assert keys.open(KIND, (1,), sealed) == b"text"
        return
    with pytest.raises(error):
        keys.open(KIND, (1,), sealed)
    with pytest.raises(KeyNotFound):
        keys.seal(KIND, (1,), b"text")


# --- invalid requests


async def test_key_of_another_shape_is_an_invalid_request(deployment):
    """A row key with wrong types, a wrong number of parts or a value out of range is refused on sealing and opening."""
    namespace = await deployment.namespace()
    keys = await deployment.keyring.open(namespace)
    sealed = keys.seal(KIND, (1,), b"text")
    for key in ((), (1, 2), ("1",), (2**63,), (b"1",), (None,)):
        with pytest.raises(InvalidRequest):
            keys.seal(KIND, key, b"text")
        with pytest.raises(InvalidRequest):
            keys.open(KIND, key, sealed)


async def test_namespaces_that_are_loaded_together_are_refreshed_apart(deployment):
    """A list of all namespaces loads them at once. Their refreshes are spread over the whole soft TTL, and not over its last tenth."""
    namespaces = [await deployment.namespace() for _ in range(150)]
    keyring = deployment.another_process()
    await asyncio.gather(*map(keyring.open, namespaces))
    due = [(each.age.fresh_until - each.age.unwrapped_at) / keyring.policy.soft_ttl for each in keyring._cache.values()]
    assert len(due) == len(namespaces)
    assert min(due) < 0.5, "of 150 none is in the first half with odds of 0.55^150"
