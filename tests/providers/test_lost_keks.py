"""KEKs that were deleted after a backup: `backup check` accepts them from every KMS, and nothing else that does not unwrap."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from strongroom.driver.backup.key_checks import unwrap_all
from strongroom.kms import KekRef, KekUsage, KeyNotFound, Keyring, create_data_keys
from strongroom.kms.providers.multi import MultiProvider
from tests.support.kms.fix_multi import two_keyrings
from tests.unit.kms.conftest import MemoryStore

CELL = UUID(int=1)
SCHEDULED, DESTROYED, DELETED = "KEKs scheduled for deletion", "destroyed KEKs", "deleted KEKs"


class Registry(MemoryStore):
    """A key registry that lists keys by their KEKs."""

    async def list_kek_usage(self):
        """Return the KEKs in use."""
        used = {(record.provider, record.kek_id, record.kek_version) for record in self.records.values()}
        return [KekUsage(*each, keys=1, namespaces=1) for each in used]

    async def list_wrapped(self, kek, *, after, **_options):
        """Return all keys of a KEK as the only page."""
        wrapped = [each for each in self.records.values() if KekRef(each.provider, each.kek_id) == kek]
        return [] if after is not None else wrapped


@pytest.fixture
def kept_keyring(kms):
    """Return a keyring on the KMS."""
    return Keyring(cell_id=CELL, providers={kms.missing.provider: kms.provider, **kms.children}, store=Registry())


async def namespace_under(keyring, kek):
    """Return a new namespace with keys under a KEK."""
    namespace_id = uuid4()
    await create_data_keys(keyring, namespace_id, kek)
    return namespace_id


async def found(keyring, *certified):
    """Return the findings by their names."""
    checked = await unwrap_all(keyring, lambda _: None, frozenset(certified))
    return {each.check: each for each in checked.findings(CELL)}


def states(findings):
    """Return the state of each finding by its name."""
    return {name: each.state for name, each in findings.items()}


async def test_a_kek_that_was_deleted_after_the_backup_is_a_note(kms, kept_keyring, kek, other_kek):
    """The note names only the namespace under the KEK. A KMS that forgets deleted KEKs needs the erasure certificate."""
    gone, kept = await namespace_under(kept_keyring, kek), await namespace_under(kept_keyring, other_kek)
    assert states(await found(kept_keyring)) == {"wrapped keys": "ok"}, "control"
    await kms.provider.delete_kek(kek)
    expected = SCHEDULED
    if kms.deleted is KeyNotFound:
        expected = DELETED if kms.name in {"local", "multi"} else DESTROYED
    if expected == DESTROYED:
        findings = await found(kept_keyring, other_kek)
        assert states(findings) == {"wrapped keys": "ok", f"namespace {gone}": "wrong"}, "another KEK's certificate"
        assert "--certificate" in findings[f"namespace {gone}"].advice
    findings = await found(kept_keyring, *([kek] if expected == DESTROYED else []))
    assert states(findings) == {"wrapped keys": "ok", expected: "note"}
    assert str(gone) in findings[expected].text
    assert str(kept) not in findings[expected].text


async def test_a_kek_that_the_kms_destroyed_is_a_note(gcp_double, cloud_kms, gcp_kek):
    """A KMS that reports a KEK as destroyed needs no certificate."""
    from tests.support.kms.gcp_server import State  # noqa: PLC0415 - Google's libraries are optional

    keyring = Keyring(cell_id=CELL, providers={gcp_kek.provider: cloud_kms}, store=Registry())
    gone = await namespace_under(keyring, gcp_kek)
    gcp_double.set_states(gcp_kek.key_id, State.DESTROYED)
    findings = await found(keyring)
    assert states(findings) == {"wrapped keys": "ok", DESTROYED: "note"}
    assert str(gone) in findings[DESTROYED].text


async def test_a_disabled_kek_is_wrong(kms, kept_keyring, kek):
    """A KEK that may be enabled again was not deleted, so nobody knows whether it fits. A certificate changes nothing."""
    if kms.administrator is None:
        pytest.skip(f"{kms.name} has no disabled keys")
    closed = await namespace_under(kept_keyring, kek)
    await kms.administrator.disable(kek)
    try:
        findings = await found(kept_keyring, kek)
    finally:
        await kms.administrator.enable(kek)
    assert states(findings) == {"wrapped keys": "ok", f"namespace {closed}": "wrong"}
    assert "Enable it" in findings[f"namespace {closed}"].advice
    assert states(await found(kept_keyring)) == {"wrapped keys": "ok"}, "control"


async def test_the_keys_of_the_cell_are_never_a_note(kms, kept_keyring, kek):
    """Without the cell's own keys nothing can be restored, however their KEK was lost."""
    namespace_id = await namespace_under(kept_keyring, kek)
    for record in list(kept_keyring.store.records.values()):
        kept_keyring.store.put(replace(record, namespace_id=CELL))
    await kms.provider.delete_kek(kek)
    findings = states(await found(kept_keyring, kek))
    assert findings.pop("the cell's own keys") == "wrong"
    assert "note" in findings.values(), "control"
    assert f"namespace {namespace_id}" not in findings


def taken_out(content):
    """Take the KEK out of a keyring, without a record of its deletion."""
    content["keks"].pop("shared")


def altered(content):
    """Change a bit of the KEK."""
    key = bytearray(base64.b64decode(content["keks"]["shared"]["1"]["key"]))
    key[0] ^= 1
    content["keks"]["shared"]["1"]["key"] = base64.b64encode(key).decode()


def replaced(path, content):
    """Replace a keyring file by another one, so that its change is noticed within the resolution of file times too."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o600)
    new.replace(path)


@pytest.mark.parametrize("damage", [taken_out, altered])
async def test_each_kek_of_several_must_be_deleted(damage):
    """If one child was deleted and the other one is damaged or missing, the key is damaged. A certificate changes nothing."""
    async with two_keyrings() as keyrings:
        multi = MultiProvider("multi", keyrings.providers)
        keyring = Keyring(cell_id=CELL, providers={"multi": multi, **keyrings.providers}, store=Registry())
        kek = await multi.create_kek("shared")
        damaged = await namespace_under(keyring, kek)
        await keyrings.providers["one"].delete_kek(KekRef("one", "shared"))
        assert states(await found(keyring)) == {"wrapped keys": "ok"}, "the other child unwraps"
        path = keyrings.path("two")
        before = path.read_bytes()
        content = json.loads(before)
        damage(content)
        replaced(path, json.dumps(content).encode())
        assert states(await found(keyring, kek)) == {"wrapped keys": "ok", f"namespace {damaged}": "wrong"}
        replaced(path, before)
        await keyrings.providers["two"].delete_kek(KekRef("two", "shared"))
        assert states(await found(keyring)) == {"wrapped keys": "ok", DELETED: "note"}, "control"
