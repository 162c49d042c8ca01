"""A shard of before, put back in the database with its sums, is refused by a process that starts: the audit log states a newer one."""

from __future__ import annotations

import asyncio
import json

import pytest

from strongroom.kms import KekRef
from strongroom.storage import ShardInfo
from strongroom.storage.errors import ConditionFailed, OlderThanAnchor
from tests.support.earlier_rows import put_back, saved
from tests.support.fixtures.command_line import run_command
from tests.support.fixtures.executions import Workflow, blob
from tests.support.processes import opened

pytestmark = pytest.mark.integration

KEK = KekRef("local", "shared")
SHARD = 1
ACCEPT = ("restore", "accept", "--reason", "backup restored")
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


async def state_of(config_path):
    """Return the name of the state that a person is shown."""
    dry = await asyncio.to_thread(run_command, config_path.parent, *ACCEPT, "--dry-run", "--json")
    return json.loads(dry.stdout)["state"]


async def accept(config_path, state=None):
    """Accept a state; None for the present one."""
    state = await state_of(config_path) if state is None else state
    return await asyncio.to_thread(run_command, config_path.parent, *ACCEPT, "--state", state)


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("shown", ["an older shard", "changed rows"])
async def test_only_the_state_that_was_shown_is_accepted(config_path, attacker, older, shown):
    """A row that changes after a person has looked at the differences is not accepted with them, also in a table that was named."""
    table = "executions"
    await put_back(attacker, older if shown == "an older shard" else {table: older[table]})
    state = await state_of(config_path)
    assert await state_of(config_path) == state
    await attacker.execute("UPDATE strongroom.executions SET data = data || 'x'")
    refused = await accept(config_path, state)
    assert (refused.returncode, "nothing was accepted" in refused.stderr) == (2, True), refused
    assert (await asyncio.to_thread(run_command, config_path.parent, "verify")).returncode > 0


@pytest.mark.usefixtures("older")
async def test_a_shard_that_changes_while_it_is_accepted_keeps_its_sums(config, attacker):
    """The rows are compared once more in the transaction that makes the sums."""
    async with opened(config) as cell:
        seen = await cell.journal.verify(SHARD)
        await attacker.execute("UPDATE strongroom.executions SET data = data || 'x'")
        with pytest.raises(ConditionFailed, match="changed after they were shown"):
            await cell.journal.accept(SHARD, digest=seen.digest)
        assert not (await cell.journal.verify(SHARD)).ok


async def test_a_restore_is_accepted(config, config_path, attacker, older):
    """`restore accept` names the shard; then the cell opens, the shard verifies, and an even older state is refused again."""
    await put_back(attacker, older)
    accepted = await accept(config_path)
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
    accepted = await accept(config_path)
    assert f"rows of {table}" in accepted.stdout, accepted
    verified = await asyncio.to_thread(run_command, config_path.parent, "verify")
    assert verified.returncode == 0, verified
