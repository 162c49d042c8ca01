"""After a data key is destroyed, its KMS forgets the version that wrapped it: a row of before opens no more, on each kind of KMS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.kms import (
    AccessDenied,
    KekRef,
    KeyClass,
    KmsError,
    KmsUnavailable,
    StrongroomError,
    Wrapped,
    destroy_data_key,
    rotate_data_key,
)
from strongroom.kms.lifecycle import retirement
from strongroom.kms.lifecycle.retirement import keks_of_destroyed_keys, retire_old_versions
from strongroom.kms.providers.transit.client import TransitClient

pytestmark = pytest.mark.integration

KEEP_ALL = {"aws", "gcp", "multi"}
"""Kinds of KMSs whose versions are not retired: they keep all, or may wrap with an older one for hours after a rotation."""


@pytest.fixture
def using_kms(strongroom, kms, kek):
    """The keyring of a cell that uses the KMS."""
    strongroom.keyring.providers[kek.provider] = kms.provider
    yield strongroom.keyring
    del strongroom.keyring.providers[kek.provider]


async def destroyed(strongroom, keyring, kek, name="one"):
    """Destroy the first data key of a new namespace; return the namespace, and the key as its row had it before."""
    namespace_id = (await strongroom.namespaces.create(name, kek=kek)).namespace_id
    await rotate_data_key(keyring, namespace_id)
    (row,) = [
        each
        for each in await keyring.store.list_data_keys(namespace_id)
        if (each.key_class, each.version) == (KeyClass.DATA, 1)
    ]
    await destroy_data_key(keyring, namespace_id, 1)
    return namespace_id, row


async def unwraps(keyring, row):
    """Return whether the root in a row of before can be unwrapped."""
    wrapped = Wrapped(KekRef(row.provider, row.kek_id), row.kek_version, row.wrapped)
    try:
        root = await keyring.provider(row.provider).unwrap(wrapped, context=keyring.context(row).encryption_context())
    except KmsError:
        return False
    return not isinstance(keyring.checked(row, root), StrongroomError)


async def test_a_destroyed_root_opens_no_more(strongroom, using_kms, kms, kek):
    """The root of a row that is put back can't be unwrapped after the retirement. Before it, and on a KMS that keeps all, it can."""
    namespace_id, row = await destroyed(strongroom, using_kms, kek)
    other = (await strongroom.namespaces.create("two", kek=kek)).namespace_id
    assert await unwraps(using_kms, row), "control: without the retirement the KMS unwraps it"
    ((found, versions),) = (await keks_of_destroyed_keys(using_kms, namespace_id)).items()
    done = await retire_old_versions(using_kms, found, versions, settle=0)
    if kms.name in KEEP_ALL:
        assert ("hours after a rotation" if kms.name == "gcp" else "keeps every version") in done.reason
        assert await unwraps(using_kms, row)
        return
    assert (done.retired, done.reason) == ((row.kek_version,), "")
    assert done.primary != row.kek_version
    assert not await unwraps(using_kms, row)
    for each in (namespace_id, other, using_kms.cell_id):
        using_kms.evict(each)
        await using_kms.open(each)
    again = await retire_old_versions(using_kms, found, versions, settle=0)
    assert (again.retired, again.primary, again.reason) == ((), done.primary, ""), "a second run has nothing to do"


async def test_a_slow_kms_that_keeps_all_versions_gets_no_advice_to_retire_one(
    strongroom, using_kms, kms, kek, monkeypatch
):
    """A KEK of several providers, one of which rotates slowly, gets other advice, because its versions can't be retired later."""
    namespace_id, _ = await destroyed(strongroom, using_kms, kek)
    ((found, versions),) = (await keks_of_destroyed_keys(using_kms, namespace_id)).items()
    both = replace(kms.provider.capabilities, rotates_slowly=True, retires_versions=False)
    monkeypatch.setattr(type(kms.provider), "capabilities", both)
    done = await retire_old_versions(using_kms, found, versions, settle=0)
    assert "keeps every version" in done.reason


