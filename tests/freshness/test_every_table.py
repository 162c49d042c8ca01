"""In each sealed table, a deleted row, an older row and a row that comes back are found, whatever the table is for."""

from __future__ import annotations

import pytest

from strongroom.kms import rotate_data_key
from strongroom.storage.journal.images import NUMBERS
from tests.support.earlier_rows import BY_NAME, SEALED
from tests.support.every_table import every_table
from tests.support.freshness.verification import differences, tables

pytestmark = pytest.mark.integration

TABLES = [table for table in SEALED if table in NUMBERS]


@pytest.fixture(scope="module")
async def filled(attacked_cell):
    """A namespace with rows in every table."""
    return await every_table(attacked_cell)


async def row_of(admin, table, filled):
    """Return a row of the namespace, or of the shard, or any row of a table that has neither; and the shards that may have it."""
    if BY_NAME[table].namespaced:
        rows = await admin.copies(table, "namespace_id = $1", filled.namespace_id)
    elif table == "shards":
        rows = await admin.copies(table, "shard_id = $1", filled.shard_id)
    else:
        rows = await admin.copies(table)
    row = (rows or await admin.copies(table))[0]
    return row, {filled.shard_id, row.get("shard_id", filled.shard_id)}


@pytest.fixture
async def undone(admin):
    """Undo what the administrator did."""
    yield
    await admin.undo()


@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize("table", TABLES)
async def test_a_deleted_row_is_found(admin, filled, table):
    """Verification names the table of a row that is missing, and nothing once it is back."""
    row, shards = await row_of(admin, table, filled)
    before = await differences(filled.cell, *shards)
    where = " AND ".join(f"{name} = ${number}" for number, name in enumerate(BY_NAME[table].key_names, 1))
    await admin.delete(table, where, *(row[name] for name in BY_NAME[table].key_names))
    assert tables(await differences(filled.cell, *shards) - before) == {table}
    await admin.undo()
    assert await differences(filled.cell, *shards) == before


async def test_an_older_row_is_found_in_each_table(attacked_cell, admin):
    """Rows that were resealed since, put back one table at a time. Resealing itself raises no alarm."""
    filled = await every_table(attacked_cell)
    found = {table: await row_of(admin, table, filled) for table in TABLES}
    shards = set().union(*(shards for _, shards in found.values()))
    before = await differences(attacked_cell, *shards)
    for owner in (filled.namespace_id, attacked_cell.keyring.cell_id):
        await rotate_data_key(attacked_cell.keyring, owner)
        await attacked_cell.reseal(wait=0).run(owner, rate=0)
    assert await differences(attacked_cell, *shards) == before
    for table, (row, _) in found.items():
        await admin.put_back(table, [row])
        assert tables(await differences(attacked_cell, *shards) - before) == {table}
        await admin.undo()
    assert await differences(attacked_cell, *shards) == before
