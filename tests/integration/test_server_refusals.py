"""Each kind of refusal of a real PostgreSQL has an error that names the cause and the remedy, and quotes nothing."""

from __future__ import annotations

import pytest

from strongroom.storage import NO_NAMESPACE, DatabaseAuthenticationError, DatabaseUnavailable, ResourceExhausted
from strongroom.storage.engine.translate import translated
from strongroom.storage.errors import PoolingNotSupported, SchemaMismatch, StorageError

pytestmark = pytest.mark.integration

PLANTED = "zq7planted"
REFUSALS = {
    "0A000": (StorageError, "PostgreSQL 15"),
    "25006": (DatabaseUnavailable, "read-only"),
    "26000": (PoolingNotSupported, "pool_mode = session"),
    "28000": (DatabaseAuthenticationError, "check the dsn"),
    "28P01": (DatabaseAuthenticationError, "check the dsn"),
    "3F000": (SchemaMismatch, "strongroom init"),
    "42501": (StorageError, "--driver-role"),
    "42703": (SchemaMismatch, "strongroom schema apply"),
    "42710": (SchemaMismatch, "strongroom schema apply"),
    "42723": (SchemaMismatch, "strongroom schema apply"),
    "42883": (SchemaMismatch, "strongroom schema apply"),
    "42P01": (SchemaMismatch, "strongroom schema apply"),
    "42P05": (PoolingNotSupported, "pool_mode = session"),
    "42P06": (SchemaMismatch, "strongroom schema apply"),
    "42P07": (SchemaMismatch, "strongroom schema apply"),
    "53100": (ResourceExhausted, "disk is full"),
    "53200": (ResourceExhausted, "no memory"),
    "53300": (ResourceExhausted, "max_connections"),
    "53400": (ResourceExhausted, "out of"),
    "54000": (StorageError, "less in one call"),
    "54001": (StorageError, "less in one call"),
    "55P03": (StorageError, "lock"),
    "57014": (StorageError, "time limit"),
    "57P03": (DatabaseUnavailable, "starting or stopping"),
    "58030": (ResourceExhausted, "file system"),
}


async def execute(strongroom, *statements):
    """Execute statements on one connection."""
    async with strongroom.database.connection(NO_NAMESPACE) as connection:
        with translated():
            for statement in statements:
                await connection.execute(statement)


@pytest.mark.parametrize("state", REFUSALS)
async def test_a_refusal_says_what_to_do(strongroom, state):
    """A refusal becomes an error of its kind with the remedy in the message, and without what the server quoted."""
    error_type, remedy = REFUSALS[state]
    statement = f"DO $$ BEGIN RAISE EXCEPTION '{PLANTED}' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(error_type) as caught:
        await execute(strongroom, statement)
    assert remedy in str(caught.value)
    assert PLANTED not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "again", "word"),
    [
        ("CREATE FUNCTION pg_temp.twice() RETURNS int LANGUAGE sql AS 'SELECT 1'",) * 2 + ("already has an object",),
        ("CREATE TEMP TABLE twice (x int)",) * 2 + ("already has an object",),
        ("PREPARE twice AS SELECT 1",) * 2 + ("pool_mode = session",),
        ("SELECT 1", "EXECUTE never", "pool_mode = session"),
    ],
)
async def test_the_servers_own_refusals(strongroom, first, again, word):
    """The same with what the server itself refuses: an object that exists, and a prepared statement that does or does not."""
    with pytest.raises(StorageError, match=word):
        await execute(strongroom, first, again)
