"""What tests do to rows behind the stores' back: read them raw, edit them, look for text in them."""

from __future__ import annotations

from tests.fix_driver_role import owner_connection


async def execute(cell, statement, *arguments):
    """Run a statement; return its command tag."""
    async with owner_connection(cell) as connection:
        return await connection.execute(statement, *arguments)


async def fetch(cell, statement, *arguments):
    """Run a query; return its rows."""
    async with owner_connection(cell) as connection:
        return await connection.fetch(statement, *arguments)


async def swap(cell, table, column, where):
    """Exchange a column's values of exactly two rows."""
    rows = await fetch(cell, f"SELECT ctid::text AS at, {column} AS value FROM {table} WHERE {where}")  # noqa: S608
    (left, right) = rows
    both = f"UPDATE {table} SET {column} = CASE ctid::text WHEN $1 THEN $4::bytea ELSE $3::bytea END WHERE ctid::text IN ($1, $2)"  # noqa: S608
    assert await execute(cell, both, left["at"], right["at"], left["value"], right["value"]) == "UPDATE 2"


async def stored_forms(cell, *tables):
    """Return all values of all rows of some tables, as bytes, one after the other."""
    values = []
    for table in tables:
        for row in await fetch(cell, f"SELECT * FROM {table}"):  # noqa: S608
            values += row.values()
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


async def assert_only_sealed(cell, planted, *tables, control):
    """Check that a text stands in no row of some tables, in clear or in an encoding of it.

    Args:
        cell: whose rows.
        planted: the text.
        tables: where to look.
        control: a statement whose $1 puts the text in clear into one of them; the same look must find it then.
    """
    forms = (planted.encode(), planted.encode("utf-16-le"), planted.encode().hex().encode())
    before = await stored_forms(cell, *tables)
    assert before
    assert not any(form in before for form in forms)
    assert (await execute(cell, control, planted)).split()[-1] != "0"
    after = await stored_forms(cell, *tables)
    assert any(form in after for form in forms)
