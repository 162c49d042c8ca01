from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from strongroom.kms import (
    IntegrityError,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsUnavailable,
    Secret,
    Wrapped,
)
from tests.support.kms.azure_server import RETENTION_SECONDS, Failure, error_body
from tests.support.kms.azure_vaults import refusal

# --- versions and states


async def test_version_is_part_of_what_a_root_is_wrapped_under(vault):
    """A root with another, no or a malformed version does not unwrap, and no request is sent for a malformed one."""
    kek = await vault.provider.create_kek("k")
    made = await vault.provider.generate_data_key(kek, context={})
    newer = await vault.provider.rotate_kek(kek)
    for version in (newer, "0" * 32, "", "..", "1/../../x", "latest?"):
        wrapped = Wrapped(kek, version, made.wrapped.ciphertext)
        assert type(await refusal(vault.provider.unwrap(wrapped, context={}))) is IntegrityError
    allowed = (f"/keys/k/{newer}/", f"/keys/k/{made.wrapped.kek_version}/", f"/keys/k/{'0' * 32}/")
    used = [each["path"] for each in vault.server.requests if each["path"].endswith("wrapkey")]
    assert all(path.startswith(allowed) for path in used)


@pytest.mark.parametrize("shows", [True, False])
@pytest.mark.parametrize("wraps", [True, False])
async def test_disabled_key_wraps_nothing_whatever_the_service_says(vault, shows, wraps):
    """A disabled key wraps nothing, even if the service still shows it or wraps with it."""
    vault.server.shows_disabled, vault.server.wraps_disabled = shows, wraps
    kek = await vault.provider.create_kek("k")
    before = await vault.provider.describe(kek)
    vault.server.keys["k"][0].enabled = False
    assert type(await refusal(vault.provider.wrap(kek, Secret(bytes(32)), context={}))) is KeyDisabled
    info = await vault.provider.describe(kek)
    assert (info.state, info.primary_version, info.versions) == ("disabled", before.primary_version, ())


@pytest.mark.parametrize("dates", [{"exp": -60}, {"nbf": 60}])
async def test_key_out_of_its_dates_unwraps_and_does_not_wrap(vault, dates):
    """A key that is expired or not valid yet unwraps, but wraps nothing."""
    kek = await vault.provider.create_kek("k")
    made = await vault.provider.generate_data_key(kek, context={})
    for name, seconds in dates.items():
        setattr(vault.server.keys["k"][0], name, int(time.time()) + seconds)
    assert type(await refusal(vault.provider.wrap(kek, made.root, context={}))) is KeyDisabled
    assert (await vault.provider.unwrap(made.wrapped, context={})).reveal() == made.root.reveal()
    info = await vault.provider.describe(kek)
    assert (info.state, info.versions) == ("disabled", (made.wrapped.kek_version,))
    await vault.provider.rotate_kek(kek)
    assert (await vault.provider.describe(kek)).state == "enabled"


async def test_versions_come_in_pages_and_from_this_vault(vault):
    """All versions are listed oldest first, even if the links between pages name a port or another host."""
    kek = await vault.provider.create_kek("k")
    made = [vault.server.keys["k"][0].id] + [await vault.provider.rotate_kek(kek) for _ in range(6)]
    vault.server.keys["k"][2].enabled = False
    vault.server.page, vault.server.link_host = 2, "https://elsewhere.invalid:443"
    vault.server.requests.clear()
    info = await vault.provider.describe(kek)
    assert info.versions == (*made[:2], *made[3:])
    assert info.primary_version == made[-1]
    assert len(vault.server.requests) == 5


async def test_deleted_key_is_pending_until_it_is_purged(vault):
    """A deleted key is pending deletion until its purge date, and is not found afterwards. It can't be created before."""
    kek = await vault.provider.create_kek("k")
    made = await vault.provider.generate_data_key(kek, context={})
    now = time.time()
    info = await vault.provider.delete_kek(kek)
    assert (info.state, info.primary_version, info.versions) == ("pending_deletion", made.wrapped.kek_version, ())
    assert abs(info.deletion_at - datetime.fromtimestamp(now + RETENTION_SECONDS, UTC)).total_seconds() < 10
    assert await vault.provider.describe(kek) == info
    for call in (
        vault.provider.create_kek("k"),
        vault.provider.rotate_kek(kek),
        vault.provider.delete_kek(kek),
        vault.provider.wrap(kek, made.root, context={}),
        vault.provider.unwrap(made.wrapped, context={}),
    ):
        assert type(await refusal(call)) is KeyPendingDeletion
    vault.server.deleted.clear()
    for call in (vault.provider.describe(kek), vault.provider.unwrap(made.wrapped, context={})):
        assert type(await refusal(call)) is KeyNotFound


async def test_deleted_key_that_the_caller_may_not_see_is_not_found(vault):
    """Without the right to read deleted keys, a deleted key is not found. A busy vault raises a retryable error."""
    kek = await vault.provider.create_kek("k")
    await vault.provider.delete_kek(kek)
    vault.server.failure = Failure(403, error_body("Forbidden", "no", "AccessDenied"), suffix="/deletedkeys/k")
    assert type(await refusal(vault.provider.describe(kek))) is KeyNotFound
    vault.server.failure = Failure(503, error_body("ServiceUnavailable", ""), suffix="/deletedkeys/k")
    assert type(await refusal(vault.provider.describe(kek))) is KmsUnavailable


async def test_key_that_is_being_deleted_is_not_made_anew(vault):
    """A key is not created again while its deletion is in progress."""
    vault.server.being_deleted.add("k")
    error = await refusal(vault.provider.create_kek("k"))
    assert type(error) is KeyPendingDeletion
    assert error.provider_code == "ObjectIsBeingDeleted"


async def test_vault_that_keeps_nothing_says_destroyed(vault):
    """In a vault without soft delete, a deleted key is destroyed and has no deletion date."""
    kek = await vault.provider.create_kek("k")
    vault.server.failure = Failure(200, {"key": {"kid": f"{vault.server.url}/keys/k/0"}, "attributes": {}})
    info = await vault.provider.delete_kek(kek)
    assert (info.state, info.versions, info.deletion_at) == ("destroyed", (), None)
