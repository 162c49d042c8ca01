"""`strongroom backup plan` and `backup check`: a set of backups that fits together, and sets that do not."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from contextlib import contextmanager

import pytest

from tests.support.dumps import dumped, restored
from tests.support.fixtures.command_line import command, run_command, run_in_thread, sql

pytestmark = pytest.mark.integration

KEYRING = "strongroom-keyring.json"
PASSWORD = "hunter2"  # noqa: S105 - of no database


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
    command(cell, "namespace", "create", "early", "--kek", "local:early", "--create-kek")
    command(cell, "keys", "rotate-kek", "local:early")
    command(cell, "keys", "rotate", "early")
    command(cell, "namespace", "attributes", "early", "-a", "CustomerId=Keyword")  # seals its details with the new key
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
    assert findings["Namespaces", "details"][1] == "those of 2 of 2 namespaces open"
    count = sql(target, "SELECT count(*) FROM strongroom.data_keys WHERE wrapped IS NOT NULL")[0][0]
    text = f"{count} of {count} keys unwrap, and match their commitments"
    assert findings["Keys", "wrapped keys"] == ("ok", text)
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


@pytest.fixture(scope="module")
def cell_after_shredding(backup_set, tmp_path_factory):
    """The folder of the cell after the namespace `payments` was shredded, which is in the backup."""
    _, _, cell = backup_set
    copy = tmp_path_factory.mktemp("shredded") / "cell"
    shutil.copytree(cell, copy)
    asked = json.loads(
        command(
            copy, "namespace", "shred", "payments", "--confirm", "payments", "--grace", "0s", "--json"
        ).splitlines()[0]
    )
    command(copy, "namespace", "shred", "payments", "--final", asked["code"], "--certificate", "payments.json")
    return copy


def test_a_keyring_whose_kek_was_destroyed_since(backup_set, cell_after_shredding):
    """The current keyring, after a shredding, fits: what it lacks was destroyed on purpose. The finding is a note."""
    _, target, _ = backup_set
    findings = findings_of(cell_after_shredding, "--dsn", target)
    assert wrong(findings) == set()
    assert findings["Keys", "keyring local"][0] == "note"
    assert "lacks 1 KEKs" in findings["Keys", "keyring local"][1]
    assert findings["Keys", "deleted KEKs"][0] == "note"
    assert [each for each in findings if each[0] == "Namespaces" and findings[each][0] == "note"]


def test_a_certificate_must_be_one_of_the_cell(backup_set, cell_after_shredding, tmp_path):
    """An erasure certificate of the cell is accepted. One that was altered, or that can't be read, is wrong."""
    _, target, _ = backup_set
    certificate = cell_after_shredding / "payments.json"
    assert wrong(findings_of(cell_after_shredding, "--dsn", target, "--certificate", certificate)) == set()
    altered = tmp_path / "altered.json"
    altered.write_text(certificate.read_text().replace('"disposal":"delete"', '"disposal":"kept"'))
    assert altered.read_bytes() != certificate.read_bytes(), "control"
    for path in (altered, tmp_path / "absent.json"):
        findings = findings_of(cell_after_shredding, "--dsn", target, "--certificate", path, code=1)
        assert wrong(findings) == {"Keys"}
        state, text = findings["Keys", "erasure certificates"]
        assert state == "wrong"
        assert path.name in text


def changed(content, version):
    """Change a bit of a version of the KEK `early`."""
    key = bytearray(base64.b64decode(content["keks"]["early"][version]["key"]))
    key[0] ^= 1
    content["keks"]["early"][version]["key"] = base64.b64encode(key).decode()


KEYRING_DAMAGE = {
    "the KEK of another namespace": (lambda content: changed(content, "2"), {"Keys", "Namespaces"}),
    "an old version that no detail needs": (lambda content: changed(content, "1"), {"Keys"}),
    "a KEK is gone": (lambda content: content["keks"].pop("early"), {"Keys"}),
    "a version is gone": (lambda content: content["keks"]["early"].pop("1"), {"Keys"}),
}


