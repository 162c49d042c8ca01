"""The policies and the rights of the driver role, whatever the driver sends."""

from __future__ import annotations

import asyncio
import re
from uuid import uuid4

import asyncpg
import pytest

from strongroom.storage import EVERY_NAMESPACE, NO_NAMESPACE, Database, InvalidPersistenceRequest, apply_schema
from strongroom.storage.engine.own_session import OwnSession
from strongroom.storage.engine.session_settings import Session
from strongroom.storage.schema.tables import TABLES as DESCRIPTORS
from strongroom.storage.schema.tables import VIEWS
from tests.support.databases import administer, quoted, superuser_of
from tests.support.every_table import every_table
from tests.support.fixtures.driver_role import owner_connection, owner_dsn

pytestmark = pytest.mark.integration

MARK = "/*0123456789abcdef*/"
REFUSED = asyncpg.InsufficientPrivilegeError
TABLES = """
    SELECT c.relname AS name, c.relrowsecurity AS protected, count(p.polname) AS policies
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'namespace_id'
    LEFT JOIN pg_policy AS p ON p.polrelid = c.oid
    WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind = 'r' GROUP BY 1, 2
"""
EMPTY = {
    "shreddings",
    "shredded_keks",
    "erasure_certificates",
    "queue_messages",
    "visibility_outbox",
    "visibility_deletes",
    "damaged_rows",
}
"""Tables without rows of a living namespace, in a cell without Elasticsearch."""
RIGHTS = {table.name: set(table.rights.split(", ")) for table in DESCRIPTORS} | {view: {"SELECT"} for view in VIEWS}
MANY_RECORDS = """
    INSERT INTO visibility_records (shard_id, namespace_id, id, version, k, b1, b2, t, s)
    SELECT 1, $1, decode(md5(n::text), 'hex'), 1, 1, n, n, ARRAY[n, n + 1], '' FROM generate_series(1, 5000) AS n
"""
GRANTS = """
    SELECT table_name AS name, privilege_type AS privilege FROM information_schema.role_table_grants
    WHERE table_schema = 'strongroom' AND grantee = $1
"""


@pytest.fixture
async def service_connection(service_cell):
    """Open a connection as the driver role, for statements that the driver would not send."""
    connection = await asyncpg.connect(
        service_cell.config.dsn, connection_class=OwnSession, server_settings={"search_path": "strongroom"}
    )
    connection.began(Session(connection.get_server_pid(), MARK, row_level_security=True))
    yield connection
    await connection.close()


async def see(raw, namespaces):
    """Let a session see some namespaces."""
    await raw.execute("SELECT set_config('strongroom.namespaces', $1, false)", MARK + namespaces)


async def unprotected(connection):
    """Return the tables with a namespace that no policy protects."""
    rows = await connection.fetch(TABLES)
    assert rows
    return {row["name"] for row in rows if not row["protected"] or row["policies"] != 1}


async def test_every_table_with_a_namespace_has_a_policy(service_cell):
    """Each table with a namespace has one policy. The control: a table without one is noticed."""
    async with owner_connection(service_cell) as connection:
        assert not await unprotected(connection)
        await connection.execute("CREATE TABLE forgotten (namespace_id uuid)")
        assert await unprotected(connection) == {"forgotten"}


async def test_the_role_has_the_rights_that_are_listed_and_no_others(service_cell):
    """The catalogue has exactly the rights of the descriptors, for each table and view."""
    async with owner_connection(service_cell) as connection:
        role = (await cell_role(service_cell))["role"]
        granted: dict[str, set[str]] = {}
        for row in await connection.fetch(GRANTS, role):
            granted.setdefault(row["name"], set()).add(row["privilege"])
        assert granted == RIGHTS
        names = await connection.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'strongroom'"
        )
        assert {row["table_name"] for row in names} == set(RIGHTS)


async def cell_role(cell):
    """Return the role that the cell is connected as."""
    async with cell.database.connection(NO_NAMESPACE) as connection:
        return await connection.fetchrow("SELECT current_user AS role")


