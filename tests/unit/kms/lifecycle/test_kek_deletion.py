from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from strongroom.kms import (
    AccessDenied,
    KekInfo,
    KekRef,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KeyringFileError,
    KeyState,
    KmsTimeout,
    PartType,
    RecordKind,
    begin_index_rotation,
    destroy_data_keys,
    disable_data_keys,
    dispose_of_kek,
    enable_data_keys,
    rotate_data_key,
)

KIND = RecordKind("record", "data", (PartType.INT64,))
LATER = datetime(2026, 12, 23, tzinfo=UTC)


async def states(deployment, namespace_id):
    return [(each.key_class, each.version, each.state) for each in await deployment.store.list_data_keys(namespace_id)]


async def test_disabled_keys_neither_seal_nor_open_and_come_back_as_they_were(deployment):
    """Disabling loses nothing: enabled keys have their old state, and other namespaces are not affected."""
    namespace_id, neighbour = [await deployment.namespace() for _ in range(2)]
    keyring = deployment.keyring
    old = (await keyring.open(namespace_id)).seal(KIND, (1,), b"old")
    await rotate_data_key(keyring, namespace_id)
    new = (await keyring.open(namespace_id)).seal(KIND, (2,), b"new")
    before = await states(deployment, namespace_id)
    assert {state for _, _, state in before} == {KeyState.ACTIVE, KeyState.DECRYPT_ONLY}
    for _ in range(2):  # disabling again changes nothing
        await disable_data_keys(keyring, namespace_id)
        assert {state for _, _, state in await states(deployment, namespace_id)} == {KeyState.DISABLED}
        with pytest.raises(KeyDisabled):
            (await keyring.open(namespace_id)).open(KIND, (1,), old)
        with pytest.raises(KeyNotFound):
            (await keyring.open(namespace_id)).seal(KIND, (3,), b"late")
        with pytest.raises(KeyNotFound):
            await rotate_data_key(keyring, namespace_id)
        with pytest.raises(KeyNotFound):
            await begin_index_rotation(keyring, namespace_id, layout="")
        assert (await keyring.open(neighbour)).seal(KIND, (1,), b"goes on")
    for _ in range(2):
        await enable_data_keys(keyring, namespace_id)
        assert await states(deployment, namespace_id) == before
        keys = await keyring.open(namespace_id)
        assert (keys.open(KIND, (1,), old), keys.open(KIND, (2,), new)) == (b"old", b"new")


async def test_a_key_that_was_disabled_before_stays_so(deployment):
    """Cancelling a shredding does not enable a key that was disabled before it."""
    namespace_id = await deployment.namespace()
    await rotate_data_key(deployment.keyring, namespace_id)
    deployment.store.change(namespace_id, 1, state=KeyState.DISABLED)
    before = await states(deployment, namespace_id)
    await disable_data_keys(deployment.keyring, namespace_id)
    await enable_data_keys(deployment.keyring, namespace_id)
    assert await states(deployment, namespace_id) == before


async def test_destroyed_keys_do_not_come_back(deployment):
    """Neither disabling nor enabling changes a tombstone."""
    namespace_id = await deployment.namespace()
    await disable_data_keys(deployment.keyring, namespace_id)
    await destroy_data_keys(deployment.keyring, namespace_id)
    await enable_data_keys(deployment.keyring, namespace_id)
    await disable_data_keys(deployment.keyring, namespace_id)
    assert {state for _, _, state in await states(deployment, namespace_id)} == {KeyState.DESTROYED}


async def test_a_kek_is_deleted_once_and_found_gone_after(deployment):
    """The local provider destroys a KEK, and a second deletion reports that the KEK does not exist."""
    await deployment.namespace()
    kek = deployment.kek
    answer = await dispose_of_kek(deployment.keyring, kek)
    assert (answer.kek, answer.state, answer.error, answer.is_done) == (kek, "destroyed", None, True)
    with pytest.raises(KeyNotFound):
        await deployment.local.describe(kek)
    again = await dispose_of_kek(deployment.keyring, kek)
    assert (again.state, again.is_done) == ("not_found", True)


class Refusing:
    """A KMS that answers a deletion as the test configures, and that supports no other call."""

    def __init__(self, answer, described=None):
        self.answer = answer
        self.described = described

    async def delete_kek(self, kek):
        """Return or raise the configured answer."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return replace(self.answer, kek=kek)

    async def describe(self, kek):
        """Return the configured description."""
        if isinstance(self.described, Exception):
            raise self.described
        return replace(self.described, kek=kek)


KEK = KekRef("kms", "key")
PENDING = KekInfo(KEK, "pending_deletion", "1", (), LATER, "request-2")


@pytest.mark.parametrize(
    ("provider", "state", "error", "request_id", "done"),
    [
        (Refusing(PENDING), "pending_deletion", None, "request-2", True),
        (Refusing(KeyPendingDeletion("so soon"), PENDING), "pending_deletion", None, "request-2", True),
        (Refusing(KeyDestroyed(), KekInfo(KEK, "destroyed", "", ())), "destroyed", None, None, True),
        (Refusing(KeyNotFound("no\x1bkey", request_id="r\n1")), "not_found", None, "r 1", True),
        (Refusing(AccessDenied("not\nyou", request_id="r2")), None, "AccessDenied: not you", "r2", False),
        (Refusing(KmsTimeout("late")), None, "KmsTimeout: late", None, False),
        (Refusing(KeyringFileError("/f is missing")), None, "KeyringFileError: /f is missing", None, False),
        (Refusing(KeyPendingDeletion(), KmsTimeout("late")), None, "KmsTimeout: late", None, False),
        (Refusing(KekInfo(KEK, "disabled", "1", ())), "disabled", "but the KEK is disabled", None, False),
    ],
)
async def test_what_the_kms_says_is_kept(deployment, provider, state, error, request_id, done):
    """A refusal of the KMS is recorded without control characters. Only a deleted KEK counts as deleted."""
    deployment.keyring.providers["kms"] = provider
    answer = await dispose_of_kek(deployment.keyring, KEK)
    assert (answer.state, answer.request_id, answer.is_done) == (state, request_id, done)
    assert (error in answer.error) if error else answer.error is None
    assert answer.deletion_at == (LATER if state == "pending_deletion" else None)


async def test_a_provider_that_is_not_configured_is_not_a_kek_that_is_gone(deployment):
    """A KEK whose provider is not configured is not reported as deleted in a certificate."""
    answer = await dispose_of_kek(deployment.keyring, KekRef("elsewhere", "key"))
    assert not answer.is_done
    assert "elsewhere" in answer.error