@pytest.mark.parametrize("damage", KEYRING_DAMAGE)
def test_damage_is_found_after_a_shredding(backup_set, cell_after_shredding, tmp_path, damage):
    """Only the keys of the shredded namespace may be missing. Damage to any other key is wrong."""
    _, target, _ = backup_set
    change, groups = KEYRING_DAMAGE[damage]
    content = json.loads((cell_after_shredding / KEYRING).read_text())
    change(content)
    path = tmp_path / KEYRING
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    findings = findings_of(cell_after_shredding, "--dsn", target, "--keyring", path, code=1)
    assert wrong(findings) == groups
    texts = "".join(text for state, text in findings.values() if state == "wrong")
    assert ("IntegrityError" in texts) == ("gone" not in damage)


@contextmanager
def altered_row(dsn):
    """Alter the tags of the namespaces' details, which the journal has, and put them back."""
    statement = "UPDATE namespaces SET details = set_byte(details, LAST, get_byte(details, LAST) # 1) RETURNING 1"
    statement = statement.replace("LAST", "length(details) - 1")
    assert len(sql(dsn, statement)) == 2
    try:
        yield
    finally:
        sql(dsn, statement)


def test_an_altered_row_is_found_after_a_shredding(backup_set, cell_after_shredding):
    """Details that do not open are wrong, also if another namespace was shredded. With --rows the journal finds the row too."""
    _, target, _ = backup_set
    assert findings_of(cell_after_shredding, "--dsn", target, "--rows")["Rows", "journal"][0] == "ok", "control"
    with altered_row(target):
        findings = findings_of(cell_after_shredding, "--dsn", target, code=1)
        assert wrong(findings) == {"Namespaces"}
        assert any(text.startswith("IntegrityError") for _, text in findings.values())
        assert wrong(findings_of(cell_after_shredding, "--dsn", target, "--rows", code=1)) == {"Namespaces", "Rows"}


def test_a_cell_with_sockets_and_secret_files(backup_set):
    """No socket is missing. A secret that is kept elsewhere is a note. A certificate that is not here is wrong."""
    copies, target, _ = backup_set
    path = copies / "sockets.toml"
    shutil.copy(copies / "strongroom.toml", path)  # with its mode
    server = '[serve]\nsocket = "temporal.sock"\nhealth = "unix:health.sock"\n'
    jwt = '[codec_server.jwt]\nkeys = "jwt.json"\nissuer = "i"\naudience = "a"\nalgorithms = ["ES256"]\nclaim = "c"\n'
    codec = f'[codec_server]\nlisten = "unix:codec.sock"\ncertificate = "server.pem"\n{jwt}namespaces = {{support = ["payments"]}}\n'
    text = path.read_text()

    def checked(more, code=0):
        path.write_text(f"{text}\n{more}")
        done = run_command(copies, "--config", path.name, "backup", "check", "--dsn", target)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    assert ".sock" not in checked(server)
    missing = checked(server + codec, code=1)
    assert "jwt.json" in missing
    (copies / "jwt.json").write_text("{}")
    noted = checked(server + codec)
    assert "server.pem" in noted
    assert ".sock" not in noted


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
    text, replaced = re.subn("(?m)^dsn = .*$", f'dsn = "postgresql://owner:{PASSWORD}@localhost/one"', text)
    assert replaced == 1
    (tmp_path / "strongroom.toml").write_text(
        f'{text}\n[elasticsearch]\nurl = "https://search.example.com:9200"\nindex = "runs"\nca_certs = "{ca}"\n'
    )
    (tmp_path / "strongroom.toml").chmod(0o600)
    shown = command(tmp_path, "backup", "plan")
    parsed = command(tmp_path, "backup", "plan", "--json")
    document = json.loads(parsed)
    parts = [each["part"] for each in document["steps"]]
    assert parts[0] == "database"
    assert parts.index("keys") > 0
    assert parts.index("audit log") > 0
    assert str(ca) in shown
    assert KEYRING in shown
    assert PASSWORD in (tmp_path / "strongroom.toml").read_text(), "control"
    assert PASSWORD not in shown
    assert PASSWORD not in parsed
    assert "index build --rebuild" in shown
