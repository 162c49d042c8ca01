"""A shard of before, put back in the database with its sums, is refused by a process that starts: the audit log states a newer one."""

from __future__ import annotations

import asyncio

import pytest

from strongroom.kms import KekRef
from strongroom.storage import ShardInfo
from strongroom.storage.errors import OlderThanAnchor
from tests.support.earlier_rows import put_back, saved
from tests.support.fixtures.command_line import run_command
from tests.support.fixtures.executions import Workflow, blob
from tests.support.processes import opened

pytestmark = pytest.mark.integration

KEK = KekRef("local", "shared")
SHARD = 1
TABLES = ("journal", "journal_sums", "executions", "execution_maps", "current_executions", "history_tasks")


@pytest.fixture
async def older(config, attacker):
    """The rows of a shard before its newest write. A process that has ended anchored the state after it."""
    async with opened(config) as cell:
        await cell.create_kek(KEK)
        namespace_id = (await cell.namespaces.create("one", kek=KEK)).namespace_id
        await cell.shards.get_or_create_shard(SHARD, lambda: ShardInfo(SHARD, 1, blob()))
        workflow = Workflow(cell, namespace_id, SHARD)
        run = await workflow.create()
        await cell.journal.fold(SHARD)
        before = await saved(attacker, TABLES)
        await workflow.update(workflow.mutation(run.run_id))
        await cell.journal.fold(SHARD)
        await cell.audit.checkpoint()
    return before


async def test_a_starting_process_refuses_an_older_shard(config, attacker, older):
    """The shard is consistent in itself, so only the anchor shows that it is older. The error names both states."""
    newest = await saved(attacker, TABLES)
    await put_back(attacker, older)
    with pytest.raises(OlderThanAnchor, match=r"shard/1 in the database is version 1, and version 2 .*the audit log"):
        async with opened(config):
            pass
    await put_back(attacker, newest)
    async with opened(config) as cell:
        assert (await cell.journal.verify(SHARD)).ok


async def test_a_deleted_shard_is_refused(config, attacker, older):
    """A shard without rows and sums is version none."""
    await put_back(attacker, dict.fromkeys(older, ()))
    with pytest.raises(OlderThanAnchor, match=r"shard/1 in the database is none, and version 2 "):
        async with opened(config):
            pass


async def test_a_restore_is_accepted(config, config_path, attacker, older):
    """`restore accept` names the shard; then the cell opens, the shard verifies, and an even older state is refused again."""
    await put_back(attacker, older)
    arguments = ("restore", "accept", "--reason", "backup restored")
    accepted = await asyncio.to_thread(run_command, config_path.parent, *arguments)
    assert "shard/1" in accepted.stdout, accepted
    async with opened(config) as cell:
        assert (await cell.journal.verify(SHARD)).ok
        await cell.audit.checkpoint()
    await put_back(attacker, older)
    with pytest.raises(OlderThanAnchor, match="shard/1"):
        async with opened(config):
            pass


@pytest.mark.usefixtures("config")
async def test_rows_of_a_partial_restore_are_accepted(config_path, attacker, older):
    """One table of before differs from the sums. `verify` names it and ends with 1, until `restore accept` has accepted it."""
    table = "executions"
    await put_back(attacker, {table: older[table]})
    found = await asyncio.to_thread(run_command, config_path.parent, "verify", "--shard", str(SHARD))
    assert (found.returncode, f"rows of {table}" in found.stdout) == (1, True), found
    accepted = await asyncio.to_thread(
        run_command, config_path.parent, "restore", "accept", "--reason", "one table restored"
    )
    assert f"rows of {table}" in accepted.stdout, accepted
    verified = await asyncio.to_thread(run_command, config_path.parent, "verify")
    assert verified.returncode == 0, verified
