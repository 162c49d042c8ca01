"""Everything works for a plain role that owns a plain database, as on a managed server, and whatever the database's settings are."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import (
    EVERY_NAMESPACE,
    Database,
    InvalidPersistenceRequest,
    StorageError,
    apply_schema,
    schema_status,
)
from tests.support.databases import administer, create_driver, dsn_of, owner_of, quoted, superuser_of
from tests.support.deaf import opened_deaf
from tests.support.every_table import every_table
from tests.support.fixtures.command_line import run_command
from tests.support.search_cell import new_cell, record

pytestmark = pytest.mark.integration

EXTENSIONS = "SELECT string_agg(extname, ',') FROM pg_extension"


async def test_the_ordinary_fixture_is_a_plain_owner(dsn, cell):
    """The tests connect as roles without any right on the server. So a statement that needs one fails in every test."""
    for each in (dsn, cell.config.dsn, owner_of(cell.config.dsn)):
        connection = await asyncpg.connect(each)
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        assert await connection.fetchval("SELECT current_setting('is_superuser')") == "off"
        rights = ("rolsuper", "rolcreatedb", "rolcreaterole", "rolreplication", "rolbypassrls")
        assert not any(role[right] for right in rights)
        member_of = "SELECT count(*) FROM pg_auth_members WHERE member = $1"
        assert await connection.fetchval(member_of, role["oid"]) == 0
        granted = "SELECT count(*) FROM pg_parameter_acl"
        assert await connection.fetchval(granted) == 0, "no GRANT SET either"
        await connection.close()


def test_the_owner_of_a_database_makes_a_cell(dsn, tmp_path):
    """`init`, run as the owner, makes a working cell."""
    for arguments in (("init", "--dsn", dsn), ("schema", "status"), ("namespace", "create", "payments"), ("doctor",)):
        done = run_command(tmp_path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


ODD_DATABASES = {
    "names": {"name": """Zelle "ä" %s '1' """, "role": """Größe "x" 'y' %; -- @:/?#"""},
    "LATIN1": {"options": "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"},
    "SQL_ASCII": {"options": "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"},
    "a collation that ignores case": {
        "options": "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-u-ks-level2' LOCALE 'C.UTF-8'"
    },
}
ODD_SETTINGS = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "search_path": "public",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "row_security": "off",
    "array_nulls": "off",
    "check_function_bodies": "off",
    "quote_all_identifiers": "on",
    "client_min_messages": "debug1",
    "standard_conforming_strings": "off",
    "enable_indexscan": "off",
    "exit_on_error": "on",
    "gin_fuzzy_search_limit": "1",
    "transform_null_equals": "on",
    "xmloption": "document",
    "jit_above_cost": "0",
    "work_mem": "64kB",
    "from_collapse_limit": "1",
}


async def used(owner_dsn, folder, role=None):
    """Make a cell as the owner, write and read every table as a driver role, and apply the schema again."""
    path = folder / "strongroom.toml"
    write_config(path, dsn=owner_dsn)
    config = load_config(path)
    await Strongroom.init(config)
    role, driver_dsn = await create_driver(owner_dsn, role)
    owner = Database(owner_dsn, size=1, insecure=True)
    await apply_schema(owner, driver_role=role)
    assert (await schema_status(owner)).is_current
    for dsn in (driver_dsn, owner_dsn):
        async with opened_deaf(replace(config, dsn=dsn)) as strongroom:
            await (await every_table(strongroom)).read()
    assert await apply_schema(owner) == []
    await owner.aclose()
    connection = await asyncpg.connect(owner_dsn)
    assert await connection.fetchval(EXTENSIONS) == "plpgsql", "nothing that an administrator must install"
    await connection.close()


@pytest.mark.parametrize("odd", ODD_DATABASES)
async def test_odd_names_encodings_and_collations(contract_databases, tmp_path, odd):
    """Roles with special characters, encodings other than UTF-8, and a collation that ignores case change nothing."""
    try:
        dsn = await contract_databases.create(**ODD_DATABASES[odd])
    except asyncpg.FeatureNotSupportedError:  # the wheel's server has no ICU; the oldest version's package has
        return
    try:
        await used(dsn, tmp_path, f'Fahrer "{odd}" %')
    finally:
        await contract_databases.drop(dsn)


