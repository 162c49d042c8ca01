"""In each sealed table, a deleted row, an older row and a row that comes back are found, whatever the table is for."""

from __future__ import annotations

import pytest

from strongroom.kms import rotate_data_key
from tests.support.every_table import every_table
from tests.support.freshness.rows import BY_NAME, SEALED
from tests.support.freshness.verification import JOURNAL, REASON, differences, tables

pytestmark = [pytest.mark.integration, pytest.mark.skipif(not JOURNAL, reason=REASON)]

TABLES = [table for table in SEALED if table != "access_policy"]


@pytest.fixture(scope="module")
async def filled(attacked_cell):
    """A namespace with rows in every table."""
    return await every_table(attacked_cell)


async def rows_of(admin, table, filled):
    """Return the rows of the namespace, or all rows of a table without namespaces."""
    if BY_NAME[table].namespaced:
        found = await admin.copies(table, "namespace_id = $1", filled.namespace_id)
    else:
        found = await admin.copies(table)
    return found or await admin.copies(table)


@pytest.fixture
async def undone(admin):
    """Undo what the administrator did."""
    yield
    await admin.undo()


@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize("table", TABLES)
async def test_a_deleted_row_is_found(admin, filled, table):
    """Verification names the table of a row that is missing, and nothing once it is back."""
    before = await differences(filled.cell)
    row = (await rows_of(admin, table, filled))[0]
    where = " AND ".join(f"{name} = ${number}" for number, name in enumerate(BY_NAME[table].key_names, 1))
    await admin.delete(table, where, *(row[name] for name in BY_NAME[table].key_names))
    assert tables(await differences(filled.cell) - before) == {table}
    await admin.undo()
    assert await differences(filled.cell) == before


async def test_an_older_row_is_found_in_each_table(attacked_cell, admin):
    """Rows that were resealed since, put back one table at a time. Resealing itself raises no alarm."""
    filled = await every_table(attacked_cell)
    before = await differences(attacked_cell)
    older = {table: await rows_of(admin, table, filled) for table in TABLES}
    for owner in (filled.namespace_id, attacked_cell.keyring.cell_id):
        await rotate_data_key(attacked_cell.keyring, owner)
        await attacked_cell.reseal().run(owner, rate=0)
    assert await differences(attacked_cell) == before
    for table, rows in older.items():
        await admin.put_back(table, rows[:1])
        assert tables(await differences(attacked_cell) - before) == {table}
        await admin.undo()
    assert await differences(attacked_cell) == before
