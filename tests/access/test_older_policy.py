"""An access policy of before that is put back in the database opens nothing. A person can accept it by name."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from strongroom.driver.access import InvalidPolicyChange, PolicyRolledBack, changes
from strongroom.driver.access.review import review_access
from strongroom.driver.audit.chain import link, with_chain
from strongroom.driver.audit.stream import parse
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KmsUnavailable, LocalProvider
from tests.support.access.people import OWNER, bound, records
from tests.support.earlier_rows import put_back, saved
from tests.support.fixtures.command_line import run_command, sql
from tests.support.processes import opened

pytestmark = pytest.mark.integration

AT = datetime.now(UTC)
POLICY = ("access_policy",)


async def two_versions(config, attacker):
    """Store a policy with an owner and one with a second principal; return the rows of the first."""
    async with opened(config) as cell:
        await cell.access.change(lambda _: changes.first_owner(OWNER, now=AT))
        old = await saved(attacker, POLICY)
        await bound(cell, "second")
        await cell.audit.checkpoint()
    return old


async def test_a_starting_process_refuses_an_older_policy(config, attacker):
    """A process that starts refuses a policy that is older than one in the log or the checkpoints, or that was deleted."""
    old = await two_versions(config, attacker)
    newest = await saved(attacker, POLICY)
    for policy in (old, dict.fromkeys(POLICY, ())):
        await put_back(attacker, policy)
        with pytest.raises(PolicyRolledBack, match=r"version 2 is in the audit log.*access accept-older --version"):
            async with opened(config):
                pass
    await put_back(attacker, newest)
    async with opened(config) as cell:
        assert "second" in (await cell.access.latest()).principals, "control"


@pytest.mark.parametrize("left", ["the folder", "the database"])
async def test_one_of_both_is_enough(config, attacker, left):
    """The older policy is refused if only the log's folder, or only the checkpoints, are left."""
    old = await two_versions(config, attacker)
    await put_back(attacker, old)
    if left == "the folder":
        await attacker.execute("DELETE FROM audit_checkpoints")
    else:
        shutil.rmtree(config.audit_folder)
    with pytest.raises(PolicyRolledBack):
        async with opened(config):
            pass
    shutil.rmtree(config.audit_folder)
    await attacker.execute("DELETE FROM audit_checkpoints")
    async with opened(config) as cell:
        assert (await cell.access.latest()).version == 1, "control: without both the older policy is believed"


async def test_a_running_process_refuses_an_older_policy(config, attacker):
    """A process that has seen version 2 refuses version 1."""
    async with opened(config) as cell:
        await cell.access.change(lambda _: changes.first_owner(OWNER, now=AT))
        old = await saved(attacker, POLICY)
        await bound(cell, "second")
        await put_back(attacker, old)
        with pytest.raises(PolicyRolledBack):
            await cell.access.latest()
        with pytest.raises(PolicyRolledBack):
            await cell.access.change(lambda policy: policy)


async def test_a_cell_opens_while_its_kms_is_away(config, attacker, monkeypatch):
    """The versions are compared without keys, so a service starts during an outage, and an older policy is refused."""
    old = await two_versions(config, attacker)

    async def away(*_arguments, **_options):
        raise KmsUnavailable("away")

    monkeypatch.setattr(LocalProvider, "unwrap", away)
    monkeypatch.setattr(LocalProvider, "unwrap_many", away)
    async with opened(config) as cell:
        with pytest.raises(KmsUnavailable):
            await cell.access.latest()
    await put_back(attacker, old)
    with pytest.raises(PolicyRolledBack):
        async with opened(config):
            pass


def false_record(config, version):
    """Add a record of a policy, as a person with access to the folder can."""
    (segment,) = config.audit_folder.rglob("*.jsonl")
    last, _, chain = parse(segment.read_bytes().splitlines()[-1])
    false = {"event": "policy", "outcome": "done", "policy_version": version}
    body = orjson.dumps({"stream": last["stream"], "sequence": last["sequence"] + 1, **false})
    with segment.open("ab") as file:
        file.write(with_chain(body, link(chain, body)))


@pytest.mark.parametrize("version", [2**40, 2**62 - 2, 2**62, 2**63 - 1, 2**64 - 1])
async def test_a_false_record_stops_no_cell(config, attacker, version):
    """A record that is not signed proves no version, so a person with access to the folder alone can't stop a cell."""
    await two_versions(config, attacker)
    false_record(config, version)
    for name in ("third", "fourth"):
        async with opened(config) as cell:
            await bound(cell, name)
            assert cell.access.newest_known < 10


