from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from tests.support.fixtures.command_line import STRONGROOM, run_command, sql
from tests.support.forked_command import exit_code, forked_process, run_main

pytestmark = pytest.mark.integration

PASSWORD = "secret-9c41"  # noqa: S105 - must not be printed
WRONG = f"postgresql://someone:{PASSWORD}@127.0.0.1:1/elsewhere"


@pytest.fixture
def new_cell(dsn, tmp_path):
    """Run a command in an empty folder, next to an empty database."""

    def run(*arguments, **options):
        return run_command(tmp_path, *arguments, **options)

    run.dsn, run.folder, run.config = dsn, tmp_path, tmp_path / "strongroom.toml"
    return run


def refused(result, *texts):
    """Check that a command was refused with one line that has these texts, and no password."""
    assert result.returncode == 2, result
    assert len(re.findall("^error: ", result.stderr, re.MULTILINE)) == 1, result
    assert all(text in result.stderr for text in texts), result
    assert PASSWORD not in result.stdout + result.stderr
    return result.stderr


def test_a_failed_connection_leaves_nothing_and_the_corrected_init_works(new_cell):
    """An init with a wrong dsn writes nothing, so that the corrected one is not ignored."""
    refused(new_cell("init", "--dsn", WRONG))
    assert list(new_cell.folder.iterdir()) == []
    assert "is ready" in new_cell("init", "--dsn", new_cell.dsn).stdout
    assert new_cell.dsn in new_cell.config.read_text()
    assert new_cell.config.stat().st_mode & 0o777 == 0o600


def test_everything_is_checked_before_anything_is_written(new_cell, tmp_path, superuser_dsn):
    """A missing folder, a foreign keyring or schema, or a missing right is refused, with nothing written anywhere.

    Only a superuser can make the role that has no right.
    """
    refused(new_cell("--config", "none/strongroom.toml", "init", "--dsn", new_cell.dsn), "none is not a folder")
    keyring = tmp_path / "strongroom-keyring.json"
    keyring.write_text("{}")
    refused(new_cell("init", "--dsn", new_cell.dsn), "strongroom-keyring.json exists", "another cell")
    keyring.unlink()
    sql(new_cell.dsn, "CREATE SCHEMA strongroom")
    sql(new_cell.dsn, "CREATE TABLE strongroom.orders (id int)")
    refused(new_cell("init", "--dsn", new_cell.dsn), "tables of another program")
    sql(new_cell.dsn, "DROP SCHEMA strongroom CASCADE")
    role = f"guest-{uuid4().hex[:8]}"
    sql(superuser_dsn, f'CREATE ROLE "{role}" LOGIN')
    try:
        parts = urlsplit(new_cell.dsn)
        guest = urlunsplit(parts._replace(netloc=f"{role}:@{parts.netloc.rpartition('@')[2]}"))
        refused(
            new_cell("init", "--dsn", guest),
            "may not create a schema",
            f'GRANT CREATE ON DATABASE {parts.path[1:]} TO "{role}"',
        )
    finally:
        sql(superuser_dsn, f'DROP ROLE "{role}"')
    assert list(tmp_path.iterdir()) == []
    assert sql(new_cell.dsn, "SELECT FROM pg_namespace WHERE nspname = 'strongroom'") == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_this_user_cant_write_is_refused_first(new_cell, tmp_path):
    """A configuration, a keyring or an audit log that could not be written is refused before the database is changed."""
    new_cell("init", "--dsn", new_cell.dsn)
    text = new_cell.config.read_text()
    shutil.rmtree(tmp_path / "audit")
    (tmp_path / "strongroom-keyring.json").unlink()
    closed = tmp_path / "file"
    closed.write_text("")
    sql(new_cell.dsn, "DROP SCHEMA strongroom CASCADE")
    for name, setting in {"keyring": "strongroom-keyring.json", "audit log": '"audit"'}.items():
        new_cell.config.write_text(text.replace(setting, setting.replace("strongroom-keyring.json", "file/key.json")))
        if name == "audit log":
            new_cell.config.write_text(text.replace('folder = "audit"', 'folder = "file/audit"'))
        refused(new_cell("init"), name, "is not a folder")
    assert sql(new_cell.dsn, "SELECT FROM pg_namespace WHERE nspname = 'strongroom'") == []


