"""Differences that a restore makes can be accepted by name. Every other difference is still found."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import orjson
import pytest

from strongroom.driver.audit.acceptance import MOST, Difference, new_acceptances, of_record
from strongroom.driver.audit.events import of_acceptance
from strongroom.driver.audit.log import opened
from strongroom.driver.audit.whole_log import acceptable
from strongroom.kms import Secret, SigningKey
from tests.support.audit.logs import KEY
from tests.support.audit.witnessed import log_of, problems, report, write
from tests.support.fixtures.command_line import run_command, sql

pytestmark = pytest.mark.integration

REASON = "backup of 2 May restored"


async def accept(log_root, store, *, key=KEY):
    """Accept all differences as the command does; return what can't be accepted."""
    differences, refused = acceptable(await report(log_root, store))
    log = log_of(log_root, store)
    await log.prepare()
    async with opened(log):
        for each in new_acceptances(differences, reason=REASON, at=datetime.now(UTC), key=key):
            await log.record(of_acceptance(each.at, each.fields(key.public_key), {}))
        await log.checkpoint()
    return refused


async def restored_database(log_root, store, alter):
    """Put the rows of before back."""
    await write(log_root, store)
    await alter("CREATE TABLE kept AS SELECT * FROM audit_checkpoints")
    for _ in range(3):
        await write(log_root, store)
    await alter("DELETE FROM audit_checkpoints")
    await alter("INSERT INTO audit_checkpoints SELECT * FROM kept")


async def restored_folder(log_root, store, _alter):
    """Put the files of before back. The next process ends the stream."""
    await write(log_root, store)
    shutil.copytree(log_root, log_root.with_name("kept"))
    await write(log_root, store)
    shutil.rmtree(log_root)
    shutil.copytree(log_root.with_name("kept"), log_root)
    await write(log_root, store)


async def lost_folder(log_root, store, _alter):
    """Begin with an empty folder in the same place."""
    await write(log_root, store)
    shutil.rmtree(log_root)
    await write(log_root, store)


@pytest.mark.parametrize("restored", [restored_database, restored_folder, lost_folder])
async def test_what_a_restore_made_older_can_be_accepted(log_root, store, alter, restored):
    """The log verifies after the acceptance, also when later checkpoints take the numbers of the lost ones."""
    await restored(log_root, store, alter)
    assert problems(await report(log_root, store)), "control"
    assert await accept(log_root, store) == []
    for _ in range(4):
        found = await report(log_root, store)
        assert problems(found) == []
        assert found.ok
        assert [each.reason for each in found.records.acceptances] == [REASON]
        await write(log_root, store)


async def test_a_second_restore_is_not_accepted_with_the_first(log_root, store, alter):
    """The acceptance names the lost checkpoints by their hashes, so later ones of the same numbers are not covered."""
    await restored_database(log_root, store, alter)
    await accept(log_root, store)
    await write(log_root, store)
    assert (await report(log_root, store)).ok, "control"
    await alter("DELETE FROM audit_checkpoints")
    await alter("INSERT INTO audit_checkpoints SELECT * FROM kept")
    found = await report(log_root, store)
    assert not found.ok
    assert any("checkpoints that records name are missing" in each for each in found.problems)


async def test_a_stream_that_changes_after_its_acceptance_is_named(log_root, store, alter):
    """An ended stream was accepted as it was. Without its last record it is another one."""
    await restored_folder(log_root, store, alter)
    await accept(log_root, store)
    assert (await report(log_root, store)).ok, "control"
    (ended,) = (path.parent for path in log_root.rglob("ended.json"))
    (segment,) = ended.glob("*.jsonl")
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))
    assert not (await report(log_root, store)).ok


async def test_an_acceptance_of_another_key_counts_for_nothing(log_root, store, alter):
    """A person with access to the folder can write a record, but can't sign it."""
    await restored_database(log_root, store, alter)
    await accept(log_root, store, key=SigningKey(Secret(bytes(32))))
    found = await report(log_root, store)
    assert not found.ok
    assert found.records.acceptances == []


async def test_an_altered_acceptance_counts_for_nothing():
    """The signature covers the time, the range of the lost checkpoints, each difference and the reason."""
    lost = [Difference(bytes([number]) * 32, "", number) for number in range(1, 4)]
    (made,) = new_acceptances(lost, reason=REASON, at=datetime.now(UTC), key=KEY)
    fields = orjson.loads(orjson.dumps(of_acceptance(made.at, made.fields(KEY.public_key), {})))
    assert (made.lost_after, made.lost_through) == (0, 3)
    assert of_record(fields).is_signed(KEY.public_key), "control"
    odd = {"at": "2020-01-01T00:00:00Z", "lost_after": 1, "lost_through": 9, "reason": "x", "differences": ["00" * 32]}
    for name, value in odd.items():
        assert not of_record({**fields, name: value}).is_signed(KEY.public_key)
    for value in (None, "x", -1, 2**80, ["zz"], ["00"], [1], {}):
        for name in odd:
            read = of_record({**fields, name: value})
            assert read is None or not read.is_signed(KEY.public_key)
    many = [Difference(number.to_bytes(32, "big"), "", number) for number in range(1, MOST + 2)]
    parts = new_acceptances(many, reason=REASON, at=datetime.now(UTC), key=KEY)
    assert [(each.lost_after, each.lost_through) for each in parts] == [(0, MOST), (MOST, MOST + 1)]


async def test_rows_that_do_not_verify_are_never_accepted(log_root, store, alter):
    """No restore removes a row from the middle, or changes one."""
    for _ in range(4):
        await write(log_root, store)
    await alter("DELETE FROM audit_checkpoints WHERE number = 2")
    assert any("missing" in each for each in await accept(log_root, store))
    assert not (await report(log_root, store)).ok


def test_the_command(config_path, dsn):
    """It shows what is older, records the reason, and makes `audit verify` end with 0. With access control it needs two people."""
    folder, key = config_path.parent, {}

    def run(*arguments, code=0):
        done = run_command(folder, *arguments, environment=key)
        assert done.returncode == code, done
        return done.stdout + done.stderr

    run("init")
    assert "nothing to accept" in run("restore", "accept", "--reason", REASON)
    sql(dsn, "CREATE TABLE kept AS SELECT * FROM audit_checkpoints")
    for _ in range(2):
        run("namespace", "list")
    sql(dsn, "DELETE FROM audit_checkpoints")
    sql(dsn, "INSERT INTO audit_checkpoints SELECT * FROM kept")
    assert "restore accept" in run("audit", "verify", code=1)
    dry = json.loads(run("restore", "accept", "--reason", REASON, "--dry-run", "--json"))
    assert dry["lost_through"] > dry["lost_after"] > 0
    run("audit", "verify", code=1)
    assert "nothing was accepted" in run("restore", "accept", "--reason", REASON, code=2)
    assert "nothing was accepted" in run("restore", "accept", "--reason", REASON, "--state", "0" * 32, code=2)
    run("audit", "verify", code=1)
    assert "are lost" in run("restore", "accept", "--reason", REASON, "--state", dry["state"])
    shown = run("audit", "verify")
    assert f": {REASON}" in shown
    assert "nothing else was altered" in shown
    assert json.loads(run("audit", "verify", "--json"))["ok"]
    key["STRONGROOM_API_KEY"] = json.loads(run("access", "init", "owner@example.com", "--json"))["api_key"]
    told = run("restore", "accept", "--reason", REASON, code=2)
    assert "needs two people; request it with" in told
    assert "--operation restore.accept --state STATE --reason TEXT" in told
