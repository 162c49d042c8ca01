from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from google.cloud.kms_v1.types import resources

from strongroom.kms import (
    AccessDenied,
    InvalidRequest,
    KekRef,
    KeyClass,
    KeyConflict,
    KeyContext,
    KeyNotFound,
    KmsTimeout,
    Secret,
    UnsupportedOperation,
)
from strongroom.kms.providers.gcp import keys as gcp_keys
from tests.support.kms.gcp_kit import KEY_RING, gcp_provider
from tests.support.kms.gcp_server import Purpose, State, permission_denied

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
ROOT = Secret(bytes(range(32)))


@pytest.mark.parametrize(
    ("states", "primary", "expected", "usable"),
    [
        (["ENABLED", "ENABLED"], "2", "enabled", ("1", "2")),
        (["DISABLED", "ENABLED"], "2", "enabled", ("2",)),
        (["ENABLED", "DISABLED"], "2", "disabled", ("1",)),
        (["ENABLED", "DESTROYED"], "2", "disabled", ("1",)),
        (["DISABLED", "DESTROY_SCHEDULED"], "2", "disabled", ()),
        (["PENDING_GENERATION"], "1", "disabled", ()),
        (["DESTROY_SCHEDULED", "DESTROY_SCHEDULED"], "2", "pending_deletion", ()),
        (["DESTROYED", "DESTROY_SCHEDULED"], "1", "pending_deletion", ()),
        (["DESTROYED", "DESTROYED"], "2", "destroyed", ()),
        (["ENABLED"], "", "disabled", ("1",)),
        ([], "", "disabled", ()),
    ],
)
async def test_state_is_made_of_the_versions(gcp_double, cloud_kms, gcp_kek, states, primary, expected, usable):
    """A key's state is derived from its versions: enabled if the primary is, destroyed if all versions are."""
    key = gcp_double.keys[gcp_kek.key_id]
    key.versions.clear()
    for state in states:
        shown = gcp_double._add(key).shown
        shown.state = State[state]
        shown.destroy_time = datetime(2031, 1, len(key.versions), tzinfo=UTC)
    name = f"{gcp_kek.key_id}/cryptoKeyVersions/{primary}" if primary else ""
    key.shown.primary = resources.CryptoKeyVersion(name=name)
    info = await cloud_kms.describe(gcp_kek)
    assert (info.state, info.primary_version, info.versions) == (expected, primary, usable)
    last = datetime(2031, 1, len(states), tzinfo=UTC) if expected == "pending_deletion" else None
    assert info.deletion_at == last
    assert type(info.deletion_at) is type(last)


async def test_versions_of_all_pages_in_order(gcp_double, cloud_kms, gcp_kek):
    """A key with several pages of versions lists all of them, by number."""
    for _ in range(11):
        await cloud_kms.rotate_kek(gcp_kek)
    with gcp_double.having(page=5):
        info = await cloud_kms.describe(gcp_kek)
        assert info.versions == tuple(str(number) for number in range(1, 13))
        assert (await cloud_kms.delete_kek(gcp_kek)).state == "pending_deletion"
    assert len(gcp_double.sent("DestroyCryptoKeyVersion")) == 12


async def test_new_keys_are_symmetric_and_in_the_key_ring(gcp_double, cloud_kms):
    """A new key has the right purpose, algorithm and protection level, and is in the configured key ring."""
    kek = await cloud_kms.create_kek("tenant-b")
    assert kek == KekRef("gcp-kms", f"{KEY_RING}/cryptoKeys/tenant-b")
    assert KekRef.parse(str(kek)) == kek
    assert await cloud_kms.create_kek(kek.key_id) == kek
    request, metadata = gcp_double.sent("CreateCryptoKey")[0]
    template = request.crypto_key.version_template
    assert request.crypto_key.purpose == Purpose.ENCRYPT_DECRYPT
    assert template.algorithm.name == "GOOGLE_SYMMETRIC_ENCRYPTION"
    assert template.protection_level.name == "SOFTWARE"
    assert metadata["x-goog-request-params"] == f"parent={KEY_RING}"
    elsewhere = kek.key_id.replace("cell-1", "cell-2")
    for name in (elsewhere, "", "a/b", "a.b", "a" * 64, "a\n"):
        with pytest.raises(InvalidRequest):
            await cloud_kms.create_kek(name)
    assert len(gcp_double.sent("CreateCryptoKey")) == 2


