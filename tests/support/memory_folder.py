"""A folder in memory for the data of the session's PostgreSQL servers, on machines that have room for it.

Each of some thousand tests creates a database, a copy of 300 files, and drops it. On a disk that took 30 to 400 ms of the server's
CPU, on tmpfs 20 ms (2026-12-01, load 10 to 20). Without room, the data is in the session's folder (`session_folder.py`) instead.
"""

from __future__ import annotations

import os
import re
import shutil
from multiprocessing.util import Finalize
from pathlib import Path

from tests.support.session_folder import hold, make, remove_ended

MEMORY = Path("/dev/shm")  # noqa: S108 - the file system in memory, where each session makes a folder of its own
ROOM = 8 << 30
"""Bytes that must be free there and in memory. Six servers need about 1 GB; what is left is for everything else on the machine."""
_MEMINFO = Path("/proc/meminfo")
_VARIABLE = "TESTS_MEMORY_FOLDER"


def pytest_configure() -> None:
    """Make the folder, or hold the one of the process that started this one."""
    if given := os.environ.get(_VARIABLE):
        hold(Path(given))
    elif room() >= ROOM:
        remove_ended(MEMORY)
        path, _ = make(MEMORY)
        Finalize(None, shutil.rmtree, (path, True), exitpriority=-200)
        os.environ[_VARIABLE] = str(path)


def folder_of_servers() -> str | None:
    """Return the folder, as an argument `dir` of `tempfile`; None for the folder of other temporary files."""
    return os.environ.get(_VARIABLE)


def room(folder: Path = MEMORY, meminfo: Path = _MEMINFO) -> int:
    """Return the bytes that can be written to a file system in memory; 0 if there is none.

    Args:
        folder: Where it is mounted.
        meminfo: The system's table of its memory.
    """
    if not folder.is_mount():
        return 0
    available = re.search(r"^MemAvailable: +(\d+) kB$", meminfo.read_text(), re.MULTILINE) if meminfo.exists() else None
    return min(shutil.disk_usage(folder).free, int(available[1]) * 1024) if available else 0
