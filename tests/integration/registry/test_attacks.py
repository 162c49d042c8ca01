"""A person who can write to the database, and use one KEK of the cell, changes the key registry. Every change is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KekRef,
    KeyClass,
    KeyConflict,
    KmsError,
    PartType,
    PinMismatch,
    RecordKind,
    RegistryAltered,
    Suite,
    create_data_keys,
    destroy_data_key,
    disable_data_keys,
    rotate_data_key,
)
from strongroom.kms.keys.leases import SUITE_1_LIMIT
from strongroom.kms.keys.registry_head import RegistryKey
from strongroom.storage.keys.registry_heads import RegistryHeads
from tests.support.earlier_rows import put_back, saved
from tests.support.substituted_keys import substitute

pytestmark = pytest.mark.integration

OWN, TENANT = KekRef("local", "own"), KekRef("local", "tenant")
KIND = RecordKind("record", "data", (PartType.INT64,))
NOW, WEEK = timedelta(0), timedelta(days=7)


@pytest.fixture
async def victim(strongroom):
    """A namespace with two versions of its data key under a KEK of its own. A tenant has another KEK."""
    for kek in (OWN, TENANT):
        await strongroom.create_kek(kek)
    namespace = await strongroom.namespaces.create("victim", kek=OWN)
    await rotate_data_key(strongroom.keyring, namespace.namespace_id)
    return namespace.namespace_id


@pytest.fixture
async def fresh(strongroom):
    """A process that starts after the attack."""

    async def open_keys(namespace_id):
        async with Strongroom.open(strongroom.config) as other:
            return await other.keyring.open(namespace_id)

    return open_keys


async def substitution(strongroom, attacker, namespace_id):
    """Register roots of the attacker's choice, wrapped by the tenant's KEK."""
    await substitute(attacker, strongroom.keyring, namespace_id, TENANT)


async def substitution_of_the_cell(strongroom, attacker, _namespace_id):
    """Do the same with the cell's data and index keys, which the pin does not name."""
    cell_id = strongroom.keyring.cell_id
    await substitute(attacker, strongroom.keyring, cell_id, TENANT, classes=(KeyClass.DATA, KeyClass.INDEX))


async def old_version_active(_strongroom, attacker, namespace_id):
    """Make an old version the active one again."""
    for version, state in ((2, "decrypt_only"), (1, "active")):
        update = "UPDATE data_keys SET state = $3 WHERE namespace_id = $1 AND class = 'data' AND version = $2"
        await attacker.execute(update, namespace_id, version, state)


async def enabled(strongroom, attacker, namespace_id):
    """Enable keys that were disabled."""
    await disable_data_keys(strongroom.keyring, namespace_id)
    await attacker.execute(
        "UPDATE data_keys SET state = disabled_from, disabled_from = NULL WHERE namespace_id = $1", namespace_id
    )


async def destroyed_root_back(strongroom, attacker, namespace_id):
    """Put the row of a destroyed version back."""
    place = "WHERE namespace_id = $1 AND class = 'data' AND version = 1"
    row = await attacker.fetchrow(f"SELECT * FROM data_keys {place}", namespace_id)  # noqa: S608 - constants
    await destroy_data_key(strongroom.keyring, namespace_id, 1)
    await attacker.execute(f"DELETE FROM data_keys {place}", namespace_id)  # noqa: S608 - constants
    await attacker.copy_records_to_table("data_keys", records=[tuple(row)], columns=list(row.keys()))


async def newest_version_deleted(_strongroom, attacker, namespace_id):
    """Delete the newest version, so that its number would be given again."""
    await attacker.execute(
        "DELETE FROM data_keys WHERE namespace_id = $1 AND class = 'data' AND version = 2", namespace_id
    )
    await attacker.execute(
        "UPDATE data_keys SET state = 'active' WHERE namespace_id = $1 AND class = 'data'", namespace_id
    )


async def head_deleted(_strongroom, attacker, namespace_id):
    """Delete the head."""
    await attacker.execute("DELETE FROM registry_heads WHERE namespace_id = $1", namespace_id)


async def other_kek_name(_strongroom, attacker, namespace_id):
    """Write another KEK's name into the rows."""
    await attacker.execute("UPDATE data_keys SET kek_id = 'tenant' WHERE namespace_id = $1", namespace_id)


