"""No value of an option or argument ends a command in a traceback: huge, negative, not a number, empty, and not valid text."""

from __future__ import annotations

import asyncio

import click
import pytest

from strongroom.driver.cli import main
from strongroom.driver.cli.main import DEFECT, cli
from strongroom.driver.config import write_config
from tests.support.fixtures.command_line import run_command
from tests.support.odd_options import commands, odd_calls, run_all

pytestmark = pytest.mark.integration

SAMPLES = {
    "name": "payments",
    "namespace": "payments",
    "namespace_name": "payments",
    "namespace_id": "00000000-0000-0000-0000-000000000001",
    "file": "runs.jsonl",
    "path": "certificate.json",
    "other": "other.json",
    "workflow_id": "order",
    "uri": "local:cell",
    "version": "1",
    "before": "2026-01-01",
    "role": "read",
    "subject": "CN=worker",
    "key_id": "key",
    "grant_id": "grant",
    "hold_id": "hold",
    "reason": "ticket 1",
    "argument": "workflow_id",
    "value": "order",
    "days": "400",
    "switch": "on",
}
NOT_RUN = {("demo",): "it starts servers of its own, and its options are folders"}
TREE = {path: command for path, command in commands(cli) if path not in NOT_RUN}
LAST = ("access", "init")
"""Afterwards every command needs an API key."""


@pytest.fixture(scope="module")
async def odd_cell(databases, tmp_path_factory):
    """The folder of a cell with two namespaces, one of an odd name, and of the configuration `away.toml` whose database is away."""
    folder = tmp_path_factory.mktemp("odd")
    away = (
        "postgresql://u@127.0.0.1:1/x"  # no test listens on this port; a free one may be another test's a moment later
    )
    write_config(folder / "away.toml", dsn=away, shards=4)
    with (folder / "away.toml").open("a") as file:
        file.write("\n[serve]\ndatabase_wait_seconds = 0\n")
    dsn = await databases.create()
    create = ["namespace", "create"]
    for arguments in (["init", "--dsn", dsn, "--shards", "4"], [*create, "payments"], [*create, " "]):
        done = await asyncio.to_thread(run_command, folder, *arguments)
        assert done.returncode == 0, done
    yield folder, away
    await databases.drop(dsn)


def defects(found):
    """Return the calls that ended in a traceback or did not end."""
    return [
        (call, code, errors[-4000:])
        for call, code, errors in found
        if code in {DEFECT, -1} or "Traceback" in errors or "defect" in errors
    ]


@pytest.mark.parametrize("path", sorted(TREE, key=lambda path: (path == LAST, path)), ids=" ".join)
async def test_odd_values(odd_cell, path):
    """Each value is accepted or refused in one line."""
    folder, away = odd_cell
    first = ["--config", "away.toml", *path] if path == ("serve",) else [*path]
    if path == ("init",):
        first = ["--config", "new.toml", "init", "--dsn", away]
    calls = [first + arguments for arguments in odd_calls(TREE[path], SAMPLES)]
    if not calls:
        pytest.skip("it has no values")
    found = await asyncio.to_thread(run_all, folder, calls)
    assert len(found) == len(calls)
    assert defects(found) == []


def test_a_traceback_is_found(monkeypatch):
    """A control: a command that fails for one of the values."""

    @click.command("careless")
    @click.option("--count", type=int)
    def careless(count):
        if count is not None and count < 0:
            raise ValueError

    assert ["--count=-1"] in list(odd_calls(careless, {}))
    monkeypatch.setitem(cli.commands, "careless", careless)
    code = main._run(["careless", "--count=-1"])
    assert defects([(["careless"], code, "")])
    assert not defects([(["careless"], main._run(["careless", "--count=nan"]), "")])


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "-1", "1e30"])
@pytest.mark.parametrize("command", [["keys", "destroy", "payments", "--version=1"], ["keys", "reseal", "payments"]])
def test_a_wait_is_a_finite_time(command, value, capsys):
    """A wait of NaN seconds would be over at once, and a key in use would be destroyed."""
    assert main._run([*command, f"--wait={value}"]) == 2
    assert "--wait" in capsys.readouterr().err