async def test_unsigned_records_count_while_the_kms_is_away(config, attacker, monkeypatch):
    """Without the KMS no signature can be checked, and nothing of the cell is opened. An unsigned version is refused then."""
    await two_versions(config, attacker)
    false_record(config, 2**40)

    async def away(*_arguments, **_options):
        raise KmsUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(LocalProvider, "unwrap", away)
        patch.setattr(LocalProvider, "unwrap_many", away)
        with pytest.raises(PolicyRolledBack):
            async with opened(config):
                pass
    async with opened(config) as cell:
        assert (await cell.access.latest()).version == 2


async def test_another_policy_of_the_same_version_is_refused(config, attacker):
    """An older policy that was put back, and changed so often that it has the newest version again, is not that version."""
    old = await two_versions(config, attacker)
    await put_back(attacker, old)
    async with Strongroom.open(config, accept_older=True) as cell:
        policy, data, _ = await cell.access._store.get()
        await cell.access._store.put(data, version=policy)
    async with opened(config) as cell:
        with pytest.raises(PolicyRolledBack, match="is not the one of version 2"):
            await cell.access.latest()
    async with Strongroom.open(config, accept_older=True) as cell:
        assert await cell.access.accept_older(2, reason="backup restored") == 3
    async with opened(config) as cell:
        assert (await cell.access.latest()).version == 3


async def test_a_change_that_was_not_stored_is_no_version(config, attacker, monkeypatch):
    """A process that dies between the record and the change leaves a policy that the next process accepts."""
    await two_versions(config, attacker)

    async def dies(*_arguments, **_options):
        raise KeyboardInterrupt

    async with opened(config) as cell:
        monkeypatch.setattr(type(cell.access._store), "put", dies)
        with pytest.raises(KeyboardInterrupt):
            await bound(cell, "third")
        monkeypatch.undo()
    async with opened(config) as cell:
        assert (await cell.access.latest()).version == 2


async def test_an_older_policy_is_accepted_by_name(config, attacker):
    """After a restore the older policy becomes the newest version. Processes that have seen the newer one accept that too."""
    old = await two_versions(config, attacker)
    async with opened(config) as running:
        await running.access.latest()
        await put_back(attacker, old)
        async with Strongroom.open(config, accept_older=True) as cell:
            for version in (0, 2):
                with pytest.raises(InvalidPolicyChange, match="has version 1, not"):
                    await cell.access.accept_older(version, reason="backup restored")
            assert await cell.access.accept_older(1, reason="backup restored") == 3
            with pytest.raises(InvalidPolicyChange, match="nothing to accept"):
                await cell.access.accept_older(3, reason="backup restored")
        assert (await running.access.latest()).version == 3
        accepted = [each for each in records(running) if "accepted_version" in each]
    assert [each["outcome"] for each in accepted] == ["begun", "done"]
    assert accepted[1]["reason"] == "backup restored"
    async with opened(config) as cell:
        assert set((await cell.access.latest()).principals) == {OWNER}


async def test_a_review_names_an_older_policy(config, attacker):
    """A review of an older policy says which version was in force. Without this comparison it is a policy that the log has."""
    old = await two_versions(config, attacker)
    await put_back(attacker, old)
    async with Strongroom.open(config, accept_older=True) as cell:
        report = await review_access(
            cell.access, cell.audit.root, cell_id=config.cell.cell_id, stale=timedelta(days=90)
        )
    assert (report.policy_version, report.newest_policy, report.ok) == (1, 2, False)
    assert report.policy_matches, "control: the log has the older policy too"


def test_the_commands(config_path, dsn):
    """Commands refuse an older policy. Verification and review name it, and append nothing. An owner accepts it."""
    folder = config_path.parent
    key = {}

    def run(*arguments, code=0):
        done = run_command(folder, *arguments, environment=key)
        assert done.returncode == code, done
        return done.stdout + done.stderr

    run("init")
    key["STRONGROOM_API_KEY"] = json.loads(run("access", "init", OWNER, "--json"))["api_key"]
    sql(dsn, "CREATE TABLE kept AS SELECT * FROM access_policy")
    run("access", "add", "carl")
    sql(dsn, "DELETE FROM access_policy")
    sql(dsn, "INSERT INTO access_policy SELECT * FROM kept")
    assert "accept-older --version 1" in run("namespace", "list", code=2)
    before = {path: path.read_bytes() for path in (folder / "audit").rglob("*") if path.is_file()}
    assert "version 2 was in force" in run("audit", "verify", code=1)
    found = json.loads(run("audit", "verify", "--json", code=1))
    assert (found["ok"], found["policy_version"], found["newest_policy"]) == (False, 1, 2)
    assert {path: path.read_bytes() for path in (folder / "audit").rglob("*") if path.is_file()} == before
    assert "version 2 was in force" in run("access", "review", code=1)
    run("access", "accept-older", "--version", "1", "--reason", "backup restored")
    assert "carl" not in run("access", "list")
    assert "nothing was altered" in run("audit", "verify")
