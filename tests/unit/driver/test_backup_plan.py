"""The plan of a backup: what it names, what it leaves out, and that its commands can be copied into a shell."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from strongroom.driver.backup import plan
from strongroom.driver.backup.plan import without_password
from strongroom.driver.cli.backup import _named
from tests.support.configuration import FULL, MINIMAL, SECRETS, parsed
from tests.support.pages import code_blocks
from tests.support.tree import ROOT

PAGE = ROOT / "docs" / "how-to" / "backup-and-restore.md"
FILE = Path("/etc/strongroom/strongroom.toml")


@pytest.fixture
def full(monkeypatch):
    """A configuration with every setting, whose servers listen on sockets."""
    for name in SECRETS:
        monkeypatch.setenv(name, "x")
    sockets = {"socket": "temporal.sock", "health": "unix:health.sock"}
    server = {**FULL["codec_server"], "listen": "unix:codec.sock"}
    return parsed({**FULL, "serve": {**FULL["serve"], **sockets}, "codec_server": server})


def steps_of(config, **options):
    """Return the steps by what they are about."""
    return {each.what: each for each in plan(config, FILE, {}, **options)}


def test_sockets_are_no_part_of_a_backup(full):
    """A socket can't be copied, and is made again."""
    text = "\n".join(map(str, plan(full, FILE, {})))
    assert ".sock" not in text
    assert "/etc/strongroom/revoked.pem" in text, "control"


def test_files_with_secrets_are_not_copied_next_to_the_dump(full):
    """Tokens, PINs and private keys, also a file that two settings name. Certificates of authorities are copied."""
    steps = steps_of(full, has_secret=True)
    for name in ("token", "pin", "client.pem", "client.key", "server.pem", "server.key", FILE.name):
        step = steps[f"/etc/strongroom/{name}"]
        assert "where secrets are kept" in step.how, name
        assert "cp " not in step.how, name
    assert steps["/etc/strongroom/ca.pem"].how.startswith("cp ")
    assert "database.tls.ca_certs" in steps["/etc/strongroom/ca.pem"].why
    assert steps_of(full)[str(FILE)].how.startswith("cp "), "a configuration without a secret"


def test_commands_are_quoted_for_a_shell():
    """A path with a space and an apostrophe, and a connection string with an ampersand, are one word each."""
    folder = Path("/srv/my cell's")
    dsn = "postgresql:///one?host=/run/my pg&port=6432"
    config = parsed(
        {**MINIMAL, "database": {"dsn": dsn, "insecure": True}, "audit": {"folder": "audit"}}, folder=folder
    )
    commands = {
        tuple(words)
        for each in plan(config, folder / "strongroom.toml", {})
        if (words := shlex.split(each.how.removeprefix("on each host: ")))[0] in {"cp", "pg_dump"}
    }
    dump = ("pg_dump", "--format=custom", "--schema=strongroom", "--file=strongroom.dump")
    assert commands == {
        (*dump, "postgresql://OWNER@/one?host=/run/my pg&port=6432"),
        ("cp", "-p", f"{folder}/keyring.json", "BACKUP-OF-KEYS/"),
        ("cp", "-rp", f"{folder}/audit", "BACKUP/"),
        ("cp", "-p", f"{folder}/strongroom.toml", "BACKUP/"),
    }


def test_the_database_is_dumped_by_its_owner():
    """The configuration often names the driver role, whose dump fails."""
    config = parsed({**MINIMAL, "database": {"dsn": "postgresql://driver:sesame@db.example.com/one?user=x"}})
    first = plan(config, FILE, {})[0]
    assert first.how.endswith(" postgresql://OWNER@db.example.com/one")
    assert "owns the tables" in first.why
    assert "sesame" not in str(first)


def test_a_physical_backup_has_the_commands_of_the_page():
    """Settings and commands are those of the page, whose walker runs them on a PostgreSQL with an archived log."""
    config = parsed({**MINIMAL, "database": {"dsn": "postgresql://strongroom@db.example.com/postgres"}})
    steps = plan(config, FILE, {}, physical=True)
    on_page = {line for block in code_blocks(PAGE) for line in block.text.splitlines()}
    places = {"WAL-ARCHIVE": "/backup/wal", "BACKUP/": "/backup/", "REPLICATION@": "backup@"}

    def as_on_page(text):
        return re.sub("|".join(places), lambda match: places[match[0]], text)

    settings, *commands = [as_on_page(each.how) for each in steps if each.part in {"database", "write-ahead log"}]
    assert set(settings.removeprefix("once, in postgresql.conf: ").split("; ")) <= on_page
    assert [each.split()[0] for each in commands] == ["pg_basebackup", "pg_verifybackup", "psql"]
    assert set(commands) <= on_page
    assert not {each.how for each in plan(config, FILE, {})} & on_page, "control: a dump has other words in this place"


@pytest.mark.parametrize("physical", [False, True])
def test_the_order_of_the_parts(physical):
    """Keys and audit log are copied after the database and its log. The last step checks a restored server with all copies."""
    config = parsed({**MINIMAL, "audit": {"folder": "audit"}}, folder=Path("/srv/cell"))
    steps = plan(config, Path("/srv/cell/strongroom.toml"), {}, physical=physical)
    parts = list(dict.fromkeys(each.part for each in steps))
    log = ["write-ahead log"] if physical else []
    assert parts == ["database", *log, "keys", "audit log", "configuration", "certificates", "check"]
    [keys] = [each.why for each in steps if each.part == "keys"]
    assert ("moment" in keys) == physical
    assert shlex.split(steps[-1].how.partition("then: ")[2]) == [
        *("strongroom", "--config", "BACKUP/strongroom.toml", "backup", "check", "--dsn", "RESTORED"),
        *("--keyring", "local=BACKUP-OF-KEYS/keyring.json", "--audit", "BACKUP/audit"),
    ]
    assert "only a restored server is checked" in steps[-1].why


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://a:sesame@h/d", "postgresql://a@h/d"),
        ("postgresql://a@h/d?password=sesame&sslmode=verify-full", "postgresql://a@h/d"),
        ("postgresql:///d?host=/run&password=sesame", "postgresql:///d?host=/run"),
        ("postgresql://h1,h2/d?user=a&dbname=e", "postgresql://h1,h2/d?user=a&dbname=e"),
    ],
)
def test_a_password_is_not_shown(dsn, shown):
    """Before the host or as a parameter. What names the database stays."""
    assert without_password(dsn) == shown


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("keyring.json", ("", "keyring.json")),
        ("local=keyring.json", ("local", "keyring.json")),
        ("/backup/date=2026-11-30/k.json", ("", "/backup/date=2026-11-30/k.json")),
        ("date=2026-11-30.json", ("", "date=2026-11-30.json")),
        ("local=date=2026-11-30.json", ("local", "date=2026-11-30.json")),
    ],
)
def test_only_a_provider_before_an_equals_sign_is_one(text, named):
    """The path of a keyring may have an equals sign."""
    provider_id, path = named
    assert _named(text, parsed(MINIMAL)) == (provider_id, Path(path))
