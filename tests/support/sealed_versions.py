"""The key versions of all sealed values. The bytea columns come from PostgreSQL's catalogue, not from the product's descriptors."""

from __future__ import annotations

from collections import Counter

from strongroom.storage import COPIES, EVERY_NAMESPACE

_COLUMNS = """
SELECT c.relname::text AS table, a.attname::text AS column,
       EXISTS (SELECT FROM pg_attribute n WHERE n.attrelid = c.oid AND n.attname = 'namespace_id') AS namespaced
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid = 'bytea'::regtype AND (c.relname, a.attname) NOT IN (('data_keys', 'wrapped'), ('data_keys', 'commitment'))
"""


async def versions_in_use(cell, owner):
    """Return the number of an owner's sealed values, by column and version.

    One keyed token in 2^23 is counted too, because it begins with one of the two prefixes of sealed values.
    """
    found = {}
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        for row in await connection.fetch(_COLUMNS):
            table, column = row["table"], row["column"]
            if not row["namespaced"] and owner != cell.keyring.cell_id:
                continue
            mine = "namespace_id = $1" if row["namespaced"] else "$1::uuid IS NOT NULL"
            sealed = f"substring({column} from 1 for 3) IN ('\\x070101', '\\x070102')"
            query = f"SELECT {column} AS value FROM {table} WHERE {mine} AND {sealed}"  # noqa: S608
            values = await connection.fetch(query, owner)
            if versions := Counter(int.from_bytes(value["value"][4:8], "big") for value in values):
                found[f"{table}.{column}"] = versions
    if cell.search_index is not None:
        await cell.search_index.refresh()
        documents = Counter()
        async for copies in cell.search_index.sealed_copies(owner, chunk=100):
            documents.update(copy.version for copy in copies)
        if documents:
            found[COPIES] = documents
    return found


async def all_versions(cell, owner):
    """Return all versions that an owner's values use."""
    return {version for versions in (await versions_in_use(cell, owner)).values() for version in versions}
