"""A row that a write replaced or deleted is put back before folding, and the entry of the write is edited so that the sums fit."""

from __future__ import annotations

import pytest

from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.writer import Journal
from tests.support.earlier_rows import administrator
from tests.support.fixtures.contract import open_cell
from tests.support.fixtures.driver_role import owner_dsn
from tests.support.freshness.replacements import WRITES
from tests.support.freshness.scene import new_scene
from tests.support.freshness.verification import OF_THE_CELL, accept

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
async def unfolded_cell(databases, tmp_path_factory):
    """An open cell whose journal is folded only when a test does it."""
    folder = tmp_path_factory.mktemp("unfolded")
    async with (
        databases.database(is_prepared=True) as dsn,
        open_cell(dsn, folder, as_service=True, folds=False) as cell,
    ):
        yield cell


@pytest.fixture
def new_keeper(unfolded_cell):
    """The journal of another process, which starts now."""
    return JournalKeeper(unfolded_cell.database, unfolded_cell.keyring, Journal(unfolded_cell.keyring))


@pytest.fixture
async def unfolded_scene(unfolded_cell):
    """The scene of one attack."""
    async with administrator(owner_dsn(unfolded_cell.config)) as admin:
        yield await new_scene(unfolded_cell, admin)
        await accept(unfolded_cell)


async def found_by(keeper, scene):
    """Return what a process finds in the shard of the scene and in the tables of the cell."""
    found = [await keeper.verify(shard_id) for shard_id in (scene.shard_id, *OF_THE_CELL)]
    return {(each.shard_id, text) for each in found for text in (*each.tables, *each.problems)}


@pytest.mark.parametrize("write", [write for write in WRITES if not write.overwrites], ids=str)
async def test_a_write_that_is_undone_is_found(unfolded_scene, new_keeper, write):
    """The process that wrote finds it at once, and every other one as soon as the first has folded.

    The control: until then the other process finds nothing, so the sums do fit. Nothing is found after the edit is undone.
    """
    own = unfolded_scene.cell.journal
    await write.do(unfolded_scene)
    before = await found_by(own, unfolded_scene)
    assert await found_by(new_keeper, unfolded_scene) == before
    await write.undo(unfolded_scene)
    assert await found_by(new_keeper, unfolded_scene) == before, "the control: the sums fit"
    [(shard_id, problem)] = await found_by(own, unfolded_scene) - before
    assert "lists other replaced rows" in problem
    assert problem in await own.fold(shard_id)
    assert (shard_id, problem) in await found_by(new_keeper, unfolded_scene)
    assert problem in await new_keeper.fold(shard_id)
    await unfolded_scene.admin.undo()
    assert await found_by(own, unfolded_scene) == await found_by(new_keeper, unfolded_scene) == before
    assert (shard_id, problem) not in {(shard_id, each) for each in await own.fold(shard_id)}


@pytest.mark.parametrize("write", [write for write in WRITES if write.overwrites], ids=str)
async def test_an_overwritten_row_that_is_put_back_is_found(unfolded_scene, new_keeper, write):
    """Every process finds it at once, because the entry may not replace the version that it added."""
    await write.do(unfolded_scene)
    before = await found_by(new_keeper, unfolded_scene)
    assert not before
    await write.undo(unfolded_scene)
    for keeper in (new_keeper, unfolded_scene.cell.journal):
        texts = {text for _, text in await found_by(keeper, unfolded_scene)}
        assert write.table in texts
        assert any("may not replace" in text for text in texts)
    await unfolded_scene.admin.undo()
    assert await found_by(new_keeper, unfolded_scene) == before


async def test_a_forged_answer_does_not_undo_a_write(unfolded_scene, new_keeper):
    """A trigger that names the row's new version as replaced returns a digest that fits. An entry may not replace its own image."""
    older = await unfolded_scene.admin.copies("shards", "shard_id = $1", unfolded_scene.shard_id)
    await unfolded_scene.admin.connection.execute("""
        CREATE FUNCTION forge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.replaced := (SELECT substr(NEW.replaced, 1, 19) || substr(data, octet_length(data) - 15) FROM strongroom.shards
                             WHERE shard_id = NEW.shard_id);
            RETURN NEW;
        END $$
    """)
    await unfolded_scene.admin.connection.execute(
        "CREATE TRIGGER forge BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION forge()"
    )
    try:
        await unfolded_scene.take_over_shard()
    finally:
        await unfolded_scene.admin.connection.execute("DROP TRIGGER forge ON journal")
        await unfolded_scene.admin.connection.execute("DROP FUNCTION forge")
    await unfolded_scene.admin.put_back("shards", older)
    for keeper in (unfolded_scene.cell.journal, new_keeper):
        found = await keeper.verify(unfolded_scene.shard_id)
        assert ["may not replace" in problem for problem in found.problems] == [True]
