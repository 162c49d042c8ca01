"""The restore drill: no program that it runs has a password in its arguments, which every user of the machine can see."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

import pytest

from examples.restore_drill import drill
from tests.support.configuration import MINIMAL

PASSWORD = "open%20sesame"  # noqa: S105 - of no database
DSNS = {
    "before the host": f"postgresql://owner:{PASSWORD}@db.example.com/one",
    "as a parameter": f"postgresql://owner@db.example.com/one?password={PASSWORD}",
}


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """The commands that a drill runs, each with its environment. None of them is run."""
    ran = []

    def run(command, *, env, **_):
        ran.append(([str(each) for each in command], env))
        return CompletedProcess(command, 0, json.dumps({"findings": [], "summary": "fits"}), "")

    monkeypatch.setattr(drill.subprocess, "run", run)
    monkeypatch.setattr(drill.shutil, "copy2", lambda _source, target: target)
    (tmp_path / "strongroom.toml").write_text(
        f'[cell]\nid = "{MINIMAL["cell"]["id"]}"\nshards = 4\n[database]\ndsn = "postgresql://db.example.com/none"\n'
        '[kms.local]\ntype = "local"\nkeyring = "keyring.json"\n'
    )
    return ran


@pytest.mark.parametrize("form", DSNS)
def test_no_argument_of_a_program_holds_a_password(programs, monkeypatch, tmp_path, form):
    """pg_dump, pg_restore and strongroom get it in their environment, decoded for libpq."""
    monkeypatch.setenv("STRONGROOM_DSN", DSNS[form])
    target = DSNS[form].replace("/one", "/drill")
    assert drill.drill(tmp_path / "strongroom.toml", target, tmp_path, tmp_path) == 0
    dump, restore, check = programs
    for command, _ in programs:
        assert "sesame" not in " ".join(command)
    assert (dump[0][-1], dump[1]["PGPASSWORD"]) == ("postgresql://owner@db.example.com/one", "open sesame")
    assert restore[0][-2] == "--dbname=postgresql://owner@db.example.com/drill"
    assert restore[1]["PGPASSWORD"] == "open sesame"
    assert check[1]["STRONGROOM_DSN"] == target
    assert "--rows" in check[0]


@pytest.mark.parametrize(
    "dsn", ["postgresql:///one?host=%2Frun%2Fpostgresql", "postgresql://db.example.com:6432/one", "postgresql://a@b/c"]
)
def test_a_connection_string_without_a_password_stays_as_it_is(dsn):
    """Also one that names a socket and no host."""
    assert drill.for_libpq(dsn) == (dsn, {})