async def test_a_session_sees_and_changes_its_own_namespace_alone(service_cell, service_connection):
    """In each table, rows of another namespace can't be read, changed, deleted or inserted."""
    table = await every_table(service_cell)
    protected = {row["name"] for row in await service_connection.fetch(TABLES)}
    await see(service_connection, "*")  # the control: there are rows
    there = {}
    for name in protected:
        query = f"SELECT * FROM {name} WHERE namespace_id = $1"  # noqa: S608
        there[name] = await service_connection.fetch(query, table.namespace_id)
    empty = {name for name, rows in there.items() if not rows}
    assert empty == EMPTY
    for sight in (str(uuid4()), "", f"{uuid4()},{uuid4()}"):
        await see(service_connection, sight)
        for name in protected:
            assert await service_connection.fetchval(f"SELECT count(*) FROM {name}") == 0  # noqa: S608
            if "DELETE" in RIGHTS[name]:
                assert await service_connection.execute(f"DELETE FROM {name}") == "DELETE 0"  # noqa: S608
            assert await service_connection.execute(f"UPDATE {name} SET namespace_id = namespace_id") == "UPDATE 0"  # noqa: S608
            if there[name]:
                row = there[name][0]
                places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
                insert = f"INSERT INTO {name} ({', '.join(row.keys())}) VALUES ({places})"  # noqa: S608
                with pytest.raises(REFUSED):
                    await service_connection.execute(insert, *row.values())
        if "," not in sight:  # the view is of one namespace
            assert await service_connection.fetchval("SELECT count(*) FROM visibility_search") == 0
    await see(service_connection, f"{uuid4()},{table.namespace_id}")
    for name in protected - empty:
        rows = await service_connection.fetch(f"SELECT DISTINCT namespace_id FROM {name}")  # noqa: S608
        assert [row["namespace_id"] for row in rows] == [table.namespace_id]
        with pytest.raises(REFUSED):
            await service_connection.execute(f"UPDATE {name} SET namespace_id = $1", uuid4())  # noqa: S608 - given away
    await see(service_connection, str(table.namespace_id))
    assert await service_connection.fetchval("SELECT count(*) FROM visibility_search") == len(
        there["visibility_records"]
    )


@pytest.mark.parametrize("setting", [None, "", "*", "/*abcdef0123456789*/*", "the id"])
async def test_a_statement_without_the_mark_of_its_session_is_an_error(service_cell, service_connection, setting):
    """It does not find nothing, whether the session has no setting, one without a mark, or one with another mark."""
    table = await every_table(service_cell)
    if setting is not None:
        value = str(table.namespace_id) if setting == "the id" else setting
        await service_connection.execute("SELECT set_config('strongroom.namespaces', $1, false)", value)
    for name in [row["name"] for row in await service_connection.fetch(TABLES)] + ["visibility_search"]:
        if name in EMPTY:
            continue  # without a row, nothing is compared
        for statement in (f"SELECT count(*) FROM {name}", f"SELECT * FROM {name} WHERE namespace_id = $1"):  # noqa: S608
            with pytest.raises(asyncpg.UndefinedObjectError, match="session_of_this_statement"):
                await service_connection.fetch(statement, *[table.namespace_id] * ("$1" in statement))


async def test_a_statement_with_the_mark_of_its_session_finds_its_rows(service_cell, service_connection):
    """The control: the same statement with the mark at its beginning. A mark elsewhere in the text is none."""
    table = await every_table(service_cell)
    await see(service_connection, str(table.namespace_id))
    raw = await asyncpg.connect(service_cell.config.dsn)
    await raw.execute(f"SET strongroom.namespaces = '{MARK}{table.namespace_id}'")
    for name in ("strongroom.history_node", "strongroom.visibility_search"):
        statement = f"SELECT count(*) FROM {name}"  # noqa: S608
        assert await service_connection.fetchval(statement) > 0
        assert await raw.fetchval(MARK + statement) > 0
        with pytest.raises(asyncpg.UndefinedObjectError):
            await raw.fetchval(statement + MARK)
    await raw.close()


async def test_a_setting_that_is_none_is_an_error(service_cell, service_connection):
    """A setting that is neither ids nor the star shows no rows and raises an error."""
    await every_table(service_cell)
    await see(service_connection, "*,'")
    with pytest.raises(asyncpg.DataError):
        await service_connection.fetch("SELECT * FROM history_node")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE history_node DISABLE ROW LEVEL SECURITY",
        "DROP POLICY namespaces ON history_node",
        "CREATE TABLE mine (a int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "TRUNCATE history_node",
        "DELETE FROM data_keys",
        "INSERT INTO schema_version VALUES (99, 'x', now())",
        "UPDATE cell SET cell_id = gen_random_uuid()",
        "INSERT INTO visibility_search SELECT * FROM visibility_search",
        "SET ROLE postgres",
        "SET row_security = off; SELECT * FROM history_node",
    ],
)
async def test_the_role_cannot_disable_the_policies(service_cell, service_connection, statement):
    """It can't change the schema, the list of migrations or the cell's identity either, or delete keys."""
    assert service_cell
    with pytest.raises((REFUSED, asyncpg.ObjectNotInPrerequisiteStateError)):
        await service_connection.execute(statement)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("SUPERUSER", "superuser"),
        ("BYPASSRLS", "BYPASSRLS"),
        ("CREATEROLE", "CREATEROLE"),
        ("IN ROLE {owner}", "owns"),
        ("IN ROLE pg_read_all_data", None),
        ("IN ROLE {strong}", "BYPASSRLS"),
        (None, "CREATE ROLE {name} LOGIN"),
    ],
)
async def test_a_role_that_policies_would_not_bind_is_refused(service_cell, made, reason):
    """It gets no rights. A superuser creates the roles, as an administrator does."""
    name, strong = f'Unfit "{uuid4().hex[:12]}"', f"strong_{uuid4().hex[:12]}"
    superuser_dsn = superuser_of(service_cell.config.dsn)
    await administer(superuser_dsn, f"CREATE ROLE {strong} BYPASSRLS")
    async with owner_connection(service_cell) as connection:
        owner = (await connection.fetchrow("SELECT current_user AS name"))["name"]
        if made is not None:
            rights = made.format(owner=owner, strong=strong)
            await administer(superuser_dsn, f"CREATE ROLE {quoted(name)} LOGIN {rights}")
        database = Database(owner_dsn(service_cell.config), insecure=True)
        if reason is None:  # the control: a role that is bound
            await apply_schema(database, driver_role=name)
        else:
            with pytest.raises(InvalidPersistenceRequest, match=re.escape(reason.format(name=quoted(name)))):
                await apply_schema(database, driver_role=name)
        await database.aclose()
        assert bool(await connection.fetch(GRANTS, name)) == (reason is None)


