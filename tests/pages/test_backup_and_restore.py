"""The commands of docs/how-to/backup-and-restore.md are run as the page shows them.

Only addresses, folders, the recovery time and the digest of the accepted state are replaced.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from tests.support.audit.witnessed import records_of
from tests.support.databases import PASSWORD, Databases, create_driver, dsn_of
from tests.support.fixtures.command_line import STRONGROOM, command, run_command, run_in_thread, sql
from tests.support.pages import code_blocks
from tests.support.services import POSTGRES, CannotStart, missing, or_skip
from tests.support.services.postgres import own_postgres, programs_of
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "how-to" / "backup-and-restore.md"
SOURCE = "postgresql://strongroom@db.example.com/strongroom"
TARGET = "postgresql://strongroom@db2.example.com/strongroom"
REPLICATION = "postgresql://backup@db.example.com/postgres"
ADMINISTRATOR = "postgresql://postgres@{}.example.com/postgres"
MOMENT = "2026-11-29 12:00:00+00"
STATE = "4be7d1c09a5f3e2d8c6b1a0f9e8d7c6b"
IMPORTED = 20
NAMESPACES = ("payments", "gone", "own")


class Walk:
    """Runs the code blocks of the page, one after the other.

    Args:
        programs: The folder of PostgreSQL's programs.
        values: What is written in the page, and what is run instead.
        user: The user that runs the commands; None for the user that runs the tests.
    """

    def __init__(self, programs, values, *, user=None):
        self._blocks = [block for block in code_blocks(PAGE) if block.language in ("sh", "ini")]
        self._path = f"{programs}:{STRONGROOM.parent}:{os.environ['PATH']}"
        self._user = user
        self.values = dict(values)
        self.used = set()

    def text(self, first_words):
        """Return the block that begins with some words, with the values in place."""
        [block] = [block for block in self._blocks if block.text.startswith(first_words)]
        text = block.text
        for written, value in self.values.items():
            if written in text:
                self.used.add(written)
                text = text.replace(written, value)
        return text

    def run(self, first_words, folder, *, lines=slice(None)):
        """Run a block in a folder, or some of its lines; return what it printed. Each command must succeed."""
        text = "\n".join(self.text(first_words).splitlines()[lines])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder,
            env={**os.environ, "PATH": self._path, "COLUMNS": "200"},
            user=self._user,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, text + done.stdout + done.stderr
        return done.stdout


def accept(walk, host):
    """Show the differences of the restored database, accept its state, and check it, as the page does; return what was printed."""
    shown = walk.run("strongroom schema status", host)
    walk.values[STATE] = re.search(r"--state (\w+)", shown)[1]
    return shown + walk.run("strongroom restore accept", host)


def shred(folder, name):
    """Shred a namespace with both confirmations."""
    asked = command(folder, "namespace", "shred", name, "--confirm", name, "--grace", "0s")
    command(
        folder,
        "namespace",
        "shred",
        name,
        "--final",
        re.search(r"--final (\w+)", asked)[1],
        "--certificate",
        f"{name}.json",
    )


def count(folder, name):
    """Return the number of runs that a namespace lists."""
    return int(re.search(r"\d+", command(folder, "query", name, "--count"))[0])


def folders(tmp_path):
    """Return the folders of the page, as folders of this test."""
    places = {name: tmp_path / name for name in ("old-host", "new-host", "backup", "backup-of-keys")}
    for place in places.values():
        place.mkdir()
    return places


@pytest.fixture
def server_of_two(contract_databases):
    """A server's superuser, its programs, the owner's dsn of a database, and that of the database that the page creates."""
    superuser_dsn = contract_databases.superuser_dsn
    [[major]] = sql(superuser_dsn, "SELECT current_setting('server_version_num')::int / 10000")
    try:
        programs = programs_of(major)
    except CannotStart as reason:
        missing(f"pg_dump of PostgreSQL {major}: {reason}")
    source = run_in_thread(contract_databases.create())
    yield superuser_dsn, programs, source, dsn_of(superuser_dsn, role="strongroom", database="strongroom")
    for what in (
        "DATABASE IF EXISTS strongroom WITH (FORCE)",
        "ROLE IF EXISTS strongroom",
        "ROLE IF EXISTS strongroom_driver",
    ):
        sql(superuser_dsn, f"DROP {what}")
    run_in_thread(contract_databases.drop(source))


def test_dump_and_restore_as_a_plain_owner(server_of_two, tmp_path, sample_path):
    """A dump, restored by another owner into another database, opens with the copied keyring, and everything works in it."""
    superuser_dsn, programs, source, target = server_of_two
    places = folders(tmp_path)
    old, new = places["old-host"], places["new-host"]
    values = {
        SOURCE: source,
        TARGET: target,
        ADMINISTRATOR.format("db2"): superuser_dsn,
        "'...'": f"'{PASSWORD}'",
        "/backup-of-keys": str(places["backup-of-keys"]),
        "/backup/": f"{places['backup']}/",
    }
    walk = Walk(programs, values)
    command(old, "init", "--dsn", source)
    few = old / "few.jsonl"
    few.write_bytes(b"\n".join(gzip.decompress(sample_path.read_bytes()).splitlines()[:IMPORTED]) + b"\n")
    command(old, "namespace", "create", "payments", "--kek", "local:shared", "--create-kek")
    command(old, "namespace", "create", "gone", "--kek", "local:shared")
    command(old, "namespace", "create", "own")
    for name in NAMESPACES:
        command(old, "import", name, few)

    assert "keys: " in walk.run("strongroom backup plan", old)
    walk.run("pg_dump", old, lines=slice(1))
    # What happens during the backup, before the keyring is copied, and after it.
    command(old, "namespace", "create", "late")
    walk.run("pg_dump", old, lines=slice(1, None))
    for name in ("gone", "own"):
        shred(old, name)

    creates = 'psql postgresql://postgres@db2.example.com/postgres -c "CREATE ROLE strongroom{} LOGIN'
    walk.run(creates.format(""), tmp_path)
    walk.run("pg_restore", tmp_path)
    walk.run("cp -p /backup/strongroom.toml", new)
    assert "checks passed" in walk.run("strongroom backup check", new)
    checked = accept(walk, new)
    assert "nothing to do" in checked or "version 1" in checked
    assert {name: count(new, name) for name in NAMESPACES} == dict.fromkeys(NAMESPACES, IMPORTED)
    assert "late" not in command(new, "namespace", "list")
    assert sql(target, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'strongroom'") == [("strongroom",)]

    # With the current keyring, the KEK of the shredded namespace is gone. Its rows came back, but do not open.
    shutil.copy(old / "strongroom-keyring.json", new / "strongroom-keyring.json")
    assert count(new, "payments") == count(new, "gone") == IMPORTED
    command(new, "query", "own", "--count", code=2)

    # The namespace that came back is shredded again.
    shredding = "strongroom namespace list"
    walk.values["CODE"] = re.search(r"--final (\w+)", walk.run(shredding, new, lines=slice(2)))[1]
    walk.run(shredding, new, lines=slice(2, None))
    command(new, "query", "gone", "--count", code=2)
    command(new, "verify-certificate", "gone-erasure-again.json")

    walk.run(creates.format("_driver"), new)
    with_role = {"STRONGROOM_DSN": dsn_of(target, role="strongroom_driver")}
    limited = run_command(new, "doctor", environment=with_role)
    assert "row-level security applies to strongroom_driver" in " ".join(limited.stdout.split()), limited.stdout
    assert run_command(new, "query", "payments", "--count", environment=with_role).stdout.split()[0] == str(IMPORTED)
    with pytest.raises(asyncpg.UndefinedObjectError, match="session_of_this_statement"):
        sql(with_role["STRONGROOM_DSN"], "SELECT count(*) FROM history_node")  # docs/how-to/row-level-security.md
    assert walk.used == set(values) | {"CODE", STATE}


def test_an_older_audit_log_is_noticed(dsn, tmp_path):
    """`audit verify` reports a log that is older than the database, and checkpoints that a restored database lacks."""
    command(tmp_path, "init", "--dsn", dsn)
    command(tmp_path, "namespace", "create", "payments")
    shutil.copytree(tmp_path / "audit", tmp_path / "older")
    dump = subprocess.run(
        [programs_of(max(POSTGRES)) / "pg_dump", "--format=custom", "--schema=strongroom", dsn],
        check=True,
        capture_output=True,
    ).stdout
    for _ in range(3):
        command(tmp_path, "namespace", "list")
    command(tmp_path, "audit", "verify")
    newer = tmp_path / "newer"
    shutil.copytree(tmp_path / "audit", newer)
    shutil.rmtree(tmp_path / "audit")
    shutil.copytree(tmp_path / "older", tmp_path / "audit")
    command(tmp_path, "audit", "verify", code=1)
    sql(dsn, "DROP SCHEMA strongroom CASCADE")
    restore = [
        programs_of(max(POSTGRES)) / "pg_restore",
        "--no-owner",
        "--single-transaction",
        "--exit-on-error",
        f"--dbname={dsn}",
    ]
    subprocess.run(restore, input=dump, check=True)
    shutil.rmtree(tmp_path / "audit")
    shutil.copytree(newer, tmp_path / "audit")
    assert "an older state of the database was restored" in command(tmp_path, "audit", "verify", code=1)


def test_the_search_index_is_built_again(databases, elasticsearch, tmp_path, sample_path):
    """After a restore the index has runs that the database lacks. The page's command makes it equal to the database again."""
    source, target = run_in_thread(databases.create()), run_in_thread(databases.create())
    walk = Walk(programs_of(max(POSTGRES)), {SOURCE: source, TARGET: target, "/backup/": f"{tmp_path}/"})
    command(tmp_path, "init", "--dsn", source)
    configuration = tmp_path / "strongroom.toml"
    index = f'url = "{elasticsearch.url}"\ninsecure = true\nindex = "{elasticsearch.prefix}visibility"\n'
    configuration.write_text(f"{configuration.read_text()}\n[elasticsearch]\n{index}")
    command(tmp_path, "namespace", "create", "payments")
    lines = gzip.decompress(sample_path.read_bytes()).splitlines()
    for number in (5, IMPORTED):
        few = tmp_path / "few.jsonl"
        few.write_bytes(b"\n".join(lines[:number]) + b"\n")
        command(tmp_path, "import", "payments", few)
        command(tmp_path, "index", "build")
        assert count(tmp_path, "payments") == number
        if number == 5:
            walk.run("pg_dump", tmp_path, lines=slice(1))
    walk.run("pg_restore", tmp_path)
    configuration.write_text(configuration.read_text().replace(source, target))
    walk.run("strongroom index build --rebuild", tmp_path)
    assert count(tmp_path, "payments") == 5
    command(tmp_path, "index", "reconcile", "--check")
    for dsn in (source, target):
        run_in_thread(databases.drop(dsn))