async def other_kek_version(_strongroom, attacker, namespace_id):
    """Hide that a version of the KEK is in use, so that `keys retire` would delete it."""
    await attacker.execute("UPDATE data_keys SET kek_version = '7' WHERE namespace_id = $1", namespace_id)


EDITS = (
    substitution,
    substitution_of_the_cell,
    old_version_active,
    enabled,
    destroyed_root_back,
    newest_version_deleted,
    head_deleted,
    other_kek_name,
    other_kek_version,
)
OPENS_WITHOUT_CHECK = (
    substitution,
    old_version_active,
    enabled,
    destroyed_root_back,
    newest_version_deleted,
    head_deleted,
)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
async def test_an_edited_registry_is_refused(strongroom, attacker, victim, fresh, edit):
    """A running process and one that starts afterwards use no key, and neither changes the registry."""
    await edit(strongroom, attacker, victim)
    altered = strongroom.keyring.cell_id if edit is substitution_of_the_cell else victim
    strongroom.keyring.evict(altered)
    with pytest.raises(RegistryAltered, match=str(altered)):
        await strongroom.keyring.open(altered)
    with pytest.raises((RegistryAltered, PinMismatch)):
        await fresh(altered)
    with pytest.raises(RegistryAltered):
        await rotate_data_key(strongroom.keyring, altered)
    with pytest.raises(RegistryAltered):
        await strongroom.keyring.store.disable_data_keys(altered)
    with pytest.raises(RegistryAltered):
        await strongroom.keyring.store.list_kek_usage()


@pytest.mark.parametrize("edit", OPENS_WITHOUT_CHECK, ids=lambda edit: edit.__name__)
async def test_without_the_check_an_edited_registry_is_used(strongroom, attacker, victim, fresh, edit, monkeypatch):
    """The control: the same attacks succeed if heads are not checked."""
    await edit(strongroom, attacker, victim)
    monkeypatch.setattr(RegistryHeads, "check", lambda *_: None)
    (await fresh(victim)).seal(KIND, (1,), b"x")


async def test_an_older_registry_is_refused_by_a_process_that_has_seen_a_newer_one(strongroom, attacker, victim):
    """Rows and head of before a rotation, put back together, are refused by a running process."""
    before = await saved(attacker)
    await rotate_data_key(strongroom.keyring, victim)
    await strongroom.keyring.open(victim)
    await put_back(attacker, before)
    strongroom.keyring.evict(victim)
    with pytest.raises(RegistryAltered, match="has seen"):
        await strongroom.keyring.open(victim)


async def test_an_older_state_of_one_namespace_is_found_by_a_new_process(strongroom, attacker, victim):
    """The summary has the newest head of every namespace, so that one of them can't be put back alone."""
    before = await saved(attacker)
    await rotate_data_key(strongroom.keyring, victim)
    await put_back(attacker, {table: before[table] for table in ("data_keys", "registry_heads")})
    async with Strongroom.open(strongroom.config) as other:
        with pytest.raises(RegistryAltered):
            await other.keyring.store.list_kek_usage()


async def test_a_spent_lease_stays_spent(strongroom, attacker, fresh):
    """A key of suite 1 whose uses are all reserved seals nothing, although its number of uses is set to 0."""
    await strongroom.create_kek(OWN)
    made = await strongroom.namespaces.create("counted", kek=OWN, suite=Suite.AES_256_GCM)
    store = strongroom.keyring.store
    assert not await store.lease_records(made.namespace_id, 1, count=SUITE_1_LIMIT + 1, limit=SUITE_1_LIMIT)
    assert await store.lease_records(made.namespace_id, 1, count=2**29, limit=SUITE_1_LIMIT)
    await attacker.execute("UPDATE data_keys SET record_lease = 0 WHERE namespace_id = $1", made.namespace_id)
    with pytest.raises(RegistryAltered):
        await store.lease_records(made.namespace_id, 1, count=2**29, limit=SUITE_1_LIMIT)
    with pytest.raises(RegistryAltered):
        await fresh(made.namespace_id)


async def test_one_altered_namespace_stops_no_other(strongroom, attacker, victim, fresh):
    """Namespaces that share a statement with an altered one open."""
    other = await strongroom.namespaces.create("other", kek=OWN)
    await other_kek_name(strongroom, attacker, victim)
    (await fresh(other.namespace_id)).seal(KIND, (1,), b"x")


