"""Databases as an administrator creates them for Strongroom: each belongs to a plain role, which may do nothing else on the server."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg

from strongroom.storage import Database, apply_schema

PASSWORD = "not-a-secret"  # noqa: S105 - of roles on a test's own server
PLAIN = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
"""The rights of an owner and of the driver role on the server: none but to connect."""
_numbers = count(1)
_superusers: dict[str, str] = {}
_owners: dict[str, str] = {}


def quoted(name):
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def dsn_of(dsn, *, role=None, password=PASSWORD, database=None):
    """Return a connection string with another role or database."""
    parts = urlsplit(dsn)
    if role is not None:
        place = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{quote(role, safe='')}:{password}@{place}")
    if database is not None:
        parts = parts._replace(path=f"/{quote(database, safe='')}")
    return urlunsplit(parts)


async def administer(superuser_dsn, *statements):
    """Run statements as the superuser."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class Databases:
    """Creates databases on a server, and drops them.

    Attributes:
        superuser_dsn: The superuser's connection string. Only a superuser, or a role with CREATEDB and CREATEROLE, can create them.
        is_citus: Whether a database is on all nodes of a Citus cluster.
        original: The cell that `copied_cell` copies.
    """

    is_citus = False

    def __init__(self, superuser_dsn):
        self.superuser_dsn = superuser_dsn
        self.original = None
        self._template = None

    def new_name(self):
        """Return a name that no other database has."""
        return f"test_{os.getpid()}_{next(_numbers)}"

    async def create(self, name=None, *, role=None, options=""):
        """Create an empty database and its owner, a plain role; return the owner's connection string.

        Args:
            name: The name of the database; None for a new one.
            role: The name of the role; None for the name of the database.
            options: Further options of CREATE DATABASE.
        """
        name = name or self.new_name()
        role = role or name
        await administer(
            self.superuser_dsn,
            f"CREATE ROLE {quoted(role)} {PLAIN} PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {quoted(name)} OWNER {quoted(role)} {options}",
        )
        dsn = dsn_of(self.superuser_dsn, role=role, database=name)
        _superusers[dsn] = dsn_of(self.superuser_dsn, database=name)
        return dsn

    async def create_prepared(self):
        """Create a database like `create`, with the schema of this version and no cell; return its owner's connection string.

        It is a copy, because applying the schema takes most of the time of a short test. The owner is another one in each database.
        """
        if self.is_citus:
            return await self.create()
        if self._template is None:
            self._template = await self._create_template()
        dsn = await self.create(options=f"TEMPLATE {quoted(self._template)}")
        role = unquote(urlsplit(dsn).username)
        await administer(superuser_of(dsn), f"REASSIGN OWNED BY {quoted(self._template)} TO {quoted(role)}")
        return dsn

    async def _create_template(self):
        """Create the database that is copied, and the role of its tables; return the name of both.

        The superuser owns the database, because REASSIGN OWNED would give away that too.
        """
        name = f"prepared_{os.getpid()}_{next(_numbers)}"
        await administer(
            self.superuser_dsn,
            f"CREATE ROLE {quoted(name)} {PLAIN} PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {quoted(name)}",
            f"GRANT CREATE ON DATABASE {quoted(name)} TO {quoted(name)}",
        )
        owner = Database(dsn_of(self.superuser_dsn, role=name, database=name), size=1, insecure=True)
        await apply_schema(owner)
        await owner.aclose()
        return name

    async def aclose(self):
        """Drop what `copied_cell` and `create_prepared` copy."""
        if self.original is not None:
            (owner, driver), self.original = self.original.connections, None
            await self.drop(owner)
            await administer(self.superuser_dsn, f"DROP ROLE {quoted(unquote(urlsplit(driver).username))}")
        if self._template is not None:
            name, self._template = quoted(self._template), None
            await administer(self.superuser_dsn, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {name}")

    async def drop(self, dsn):
        """Drop a database and its owner, because the leak scan reads every file of the server."""
        parts = urlsplit(dsn)
        name, role = unquote(parts.path[1:]), unquote(parts.username)
        await administer(
            self.superuser_dsn, f"DROP DATABASE {quoted(name)} WITH (FORCE)", f"DROP ROLE IF EXISTS {quoted(role)}"
        )

    @asynccontextmanager
    async def database(self, *, is_prepared=False):
        """Yield the owner's connection string of an empty database, or of one with the schema, which is dropped at the end."""
        dsn = await (self.create_prepared() if is_prepared else self.create())
        try:
            yield dsn
        finally:
            await self.drop(dsn)


def of_copy(dsn, owner_dsn, name):
    """Return the connection string of a copy of a database for a role of the original.

    Args:
        dsn: The connection string for the original.
        owner_dsn: That of the original's owner.
        name: The name of the copy.
    """
    copied = dsn_of(dsn, database=name)
    _superusers[copied] = dsn_of(_superusers[dsn], database=name)
    if dsn != owner_dsn:
        _owners[copied] = dsn_of(owner_dsn, database=name)
    return copied


def superuser_of(dsn):
    """Return the superuser's connection string for the database of an owner or of a driver role.

    It is for statements that neither may run, for example to end another role's session.
    """
    return _superusers[dsn]


def owner_of(dsn):
    """Return the connection string of the tables' owner for that of a driver role. An owner's is returned as it is."""
    return _owners.get(dsn, dsn)


async def create_driver(owner_dsn, role=None):
    """Create a plain role on the server of a database; return the role, and its connection string for the database.

    An administrator creates the role, because an owner may not.
    """
    role = role or f"driver_{os.getpid()}_{next(_numbers)}"
    superuser_dsn = superuser_of(owner_dsn)
    await administer(superuser_dsn, f"CREATE ROLE {quoted(role)} {PLAIN} PASSWORD '{PASSWORD}'")
    dsn = dsn_of(owner_dsn, role=role)
    _superusers[dsn], _owners[dsn] = superuser_dsn, owner_dsn
    return role, dsn
