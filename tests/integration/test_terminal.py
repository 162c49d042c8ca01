from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import click
import orjson
import pytest

from strongroom.driver.cli.main import cli
from tests.support.fixtures.command_line import faults, run_command, run_in_thread
from tests.support.terminal import HOSTILE, SGR, raw_characters, run_on_terminal
from tests.support.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

NAME, OTHER = HOSTILE, "other" + HOSTILE
FILE = "file" + HOSTILE.replace("/", "")
NOBODY = str(UUID(int=1))
STREAM = {"stream": HOSTILE, "sequence": 1, "event": HOSTILE, "at": HOSTILE}
WITHOUT_JSON = {"demo", "audit export", "namespace certificate", "codec-server", "serve", "index run"}

COMMANDS = {
    "init": ["--region", HOSTILE],
    "doctor": [],
    "demo": ["--stop", HOSTILE],
    "schema apply": ["--driver-role", HOSTILE],
    "backup plan": [],
    "backup check": [],
    "schema status": [],
    "verify": ["--shard", "1"],
    "namespace create": [NAME, "--kek", f"local:{HOSTILE}", "--create-kek"],
    "namespace list": [],
    "namespace attributes": [NAME, "--alias", f"{HOSTILE}=CustomerId"],
    "namespace purge": [NOBODY],
    "namespace shred": [OTHER, "--confirm", OTHER, "--grace", "1d"],
    "namespace unshred": [OTHER],
    "namespace shred-due": [],
    "namespace certificate": [NOBODY],
    "import": [NAME, FILE],
    "history": [NAME, HOSTILE],
    "query": [NAME],
    "index build": [],
    "index status": [],
    "index run": [],
    "index advise": [NAME],
    "index reconcile": [],
    "index rotate": [NAME, "--wait", "0"],
    "damaged list": [],
    "damaged forget": ["--before", "2026-01-01"],
    "keys list": [NAME],
    "keys rotate": [NAME],
    "keys rotate-kek": [f"local:{HOSTILE}"],
    "keys rewrap": ["--namespace", NAME],
    "keys retire": [f"local:{HOSTILE}", "--confirm", f"local:{HOSTILE}"],
    "keys pin": ["--confirm", HOSTILE],
    "keys reseal": [NAME, "--wait", "0"],
    "keys destroy": [NAME, "--version", "1", "--wait", "0"],
    "keys keyring status": [],
    "keys keyring merge": [FILE],
    "keys keyring adopt": ["--confirm", HOSTILE],
    "audit verify": [],
    "audit export": [],
    "audit key": [],
    "audit hash": [NAME, "workflow_id", HOSTILE],
    "audit holds": [],
    "audit hold": ["--reason", HOSTILE],
    "audit lift": [HOSTILE],
    "audit retention": ["1000"],
    "audit prune": ["--dry-run"],
    "audit availability-first": [NAME, "on"],
    "verify-certificate": [FILE],
    "certificate-key": [],
    "codec-server": [],
    "serve": ["--socket", f"{HOSTILE}/x.sock"],
    "access list": [],
    "access add": [HOSTILE],
    "access bind": [HOSTILE, HOSTILE, "-n", NAME],
    "access unbind": [HOSTILE, HOSTILE],
    "access certificate": [HOSTILE, HOSTILE],
    "access api-key": [HOSTILE],
    "access revoke": [HOSTILE],
    "access review": [],
    "restore accept": ["--reason", HOSTILE],
    "access accept-older": ["--version", "7", "--reason", HOSTILE],
    "access request": ["--role", HOSTILE, "-n", NAME, "--reason", HOSTILE],
    "access grants": ["--all"],
    "access approve": [HOSTILE],
    "access end": [HOSTILE],
    "access remove": [HOSTILE],
    "access init": [HOSTILE],
}
"""The arguments of each command: hostile wherever a text is free."""
MORE = [
    ["--config", f"{HOSTILE}.toml", "doctor"],
    ["--config", f"{HOSTILE}.toml", "query", NAME],
    ["--config", "wrong.toml", "doctor"],
    ["--config", "wrong.toml", "namespace", "list"],
    [HOSTILE],
    ["query", NAME, HOSTILE],
    ["query", NAME, "--limit", HOSTILE],
    ["query", NAME, f"--{HOSTILE}"],
    ["query", NAME, HOSTILE, HOSTILE],
    ["query", NAME, "GROUP BY WorkflowType", "--count"],
    ["query", NAME, f"WorkflowType = '{HOSTILE}'", "--explain"],
    ["query", HOSTILE + "nobody"],
    ["index", "rotate", NAME, "--preset", HOSTILE],
    ["namespace", "shred", OTHER, "--grace", HOSTILE],
    ["namespace", "create", "new", "-a", f"{HOSTILE}={HOSTILE}"],
    ["import", NAME, f"{HOSTILE}.jsonl"],
    ["import", NAME, "unknown.jsonl"],
    ["audit", "verify", FILE, "--public-key", "00" * 32],
    ["audit", "export", "--to", f"none/{HOSTILE}"],
    ["keys", "list"],
    ["keys", "rotate", "--due"],
]