async def test_a_hidden_rotation_shortens_no_wait(strongroom, attacker, victim):
    """Before a key is destroyed, every process must have read the last rotation, whatever the row says."""
    await newest_version_deleted(strongroom, attacker, victim)
    with pytest.raises(RegistryAltered):
        await strongroom.reseal().deadline(victim)


async def test_a_refused_registry_is_not_taken_for_damaged_rows(strongroom, attacker, victim):
    """Rows open again once the registry is restored, so a list must not skip them and a service must not give them up."""
    await other_kek_name(strongroom, attacker, victim)
    strongroom.keyring.evict(victim)
    with pytest.raises(KmsError):
        await strongroom.keyring.open(victim)


async def test_an_altered_identity_root_is_not_taken_for_damaged_rows(strongroom, attacker, victim, fresh):
    """The key of the heads can't be made then, which is the registry's fault."""
    await attacker.execute(
        "UPDATE data_keys SET wrapped = set_byte(wrapped, 0, get_byte(wrapped, 0) # 1) WHERE namespace_id = $1 AND class = 'identity'",
        strongroom.keyring.cell_id,
    )
    with pytest.raises(RegistryAltered, match=str(strongroom.keyring.cell_id)):
        await fresh(victim)


async def test_heads_of_another_cell_mean_nothing(strongroom):
    """The cell's id is part of every head."""
    cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
    key, records = (
        await strongroom.keyring.registry.key(),
        await strongroom.keyring.store.list_data_keys(cell.namespace_id),
    )
    head = key.head(cell.namespace_id, 1, records)
    other = RegistryKey.__new__(RegistryKey)
    other._key, other._cell = key._key, bytes(16)
    with pytest.raises(RegistryAltered):
        other.check(cell.namespace_id, head, records)


async def test_two_creations_of_the_cells_keys_make_one(config):
    """Keys of a second `init` are refused, and both processes use the first ones."""
    async with Strongroom.open(config) as first:
        before = await first.keyring.store.list_data_keys(first.keyring.cell_id)
        with pytest.raises(KeyConflict):
            await create_data_keys(first.keyring, first.keyring.cell_id, KekRef("local", "cell"))
        first.keyring.evict(first.keyring.cell_id)
        assert await first.keyring.store.list_data_keys(first.keyring.cell_id) == before


