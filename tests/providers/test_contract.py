from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
import pickle
import traceback
from uuid import UUID

import pytest

from strongroom.kms import (
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyClass,
    KeyContext,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KmsError,
    Secret,
    StrongroomError,
    UnsupportedOperation,
    Wrapped,
)

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
OTHER = KeyContext(UUID(int=1), UUID(int=3), KeyClass.DATA, 1).encryption_context()
GONE = (KeyNotFound, InvalidRequest)


def shown(error):
    """Return all text that a log could print about an error."""
    return f"{error!s} {error!r} {error.args!r} " + "".join(traceback.format_exception(error))


def spellings(root):
    """Return the forms in which a key could appear in a text."""
    material = root.reveal()
    return (material.hex(), base64.b64encode(material).decode(), repr(material)[2:-1])


# --- wrapping


async def test_generated_key_unwraps_to_itself(kms, kek):
    """A generated root equals the unwrapped one, and each generated root is different."""
    first, second = [await kms.provider.generate_data_key(kek, context=CONTEXT) for _ in range(2)]
    assert first.root.reveal() != second.root.reveal()
    assert len(first.root.reveal()) == 32
    for made in (first, second):
        assert made.wrapped.kek == kek
        assert made.root.reveal() not in made.wrapped.ciphertext
        assert (await kms.provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()


async def test_wrapped_root_comes_back(kms, kek):
    """Every root of 32 bytes unwraps to itself, and its wrapped form fits into a registry row."""
    for root in (bytes(32), b"\xff" * 32, bytes(range(32))):
        wrapped = await kms.provider.wrap(kek, Secret(root), context=CONTEXT)
        assert (await kms.provider.unwrap(wrapped, context=CONTEXT)).reveal() == root
        assert len(wrapped.ciphertext) <= 4096


async def test_wrapping_twice_gives_two_ciphertexts(kms, kek):
    """Wrapping a root twice gives two ciphertexts, unless the mechanism is deterministic."""
    root = Secret(bytes(range(32)))
    made = [await kms.provider.wrap(kek, root, context=CONTEXT) for _ in range(2)]
    if kms.provider.capabilities.context == "native":
        assert made[0].ciphertext != made[1].ciphertext


async def test_another_context_is_refused_or_left_to_the_commitment(kms, kek):
    """A provider that binds the encryption context raises IntegrityError for another context."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    for context in (OTHER, {}, CONTEXT | {"strongroom:version": "2"}):
        if kms.provider.capabilities.context == "native":
            with pytest.raises(IntegrityError):
                await kms.provider.unwrap(made.wrapped, context=context)
        else:
            assert (await kms.provider.unwrap(made.wrapped, context=context)).reveal() == made.root.reveal()


async def test_altered_ciphertexts_are_refused(kms, kek):
    """An altered, truncated, extended or forged ciphertext raises IntegrityError, always with the same message."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    content = made.wrapped.ciphertext
    last = bytearray(content)
    last[-2] ^= 1
    spoilt = [
        bytes(last),
        content[:-1],
        content[: len(content) // 2],
        b"",
        b"\x00",
        bytes(len(content)),
        b"\xff" * 4000,
    ]
    answers = await kms.provider.unwrap_many(
        [(dataclasses.replace(made.wrapped, ciphertext=ciphertext), CONTEXT) for ciphertext in spoilt]
    )
    assert {type(answer) for answer in answers} == {IntegrityError}
    assert len({str(answer) for answer in answers}) == 1


async def test_another_kek_does_not_unwrap(kms, kek, other_kek):
    """A wrapped key unwraps only with the KEK that it names, and no other KEK is tried."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await kms.provider.unwrap(dataclasses.replace(made.wrapped, kek=other_kek), context=CONTEXT)


async def test_a_missing_kek_is_not_found_and_not_made(kms):
    """Each call with a missing KEK raises KeyNotFound, and does not create the KEK."""
    provider, missing = kms.provider, kms.missing
    made_up = Wrapped(missing, "1", b"vault:v1:AAAA")
    for call in (
        lambda: provider.generate_data_key(missing, context=CONTEXT),
        lambda: provider.wrap(missing, Secret(bytes(32)), context=CONTEXT),
        lambda: provider.describe(missing),
        lambda: provider.rotate_kek(missing),
        lambda: provider.delete_kek(missing),
        lambda: provider.describe(missing),
    ):
        with pytest.raises(KeyNotFound):
            await call()
    with pytest.raises((KeyNotFound, IntegrityError)):
        await provider.unwrap(made_up, context=CONTEXT)


async def test_unwrap_many_answers_in_order(kms, kek, other_kek):
    """Results are in the order of the items, and a failed item affects no other, in a batch of the largest size."""
    provider = kms.provider
    roots = [Secret(bytes([number]) * 32) for number in range(5)]
    items = [
        (await provider.wrap(kek if number % 2 else other_kek, root, context=CONTEXT), CONTEXT)
        for number, root in enumerate(roots)
    ]
    bad = (dataclasses.replace(items[0][0], ciphertext=b""), CONTEXT)
    gone = (dataclasses.replace(items[0][0], kek=kms.missing), CONTEXT)
    answers = await provider.unwrap_many([items[0], bad, items[1], gone, *items[2:]])
    assert isinstance(answers[1], IntegrityError)
    assert isinstance(answers[3], (KeyNotFound, IntegrityError))
    found = [answer.reveal() for answer in answers if isinstance(answer, Secret)]
    assert found == [root.reveal() for root in roots]
    assert await provider.unwrap_many([]) == []
    many = [items[0]] * min(provider.capabilities.batch, 200)
    assert {answer.reveal() for answer in await provider.unwrap_many(many)} == {roots[0].reveal()}


async def test_fifty_at_once(kms, kek):
    """Concurrent calls each get their own result."""
    made = await asyncio.gather(*(kms.provider.generate_data_key(kek, context=CONTEXT) for _ in range(50)))
    roots = await asyncio.gather(*(kms.provider.unwrap(each.wrapped, context=CONTEXT) for each in made))
    assert [root.reveal() for root in roots] == [each.root.reveal() for each in made]


# --- life of a KEK


async def test_creating_twice_is_creating_once(kms):
    """Creating an existing KEK returns it, and its wrapped keys still unwrap."""
    first = await kms.provider.create_kek("twice")
    made = await kms.provider.generate_data_key(first, context=CONTEXT)
    assert await kms.provider.create_kek("twice") == first
    assert (await kms.provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()


async def test_rotated_kek_unwraps_the_old_and_wraps_the_new(kms, kek):
    """After a rotation, old roots unwrap, new roots name the new version, and a rewrap moves a root to it."""
    provider = kms.provider
    old = await provider.generate_data_key(kek, context=CONTEXT)
    before = await provider.describe(kek)
    version = await provider.rotate_kek(kek)
    after = await provider.describe(kek)
    assert (before.state, after.state) == ("enabled", "enabled")
    assert before.primary_version == old.wrapped.kek_version
    assert after.primary_version == version != before.primary_version
    assert {before.primary_version, version} <= set(after.versions)
    assert (await provider.unwrap(old.wrapped, context=CONTEXT)).reveal() == old.root.reveal()
    new = await provider.generate_data_key(kek, context=CONTEXT)
    moved = await provider.rewrap(old.wrapped, kek, context=CONTEXT)
    assert (new.wrapped.kek_version, moved.kek_version) == (version, version)
    assert moved.ciphertext != old.wrapped.ciphertext
    assert (await provider.unwrap(moved, context=CONTEXT)).reveal() == old.root.reveal()


async def test_retired_version_unwraps_nothing(kms, kek):
    """A retired version unwraps nothing, and the newest version still does. The newest version can't be retired."""
    provider = kms.provider
    old = await provider.generate_data_key(kek, context=CONTEXT)
    version = await provider.rotate_kek(kek)
    new = await provider.rewrap(old.wrapped, kek, context=CONTEXT)
    with pytest.raises(StrongroomError) as caught:
        await provider.retire_version(kek, version)
    if isinstance(caught.value, UnsupportedOperation):
        pytest.skip(f"{kms.name} keeps all versions")
    assert isinstance(caught.value, InvalidRequest)
    with pytest.raises((KeyNotFound, InvalidRequest)):
        await provider.retire_version(kek, "nonsense")
    await provider.retire_version(kek, old.wrapped.kek_version)
    with pytest.raises((KeyNotFound, KeyDisabled, KeyDestroyed)):
        await provider.unwrap(old.wrapped, context=CONTEXT)
    assert old.wrapped.kek_version not in (await provider.describe(kek)).versions
    assert (await provider.unwrap(new, context=CONTEXT)).reveal() == old.root.reveal()


async def test_rewrap_to_another_kek(kms, kek, other_kek):
    """A rewrap moves a root to another KEK of the provider, under the same context."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    moved = await kms.provider.rewrap(made.wrapped, other_kek, context=CONTEXT)
    assert moved.kek == other_kek
    assert (await kms.provider.unwrap(moved, context=CONTEXT)).reveal() == made.root.reveal()


async def test_rewrap_of_an_altered_root_is_refused(kms, kek):
    """A rewrap refuses an altered root."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    for ciphertext in (b"", made.wrapped.ciphertext[:-1]):
        with pytest.raises(IntegrityError):
            await kms.provider.rewrap(dataclasses.replace(made.wrapped, ciphertext=ciphertext), kek, context=CONTEXT)


async def test_disabled_kek_refuses_and_serves_again(kms, kek):
    """A disabled KEK raises KeyDisabled from the next call, and works again when it is enabled."""
    if kms.administrator is None:
        pytest.skip(f"{kms.name} has no disabled keys")
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    await kms.administrator.disable(kek)
    with pytest.raises(KeyDisabled):
        await kms.provider.unwrap(made.wrapped, context=CONTEXT)
    with pytest.raises(KeyDisabled):
        await kms.provider.wrap(kek, made.root, context=CONTEXT)
    assert (await kms.provider.describe(kek)).state == "disabled"
    await kms.administrator.enable(kek)
    assert (await kms.provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()


async def test_deleted_kek_opens_nothing(kms, kek, other_kek):
    """Keys of a deleted KEK do not unwrap, and other KEKs are not affected."""
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    neighbour = await kms.provider.generate_data_key(other_kek, context=CONTEXT)
    info = await kms.provider.delete_kek(kek)
    assert info.state in ("pending_deletion", "destroyed")
    assert (info.deletion_at is not None) == (kms.provider.capabilities.deletion == "scheduled")
    with pytest.raises(kms.deleted):
        await kms.provider.unwrap(made.wrapped, context=CONTEXT)
    with pytest.raises(kms.deleted):
        await kms.provider.wrap(kek, made.root, context=CONTEXT)
    assert (await kms.provider.unwrap(neighbour.wrapped, context=CONTEXT)).reveal() == neighbour.root.reveal()


async def test_check_says_what_is_there(kms):
    """The check of a usable KMS returns a description, and needs no key."""
    text = await kms.provider.check()
    assert text
    assert not any(secret in text for secret in kms.secrets)


# --- faults


async def test_each_fault_has_its_error(kms, kek, caplog):
    """Each fault of the KMS raises its error without a secret in it, and the next call after the fault succeeds."""
    caplog.set_level(logging.DEBUG)
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    hidden = (*kms.secrets, *spellings(made.root))
    for name, fault in kms.faults.items():
        async with fault.provoke(kek) as provider:
            for call in (
                lambda provider=provider: provider.unwrap(made.wrapped, context=CONTEXT),
                lambda provider=provider: provider.wrap(kek, made.root, context=CONTEXT),
            ):
                with pytest.raises(StrongroomError) as caught:
                    await call()
                error = caught.value
                assert type(error) is fault.error, f"{name}: {error!r}"
                if isinstance(error, KmsError):
                    assert error.retry_after == fault.retry_after, name
                assert not any(text in shown(error) for text in hidden), name
            (answer,) = await collected(provider, made.wrapped)
            assert type(answer) is fault.error, name
        assert (await kms.provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal(), name
    logged = "".join(repr(vars(record)) for record in caplog.records)  # with the fields that a formatter may print
    assert not any(text in caplog.text or text in logged for text in hidden)


async def collected(provider, wrapped):
    """Unwrap a batch of one item. Return its error, whether it was raised or returned."""
    try:
        return await provider.unwrap_many([(wrapped, CONTEXT)])
    except StrongroomError as error:
        return [error]


# --- secrecy


async def test_provider_shows_no_secret(kms):
    """A provider's repr shows no credentials, and a provider can't be pickled."""
    assert not any(secret in repr(kms.provider) for secret in kms.secrets)
    with pytest.raises(TypeError):
        pickle.dumps(kms.provider)


async def test_errors_travel_between_processes(kms):
    """A pickled error keeps its content."""
    with pytest.raises(KeyNotFound) as caught:
        await kms.provider.describe(kms.missing)
    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (type(copied), str(copied)) == (KeyNotFound, str(caught.value))
    assert copied.provider_code == caught.value.provider_code


async def test_key_ids_that_are_no_key_ids(kms):
    """A malformed key id is refused or not found, and reaches no other key or endpoint."""
    for key_id in ("../sys/health", "a/../../b", "?list=true", "a%2Fb", "*", "a" * 300):
        with pytest.raises(GONE):
            await kms.provider.describe(KekRef(kms.missing.provider, key_id))