async def test_key_of_another_purpose_is_refused(gcp_double, cloud_kms, gcp_kek):
    """A key of another purpose is not accepted as a KEK."""
    gcp_double.keys[gcp_kek.key_id].shown.purpose = Purpose.ASYMMETRIC_SIGN
    for call in (cloud_kms.create_kek("tenant-a"), cloud_kms.describe(gcp_kek), cloud_kms.rotate_kek(gcp_kek)):
        with pytest.raises(UnsupportedOperation):
            await call
    assert len(gcp_double.keys[gcp_kek.key_id].versions) == 1


async def test_hsm_versions_are_waited_for(gcp_double, monkeypatch):
    """A version that an HSM is generating becomes primary when it is ready. The wait has a time limit."""
    monkeypatch.setattr(gcp_keys, "_GENERATION_POLL", 0.01)
    monkeypatch.setattr(gcp_keys, "_GENERATION_SECONDS", 0.1)
    provider = gcp_provider(gcp_double, protection_level="hsm")
    with gcp_double.having(slow_generation=3):
        kek = await provider.create_kek("in-hardware")
    assert gcp_double.sent("CreateCryptoKey")[0][0].crypto_key.version_template.protection_level.name == "HSM"
    assert (await provider.describe(kek)).state == "enabled"
    with gcp_double.having(slow_generation=3):
        assert await provider.rotate_kek(kek) == "2"
    with gcp_double.having(slow_generation=1000), pytest.raises(KmsTimeout):
        await provider.rotate_kek(kek)
    assert (await provider.describe(kek)).primary_version == "2"
    await provider.aclose()


async def test_a_primary_that_comes_late_is_told_as_it_is(gcp_double, cloud_kms, gcp_kek):
    """If the service still wraps with the old version after a rotation, the wrapped key names the old version."""
    await cloud_kms.rotate_kek(gcp_kek)
    with gcp_double.having(lagging_primary=True):
        made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert made.kek_version == "1"
    assert (await cloud_kms.unwrap(made, context=CONTEXT)).reveal() == ROOT.reveal()


async def test_deletion_leaves_nothing_that_comes_back(gcp_double, cloud_kms, gcp_kek):
    """A deletion first removes the rotation schedule, then schedules every version. It may be repeated."""
    await cloud_kms.rotate_kek(gcp_kek)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED, "1")
    shown = gcp_double.keys[gcp_kek.key_id].shown
    shown.rotation_period = timedelta(days=90)
    shown.next_rotation_time = datetime(2031, 1, 1, tzinfo=UTC)
    info = await cloud_kms.delete_kek(gcp_kek)
    assert info.state == "pending_deletion"
    assert abs(info.deletion_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert "rotation_period" not in shown
    assert "next_rotation_time" not in shown
    names = [name for name, _, _ in gcp_double.calls]
    assert names.index("UpdateCryptoKey") < names.index("DestroyCryptoKeyVersion")
    assert await cloud_kms.delete_kek(gcp_kek) == info
    assert len(gcp_double.sent("DestroyCryptoKeyVersion")) == 2


async def test_deletion_that_somebody_undoes_is_told(gcp_double, cloud_kms, gcp_kek, monkeypatch):
    """A version that is created during a deletion raises KeyConflict."""
    destroy = gcp_double._DestroyCryptoKeyVersion

    async def destroyed_and_made(request):
        answer = await destroy(request)
        version = gcp_double._add(gcp_double.keys[gcp_kek.key_id]).shown
        gcp_double.keys[gcp_kek.key_id].shown.primary = resources.CryptoKeyVersion(name=version.name)
        return answer

    monkeypatch.setattr(gcp_double, "_DestroyCryptoKeyVersion", destroyed_and_made)
    with pytest.raises(KeyConflict):
        await cloud_kms.delete_kek(gcp_kek)


async def test_check_uses_no_key(gcp_double, cloud_kms):
    """The check reads the key ring, and fails if that is missing."""
    assert KEY_RING in await cloud_kms.check()
    assert [name for name, _, _ in gcp_double.calls] == ["GetKeyRing"]
    with gcp_double.having(key_ring="another"), pytest.raises(KeyNotFound):
        await cloud_kms.check()


async def test_check_without_rights(gcp_double, cloud_kms, monkeypatch):
    """The check raises AccessDenied if the caller may not read the key ring."""

    async def refuse(request):
        raise permission_denied("cloudkms.keyRings.get", request.name)

    monkeypatch.setattr(gcp_double, "_GetKeyRing", refuse)
    with pytest.raises(AccessDenied) as caught:
        await cloud_kms.check()
    assert caught.value.provider_code == "IAM_PERMISSION_DENIED"
