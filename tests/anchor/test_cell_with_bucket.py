"""A cell with an anchor in S3: an older database is refused even if the audit log is put back too, and faults stop no service."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace

import pytest

from strongroom.driver.anchor import writing
from strongroom.driver.freshness import anchor_change
from strongroom.kms import KekRef, RegistryAltered, rotate_data_key
from strongroom.storage.errors import OlderThanAnchor
from tests.support.earlier_rows import REGISTRY, put_back, saved
from tests.support.fixtures.command_line import run_command
from tests.support.processes import opened
from tests.support.s3_server import ENVIRONMENT

pytestmark = pytest.mark.integration

KEK = KekRef("local", "shared")
EVERYTHING = (*REGISTRY, "audit_checkpoints", "audit_compaction")


@pytest.fixture
def anchored(config, bucket):
    """The configuration of a cell with an anchor in the bucket."""
    return replace(config, anchor=bucket.config())


async def host_put_back(config, attacker):
    """Rotate a key, and then put the database and the folder of the audit log back together. Return the namespace."""
    async with opened(config) as cell:
        await cell.create_kek(KEK)
        namespace_id = (await cell.namespaces.create("one", kek=KEK)).namespace_id
    before, kept = await saved(attacker, EVERYTHING), config.audit_folder.with_name("kept")
    shutil.copytree(config.audit_folder, kept)
    async with opened(config) as cell:
        await rotate_data_key(cell.keyring, namespace_id)
    await put_back(attacker, before)
    shutil.rmtree(config.audit_folder)
    shutil.move(kept, config.audit_folder)
    return namespace_id


async def test_database_and_log_put_back_together_are_refused(anchored, attacker, bucket):
    """The bucket has the newest version, which the process wrote when it ended."""
    await host_put_back(anchored, attacker)
    assert len(bucket.keys()) == 2
    with pytest.raises(OlderThanAnchor, match=r"version 2 .*and version 3 .* is anchored in s3://"):
        async with opened(anchored):
            pass


async def test_without_the_bucket_they_are_believed(config, attacker):
    """Control: with the audit log alone, both put back together are the newest state."""
    await host_put_back(config, attacker)
    async with opened(config):
        pass


async def test_an_object_store_that_is_away_stops_nothing(anchored, s3, bucket):
    """A cell opens and works while the store refuses. The state of the work names the error."""
    s3.fault = (503, "SlowDown")
    async with opened(anchored) as cell:
        await cell.create_kek(KEK)
        await cell.namespaces.create("one", kek=KEK)
        assert cell.anchors.bucket.work.consecutive == 1
        assert "SlowDown" in str(cell.anchors.bucket.work.last_error)
    s3.fault = None
    assert bucket.keys() == []
    async with opened(anchored) as cell:
        assert cell.anchors.bucket.work.consecutive == 0
    assert len(bucket.keys()) == 1, "the next process writes what is missing"


async def test_a_command_waits_for_the_anchor_of_its_change(anchored, bucket, monkeypatch):
    """Its anchor has more time than that of a process that ends, and is not written again at the end.

    The control: a process without time at its end writes nothing.
    """
    with monkeypatch.context() as patch:
        patch.setattr(writing, "LAST_SECONDS", 0.0)
        async with opened(anchored) as cell:
            await cell.create_kek(KEK)
            await cell.namespaces.create("one", kek=KEK)
        assert bucket.keys() == []
        async with opened(anchored) as cell:
            await anchor_change(cell)
        assert len(bucket.keys()) == 1
    async with opened(anchored) as cell:
        await cell.namespaces.create("two", kek=KEK)
        await anchor_change(cell)
        await cell.audit.record({"event": "check", "at": cell.access.now()})
        await cell.audit.checkpoint()
    assert len(bucket.keys()) == 2


async def test_it_is_written_at_the_interval(anchored, bucket):
    """A running process writes an anchor at each interval in which something changed."""
    config = replace(anchored, anchor=bucket.config(interval_seconds=1.0))
    async with opened(config) as cell:
        await cell.create_kek(KEK)
        await cell.namespaces.create("one", kek=KEK)
        async with asyncio.timeout(60):
            while cell.anchors.newest("registry").number < 2:  # noqa: ASYNC110 - the loop's state
                await asyncio.sleep(0.1)
        assert bucket.keys()


async def test_a_running_process_refuses_what_the_bucket_shows_as_older(anchored, attacker, bucket, s3):
    """A process that started while the store was away compares as soon as it answers, and then uses no older keys."""
    namespace_id = await host_put_back(anchored, attacker)
    config = replace(anchored, anchor=bucket.config(interval_seconds=1.0))
    s3.fault = (503, "SlowDown")
    async with opened(config) as cell:
        await cell.keyring.open(namespace_id)
        s3.fault = None
        async with asyncio.timeout(60):
            while not isinstance(cell.anchors.bucket.work.last_error, OlderThanAnchor):  # noqa: ASYNC110 - the loop's state
                await asyncio.sleep(0.1)
        cell.keyring.evict(namespace_id)
        with pytest.raises(RegistryAltered):
            await cell.keyring.open(namespace_id)


def test_the_commands(config_path, bucket):
    """Commands write no object while only the audit log grows. A cut of log and checkpoints is found by `audit verify`."""
    folder = config_path.parent

    def run(*arguments, code=0):
        done = run_command(folder, *arguments, environment=ENVIRONMENT)
        assert done.returncode == code, done
        return " ".join((done.stdout + done.stderr).split())

    run("init")
    config_path.write_text(config_path.read_text() + bucket.toml())
    run("namespace", "create", "one")
    assert len(bucket.keys()) == 1
    run("namespace", "list")
    assert len(bucket.keys()) == 1
    run("keys", "rotate", "one")
    assert len(bucket.keys()) == 2
    assert "nothing was altered" in run("audit", "verify")
    shutil.rmtree(folder / "audit")
    assert "missing" in run("audit", "verify", code=1)


async def test_an_acceptance_is_anchored_by_its_command(anchored, config_path, attacker, bucket):
    """`restore accept` writes the accepted state into the bucket. The dry run, which only reads, writes nothing."""
    config_path.write_text(config_path.read_text() + bucket.toml())
    async with opened(anchored) as cell:
        await cell.create_kek(KEK)
        namespace_id = (await cell.namespaces.create("one", kek=KEK)).namespace_id
    older = await saved(attacker)
    async with opened(anchored) as cell:
        await rotate_data_key(cell.keyring, namespace_id)
    await put_back(attacker, older)
    accept = ("restore", "accept", "--reason", "backup restored")

    def run(*arguments):
        done = run_command(config_path.parent, *arguments, environment=ENVIRONMENT)
        assert done.returncode == 0, done
        return done.stdout

    before = bucket.keys()
    state = json.loads(await asyncio.to_thread(run, *accept, "--dry-run", "--json"))["state"]
    assert bucket.keys() == before
    await asyncio.to_thread(run, *accept, "--state", state)
    assert len(bucket.keys()) == len(before) + 1
    async with opened(anchored) as cell:
        found = await cell.anchors.bucket.newest((await cell.audit_key()).public_key)
        registry = next(each for each in found.positions if each.name == "registry")
        assert registry.number == 4, "one above the anchored version 3"


def test_changes_of_grants_are_anchored(config_path, bucket):
    """The version of the policy that a request, its withdrawal and `accept-older` make is in the bucket when the command ends."""
    folder = config_path.parent

    def run(*arguments, key=None, code=0):
        environment = ENVIRONMENT | ({} if key is None else {"STRONGROOM_API_KEY": key})
        done = run_command(folder, *arguments, "--json", environment=environment)
        assert done.returncode == code, done
        return json.loads(done.stdout) if code == 0 else done

    run("init")
    config_path.write_text(config_path.read_text() + bucket.toml())
    key = run("access", "init", "ana")["api_key"]
    before = len(bucket.keys())
    grant = run("access", "request", "--role", "owner", "--reason", "ticket 4711", key=key)["grant_id"]
    assert len(bucket.keys()) == before + 1
    run("access", "grants", key=key)
    assert len(bucket.keys()) == before + 1, "reading writes nothing"
    run("access", "end", grant, key=key)
    assert len(bucket.keys()) == before + 2
