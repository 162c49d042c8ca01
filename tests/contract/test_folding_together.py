"""A round folds the entries of several shards in one transaction. Each shard is then as if it had been folded by itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import patch

import pytest

from strongroom.storage.errors import DatabaseUnavailable
from strongroom.storage.journal import shard_folder
from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.shard_folder import ShardFolder
from strongroom.storage.journal.writer import Journal
from tests.support.earlier_rows import administrator
from tests.support.fixtures.contract import new_shard
from tests.support.fixtures.driver_role import owner_dsn
from tests.support.fixtures.executions import RUNNING

pytestmark = pytest.mark.integration


@pytest.fixture
async def workflows(workflow):
    """Workflows in three shards, each with entries that are not folded."""
    made = [replace(workflow, shard_id=await new_shard(workflow.cell), workflow_id=f"order {each}") for each in "abc"]
    for each in made:
        await written(each)
    journal = workflow.cell.journal.journal
    before = journal.dirty
    yield sorted(made, key=lambda each: each.shard_id)
    journal.dirty = before  # the cell is that of other tests too


@pytest.fixture
async def admin_of_shards(workflows):
    """An administrator of the database, who reads and edits rows of these shards."""
    condition = f"shard_id IN ({', '.join(str(each.shard_id) for each in workflows)})"
    async with administrator(owner_dsn(workflows[0].cell.config), within=condition) as made:
        yield made


async def written(workflow):
    """Create a run and update it."""
    created = await workflow.create()
    await workflow.update(workflow.mutation(created.run_id, RUNNING))


def keeper_of(workflows, journal=None):
    """Return a keeper that is to fold these shards, by default one of the process that wrote to them."""
    cell = workflows[0].cell
    keeper = JournalKeeper(cell.database, cell.keyring, journal or cell.journal.journal)
    keeper.journal.dirty = {each.shard_id for each in workflows}
    return keeper


async def fold_together(workflows):
    """Fold the shards in one transaction. A cluster folds them one by one."""
    keeper = keeper_of(workflows)
    shards = [each.shard_id for each in workflows]
    done = await keeper._folder.fold_together(shards)
    if workflows[0].cell.config.cell.distributed:
        assert not done
        await keeper.fold_dirty()
    else:
        assert done == set(shards)


async def assert_unaltered(workflows):
    """Verify the shards as the process that wrote, and as a new one."""
    cell = workflows[0].cell
    for keeper in (cell.journal, JournalKeeper(cell.database, cell.keyring, Journal(cell.keyring))):
        for each in workflows:
            found = await keeper.verify(each.shard_id)
            assert found.ok, found.texts
            assert found.rows > 0


async def test_one_transaction_folds_several_shards(workflows, admin_of_shards):
    """All entries are in the sums of their own shard, and the next writes raise no alarm."""
    shards = [each.shard_id for each in workflows]
    assert await admin_of_shards.copies("journal"), "control: there are entries"
    await fold_together(workflows)
    assert not await admin_of_shards.copies("journal")
    assert [row["shard_id"] for row in await admin_of_shards.copies("journal_sums")] == shards
    await assert_unaltered(workflows)
    for each in workflows:
        await each.like(workflow_id="another").create()
    await fold_together(workflows)
    await assert_unaltered(workflows)


async def test_an_altered_shard_keeps_no_other_from_being_folded(workflows, admin_of_shards):
    """The shard is noted, its sums stay as they are, and the other shards are folded."""
    altered = workflows[1].shard_id
    await admin_of_shards.delete("journal", "shard_id = $1 AND number = 1", altered)
    keeper = keeper_of(workflows)
    await keeper.fold_dirty()
    assert set(keeper.altered) == {altered}
    assert altered in keeper.journal.dirty
    assert {row["shard_id"] for row in await admin_of_shards.copies("journal")} == {altered}
    assert altered not in [row["shard_id"] for row in await admin_of_shards.copies("journal_sums")]
    await assert_unaltered([workflows[0], workflows[2]])
    assert not (await keeper.verify(altered)).ok


async def test_a_shard_with_more_entries_is_folded_to_the_end(workflows, admin_of_shards):
    """The entries after the shared page follow in transactions of their own."""
    for number in range(6):
        await workflows[1].like(workflow_id=f"order {number}").create()
    keeper = keeper_of(workflows)
    with patch.object(shard_folder, "ENTRIES_TOGETHER", 3):
        await keeper.fold_dirty()
    assert not await admin_of_shards.copies("journal")
    assert not keeper.altered
    await assert_unaltered(workflows)


async def test_shards_are_folded_one_by_one_if_the_transaction_fails(workflows, admin_of_shards):
    """So a shard that fails keeps no other from being folded. An end of the process leaves all of them for the next round."""
    keeper = keeper_of(workflows)
    with (
        patch.object(ShardFolder, "_folded_together", side_effect=asyncio.CancelledError),
        pytest.raises(asyncio.CancelledError),
    ):
        await keeper.fold_dirty()
    assert keeper.journal.dirty >= {each.shard_id for each in workflows}
    with patch.object(ShardFolder, "_folded_together", side_effect=DatabaseUnavailable("closed")):
        await keeper.fold_dirty()
    assert not await admin_of_shards.copies("journal")
    await assert_unaltered(workflows)


async def test_two_processes_fold_the_same_shards(workflows):
    """Each entry is folded once, also while the shards are written to."""
    other = keeper_of(workflows, Journal(workflows[0].cell.keyring))
    for number in range(5):
        keeper = keeper_of(workflows)
        other.journal.dirty = set(keeper.journal.dirty)
        writes = [each.like(workflow_id=f"order {number}").create() for each in workflows]
        await asyncio.gather(keeper.fold_dirty(), other.fold_dirty(), *writes)
        assert not keeper.altered
        assert not other.altered
    await assert_unaltered(workflows)