@pytest.mark.parametrize("target", ["DATABASE", "ROLE"])
async def test_settings_of_the_database_or_of_the_role(contract_databases, tmp_path, target):
    """Defaults that an administrator set for the database or for the role change no answer."""
    async with contract_databases.database() as dsn:
        name = quoted(database_of(dsn))
        await administer(
            superuser_of(dsn), *(f"ALTER {target} {name} SET {key} = '{value}'" for key, value in ODD_SETTINGS.items())
        )
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SHOW bytea_output") == "escape", (
            "the settings have an effect on other clients"
        )
        await connection.close()
        await used(dsn, tmp_path)


async def test_an_index_that_may_leave_rows_out(contract_databases, tmp_path):
    """A role whose GIN indexes return a random part of the rows gets whole lists and counts."""
    async with contract_databases.database() as dsn:
        await administer(
            superuser_of(dsn),
            *(
                f"ALTER ROLE {quoted(database_of(dsn))} SET {setting}"
                for setting in ("gin_fuzzy_search_limit = 1", "enable_seqscan = off", "enable_indexscan = off")
            ),
        )
        path = tmp_path / "strongroom.toml"
        write_config(path, dsn=dsn)
        config = load_config(path)
        await Strongroom.init(config)
        async with opened_deaf(config) as strongroom:
            cell = await new_cell(strongroom)
            await cell.write(*(record(number, customer=f"c{number % 3}") for number in range(600)))
            owner = await asyncpg.connect(dsn)
            await owner.execute(
                "VACUUM ANALYZE strongroom.visibility_records"
            )  # also empties the index's list of pending rows
            await owner.close()
            assert await cell.count("Customer = 'c1'") == 200
            wanted = ", ".join(f"'c{number}'" for number in range(400))
            assert await cell.count(f"Customer IN ({wanted})") == 600
            assert len(await cell.listed(f"Customer IN ({wanted})", page_size=1000)) == 600
            assert len(await cell.listed("Customer = 'c1'", page_size=1000)) == 200
            async with strongroom.database.connection(cell.namespace_id) as connection:
                plan = await connection.fetch(
                    "EXPLAIN SELECT id FROM visibility_records WHERE t && ARRAY[1, 2]::bigint[]"
                )
                assert any("visibility_records_tokens" in row["QUERY PLAN"] for row in plan), "the index is used"
                shown = await connection.fetch("SHOW gin_fuzzy_search_limit")
                assert shown[0]["gin_fuzzy_search_limit"] == "0"


@pytest.mark.parametrize(("default", "used_by_searches"), [("64kB", "64MB"), ("4MB", "64MB"), ("1GB", "1GB")])
async def test_the_memory_of_a_search(contract_databases, default, used_by_searches):
    """A session has 64 MB at least, so that a count of millions does not compare each row of every page; a role may have more."""
    async with contract_databases.database() as dsn:
        await administer(superuser_of(dsn), f"ALTER ROLE {quoted(database_of(dsn))} SET work_mem = '{default}'")
        database = Database(dsn, size=1, insecure=True)
        async with database.connection(EVERY_NAMESPACE) as connection:
            shown = await connection.fetch("SHOW work_mem")
        assert shown[0]["work_mem"] == used_by_searches
        await database.aclose()


def database_of(dsn):
    """Return the name of a dsn's database."""
    return dsn.partition("?")[0].rpartition("/")[2]


async def test_a_database_in_which_public_may_do_nothing(contract_databases, tmp_path):
    """The owner of the database needs no right on the schema `public`, no temporary tables, and no right of PUBLIC."""
    async with contract_databases.database() as dsn:
        await administer(
            superuser_of(dsn),
            "DROP SCHEMA public CASCADE",
            f"REVOKE ALL ON DATABASE {quoted(database_of(dsn))} FROM PUBLIC",
            f"REVOKE TEMPORARY ON DATABASE {quoted(database_of(dsn))} FROM {quoted(database_of(dsn))}",
            f"GRANT CONNECT ON DATABASE {quoted(database_of(dsn))} TO PUBLIC",
        )
        await used(dsn, tmp_path)


