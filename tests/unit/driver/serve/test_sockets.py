from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.driver.config import ConfigError
from strongroom.driver.serve.sockets import LONGEST, WorkerSockets

HOLDER = """
import sys
from pathlib import Path
from strongroom.driver.serve.sockets import WorkerSockets
sockets = WorkerSockets(Path(sys.argv[1]), 1)
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def socket_folder(tmp_path_factory):
    """A folder with a short path."""
    return tmp_path_factory.mktemp("s")


def opened(path, workers=2):
    """Open and close the sockets, and return the names in the folder between and after."""
    sockets = WorkerSockets(path, workers)
    between = sorted(each.name for each in path.parent.iterdir())
    sockets.close()
    return between, sorted(each.name for each in path.parent.iterdir())


def test_each_worker_has_a_socket_that_accepts(socket_folder):
    """The paths are PATH, PATH.1, ... with mode 0660 whatever the umask is. At the end they are gone."""
    before = os.umask(0)
    try:
        sockets = WorkerSockets(socket_folder / "x", 3)
    finally:
        os.umask(before)
    for name in ("x", "x.1", "x.2"):
        assert stat.S_IMODE((socket_folder / name).stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(socket_folder / name))
    sockets.close()
    assert not list(socket_folder.iterdir())


def test_stale_sockets_are_replaced(socket_folder):
    """Sockets that nobody listens on are replaced, also those of further workers of an earlier server. Other files stay."""
    for name in ("x", "x.1", "x.7"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(socket_folder / name))
    (socket_folder / "x.log").touch()
    (socket_folder / "x.8").touch()
    assert opened(socket_folder / "x") == (["x", "x.1", "x.8", "x.lock", "x.log"], ["x.8", "x.log"])


def test_a_socket_of_another_program_stays(socket_folder):
    """A path that another program listens on is refused, and the program keeps it."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(socket_folder / "x.1"))
        other.listen()
        with pytest.raises(ConfigError, match=r"another program listens on .*x\.1; stop it"):
            WorkerSockets(socket_folder / "x", 2, orphans_seconds=0)
        assert sorted(each.name for each in socket_folder.iterdir()) == ["x.1"]


def test_only_one_server_has_a_path(socket_folder):
    """A second server is refused with the number of the first one's process. After kill -9 of the first one it starts at once."""
    path = socket_folder / "x"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(ConfigError, match=rf"another strongroom serve \(process {holder.pid}\) listens on"):
            WorkerSockets(path, 1)
        holder.kill()
        holder.wait()
        assert opened(path, 1) == (["x", "x.lock"], [])


def test_a_lock_that_its_holder_removed_is_not_enough(socket_folder):
    """A server that waits with an open lock file, which is removed meanwhile, does not take the removed one for the lock."""
    path = socket_folder / "x"
    with (socket_folder / "x.lock").open("w") as removed:
        fcntl.flock(removed, fcntl.LOCK_EX)
        (socket_folder / "x.lock").unlink()
        assert opened(path, 1) == (["x", "x.lock"], [])


def test_a_path_that_can_not_be_used_is_refused(socket_folder):
    """The error names the path, the reason, and what to do."""
    longest = socket_folder / ("x" * (LONGEST - len(os.fsencode(socket_folder)) - 1))
    assert opened(longest, 1)[0] == sorted([longest.name, f"{longest.name}.lock"])
    with pytest.raises(ConfigError, match=r"has 109 bytes, and a socket's path has at most 107; choose a shorter"):
        WorkerSockets(longest, 2)
    with pytest.raises(ConfigError, match=r"No such file or directory; create it"):
        WorkerSockets(socket_folder / "none" / "x", 1)
    (socket_folder / "file").write_text("kept")
    with pytest.raises(ConfigError, match=r"file is not a folder"):
        WorkerSockets(socket_folder / "file" / "x", 1)
    with pytest.raises(ConfigError, match=r"file exists and is not a socket; remove it"):
        WorkerSockets(socket_folder / "file", 1)
    assert (socket_folder / "file").read_text() == "kept"
    with pytest.raises(ConfigError, match=r"Permission denied; let this user write in the folder"):
        WorkerSockets(Path("/sys/strongroom.sock"), 1)  # not even root can create a file there
    (socket_folder / "open").mkdir()
    (socket_folder / "open").chmod(0o777)
    with pytest.raises(ConfigError, match=r"serve\.socket can't be in .*open: .*open has mode 0?777"):
        WorkerSockets(socket_folder / "open" / "x", 1)
    (socket_folder / "open" / "inner").mkdir()
    with pytest.raises(ConfigError, match=r"inner: .*open has mode 0?777"):
        WorkerSockets(socket_folder / "open" / "inner" / "x", 1)
    (socket_folder / "open" / "inner").rmdir()
    (socket_folder / "open").chmod(0o1777)
    assert opened(socket_folder / "open" / "x", 1)[1] == []


def test_the_socket_of_a_successor_is_not_removed(socket_folder):
    """At the end a server removes its own sockets only."""
    sockets = WorkerSockets(socket_folder / "x", 1)
    (socket_folder / "x").unlink()
    (socket_folder / "x").write_text("of another server")
    sockets.close()
    assert [each.name for each in socket_folder.iterdir()] == ["x"]
