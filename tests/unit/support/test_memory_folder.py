"""The servers' data is in memory only if there is room, and no session leaves it there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.memory_folder import MEMORY, ROOM, folder_of_servers, room
from tests.support.tree import ROOT

SESSION = """
import os
import signal
import tempfile
from pathlib import Path
from tests.support.memory_folder import folder_of_servers

def test_one():
    Path(os.environ["SEEN"]).write_text(tempfile.mkdtemp(dir=folder_of_servers()))
    {end}
"""
ROOMY = pytest.mark.skipif(room() < ROOM, reason="the file system in memory is too small")


@pytest.fixture
def folder_in_session(tmp_path):
    """Return a function that runs a small session; it returns the folder that its test made for a server, and the exit code."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("TESTS_", "PYTEST_"))}
    seen = tmp_path / "seen"

    def run(end=""):
        (tmp_path / "test_session.py").write_text(SESSION.format(end=end))
        plugins = [each for name in ("session", "memory") for each in ("-p", f"tests.support.{name}_folder")]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugins, "-c", "/dev/null", str(tmp_path)],
            cwd=ROOT,
            env=plain | {"SEEN": str(seen), "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            check=False,
        )
        return Path(seen.read_text()), done.returncode

    return run


@ROOMY
@pytest.mark.parametrize("end", ["", "assert False"], ids=["passed", "failed"])
def test_nothing_is_left_in_memory(folder_in_session, end):
    """The folder is removed at the end, also if a test failed, because memory is scarce."""
    folder, _ = folder_in_session(end)
    assert folder.is_relative_to(MEMORY)
    assert not folder.parent.exists()


@ROOMY
def test_the_next_session_removes_what_a_killed_one_left(folder_in_session):
    """A killed session can't remove its folder."""
    folder, code = folder_in_session("os.kill(os.getpid(), signal.SIGKILL)")
    assert code == -signal.SIGKILL
    folder_in_session()
    assert not folder.exists()


def test_there_is_no_room_without_a_file_system_in_memory(tmp_path):
    """A plain folder, and a system that does not state its memory, have no room. The smaller of both free sizes counts."""
    meminfo = tmp_path / "meminfo"
    assert room(tmp_path) == 0
    assert room(MEMORY, meminfo) == 0
    meminfo.write_text("MemTotal:    9 kB\nMemAvailable:       2 kB\n")
    assert room(MEMORY, meminfo) == (2048 if MEMORY.is_mount() else 0)


def test_a_server_in_memory_has_room_for_the_name_of_its_socket():
    """The system refuses paths of more than 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-", dir=folder_of_servers()))
    try:
        assert len(str(folder / "postgres" / ".s.PGSQL.5432")) < 90
    finally:
        shutil.rmtree(folder)