async def test_applying_the_schema_again_gives_a_known_role_what_it_lacks(service_cell):
    """A later `schema apply` grants missing rights and revokes others without `--driver-role`."""
    role = (await cell_role(service_cell))["role"]
    async with owner_connection(service_cell) as connection:
        await connection.execute(f"REVOKE ALL ON history_node FROM {role}")
        await connection.execute(f"GRANT TRUNCATE ON tasks TO {role}")
        database = Database(owner_dsn(service_cell.config), insecure=True)
        await apply_schema(database)
        await database.aclose()
        rows = {(row["name"], row["privilege"]) for row in await connection.fetch(GRANTS, role)}
    assert ("history_node", "DELETE") in rows
    assert ("tasks", "TRUNCATE") not in rows


async def test_borrowers_of_one_connection_see_their_own(service_cell):
    """Borrowers of two connections see only their own namespaces, whatever the last borrower saw."""
    tables = [await every_table(service_cell) for _ in range(3)]
    database = Database(service_cell.config.dsn, size=2, insecure=True)

    async def look(number):
        table = tables[number % 3]
        for sight in (table.namespace_id, [table.namespace_id], NO_NAMESPACE, EVERY_NAMESPACE):
            async with database.connection(sight) as connection:
                rows = await connection.fetch("SELECT DISTINCT namespace_id FROM history_node")
            found = {row["namespace_id"] for row in rows}
            expected = {NO_NAMESPACE: set(), EVERY_NAMESPACE: {each.namespace_id for each in tables}}
            assert found == expected.get(sight if not isinstance(sight, list) else None, {table.namespace_id})

    await asyncio.gather(*(look(number) for number in range(24)))
    await database.aclose()


async def test_a_statement_is_sent_only_when_the_namespaces_change(service_cell, monkeypatch):
    """Row-level security costs a cell of one namespace no statement."""
    sent, lent = [], set()
    fetch = asyncpg.Connection.fetch

    async def counted(connection, query, *arguments, **options):
        sent.append((connection.get_server_pid(), query))  # other cells of this process send such statements too
        return await fetch(connection, query, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
    database = Database(service_cell.config.dsn, size=1, insecure=True)
    one, two = uuid4(), uuid4()
    for sight in (one, one, one, two, two, NO_NAMESPACE, one):
        async with database.connection(sight) as connection:
            await connection.fetch("SELECT 1 FROM history_node")
            lent.add(connection.get_server_pid())
    await database.aclose()
    (own,) = lent
    assert len([query for pid, query in sent if pid == own and "set_config('strongroom.namespaces'" in query]) == 4


async def test_a_search_by_tokens_uses_its_index(service_cell, service_connection):
    """The view uses it. The control: on the table PostgreSQL applies the policy first, so the index is not used."""
    table = await every_table(service_cell, workflows=1)
    async with owner_connection(service_cell) as connection:
        await connection.execute(MANY_RECORDS, table.namespace_id)
        await connection.execute("ANALYZE visibility_records")
    await see(service_connection, str(table.namespace_id))

    async def plan(relation):
        rows = await service_connection.fetch(
            f"EXPLAIN SELECT id FROM {relation} WHERE t @> ARRAY[1, 2]::bigint[]"  # noqa: S608
        )
        return "\n".join(row[0] for row in rows)

    assert "visibility_records_tokens" in await plan("visibility_search")
    assert "visibility_records_tokens" not in await plan("visibility_records")
