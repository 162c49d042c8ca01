"""The table descriptors are compared with the live catalogue and with the reference page."""

from __future__ import annotations

from collections import Counter

import pytest

from strongroom.storage.schema.reference import reference_table
from strongroom.storage.schema.table import NAMESPACE
from strongroom.storage.schema.tables import TABLES, VIEWS
from tests.support.every_table import every_table
from tests.support.fixtures.raw_rows import execute, fetch
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

SCHEMA_PAGE = ROOT / "docs" / "reference" / "schema.md"
BY_NAME = {table.name: table for table in TABLES}
COLUMNS = """
    SELECT c.relname::text AS table, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
"""
KEYS = """
    SELECT i.indrelid::regclass::text AS table, i.indisprimary AS primary, i.indisunique AS unique,
           array_agg(a.attname::text ORDER BY k.place) AS columns
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind = 'r'
    GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indisunique
"""


async def columns_of(cell):
    """Return the columns of each table by name."""
    tables = {}
    for row in await fetch(cell, COLUMNS):
        tables.setdefault(row["table"], {})[row["name"]] = row
    return tables


async def test_every_table_and_view_has_one_descriptor(owners_cell):
    """A table without a descriptor fails here, and so does a descriptor without a table."""
    tables = await columns_of(owners_cell)
    assert sorted(table.name for table in TABLES) == sorted(tables)
    views = await fetch(owners_cell, "SELECT viewname::text AS name FROM pg_views WHERE schemaname = 'strongroom'")
    assert {row["name"] for row in views} == set(VIEWS)
    assert set(VIEWS.values()) <= set(BY_NAME)


async def test_a_table_that_nobody_described_is_noticed(own_cell):
    """The control of the comparison."""
    await execute(own_cell, "CREATE TABLE notes (note text)")
    assert set(await columns_of(own_cell)) - set(BY_NAME) == {"notes"}


async def test_keys_are_those_of_the_catalogue(owners_cell):
    """Name, type and order of each key column: cursors and arrays are built from them."""
    tables = await columns_of(owners_cell)
    keys = {row["table"]: row["columns"] for row in await fetch(owners_cell, KEYS) if row["primary"]}
    typed = {table: tuple((name, tables[table][name]["type"]) for name in names) for table, names in keys.items()}
    assert {table.name: table.key for table in TABLES} == typed


async def test_namespace_columns_are_those_of_the_catalogue(owners_cell):
    """`namespaced` says whether a table has the column `namespace_id`, which is then never NULL."""
    tables = await columns_of(owners_cell)
    for table in TABLES:
        assert table.namespaced == (NAMESPACE in tables[table.name]), table.name
        if table.namespaced:
            assert tables[table.name][NAMESPACE]["required"], table.name
        assert table.is_purged == (table.namespaced and table.partition_column is not None), table.name


async def test_sealed_columns_are_those_of_the_catalogue(owners_cell):
    """Each is `bytea`, each part of its key is a column, and there are as many parts as the record kind has."""
    tables = await columns_of(owners_cell)
    for table in TABLES:
        for sealed in table.sealed:
            assert tables[table.name][sealed.column]["type"] == "bytea"
            assert set(sealed.parts) <= set(tables[table.name]), table.name
            assert len(sealed.parts) == len(sealed.kind.key), table.name
            assert sealed.kind.column == sealed.column


async def test_partition_columns_suit_citus(owners_cell):
    """Each is an integer that is never NULL, the first column of the key, and in each unique index of its table."""
    tables = await columns_of(owners_cell)
    for table in TABLES:
        if table.partition_column is not None:
            column = tables[table.name][table.partition_column]
            assert (column["type"], column["required"]) == ("integer", True), table.name
            assert table.partition_column == table.key_names[0]
    unique = Counter()
    for row in await fetch(owners_cell, KEYS):
        if row["unique"]:
            unique[row["table"]] += 1
            assert BY_NAME[row["table"]].partition_column in {None, *row["columns"]}, row["table"]
    assert set(unique) == set(BY_NAME)


async def test_namespace_indexes_are_those_of_the_catalogue(owners_cell):
    """A purged table whose key does not continue with the namespace says whether another index begins with it."""
    rows = await fetch(owners_cell, KEYS)
    indexed = {row["table"] for row in rows if row["columns"][0] == NAMESPACE and not row["primary"]}
    for table in TABLES:
        if table.is_purged and not table.is_keyed_by_namespace:
            assert table.has_namespace_index == (table.name in indexed), table.name


async def test_the_filler_of_tables_writes_every_table_with_a_sealed_column(own_cell):
    """`every_table`, which tests of resealing and row-level security use, misses no table."""
    await every_table(own_cell, workflows=1)
    for table in TABLES:
        if table.sealed:
            assert await fetch(own_cell, f"SELECT FROM {table.name} LIMIT 1"), table.name


def test_the_reference_page_has_the_table_of_tables():
    """docs/reference/schema.md is what the descriptors say."""
    _, _, rest = SCHEMA_PAGE.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    assert rest.partition("<!-- /tables -->")[0] == reference_table()
