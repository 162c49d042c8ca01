"""One folder for the temporary files of a test session. A killed session's folder is removed by a later session.

Servers and programs that tests start write into the system's temporary folder, and a killed session can't clean up. So TMPDIR of the
session and of its children is a folder of its own. Each process of the session holds a shared lock on the folder. A later session
removes each folder of the same user that has a session's marker and that nobody holds. The marker is necessary because other programs
may make folders with this prefix. PostgreSQL shuts down when its folder is gone, so a leftover server ends too.

pytest's own folder is in it as well. At its usual place, `pytest-of-USER`, each session that starts takes the rights of other users
away, and a server that runs as another user then loses its data directory. If a test fails, pytest's folder is kept for a look.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "srt-"
"""The prefix of the folders' names. It is short, because the path of a socket has at most 107 bytes."""
MARKER = ".strongroom-tests"
"""The file that a session writes into its folder once it holds it. A folder without this file is never removed."""
ENDED = ".strongroom-tests-failed"
"""The name of the marker in the folder of a session that ended with failed tests."""
KEPT = 3
"""How many folders of sessions with failed tests are kept."""
TESTS = "tests"
"""The folder that pytest fills."""
_VARIABLE = "TESTS_SESSION_FOLDER"
_failed: list[bool] = []


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Send the temporary files of this process, of its children and of pytest to the session's folder."""
    if given := os.environ.get(_VARIABLE):  # a process that the session started
        hold(Path(given))
        return
    parent = Path(tempfile.gettempdir())
    remove_ended(parent)
    path, _ = make(parent)
    # It is the last finalizer, because multiprocessing removes its own folder in this one at the end, with the priority -100.
    Finalize(None, _end, (path,), exitpriority=-200)
    config.option.basetemp = config.option.basetemp or path / TESTS
    os.environ[_VARIABLE] = os.environ["TMPDIR"] = tempfile.tempdir = str(path)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Note whether tests failed."""
    _failed[:] = [exitstatus != pytest.ExitCode.OK]


def _end(path: Path) -> None:
    """Remove the session's folder. If tests failed, what pytest made stays."""
    if not any(_failed):
        shutil.rmtree(path, ignore_errors=True)
        return
    _empty(path, {TESTS, MARKER})
    with suppress(FileNotFoundError):
        (path / MARKER).rename(path / ENDED)


def _empty(folder: Path, kept: set[str]) -> None:
    """Remove everything in a folder but the names that are kept."""
    for each in folder.iterdir():
        if each.name not in kept:
            shutil.rmtree(each, ignore_errors=True) if each.is_dir() and not each.is_symlink() else each.unlink()


def hold(folder: Path) -> None:
    """Keep other sessions from removing a folder while this process runs."""
    _locked(folder, fcntl.LOCK_SH)


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
    """Remove the folders of this user's sessions that were killed, and all but the newest of those that ended with failed tests.

    A folder that a process holds stays.
    """
    found = list(parent.glob(f"{PREFIX}*"))
    _remove_marked(found, MARKER)
    _remove_marked(sorted(found, key=_time_of_end, reverse=True)[KEPT:], ENDED)


def _remove_marked(folders: Sequence[Path], marker: str) -> None:
    for path in folders:
        try:
            lock = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is held, removed, or another user's
            continue
        try:
            if _is_of_a_session(lock, marker):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _time_of_end(folder: Path) -> float:
    """Return when a session with failed tests ended; 0 for another folder."""
    try:
        return (folder / ENDED).lstat().st_ctime
    except OSError:
        return 0.0


def _is_of_a_session(folder: int, name: str) -> bool:
    """Return whether this user owns a folder and the marker in it."""
    try:
        marker = os.stat(name, dir_fd=folder, follow_symlinks=False)
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
