"""The plain half of the stack: the same Temporal server on its own PostgreSQL stores, as the control of scans and measurements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

from strongroom.driver.demo import embedded_postgres

from .binaries import SQL_TOOL, build, server_module
from .processes import run
from .server import Datastores

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

_DATABASES = {"temporal": "postgresql/v12/temporal", "temporal_visibility": "postgresql/v12/visibility"}
"""Database: the name of its schema in Temporal's tool."""
_INDEX = "temporal_visibility_v1"


@dataclass(frozen=True, slots=True)
class PlainStores:
    """Temporal's own stores in a PostgreSQL.

    Attributes:
        postgres: The data directory of the database.
        address: The directory of the server's Unix socket.
        shards: The number of shards.
        elasticsearch: The address of the visibility store; None if PostgreSQL has it.
    """

    postgres: Path
    address: str
    shards: int
    elasticsearch: str | None = None

    def datastores(self) -> Datastores:
        """Return the section of a Temporal server's configuration."""
        stores = {name: {"sql": self._sql(name)} for name in _DATABASES}
        if self.elasticsearch is not None:
            stores["temporal_visibility"] = {"elasticsearch": _index(self.elasticsearch)}
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


def plain_stores(stack: ExitStack, folder: Path, *, shards: int = 4, elasticsearch: str | None = None) -> PlainStores:
    """Start a PostgreSQL, and make Temporal's schema in it with Temporal's own tools.

    Args:
        stack: Stops everything at its end.
        folder: A new folder for the database.
        shards: The number of shards.
        elasticsearch: The address of an Elasticsearch that gets the visibility index; None if PostgreSQL has the visibility.
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
    if elasticsearch is not None:
        _create_index(elasticsearch)
    return PlainStores(postgres, address, shards, elasticsearch)


def _index(address: str) -> dict[str, Any]:
    url = urlsplit(address)
    return {
        "version": "v8",
        "url": {"scheme": url.scheme, "host": url.netloc},
        "indices": {"visibility": _INDEX},
    }


def _create_index(address: str) -> None:
    """Create Temporal's visibility index from the newest template of its Go module.

    Temporal's tool is not used, because a node made of the published parts of Elasticsearch lacks the type `scaled_float`, which no
    workload writes.
    """
    versions = (server_module() / "schema/elasticsearch/visibility/versioned").iterdir()
    newest = max(versions, key=lambda folder: int(folder.name[1:]))
    template = json.loads((newest / "index_template_v7.json").read_text())
    for field in template["mappings"]["properties"].values():
        if field["type"] == "scaled_float":
            field.clear()
            field["type"] = "double"
    body = json.dumps({"settings": template["settings"], "mappings": template["mappings"]}).encode()
    request = Request(f"{address}/{_INDEX}", body, {"Content-Type": "application/json"}, method="PUT")  # noqa: S310 - our own node
    with urlopen(request, timeout=60):  # noqa: S310
        pass