class TestShredding:
    """KEKs are deleted and certificates are made by the heads."""

    async def ready(self, strongroom, namespace_id, grace=NOW):
        """Schedule a namespace, and return the job and the code."""
        shredding = strongroom.shredding()
        return shredding, (await shredding.request(namespace_id, grace=grace)).code

    async def exists(self, strongroom, kek):
        """Return whether a KEK can be used."""
        return (await strongroom.keyring.provider("local").describe(kek)).state == "enabled"

    @pytest.mark.parametrize("target", ["tenant", "cell"])
    async def test_an_edited_kek_name_deletes_no_other_kek(self, strongroom, attacker, victim, target):
        """A bystander's KEK and the cell's KEK stay, and the namespace is not shredded."""
        shredding, code = await self.ready(strongroom, victim)
        await attacker.execute("UPDATE data_keys SET kek_id = $2 WHERE namespace_id = $1", victim, target)
        with pytest.raises(RegistryAltered):
            await shredding.finish(victim, code)
        assert await self.exists(strongroom, KekRef("local", target))

    async def test_without_the_check_the_tenants_kek_is_deleted(self, strongroom, attacker, victim, monkeypatch):
        """The control: with heads that are not checked, the attack succeeds."""
        shredding, code = await self.ready(strongroom, victim)
        await attacker.execute("UPDATE data_keys SET kek_id = 'tenant' WHERE namespace_id = $1", victim)
        monkeypatch.setattr(RegistryHeads, "check", lambda *_: None)
        monkeypatch.setattr(RegistryKey, "check_all", lambda *_: None)
        await shredding.finish(victim, code)
        with pytest.raises(Exception, match="tenant"):
            await self.exists(strongroom, TENANT)

    async def test_an_added_decision_deletes_no_kek(self, strongroom, attacker, victim):
        """A KEK that the confirmation did not decide on is not deleted."""
        shredding, code = await self.ready(strongroom, victim)
        await shredding.confirm(victim, code)
        await attacker.execute("INSERT INTO shredded_keks VALUES ($1, 'local', 'tenant', 'delete')", victim)
        with pytest.raises(RegistryAltered):
            await shredding.finish(victim, code)
        assert await self.exists(strongroom, TENANT)

    async def test_a_made_up_answer_is_not_certified(self, strongroom, attacker, victim):
        """A certificate does not call a KEK destroyed because a row does."""
        shredding, code = await self.ready(strongroom, victim)
        await shredding.confirm(victim, code)
        await attacker.execute("UPDATE shredded_keks SET state = 'destroyed'")
        with pytest.raises(RegistryAltered):
            await shredding.finish(victim, code)
        assert await self.exists(strongroom, OWN)

    async def test_a_made_up_row_keeps_no_kek_shared(self, strongroom, attacker, victim):
        """A namespace that does not exist is no reason to keep a KEK. The shredding stops and names the reason."""
        shredding, code = await self.ready(strongroom, victim)
        await attacker.execute(
            "INSERT INTO data_keys SELECT gen_random_uuid(), class, version, suite, 'active', provider, kek_id, kek_version, "
            "wrapped, commitment, record_lease, created_at FROM data_keys WHERE namespace_id = $1 AND version = 1",
            victim,
        )
        with pytest.raises(RegistryAltered):
            await shredding.finish(victim, code)

    async def test_a_hidden_namespace_keeps_its_kek(self, strongroom, attacker, victim):
        """A KEK that a hidden namespace needs is not deleted with its neighbour."""
        neighbour = await strongroom.namespaces.create("neighbour", kek=OWN)
        _, code = await self.ready(strongroom, victim)
        for table in ("data_keys", "registry_heads", "namespaces"):
            await attacker.execute(f"DELETE FROM {table} WHERE namespace_id = $1", neighbour.namespace_id)  # noqa: S608
        async with Strongroom.open(strongroom.config) as other:
            with pytest.raises(RegistryAltered):
                await other.shredding().finish(victim, code)
        assert await self.exists(strongroom, OWN)

    async def test_a_hidden_namespace_keeps_its_kek_from_being_retired(self, strongroom, attacker, victim):
        """The decision to delete a KEK is made while no key can be registered under it, and by the heads."""
        for table in ("data_keys", "registry_heads"):
            await attacker.execute(f"DELETE FROM {table} WHERE namespace_id = $1", victim)  # noqa: S608 - constants
        with pytest.raises(RegistryAltered):
            await strongroom.keyring.store.retire_kek(strongroom.keyring.cell_id, OWN)
        assert not await attacker.fetch("SELECT FROM shredded_keks")

    async def test_an_edited_grace_period_does_not_end(self, strongroom, attacker, victim):
        """The time until which a shredding can be cancelled is part of the head."""
        shredding, code = await self.ready(strongroom, victim, WEEK)
        await attacker.execute("UPDATE shreddings SET due_at = requested_at")
        with pytest.raises(RegistryAltered):
            await shredding.finish(victim, code)
        await attacker.execute("UPDATE shreddings SET due_at = requested_at + interval '7 days'")
        await shredding.cancel(victim)
        (await strongroom.keyring.open(victim)).seal(KIND, (1,), b"x")

    async def test_a_hidden_request_is_not_made_again(self, strongroom, attacker, victim):
        """A request that was deleted can't be replaced by one with another grace period."""
        shredding, _ = await self.ready(strongroom, victim, WEEK)
        await attacker.execute("DELETE FROM shreddings")
        with pytest.raises(RegistryAltered):
            await shredding.request(victim, grace=NOW)

    async def test_a_shared_kek_and_the_cells_kek_stay(self, strongroom):
        """A namespace under the cell's own KEK is shredded, and the KEK is kept."""
        made = await strongroom.namespaces.create("guest", kek=KekRef("local", "cell"))
        shredding, code = await self.ready(strongroom, made.namespace_id)
        await shredding.finish(made.namespace_id, code)
        (kek,) = await shredding.store.keks(made.namespace_id)
        assert replace(kek, state=None).disposal == "shared"
        assert await self.exists(strongroom, KekRef("local", "cell"))