def test_an_older_keyring_is_accepted_only_on_request(dsn, tmp_path):
    """A keyring from before the newest KEK is refused. After the page's command the cell works, without the namespace of that KEK."""
    keyring = tmp_path / "strongroom-keyring.json"
    command(tmp_path, "init", "--dsn", dsn)
    command(tmp_path, "namespace", "create", "before")
    older = keyring.read_bytes()
    command(tmp_path, "namespace", "create", "after")
    keyring.write_bytes(older)
    refused = command(tmp_path, "query", "before", "--count", code=2)
    assert "keyring" in refused
    walk = Walk(programs_of(max(POSTGRES)), {"KEYRING": json.loads(older)["id"]})
    walk.run("strongroom keys keyring adopt", tmp_path)
    assert count(tmp_path, "before") == 0
    command(tmp_path, "query", "after", "--count", code=2)
    command(tmp_path, "namespace", "create", "again")


def test_a_dump_by_the_driver_role_is_refused(dsn, tmp_path):
    """`pg_dump` as the role that row-level security limits fails. It does not write a dump with missing rows."""
    command(tmp_path, "init", "--dsn", dsn)
    role, driver_dsn = run_in_thread(create_driver(dsn))
    command(tmp_path, "schema", "apply", "--driver-role", role)
    dump = subprocess.run(
        [programs_of(max(POSTGRES)) / "pg_dump", "--schema=strongroom", driver_dsn],
        check=False,
        capture_output=True,
        text=True,
    )
    assert dump.returncode != 0
    assert "row-level security" in dump.stderr


