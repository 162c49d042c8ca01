"""One folder for the temporary files of a test session. A killed session's folder is removed by a later session.

Servers and programs that tests start write into the system's temporary folder, and a killed session can't clean up. So TMPDIR of the
session and of its children is a folder of its own. Each process of the session holds a shared lock on the folder. A later session
removes each folder of the same user that has a session's marker and that nobody holds. The marker is necessary because other programs
may make folders with this prefix. PostgreSQL shuts down when its folder is gone, so a leftover server ends too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path

PREFIX = "srt-"
"""The prefix of the folders' names. It is short, because the path of a socket has at most 107 bytes."""
MARKER = ".strongroom-tests"
"""The file that a session writes into its folder once it holds it. A folder without this file is never removed."""
_VARIABLE = "TESTS_SESSION_FOLDER"


def pytest_configure() -> None:
    """Send the temporary files of this process and of its children to the session's folder.

    pytest's own folders stay where they are, because pytest keeps those of the last three sessions for a look at failed tests.
    """
    if given := os.environ.get(_VARIABLE):  # a process that the session started
        _locked(Path(given), fcntl.LOCK_SH)
        return
    parent = Path(tempfile.gettempdir())
    remove_ended(parent)
    path, _ = make(parent)
    # It is the last finalizer, because multiprocessing removes its own folder in this one at the end, with the priority -100.
    Finalize(None, shutil.rmtree, (path,), {"ignore_errors": True}, exitpriority=-200)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(parent))
    os.environ[_VARIABLE] = os.environ["TMPDIR"] = tempfile.tempdir = str(path)


def make(parent: Path) -> tuple[Path, int]:
    """Make a folder and hold it.

    Returns:
        The folder, and the descriptor whose lock holds it.
    """
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another program may have removed it meanwhile
            lock = _locked(path, fcntl.LOCK_SH)
            try:
                path.chmod(0o1777)  # like the system's folder, because servers run as other users
                (path / MARKER).touch()
            except FileNotFoundError:
                os.close(lock)
                raise
            return path, lock


def remove_ended(parent: Path) -> None:
    """Remove the folders of this user's sessions that have ended. A folder that a process holds stays."""
    for path in parent.glob(f"{PREFIX}*"):
        try:
            lock = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is held, removed, or another user's
            continue
        try:
            if _is_of_a_session(lock):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _is_of_a_session(folder: int) -> bool:
    """Return whether this user owns a folder and the marker in it."""
    try:
        marker = os.stat(MARKER, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return os.fstat(folder).st_uid == marker.st_uid == os.geteuid()


def _locked(path: Path, operation: int) -> int:
    """Lock a folder; return the descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
