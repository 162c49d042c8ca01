"""The alerts about altered registries, policies and logs, and about an old anchor: each fires by its cause, and not before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.driver.access import PolicyRolledBack, changes
from strongroom.driver.doctor import examine
from strongroom.kms import KekRef, RegistryAltered, rotate_data_key
from strongroom.storage.journal.images import CELL
from tests.support.access.people import OWNER, bound
from tests.support.earlier_rows import REGISTRY, put_back, saved
from tests.support.processes import opened

pytestmark = pytest.mark.integration

KEK = KekRef("local", "shared")


async def older_registry(cell, attacker):
    """Put the key registry of before a rotation back, and use it."""
    await cell.create_kek(KEK)
    namespace_id = (await cell.namespaces.create("one", kek=KEK)).namespace_id
    before = await saved(attacker, REGISTRY)
    await rotate_data_key(cell.keyring, namespace_id)
    await put_back(attacker, before)
    with pytest.raises(RegistryAltered):
        await cell.keyring.open(namespace_id)


async def older_policy(cell, attacker):
    """Put the access policy of before a change back, and read it."""
    await cell.access.change(lambda _: changes.first_owner(OWNER, now=datetime.now(UTC)))
    before = await saved(attacker, ("access_policy",))
    await bound(cell, "second")
    await put_back(attacker, before)
    with pytest.raises(PolicyRolledBack):
        await cell.access.latest()


async def missing_checkpoint(cell, attacker):
    """Delete the checkpoints in the database, and add the next one."""
    for number in range(2):
        await cell.audit.record({"event": "check", "at": cell.access.now()})
        await cell.audit.checkpoint()
        if not number:
            await attacker.execute("DELETE FROM audit_checkpoints")


ATTACKS = {"registry": older_registry, "policy": older_policy, "audit": missing_checkpoint}


async def test_alert_rows_were_put_back(config, attacker, probe):
    """The verification in the background of an open cell finds a deleted row, and the alert fires."""
    async with opened(replace(config, verify_within=timedelta(milliseconds=1)), telemetry=probe.telemetry) as cell:
        await cell.create_kek(KEK)
        await cell.namespaces.create("one", kek=KEK)
        assert (await cell.journal.verify(CELL)).ok
        assert not probe.holds("StrongroomRowsWerePutBack")
        await attacker.execute("DELETE FROM namespaces")
        async with asyncio.timeout(120):
            while not probe.holds("StrongroomRowsWerePutBack"):  # noqa: ASYNC110 - the loop's state
                await asyncio.sleep(0.2)
        assert [each.tables for each in cell.journal.altered.values()] == [["namespaces"]]


@pytest.mark.parametrize("part", ATTACKS)
async def test_alert_altered(config, attacker, probe, part):
    """An older registry, an older policy and a checkpoint that the database lost fire the alert, each with its label."""
    async with opened(config, telemetry=probe.telemetry) as cell:
        assert not probe.holds("StrongroomAltered")
        await ATTACKS[part](cell, attacker)
        assert probe.holds("StrongroomAltered")
        for each in ATTACKS:
            found = probe.value("strongroom.alterations", strongroom__altered=each)
            assert (found > 0) == (each == part)


async def test_alert_anchor_is_old(config, probe, bucket, s3):
    """While the object store refuses, the anchor ages, and the alert fires. It ends when an anchor was written.

    The control: in a cell with the usual interval, which opens long before three of them are over, it does not fire.
    """
    async with opened(replace(config, anchor=bucket.config()), telemetry=probe.telemetry):
        assert probe.value("strongroom.anchor.age_ratio") < 3
        assert not probe.holds("StrongroomAnchorIsOld")
    anchored = replace(config, anchor=bucket.config(interval_seconds=2.0))

    def failures():
        work = "anchors in the object store"
        return probe.value("strongroom.background.failures", strongroom__background__work=work)

    async with opened(anchored, telemetry=probe.telemetry) as cell:
        s3.fault = (503, "SlowDown")
        async with asyncio.timeout(120):
            while not probe.holds("StrongroomAnchorIsOld") or not failures():  # noqa: ASYNC110 - the loop's state
                await asyncio.sleep(0.2)
            s3.fault = None
            while probe.holds("StrongroomAnchorIsOld"):  # noqa: ASYNC110 - the loop's state
                await asyncio.sleep(0.2)
        assert cell.anchors.bucket.work.last_error is None


async def test_doctor_names_each(config_path, config, attacker, bucket, s3):
    """Doctor has a line for an older database, for altered checkpoints, and for a bucket that can't be used or has no lock."""

    async def findings():
        return {each.check: each for each in await examine(config_path) if each.group == "Anchors"}

    config_path.write_text(config_path.read_text() + bucket.toml())
    found = await findings()
    states = {"audit checkpoints": "ok", "database": "ok", "object store": "note"}
    assert {name: found[name].state for name in states} == states
    async with opened(replace(config, anchor=bucket.config())) as cell:
        await cell.create_kek(KEK)
        namespace_id = (await cell.namespaces.create("one", kek=KEK)).namespace_id
        before = await saved(attacker, REGISTRY)
        await rotate_data_key(cell.keyring, namespace_id)
    assert "anchor 1 is" in (await findings())["object store"].text
    await put_back(attacker, before)
    found = await findings()
    assert "is version 2" in found["database"].text
    assert "restore accept" in found["database"].advice
    await attacker.execute("UPDATE audit_checkpoints SET sequence = sequence + 1")
    assert "signature of checkpoint" in (await findings())["audit checkpoints"].text
    s3.fault = (403, "AccessDenied")
    found = await findings()
    assert found["object store"].state == "wrong"
    assert "AccessDenied" in found["object store"].text