def refused_until_accepted(host, walk):
    """Check that nothing works in the restored database, that the commands of the page accept it, and that the log shows the gap."""
    assert "checks passed; 1 with a note" in walk.run("strongroom backup check", host)
    too_old = command(host, "backup", "check", "--keyring", host / "before.json", code=1)
    assert "This copy of the keyring is older than the database" in too_old
    for refused in ("namespace list", "keys rotate between", "query before --count"):
        assert "restore accept --reason" in command(host, *refused.split(), code=2)
    found = command(host, "audit", "verify", code=1)
    assert "key registry in the database is version 3" in found
    assert "an older state of the database was restored" in found
    accept(walk, host)
    assert names(host) == {"before", "between"}
    command(host, "namespace", "create", "again")
    command(host, "keys", "rotate", "between")
    assert count(host, "before") == 0
    found = json.loads(command(host, "audit", "verify", "--json"))
    assert found["ok"]
    [gap] = [each for each in found["accepted"] if "key registry in the database is version 3" in each]
    assert "version 4" in gap
    [record] = [each for each in records_of(host / "audit") if each["event"] == "accepted"]
    assert record["reason"] == "restored from the dump of 2 May"
    assert record["lost_through"] > record["lost_after"] > 0


def planned_copies(host, copies):
    """Copy keyring and audit log as `backup plan --physical` says; return the arguments of the check that it ends with."""
    steps = json.loads(command(host, "backup", "plan", "--physical", "--json"))["steps"]
    places = {"BACKUP-OF-KEYS/": f"{copies}/", "BACKUP/": f"{copies}/"}

    def in_place(text):
        return re.sub("|".join(places), lambda match: places[match[0]], text)

    parts = [each["part"] for each in steps]
    log = parts.index("write-ahead log")
    copied = [each["how"].removeprefix("on each host: ") for each in steps[log + 1 :] if " cp -" in f" {each['how']}"]
    assert len(copied) == 2, "keyring and audit log; the configuration has a password"
    for each in copied:
        subprocess.run(["sh", "-c", in_place(each)], cwd=host, check=True)
    program, *arguments = shlex.split(in_place(steps[-1]["how"].partition("then: ")[2]))
    assert program == "strongroom"
    assert arguments[4:6] == ["--dsn", "RESTORED"]
    return [*arguments[:4], *arguments[6:]]


