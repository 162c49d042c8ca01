"""PgBouncer in front of a PostgreSQL, in transaction mode unless a test asks for another one."""

from __future__ import annotations

import os
import pwd
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.support.elasticsearch_node.node import free_ports

from .catalogue import PGBOUNCER
from .choice import CannotStart, Way, address_of, started
from .programs import ContainerProgram, LocalProgram, find_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .programs import Program

IMAGE = "edoburu/pgbouncer:v1.24.1-p1"
_PATIENCE = 120.0
_CONFIGURATION = """
[databases]
* = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
"""
_DEFAULTS = {"auth_type": "any", "pool_mode": "transaction", "ignore_startup_parameters": "extra_float_digits"}


@contextmanager
def pgbouncer(folder: Path, server_dsn: str, **settings: str) -> Iterator[str]:
    """Start a PgBouncer for a server, or use the one at the given address.

    Args:
        folder: The folder for the configuration and the output.
        server_dsn: The connection string for the server. PgBouncer connects as its user.
        settings: Settings of PgBouncer. With any, a given address is not used.

    Yields:
        The superuser's connection string through PgBouncer.

    Raises:
        ServiceMissing: No PgBouncer can be started.
    """

    @contextmanager
    def given() -> Iterator[str]:
        yield address_of(PGBOUNCER)

    @contextmanager
    def local() -> Iterator[str]:
        command = [find_program("pgbouncer"), configuration]
        with _running(LocalProgram(command, folder, user=_user(server_dsn)), port, database) as dsn:
            yield dsn

    @contextmanager
    def container() -> Iterator[str]:
        with _running(ContainerProgram(IMAGE, ["pgbouncer", configuration], folder), port, database) as dsn:
            yield dsn

    (port,) = free_ports(1)
    database = urlsplit(server_dsn).path.lstrip("/") or "postgres"
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(configured(server_dsn, port, **settings))
    folder.chmod(0o755)  # root starts PgBouncer as another user
    with started(
        PGBOUNCER, {Way.ADDRESS: given, Way.CONTAINER: container, Way.LOCAL: local}, own=bool(settings)
    ) as dsn:
        yield dsn


@contextmanager
def pgbouncer_of(folder: Path, server_dsn: str, files: Mapping[str, str], port: int) -> Iterator[None]:
    """Start a PgBouncer with given files.

    Args:
        folder: The folder for the files.
        server_dsn: The connection string for the server, whose user PgBouncer runs as.
        files: The text of each file; one is `pgbouncer.ini`.
        port: The port that it listens on.

    Raises:
        ServiceMissing: No PgBouncer can be started.
    """

    @contextmanager
    def local() -> Iterator[None]:
        user = _user(server_dsn)
        for path in [folder, *(folder / name for name in files)]:
            os.chown(path, -1 if user is None else user, -1)
        command = [find_program("pgbouncer"), folder / "pgbouncer.ini"]
        with _running(LocalProgram(command, folder, user=user), port, ""):
            yield

    @contextmanager
    def container() -> Iterator[None]:
        with _running(ContainerProgram(IMAGE, ["pgbouncer", folder / "pgbouncer.ini"], folder), port, ""):
            yield

    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    with started(PGBOUNCER, {Way.CONTAINER: container, Way.LOCAL: local}, own=True):
        yield


def configured(server_dsn: str, port: int, **settings: str) -> str:
    """Return the configuration for a server; PgBouncer connects to it as the superuser of the connection string."""
    parts = urlsplit(server_dsn)
    query = parse_qs(parts.query)
    server = {
        "host": query.get("host", [parts.hostname or "127.0.0.1"])[0],
        "port": query.get("port", [str(parts.port or 5432)])[0],
        "user": parts.username or "postgres",
    }
    if parts.password:
        server["password"] = parts.password
    line = " ".join(f"{name}={value}" for name, value in server.items())
    lines = [f"{name} = {value}\n" for name, value in (_DEFAULTS | settings).items()]
    return _CONFIGURATION.format(server=line, port=port) + "".join(lines)


def _user(server_dsn: str) -> int | None:
    """Return the user for PgBouncer if root starts it. PgBouncer refuses root, and the server's user may enter the folder."""
    if os.geteuid():
        return None
    host = parse_qs(urlsplit(server_dsn).query).get("host", [""])[0]
    owner = os.stat(host).st_uid if host.startswith("/") else 0  # noqa: PTH116 - not a path if the host is a name
    return owner or pwd.getpwnam("nobody").pw_uid


@contextmanager
def _running(program: Program, port: int, database: str) -> Iterator[str]:
    try:
        deadline = time.monotonic() + _PATIENCE
        with socket.socket() as tried:
            while tried.connect_ex(("127.0.0.1", port)):
                if time.monotonic() > deadline or not program.is_running():
                    raise CannotStart(f"PgBouncer does not answer: {program.output()[-2000:]}")
                time.sleep(0.05)
        yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
    finally:
        if program.is_running():
            program.stop()