def test_options_that_differ_from_the_configuration_are_refused_by_name(new_cell):
    """A repeated init names the option, both sources and the way to change it; equal options are accepted."""
    new_cell("init", "--dsn", new_cell.dsn, "--shards", "16", "--region", "eu-central-1")
    before = new_cell.config.read_bytes()
    refused(
        new_cell("init", "--dsn", WRONG),
        "--dsn names 127.0.0.1:1/elsewhere as someone",
        "database.dsn in strongroom.toml names",
    )
    refused(new_cell("init", "--shards", "32"), "--shards is 32", "cell.shards in strongroom.toml is 16")
    refused(new_cell("init", "--shards", "512"), "--shards is 512")
    refused(new_cell("init", "--region", "us-east-1"), "--region is us-east-1", "strongroom.toml names eu-central-1")
    both = new_cell("init", "--dsn", new_cell.dsn, environment={"STRONGROOM_DSN": WRONG})
    refused(both, "STRONGROOM_DSN, which takes precedence, names 127.0.0.1:1/elsewhere")
    parts = urlsplit(new_cell.dsn)
    other = urlunsplit(parts._replace(netloc=f"{parts.username}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))
    refused(new_cell("init", "--dsn", other), "with another password or other parameters")
    assert new_cell.config.read_bytes() == before
    same = new_cell("init", "--dsn", new_cell.dsn, "--shards", "16", "--region", "eu-central-1")
    assert same.returncode == 0, same
    assert new_cell("init").returncode == 0


def test_a_database_of_another_cell_is_left_alone(new_cell, tmp_path):
    """An init with the database of another cell names both cells, and leaves no configuration behind."""
    new_cell("init", "--dsn", new_cell.dsn)
    other = tmp_path / "other"
    other.mkdir()
    refused(run_command(other, "init", "--dsn", new_cell.dsn), "belongs to cell", "use the configuration of that cell")
    assert list(other.iterdir()) == []
    assert new_cell("doctor").returncode == 0


def test_two_inits_at_once_make_one_cell(new_cell, tmp_path):
    """Of inits that start at once in one folder, one makes the cell and the others find it; in other folders they are refused."""
    folders = [tmp_path / "one", tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    streams = [[tmp_path / f"{number}.{name}" for name in ("in", "out", "err")] for number in range(len(folders))]
    processes = [
        forked_process(run_main, folder, ["init", "--dsn", new_cell.dsn], dict(os.environ), each)
        for folder, each in zip(folders, streams, strict=True)
    ]
    codes = [exit_code(process, 180) for process in processes]
    made = {folder for folder, code in zip(folders, codes, strict=True) if code == 0}
    assert len(made) == 1, [each[2].read_text() for each in streams]
    (folder,) = made
    assert codes.count(0) == folders.count(folder)
    others = {each for each in folders if each != folder}
    assert all(list(each.iterdir()) == [] for each in others)
    assert run_command(folder, "doctor").returncode == 0


def test_an_init_that_was_killed_while_the_configuration_had_two_names_is_completed(new_cell):
    """A new configuration has a second name for a moment. A file with a password and two names is refused, but not by `init`."""
    parts = urlsplit(new_cell.dsn)
    dsn = urlunsplit(parts._replace(netloc=f"{parts.username}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))
    assert new_cell("init", "--dsn", dsn).returncode == 0
    os.link(new_cell.config, new_cell.folder / ".strongroom.toml.00ff00ff00ff00ff.new")
    completed = new_cell("init", "--dsn", dsn)
    assert completed.returncode == 0, completed
    assert new_cell("doctor").returncode == 0
    assert [path.name for path in new_cell.folder.iterdir() if path.suffix == ".new"] == []


def test_a_killed_init_is_completed_by_the_next(new_cell, tmp_path):
    """An init that is killed at any moment leaves something that the same command completes."""
    arguments = [STRONGROOM, "init", "--dsn", new_cell.dsn]
    seen = []

    def written():
        return new_cell.config.exists()

    def claimed():
        found = sql(new_cell.dsn, "SELECT to_regclass('strongroom.cell') AS there")
        return found[0]["there"] is not None and sql(new_cell.dsn, "SELECT FROM cell") != []

    for moment in (written, claimed, (tmp_path / "strongroom-keyring.json").exists):
        with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 120
            while not moment() and process.poll() is None:
                assert time.monotonic() < deadline
            process.send_signal(signal.SIGKILL)
            seen.append(process.wait())
        completed = new_cell("init", "--dsn", new_cell.dsn)
        assert completed.returncode == 0, (moment, completed)
        assert new_cell("doctor").returncode == 0
        assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []
        sql(new_cell.dsn, "DROP SCHEMA strongroom CASCADE")
        for name in ("strongroom.toml", "strongroom-keyring.json"):
            (tmp_path / name).unlink()
        shutil.rmtree(tmp_path / "audit")
    assert -signal.SIGKILL in seen
