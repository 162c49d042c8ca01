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

from tests.support.session_folder import ENDED, KEPT, MARKER, TESTS, make, remove_ended
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
    """What a test leaves is removed with the session's folder, and pytest's own folder too."""
    parent, done = run_session("", *options)
    assert "1 passed" in done.stdout, done
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize("options", [(), XDIST], ids=["alone", "xdist"])
def test_the_files_of_a_failed_test_are_left(run_session, options):
    """Only pytest's own folder stays in the session's folder. Later sessions keep the newest ones."""
    parent, done = run_session("assert False", *options)
    assert "1 failed" in done.stdout, done
    folder, variable, own = next(line for line in done.stdout.splitlines() if "folder " in line).split()[-3:]
    assert folder == variable
    assert Path(folder).parent == parent
    assert Path(own).is_relative_to(Path(folder, TESTS))
    assert Path(own).is_dir()
    assert {each.name for each in Path(folder).iterdir()} == {TESTS, ENDED}
    for _ in range(KEPT):
        run_session()
        assert left(parent) == [Path(folder).name]
    for number in range(KEPT + 1):
        newer = parent / f"srt-newer-{number}"
        newer.mkdir()
        (newer / ENDED).touch()
    run_session()
    assert len(left(parent)) == KEPT
    assert Path(folder).name not in left(parent)


def test_a_session_takes_no_rights_from_the_folder_of_another(run_session):
    """A server may run as another user in pytest's folder. The start of another session does not change the folder's mode."""
    start = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-c", os.devnull, "test_session.py"]
    _, done = run_session(
        "import pathlib, subprocess\n"
        "    rights = lambda: [each.stat().st_mode for each in tmp_path.parents]\n"
        "    for each in list(tmp_path.parents)[:3]: each.chmod(0o755)\n"
        "    before = rights()\n"
        "    (tmp_path / 'test_session.py').write_text('def test_it(tmp_path): pass')\n"
        f"    subprocess.run({start}, cwd=tmp_path, check=True)\n"
        "    assert rights() == before"
    )
    assert done.returncode == 0, done


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
