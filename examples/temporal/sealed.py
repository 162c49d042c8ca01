"""The sealed half of the stack: a PostgreSQL, a cell in it, and `strongroom serve`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.driver.demo import create_plain_database, embedded_postgres

from .processes import Process, accepts_on, run, start
from .server import Datastores

if TYPE_CHECKING:
    from contextlib import ExitStack

    from tests.support.elasticsearch_node.node import ElasticsearchNode

STRONGROOM = Path(sys.executable).with_name("strongroom")


@dataclass(slots=True)
class SealedCell:
    """A cell, and the process that serves it.

    Attributes:
        folder: The folder of the configuration, the keyring, the audit log and the sockets.
        postgres: The data directory of the database.
        dsn: The connection string of the database's owner.
        superuser_dsn: The connection string of the server's superuser, for scans.
        shards: The number of shards.
        workers: The number of worker processes.
        name: The name of the serving process.
        process: The process while it runs.
    """

    folder: Path
    postgres: Path
    dsn: str
    superuser_dsn: str
    shards: int
    workers: int = 1
    name: str = "serve"
    process: Process | None = None

    @property
    def config(self) -> Path:
        """The configuration file of the cell."""
        return self.folder / "strongroom.toml"

    @property
    def socket(self) -> Path:
        """The socket of the first worker."""
        return self.folder / f"{self.name}.sock"

    def serve(self) -> None:
        """Start `strongroom serve`, and wait until every worker listens."""
        self.process = start(
            self.name,
            [STRONGROOM, "--config", self.config, "serve", "--socket", self.socket, "--workers", str(self.workers)],
            self.folder,
        )
        for number in range(self.workers):
            path = self.socket if number == 0 else self.socket.with_name(f"{self.socket.name}.{number}")
            self.process.wait_until(lambda path=path: accepts_on(path), f"a socket at {path}")  # type: ignore[misc]

    def stop(self) -> None:
        """Stop `strongroom serve` if it runs."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def strongroom(self, *arguments: str) -> str:
        """Run a command of the command line on the cell, and return its output."""
        return run([STRONGROOM, "--config", self.config, *arguments], self.folder)

    def datastores(self) -> Datastores:
        """Return the section of a Temporal server's configuration that replaces its SQL stores with the cell."""
        options = {"socket": str(self.socket)}
        store = {"customDatastore": {"name": "strongroom", "indexName": "strongroom", "options": options}}
        return Datastores({"strongroom": store}, "strongroom", "strongroom", self.shards)


def sealed_cell(
    stack: ExitStack,
    folder: Path,
    *,
    shards: int = 4,
    workers: int = 1,
    elasticsearch: str | None = None,
    audit: bool = True,
) -> SealedCell:
    """Start a PostgreSQL, and make a cell in it as an operator does. `SealedCell.serve` serves it.

    Args:
        stack: Stops everything at its end.
        folder: A new folder for the cell.
        shards: The number of shards.
        workers: The number of worker processes.
        elasticsearch: The address of a search index; None if PostgreSQL answers searches.
        audit: Whether the cell has an audit log, as `strongroom init` makes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    postgres = folder / "postgres"
    superuser_dsn = stack.enter_context(embedded_postgres(postgres))
    dsn = asyncio.run(create_plain_database(superuser_dsn))
    cell = SealedCell(folder, postgres, dsn, superuser_dsn, shards, workers)
    cell.strongroom("init", "--dsn", dsn, "--shards", str(shards))
    if not audit:
        leave_out_audit(cell.config)
    with cell.config.open("a") as config:
        config.write('\n[namespaces]\nkek = "local:ns-{id}"  # each namespace gets a KEK of its own\n')
        if elasticsearch is not None:
            config.write(f'\n[elasticsearch]\nurl = "{elasticsearch}"\ninsecure = true\n')
    if elasticsearch is not None:
        cell.strongroom("index", "build")
    stack.callback(cell.stop)
    return cell


def search_node(stack: ExitStack, *, own: bool = False) -> ElasticsearchNode | None:
    """Start Elasticsearch; return None without Java.

    Args:
        stack: Stops it at its end.
        own: Whether the caller kills the node.
    """
    if shutil.which("java") is None:
        return None
    from tests.support.elasticsearch_node import elasticsearch_node  # noqa: PLC0415 - only where there is Java

    return stack.enter_context(elasticsearch_node(own=own))


def leave_out_audit(config: Path) -> None:
    """Comment the audit log out of a configuration that `strongroom init` wrote."""
    config.write_text(config.read_text().replace("[audit]\nfolder", "# [audit]\n# folder"))