async def test_event_triggers_of_an_administrator(contract_databases, tmp_path):
    """An event trigger that records each change of a schema, as some managed servers have, does not stop the owner."""
    async with contract_databases.database() as dsn:
        await administer(
            superuser_of(dsn),
            "CREATE TABLE public.changes (tag text)",
            "CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS "
            "$$ BEGIN INSERT INTO public.changes VALUES (tg_tag); END $$",
            "CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION public.note()",
        )
        await used(dsn, tmp_path)
        connection = await asyncpg.connect(superuser_of(dsn))
        assert await connection.fetchval("SELECT count(*) FROM public.changes WHERE tag = 'CREATE FUNCTION'") >= 9
        await connection.close()


async def test_a_role_that_may_not_create_a_schema(contract_databases, tmp_path):
    """The error names the statement that the database's owner runs. With a schema of its own, or the right, it works."""
    async with contract_databases.database() as dsn:
        role, guest_dsn = await create_driver(dsn)
        guest = Database(guest_dsn, size=1, insecure=True)
        statement = f"GRANT CREATE ON DATABASE {database_of(dsn)} TO {role};"
        with pytest.raises(StorageError, match=statement):
            await apply_schema(guest)
        connection = await asyncpg.connect(dsn)
        await connection.execute(statement)
        await connection.close()
        assert await apply_schema(guest)
        await guest.aclose()
        owner = Database(dsn, size=1, insecure=True)
        with pytest.raises(StorageError, match=rf"belongs to {role}.* Connect as {role}"):
            await apply_schema(owner)
        await owner.aclose()
    async with contract_databases.database() as dsn:
        role, guest_dsn = await create_driver(dsn)
        await administer(superuser_of(dsn), f"CREATE SCHEMA strongroom AUTHORIZATION {role}")
        await used(guest_dsn, tmp_path)


async def test_a_table_that_another_role_owns(contract_databases):
    """A schema that a superuser changed by hand is refused with the name of the owner, before anything changes."""
    async with contract_databases.database() as dsn:
        owner = Database(dsn, size=1, insecure=True)
        await apply_schema(owner)
        await administer(superuser_of(dsn), "ALTER TABLE strongroom.tasks OWNER TO postgres")
        with pytest.raises(StorageError, match=r"belongs to postgres.*pg_restore --no-owner"):
            await apply_schema(owner)
        await owner.aclose()


async def test_an_owner_who_may_not_create_roles(dsn, tmp_path):
    """`schema apply --driver-role` names the statement for an administrator, and uses the role as it is once it exists."""
    assert run_command(tmp_path, "init", "--dsn", dsn).returncode == 0
    refused = run_command(tmp_path, "schema", "apply", "--driver-role", 'Dri"ver')
    assert refused.returncode == 2
    assert 'CREATE ROLE "Dri""ver" LOGIN PASSWORD \'...\'' in " ".join(refused.stderr.split())
    _, driver_dsn = await create_driver(dsn, 'Dri"ver')
    done = run_command(tmp_path, "schema", "apply", "--driver-role", 'Dri"ver')
    assert done.returncode == 0, done.stderr
    assert driver_dsn == dsn_of(dsn, role='Dri"ver')


async def test_the_error_of_the_driver_role_names_its_owner(dsn):
    """The error of a service that applies the schema as the driver role names the role to connect as. Nothing changes."""
    owner = Database(dsn, size=1, insecure=True)
    role, driver_dsn = await create_driver(dsn)
    await apply_schema(owner, driver_role=role)
    await owner.aclose()
    driver = Database(driver_dsn, size=1, insecure=True)
    with pytest.raises(
        StorageError, match=f"Connect as {database_of(dsn)}, with its dsn in STRONGROOM_OWNER_DSN"
    ) as raised:
        await apply_schema(driver)
    assert not isinstance(raised.value, InvalidPersistenceRequest)
    await driver.aclose()