def test_restore_to_a_point_in_time(tmp_path_factory):
    """The base backup and the archived log restore the moment that the page names. It is refused, accepted, and then works.

    The copies of keyring and audit log that `backup plan --physical` names, in its order, fit together with the restored server.
    """
    with tempfile.TemporaryDirectory(prefix="strongroom-backup-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        backup = folder / "backup"
        (backup / "wal").mkdir(parents=True)
        with or_skip(own_postgres(folder / "postgres", 15, start=False)) as server:
            user = server.user
            for each in (folder, backup, backup / "wal"):
                if user:
                    shutil.chown(each, user)
            restored = folder / "restored"
            values = {
                ADMINISTRATOR.format("db"): server.dsn,
                REPLICATION: dsn_of(server.dsn, role="backup"),
                "/backup/": f"{backup}/",
                "/var/lib/postgresql/restored": str(restored),
            }
            walk = Walk(server.programs, values, user=user)
            with (server.data / "postgresql.conf").open("a") as settings:
                # The fixture gives these on the command line, which a base backup does not contain.
                settings.write(
                    f"max_connections = 200\nlisten_addresses = ''\nunix_socket_directories = '{server.folder}'\n"
                )
                settings.write(walk.text("wal_level"))
            server.start()
            host = tmp_path_factory.mktemp("host")
            dsn = run_in_thread(Databases(server.dsn).create())
            command(host, "init", "--dsn", dsn)
            command(host, "namespace", "create", "before")
            walk.run('psql postgresql://postgres@db.example.com/postgres -c "CREATE ROLE backup', "/")
            walk.run("pg_basebackup", "/", lines=slice(2))
            shutil.copy(host / "strongroom-keyring.json", host / "before.json")
            command(host, "namespace", "create", "between")
            [[moment]] = sql(server.dsn, "SELECT clock_timestamp()::text")
            walk.run("pg_basebackup", "/", lines=slice(2, None))
            copies = tmp_path_factory.mktemp("copies")
            check = planned_copies(host, copies)
            command(host, "namespace", "create", "after")
            [[last]] = sql(server.dsn, "SELECT pg_walfile_name(pg_switch_wal())")
            wait_for((backup / "wal" / last).exists)
            assert names(host) == {"before", "between", "after"}
            server.stop("fast")
            walk.values[MOMENT] = moment
            walk.run("cp -a /backup/base", "/")
            try:
                wait_for(lambda: sql(server.dsn, "SELECT pg_is_in_recovery()") == [(False,)])
                assert "checks passed" in command(host, *check, "--dsn", dsn)
                refused_until_accepted(host, Walk(server.programs, values))
                assert walk.used == {*values, MOMENT}
            finally:
                subprocess.run(
                    [server.programs / "pg_ctl", "-D", restored, "-m", "immediate", "stop"],
                    user=user,
                    cwd="/",
                    check=True,
                )
                server.start()  # the fixture stops it


def names(host):
    """Return the names of the namespaces that a cell lists."""
    return {
        word for word in command(host, "namespace", "list").split() if word in {"before", "between", "after", "again"}
    }


def wait_for(condition, seconds=60):
    """Wait until a condition holds. A server that is not there yet is no failure."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError, asyncpg.PostgresError):
            if condition():
                return
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.1)
