"""`strongroom backup plan` and `backup check`: a set of backups that fits together, and sets that do not."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import pytest

from tests.support.fixtures.command_line import run_command, run_in_thread, sql
from tests.support.services import POSTGRES
from tests.support.services.postgres import programs_of

pytestmark = pytest.mark.integration

KEYRING = "strongroom-keyring.json"


def command(folder, *arguments, code=0):
    """Run a command; return what it printed."""
    done = run_command(folder, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def dumped(source, path):
    """Write a dump of the schema of a cell."""
    program = programs_of(max(POSTGRES)) / "pg_dump"
    subprocess.run([program, "--format=custom", "--schema=strongroom", f"--file={path}", source], check=True)


def restored(path, target):
    """Restore a dump into an empty database."""
    program = programs_of(max(POSTGRES)) / "pg_restore"
    flags = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
    subprocess.run([program, *flags, f"--dbname={target}", path], check=True)


def findings_of(folder, *arguments, code=0):
    """Run `backup check`; return state and text of each finding by group and check."""
    document = json.loads(command(folder, "backup", "check", *arguments, "--json", code=code).splitlines()[0])
    assert document["ok"] == (code == 0)
    return {(each["group"], each["check"]): (each["state"], each["text"]) for each in document["findings"]}


def wrong(findings):
    """Return the groups in which something is wrong."""
    return {group for (group, _), (state, _) in findings.items() if state == "wrong"}


def digest(folder):
    """Return a digest of every file of a folder."""
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def backup_set(databases, tmp_path_factory):
    """A cell, and a set of backups of it: folder, restored database, and copies from before the newest namespace."""
    source, target = run_in_thread(databases.create()), run_in_thread(databases.create())
    cell, copies = tmp_path_factory.mktemp("cell"), tmp_path_factory.mktemp("copies")
    command(cell, "init", "--dsn", source)
    command(cell, "namespace", "create", "early")
    shutil.copy(cell / KEYRING, copies / "early.json")
    shutil.copytree(cell / "audit", copies / "early-audit")
    command(cell, "namespace", "create", "payments")
    dumped(source, copies / "dump")
    # What happens during the backup, after the database was dumped.
    command(cell, "namespace", "create", "late")
    shutil.copy(cell / KEYRING, copies / KEYRING)
    shutil.copy(cell / "strongroom.toml", copies / "strongroom.toml")
    shutil.copytree(cell / "audit", copies / "audit")
    restored(copies / "dump", target)
    yield copies, target, cell
    for dsn in (source, target):
        run_in_thread(databases.drop(dsn))


def test_a_set_that_fits_together(backup_set):
    """Database first, then the rest: everything fits, also what was created in between. Nothing is written by the check."""
    copies, target, _ = backup_set
    before = digest(copies), sql(target, "SELECT count(*), max(number) FROM strongroom.audit_checkpoints")
    findings = findings_of(copies, "--dsn", target)
    assert wrong(findings) == set()
    assert findings["Namespaces", "keys"][1].startswith("those of 2 of 2 namespaces open")
    state, text = findings["Audit log", "anchors"]
    assert state == "note"
    assert "newer than the database" in text
    assert (digest(copies), sql(target, "SELECT count(*), max(number) FROM strongroom.audit_checkpoints")) == before


def test_a_keyring_that_is_too_old(backup_set):
    """A copy from before the newest KEK of the database is named; the advice says which copy is needed."""
    copies, target, _ = backup_set
    findings = findings_of(copies, "--dsn", target, "--keyring", copies / "early.json", code=1)
    assert wrong(findings) == {"Keys"}
    shown = command(copies, "backup", "check", "--dsn", target, "--keyring", f"local={copies / 'early.json'}", code=1)
    assert "older than the database" in shown


def test_a_keyring_whose_kek_was_destroyed_since(backup_set, tmp_path):
    """The current keyring, after a shredding, fits: what it lacks was destroyed on purpose. The finding is a note."""
    _, target, cell = backup_set
    copy = tmp_path / "cell"
    shutil.copytree(cell, copy)
    asked = json.loads(
        command(
            copy, "namespace", "shred", "payments", "--confirm", "payments", "--grace", "0s", "--json"
        ).splitlines()[0]
    )
    command(copy, "namespace", "shred", "payments", "--final", asked["code"], "--certificate", "payments.json")
    findings = findings_of(copy, "--dsn", target)
    assert wrong(findings) == set()
    assert findings["Keys", "keyring local"][0] == "note"
    assert "lacks 1 KEKs" in findings["Keys", "keyring local"][1]


def test_a_database_of_another_cell(backup_set, databases, tmp_path):
    """It is refused before any key is used."""
    copies, _, _ = backup_set
    other = run_in_thread(databases.create())
    command(tmp_path, "init", "--dsn", other)
    findings = findings_of(copies, "--dsn", other, code=1)
    assert wrong(findings) == {"Database"}
    assert findings["Skipped", "the rest"][0] == "skipped"
    run_in_thread(databases.drop(other))


def test_a_keyring_of_another_cell(backup_set, databases, tmp_path):
    """It is not the file that the registry records."""
    copies, target, _ = backup_set
    other = run_in_thread(databases.create())
    command(tmp_path, "init", "--dsn", other)
    findings = findings_of(copies, "--dsn", target, "--keyring", tmp_path / KEYRING, code=1)
    assert wrong(findings) == {"Keys"}
    run_in_thread(databases.drop(other))


def cut(folder):
    """Remove the last record of each stream."""
    for path in folder.rglob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 2]))


def emptied(folder):
    """Remove all streams."""
    shutil.rmtree(folder)
    folder.mkdir()


def altered(folder):
    """Change one letter in a record."""
    [first, *_] = sorted(folder.rglob("*.jsonl"))
    first.write_bytes(first.read_bytes().replace(b'"at":"2', b'"at":"3', 1))


@pytest.mark.parametrize("damage", [cut, emptied, altered])
def test_an_audit_log_that_does_not_fit(backup_set, tmp_path, damage):
    """A log that was cut, is missing, or was changed. Control: the whole copy fits."""
    copies, target, _ = backup_set
    copy = tmp_path / "audit"
    shutil.copytree(copies / "audit", copy)
    assert wrong(findings_of(copies, "--dsn", target, "--audit", copy)) == set(), "control"
    damage(copy)
    assert wrong(findings_of(copies, "--dsn", target, "--audit", copy, code=1)) == {"Audit log"}


def test_an_audit_log_that_is_older_than_the_database(backup_set):
    """It lacks records that a checkpoint of the database covers."""
    copies, target, _ = backup_set
    findings = findings_of(copies, "--dsn", target, "--audit", copies / "early-audit", code=1)
    assert wrong(findings) == {"Audit log"}


def test_another_configuration(backup_set):
    """With another commitment of the cell's own keys nothing else is examined; a missing file is named."""
    copies, target, _ = backup_set
    text = (copies / "strongroom.toml").read_text()
    [line] = [each for each in text.splitlines() if each.startswith("commitment")]
    value = line.split('"')[1]
    other = line.replace(value, ("1" if value[0] == "0" else "0") + value[1:])
    shutil.copy(copies / "strongroom.toml", copies / "other.toml")  # with its mode
    (copies / "other.toml").write_text(text.replace(line, other))
    done = run_command(copies, "--config", "other.toml", "backup", "check", "--dsn", target, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert {each["group"] for each in document["findings"] if each["state"] == "wrong"} == {"Keys"}
    (copies / "other.toml").write_text(text.replace(KEYRING, "gone.json"))
    done = run_command(copies, "--config", "other.toml", "backup", "check", "--dsn", target)
    assert done.returncode == 1
    assert "gone.json" in done.stdout


def test_the_plan_names_every_part_in_order(backup_set, tmp_path):
    """The database is first. Every file of the configuration is named, and no secret is."""
    copies, _, _ = backup_set
    text = (copies / "strongroom.toml").read_text()
    ca = tmp_path / "ca.pem"
    text = text.replace("postgresql://", "postgresql://strongroom:hunter2@", 1) if "@" not in text else text
    (tmp_path / "strongroom.toml").write_text(
        f'{text}\n[elasticsearch]\nurl = "https://search.example.com:9200"\nindex = "runs"\nca_certs = "{ca}"\n'
    )
    (tmp_path / "strongroom.toml").chmod(0o600)
    shown = command(tmp_path, "backup", "plan")
    document = json.loads(command(tmp_path, "backup", "plan", "--json"))
    parts = [each["part"] for each in document["steps"]]
    assert parts[0] == "database"
    assert parts.index("keys") > 0
    assert parts.index("audit log") > 0
    assert str(ca) in shown
    assert KEYRING in shown
    assert "hunter2" not in shown
    assert "index build --rebuild" in shown
