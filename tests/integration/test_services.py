"""Each service of the tests that no other test uses yet starts and answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import asyncpg
import pytest

from tests.support.kms.bao_server import bao_server
from tests.support.services import VAULT, or_skip
from tests.support.services.pgbouncer import pgbouncer
from tests.support.services.postgres import citus, postgres

pytestmark = pytest.mark.integration


@pytest.fixture
def server_folder_of_a_test():
    """A folder that a server of another user can enter."""
    with tempfile.TemporaryDirectory(prefix="strongroom-service-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def answer(dsn, query):
    """Return the value of a query on a connection of its own."""
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_pgbouncer_answers_for_its_server(server_folder_of_a_test, superuser_dsn):
    """Statements go through PgBouncer, which also answers in its own console."""
    with or_skip(pgbouncer(server_folder_of_a_test, superuser_dsn)) as dsn:
        assert await answer(dsn, "SELECT 6 * 7") == 42
        assert dsn.endswith("/postgres")


@pytest.mark.parametrize("version", [16, 17])
async def test_a_postgres_between_the_oldest_and_the_newest(version, server_folder_of_a_test):
    """PostgreSQL 16 and 17 start where they are installed; POSTGRES_VERSIONS runs the contract suites on them."""
    with or_skip(postgres(server_folder_of_a_test / "postgres", version)) as server:
        assert (await answer(server.dsn, "SHOW server_version")).startswith(f"{version}.")


async def test_citus_has_its_extension(server_folder_of_a_test):
    """The extension is made in a database of the coordinator."""
    with or_skip(citus(server_folder_of_a_test / "citus")) as server:
        await answer(server.dsn, "CREATE EXTENSION IF NOT EXISTS citus")
        assert "Citus" in await answer(server.dsn, "SELECT citus_version()")


def test_vault_has_the_policies_of_its_page():
    """A token with the policies of transit.md is made on a real Vault, as on OpenBao."""
    with or_skip(bao_server(service=VAULT)) as server:
        token = server.token("strongroom-use")
        assert server.raw("GET", "auth/token/lookup-self", token=token).json()["data"]["policies"] == [
            "default",
            "strongroom-use",
        ]