async def test_an_interrupted_retirement_is_continued(strongroom, using_kms, kms, kek, monkeypatch):
    """A run that ends after the rotation, or after the re-wrap, is continued by the next one. The KEK is not rotated again."""
    if kms.name in KEEP_ALL:
        pytest.skip(f"{kms.name} keeps all versions")
    namespace_id, row = await destroyed(strongroom, using_kms, kek)
    ((found, versions),) = (await keks_of_destroyed_keys(using_kms, namespace_id)).items()

    async def dies(*_arguments, **_options):
        raise KeyboardInterrupt

    for name in ("rewrap_data_keys", "_retire"):
        with monkeypatch.context() as patch:
            patch.setattr(retirement, name, dies)
            with pytest.raises(KeyboardInterrupt):
                await retire_old_versions(using_kms, found, versions, settle=0)
        assert await unwraps(using_kms, row)
    number = len((await kms.provider.describe(kek)).versions)
    assert (await retire_old_versions(using_kms, found, versions, settle=0)).retired == (row.kek_version,)
    assert len((await kms.provider.describe(kek)).versions) == number - 1 == 1
    assert not await unwraps(using_kms, row)
    using_kms.evict(namespace_id)
    await using_kms.open(namespace_id)


async def test_a_version_that_wraps_a_key_is_kept(strongroom, using_kms, kms, kek, monkeypatch):
    """A version under which another process registered a key meanwhile is not retired, and the outcome says so."""
    if kms.name in KEEP_ALL:
        pytest.skip(f"{kms.name} keeps all versions")
    namespace_id, row = await destroyed(strongroom, using_kms, kek)
    ((found, versions),) = (await keks_of_destroyed_keys(using_kms, namespace_id)).items()
    monkeypatch.setattr(retirement, "_move", lambda *_, **__: kms.provider.rotate_kek(kek))
    done = await retire_old_versions(using_kms, found, versions, settle=0)
    assert done.retired == ()
    assert "wraps 3 keys" in done.reason
    assert await unwraps(using_kms, row)


def fail_trims(patch, error):
    """Let each request that deletes versions of a Transit key raise an error."""
    request = TransitClient.request

    async def failing(client, method, path, *arguments, **options):
        if path.endswith("/trim"):
            raise error
        return await request(client, method, path, *arguments, **options)

    patch.setattr(TransitClient, "request", failing)


async def test_a_deletion_that_failed_is_repeated(strongroom, using_kms, kms, kek, monkeypatch):
    """If Transit fails between the end of a version's use and its deletion, the next run deletes it. Until then it can come back."""
    if kms.name != "vault":
        pytest.skip(f"{kms.name} retires a version in one step")
    namespace_id, row = await destroyed(strongroom, using_kms, kek)
    ((found, versions),) = (await keks_of_destroyed_keys(using_kms, namespace_id)).items()

    def enable_again():
        bound = {"min_decryption_version": int(row.kek_version)}
        return kms.administrator.server.raw("POST", f"transit/keys/{kek.key_id}/config", bound).status_code

    with monkeypatch.context() as patch:
        fail_trims(patch, KmsUnavailable("the server is away"))
        assert "the server is away" in (await retire_old_versions(using_kms, found, versions, settle=0)).reason
    assert not await unwraps(using_kms, row)
    assert (await kms.provider.describe(kek)).kept == (row.kek_version,)
    assert enable_again() < 300
    assert await unwraps(using_kms, row), "control: before the deletion, the version can come back"
    assert (await retire_old_versions(using_kms, found, versions, settle=0)).reason == ""
    assert (await kms.provider.describe(kek)).kept == ()
    assert enable_again() >= 300
    assert not await unwraps(using_kms, row)


class _Events:
    """Keeps the outcomes of the events of changes."""

    def __init__(self):
        self.outcomes = []

    async def record(self, event):
        """Keep the outcome of an event of a KEK."""
        if event.operation == "kek.retire":
            self.outcomes.append(event.outcome)


async def test_a_version_that_may_not_be_deleted_is_named(strongroom, using_kms, kms, kek, monkeypatch):
    """If the token may not trim, each run names the version that the KMS keeps, and no audit record states its deletion."""
    if kms.name != "vault":
        pytest.skip(f"{kms.name} retires a version in one step")
    namespace_id, row = await destroyed(strongroom, using_kms, kek)
    ((found, versions),) = (await keks_of_destroyed_keys(using_kms, namespace_id)).items()
    events = _Events()
    monkeypatch.setattr(using_kms, "key_events", events)
    with monkeypatch.context() as patch:
        fail_trims(patch, AccessDenied("permission denied"))
        first = await retire_old_versions(using_kms, found, versions, settle=0)
        assert first.retired == (row.kek_version,)
        assert "Allow the token to trim" in first.reason
        assert events.outcomes == ["begun", "done"]
        second = await retire_old_versions(using_kms, found, versions, settle=0)
    assert (second.retired, second.reason) == ((), first.reason)
    assert events.outcomes[2:] == ["begun", "failed"]
    assert (await retire_old_versions(using_kms, found, versions, settle=0)).reason == ""
    assert events.outcomes[4:] == ["begun", "done"], "control: with the right to trim, the deletion is recorded"
