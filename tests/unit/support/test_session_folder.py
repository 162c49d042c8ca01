"""A session's temporary files are in one folder. It is removed at the end of the session, or by a later session after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.session_folder import MARKER, make, remove_ended
from tests.support.tree import ROOT

SESSION = """
import os, signal, tempfile

def test_one(tmp_path):
    print("folder", tempfile.gettempdir(), os.environ["TMPDIR"], tmp_path)
    tempfile.mkdtemp(prefix="leftover-")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    {end}
"""

XDIST = ("-p", "xdist", "-n", "1")


@pytest.fixture
def run_session(tmp_path):
    """Return a function that runs a small session, which leaves a folder, in a temporary folder of its own."""
    tests, parent = tmp_path / "tests", tmp_path / "temporary"
    tests.mkdir()
    parent.mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("TESTS_", "PYTEST_"))}

    def run(end="", *options, **process):
        (tests / "test_session.py").write_text(SESSION.format(end=end))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.support.session_folder",
            "-p",
            "tests.support.interruptible",
            str(tests),
        ]
        return parent, subprocess.run(
            [*command, "--rootdir", str(tests), "-c", "/dev/null", *options],
            cwd=ROOT,
            env=plain | {"TMPDIR": str(parent), "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
            **process,
        )

    return run


def left(parent):
    return [path.name for path in parent.iterdir() if path.name.startswith("srt-")]


@pytest.mark.parametrize("options", [(), XDIST], ids=["alone", "xdist"])
def test_nothing_is_left_at_the_end(run_session, options):
    """What a test leaves is removed with the session's folder. pytest's own folder is not in it."""
    parent, done = run_session("assert False", *options)
    assert "1 failed" in done.stdout, done
    assert "folder " in done.stdout, done
    folder, variable, own = next(line for line in done.stdout.splitlines() if "folder " in line).split()[-3:]
    assert folder == variable
    assert Path(folder).parent == parent
    assert Path(own).is_relative_to(parent / f"pytest-of-{Path(own).relative_to(parent).parts[0][10:]}")
    assert left(parent) == []


def test_a_killed_session_is_cleaned_up_by_the_next(run_session):
    """The folder of a killed session stays until the next session starts."""
    parent, done = run_session("os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL
    assert len(left(parent)) == 1
    run_session()
    assert left(parent) == []


def test_a_background_job_runs_the_tests_of_signals(run_session):
    """A shell ignores SIGINT for its background jobs. The session and its children get the default again."""
    _, done = run_session(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert done.returncode == 0, done
    _, done = run_session("", *XDIST, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert done.returncode == 0, done


def test_a_folder_that_is_held_stays(tmp_path):
    """Only the folder that no process holds is removed."""
    held, descriptor = make(tmp_path)
    ended, other = make(tmp_path)
    os.close(other)
    link = tmp_path / "srt-link"
    link.symlink_to(ROOT)
    remove_ended(tmp_path)
    assert held.exists()
    assert not ended.exists()
    assert link.is_symlink()
    os.close(descriptor)
    remove_ended(tmp_path)
    assert not held.exists()


def test_a_folder_that_no_session_made_stays(tmp_path):
    """Another program may use the same prefix. A session removes only folders with the marker of a session."""
    notes = tmp_path / "srt-notes"
    notes.mkdir()
    (notes / "page.md").write_text("a page")
    remove_ended(tmp_path)
    assert (notes / "page.md").exists()
    (notes / MARKER).touch()
    remove_ended(tmp_path)
    assert not notes.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("name", [".", MARKER], ids=["folder", "marker"])
def test_a_folder_of_another_user_stays(tmp_path, name):
    """Root can remove every folder, but a session removes only those of its own user."""
    folder, descriptor = make(tmp_path)
    os.close(descriptor)
    os.chown(folder / name, 65_534, 65_534)
    remove_ended(tmp_path)
    assert folder.exists()
    os.chown(folder / name, os.geteuid(), os.getegid())
    remove_ended(tmp_path)
    assert not folder.exists()


def test_the_paths_of_sockets_stay_short():
    """A server of a test has room for its socket's name: the system refuses more than 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    try:
        assert len(str(folder / "postgres" / ".s.PGSQL.5432")) < 90
    finally:
        shutil.rmtree(folder)