PEOPLE = [
    ["access", "add", "worker"],
    ["access", "bind", "worker", "read", "-n", NAME],
    ["access", "certificate", "worker", "CN=worker"],
    ["access", "api-key", "worker"],
    ["access", "request", "--role", "read", "-n", NAME, "--reason", "ticket 1"],
    ["access", "list"],
    ["access", "remove", "worker"],
]
"""Commands on principals that succeed at least once."""


def leaves(group, path=()):
    """Yield the words and the object of each command below a group."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.fixture(scope="module")
def hostile_cell(cell_of_module, sample_path):
    """A cell whose namespaces, KEKs, attributes, runs and files have hostile names."""
    import gzip  # noqa: PLC0415

    cell = cell_of_module
    with gzip.open(sample_path) as file:
        line = orjson.loads(file.readline())
    changed = {"workflow_id": HOSTILE, "workflow_type": HOSTILE, "task_queue": HOSTILE, "memo": {HOSTILE: HOSTILE}}
    custom = {"search_attributes": {"CustomerId": {"type": "Keyword", "value": HOSTILE}}}
    (cell.folder / FILE).write_bytes(orjson.dumps({**line, **changed, **custom, "run_id": str(uuid4())}))
    (cell.folder / "unknown.jsonl").write_bytes(orjson.dumps({**line, HOSTILE: HOSTILE}))
    text = (cell.folder / "strongroom.toml").read_text()
    (cell.folder / "wrong.toml").write_text(f"{text}\n[{json.dumps(HOSTILE)}]\n{json.dumps(HOSTILE)} = 1\n")
    for name in (NAME, OTHER):
        cell.done("namespace", "create", name)
    cell.done("import", NAME, FILE)
    return cell


@pytest.fixture(scope="module")
def ran(hostile_cell):
    """The results of every command: in a pipe, on a terminal, and in a pipe with --json.

    The commands on principals come last, because after `access init` every command needs an API key.
    """
    others = {path: each for path, each in COMMANDS.items() if not path.startswith("access ")}
    results = walked(hostile_cell, others, MORE)
    init = hostile_cell.run("access", "init", "--json", "ana")
    assert init.returncode == 0, init
    hostile_cell.environment = {"STRONGROOM_API_KEY": json.loads(init.stdout)["api_key"]}
    people = {path: each for path, each in COMMANDS.items() if path not in others}
    assert list(people)[-1] == "access init"
    *more, parsed = walked(hostile_cell, people, PEOPLE)
    parsed.append(init)
    return [[*before, *after] for before, after in zip(results, [*more, parsed], strict=True)]


def walked(cell, commands, more):
    """Run commands in three ways."""
    walks = [*([*path.split(), *arguments] for path, arguments in commands.items()), *more]
    json_walks = [
        [*path.split(), "--json", *arguments] for path, arguments in commands.items() if path not in WITHOUT_JSON
    ] + [[*arguments, "--json"] for arguments in more if "export" not in arguments]
    on_terminal = partial(run_on_terminal, cell.folder, environment=cell.environment)
    with ThreadPoolExecutor(4) as threads:
        return [
            list(threads.map(lambda each: cell.run(*each), walks)),
            list(threads.map(lambda each: on_terminal(*each), walks)),
            list(threads.map(lambda each: cell.run(*each), json_walks)),
        ]


def test_every_command_is_walked():
    """No command is left out of the walk, and every command has --json or a reason why it has none."""
    found = dict(leaves(cli))
    assert set(found) == set(COMMANDS)
    assert {path for path, command in found.items() if getattr(command, "without_json", "no class")} == WITHOUT_JSON
    for path, command in found.items():
        assert any("--json" in each.opts for each in command.params) == (path not in WITHOUT_JSON), path


def test_no_command_prints_a_raw_character(ran):
    """No name, argument or error brings a control or invisible character to a pipe or a terminal."""
    piped, shown, _ = ran
    for result in piped:
        assert raw_characters(result.stdout + result.stderr) == set(), result.args
    for result in shown:
        assert raw_characters(SGR.sub("", result.stdout) + result.stderr) == set(), result.args
    printed = "".join(result.stdout + result.stderr for result in piped)
    assert r"a[/b]c[bold]:smile:\x1b]0;title\x07" in printed, "the names are shown, as they are"
    codes = {result.returncode for result in (*piped, *shown)}
    assert codes == {0, 1, 2}, "no command ended with a defect"
    assert "Traceback" not in printed


def test_json_is_ascii_and_gives_the_original_back(ran):
    """With --json each line of both streams is JSON in ASCII, and a parser returns the original texts."""
    *_, parsed = ran
    texts = []
    for result in parsed:
        assert (result.stdout + result.stderr).isascii(), result.args
        assert raw_characters(result.stdout + result.stderr) == set(), result.args
        lines = (result.stdout + result.stderr).splitlines()
        texts += [json.dumps(json.loads(line), ensure_ascii=False) for line in lines]
        if result.returncode == 2:
            error = json.loads(result.stderr)["error"]
            assert set(error) == {"type", "message", "details", "exit_code"}, result.args
            assert error["exit_code"] == 2
            assert result.stdout == ""
    assert any(json.dumps(HOSTILE, ensure_ascii=False)[1:-1] in each for each in texts)


def test_json_has_the_documented_keys(ran):
    """The keys of each command's document are those of docs/reference/json.md, in every run that succeeds."""
    *_, parsed = ran
    page = (ROOT / "docs/reference/json.md").read_text()
    rows = re.findall(r"^\| `([a-z- ]+)` \| ([^|]+) \|", page, re.MULTILINE)
    documented = {path: set(re.findall(r"`(\w+)`", keys)) for path, keys in rows}
    assert set(documented) == set(COMMANDS) - WITHOUT_JSON
    seen = set()
    for result in parsed:
        given = " ".join(result.args)
        path = max((each for each in COMMANDS if given.startswith(each)), key=len, default="")
        without_namespace = result.args == ("keys", "list", "--json")
        if result.returncode == 2 or path not in COMMANDS or path in {"query", "history"} or without_namespace:
            continue
        assert set(json.loads(result.stdout)) == documented[path], path
        seen.add(path)
    assert len(seen) > 30


