"""The plain half of the stack: the same Temporal server on its own PostgreSQL stores, as the control of scans and measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from strongroom.driver.demo.embedded_postgres import embedded_postgres

from .binaries import SQL_TOOL, build
from .processes import run
from .server import Datastores

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

_DATABASES = {"temporal": "postgresql/v12/temporal", "temporal_visibility": "postgresql/v12/visibility"}
"""Database: the name of its schema in Temporal's tool."""


@dataclass(frozen=True, slots=True)
class PlainStores:
    """Temporal's own stores in a PostgreSQL.

    Attributes:
        postgres: The data directory of the database.
        address: The directory of the server's Unix socket.
        shards: The number of shards.
    """

    postgres: Path
    address: str
    shards: int

    def datastores(self) -> Datastores:
        """Return the section of a Temporal server's configuration."""
        stores = {name: {"sql": self._sql(name)} for name in _DATABASES}
        return Datastores(stores, "temporal", "temporal_visibility", self.shards)

    def _sql(self, database: str) -> dict[str, Any]:
        return {
            "pluginName": "postgres12_pgx",
            "databaseName": database,
            "connectAddr": "localhost:5432",
            "connectProtocol": "tcp",
            "connectAttributes": {"host": self.address},
            "user": "postgres",
            "password": "",
            "maxConns": 20,
            "maxIdleConns": 20,
            "maxConnLifetime": "1h",
        }


def plain_stores(stack: ExitStack, folder: Path, *, shards: int = 4) -> PlainStores:
    """Start a PostgreSQL, and make Temporal's schema in it with Temporal's own tool.

    Args:
        stack: Stops everything at its end.
        folder: A new folder for the database.
        shards: The number of shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    postgres = folder / "postgres"
    dsn = stack.enter_context(embedded_postgres(postgres))
    address = parse_qs(urlsplit(dsn).query)["host"][0]
    tool = build(SQL_TOOL, "temporal-sql-tool")
    for database, schema in _DATABASES.items():
        flags = ["--plugin", "postgres12_pgx", "--ep", "localhost", "--port", "5432", "--user", "postgres"]
        flags += ["--connect-attributes", f"host={address}"]
        run([tool, *flags, "--db", database, "create"], folder)
        run([tool, *flags, "--db", database, "setup-schema", "--version", "0.0"], folder)
        run([tool, *flags, "--db", database, "update-schema", "--schema-name", schema], folder)
    return PlainStores(postgres, address, shards)