def test_a_pipe_gets_aligned_text_without_boxes_and_a_narrow_terminal_a_compact_form(hostile_cell):
    """A table has no boxes, and nothing in it is cut; at 80 columns each id is whole on one line."""
    on_terminal = partial(run_on_terminal, hostile_cell.folder, environment=hostile_cell.environment)
    namespaces = json.loads(hostile_cell.done("namespace", "list", "--json"))["namespaces"]
    ids = [each["namespace_id"] for each in namespaces]
    for text in (
        hostile_cell.done("namespace", "list", environment={"COLUMNS": "20"}),
        on_terminal("namespace", "list").stdout,
        on_terminal("namespace", "list", columns=30).stdout,
    ):
        lines = text.splitlines()
        assert all(sum(each in line for line in lines) == 1 for each in ids)
        assert not re.search("[\u2500-\u257f]", text)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}], ids=str)
def test_a_terminal_without_colours_gets_none(hostile_cell, environment):
    """NO_COLOR and a dumb terminal turn every escape sequence off, bold ones too."""
    key = hostile_cell.environment
    assert "\x1b" in run_on_terminal(hostile_cell.folder, "namespace", "list", environment=key).stdout
    plain = run_on_terminal(hostile_cell.folder, "namespace", "list", environment={**key, **environment})
    assert plain.returncode == 0
    assert "\x1b" not in plain.stdout


@pytest.fixture(scope="module")
def cell_of_module(databases, tmp_path_factory):
    """A cell in a database of its own."""
    dsn = run_in_thread(databases.create())
    cell = Walked(tmp_path_factory.mktemp("cell"))
    cell.done("init", "--dsn", dsn)
    yield cell
    run_in_thread(databases.drop(dsn))


class Walked:
    """A cell in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, {}

    def run(self, *arguments, environment=None):
        """Run a command."""
        return run_command(self.folder, *arguments, environment={**self.environment, **(environment or {})})

    def done(self, *arguments, **options):
        """Run a command that must succeed, and return what it printed."""
        result = self.run(*arguments, **options)
        assert (result.returncode, faults(result.stderr)) == (0, ""), result
        return result.stdout
