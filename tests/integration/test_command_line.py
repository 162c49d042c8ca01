from __future__ import annotations

import base64
import gzip
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import click
import orjson
import pytest

from strongroom.driver.cli.main import cli
from strongroom.storage import current_version
from tests.support.fixtures.command_line import STRONGROOM, faults, run_command, run_in_thread, shred, sql

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

TABLES = ("cell", "data_keys", "namespaces", "history_node", "history_tree", "visibility_records", "schema_version")
CANARY = "hidden-5c1f0e"  # is in wrong inputs, and must not be repeated
IMPORTED = 12


@dataclass(frozen=True)
class Cell:
    """A folder with a configuration and a keyring, and the database that they belong to."""

    folder: Path
    dsn: str

    def run(self, *arguments, environment=None, typed=None):
        """Run the installed command line in the folder."""
        return run_command(self.folder, *arguments, environment=environment, typed=typed)

    def done(self, *arguments, **options):
        """Run a command that must succeed, and return what it printed."""
        result = self.run(*arguments, **options)
        assert (result.returncode, faults(result.stderr)) == (0, ""), result
        return result.stdout

    def rows(self):
        """Return the number of rows of each table, the keys and the namespaces."""
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)  # noqa: S608
        keys = "(SELECT array_agg(row(namespace_id, class, version, state)::text ORDER BY 1) FROM data_keys)"
        namespaces = "(SELECT array_agg(row(namespace_id, version, details)::text ORDER BY 1) FROM namespaces)"
        return sql(self.dsn, f"SELECT {counts}, {keys}, {namespaces}")

    def refused(self, *arguments, **options):
        """Run a command that must be refused with one line and change nothing. Return the line."""
        return self.all_refused([arguments], **options)[0]

    def all_refused(self, commands, **options):
        """Run commands at once, each of which must be refused with one line and change nothing."""
        before = self.rows()
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda arguments: self.run(*arguments, **options), commands))
        assert self.rows() == before
        return [refusal(result) for result in results]

    def copy(self, folder):
        """Return the same cell with a configuration and a keyring that a test may damage."""
        for name in ("strongroom.toml", "strongroom-keyring.json"):
            shutil.copy2(self.folder / name, folder / name)
        return Cell(folder, self.dsn)


def refusal(result):
    """Return the one line of a refused command."""
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr, result
    lines = [line for line in result.stderr.splitlines() if re.match(r"error:", line, re.IGNORECASE)]
    assert len(lines) == 1, result
    if lines[0].startswith("error:"):  # else one of usage, which says how to get help as well
        assert result.stderr.splitlines()[-1] == lines[0], result
    assert CANARY not in lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def sample_lines(sample_path):
    """The lines of the sample."""
    with gzip.open(sample_path) as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def command_line_cell(databases, tmp_path_factory, sample_lines):
    """A cell that the command line made, with a namespace and a few executions in it."""
    dsn = run_in_thread(databases.create())
    command_line_cell = Cell(tmp_path_factory.mktemp("cell"), dsn)
    command_line_cell.done("init", "--dsn", dsn)
    command_line_cell.done("namespace", "create", "shop", "-a", "Extra=Double")
    (command_line_cell.folder / "few.jsonl").write_bytes(b"\n".join(sample_lines[:IMPORTED]) + b"\n")
    command_line_cell.done("import", "shop", "few.jsonl")
    yield command_line_cell
    run_in_thread(databases.drop(dsn))


def test_from_an_empty_database_to_a_shredded_namespace(dsn, tmp_path, sample_path):
    """Every command works, prints its result, and can be run again if it promises that."""
    cell = Cell(tmp_path, dsn)
    assert "applied 0001" in cell.done("init", "--dsn", dsn, "--shards", "16")
    again = cell.done("init")
    assert "applied" not in again
    assert f"schema version {current_version()}" in again
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in ("strongroom.toml", "strongroom-keyring.json")}
    assert modes == {0o600}
    assert "WRONG" not in cell.done("doctor")
    cell.done("namespace", "create", "orders", "--suite", "aes-256-gcm", "-a", "CustomerId=Keyword")
    cell.done("namespace", "create", "other", "--kek", "local:shared", "--create-kek")
    listed = cell.done("namespace", "list")
    assert all(text in listed for text in ("orders", "other", "ready", "CustomerId=Keyword"))
    imported = cell.done("import", "orders", str(sample_path))
    assert "346 executions" in imported
    assert "346 visibility records new or newer, 0 unchanged" in imported
    assert "0 visibility records new or newer, 346 unchanged" in cell.done("import", "orders", str(sample_path))
    assert cell.done("query", "orders", "--count", "--json") == '{"count":346,"groups":{}}\n'
    assert cell.done("query", "other", "--count") == "0\n"
    assert "decrypt_only" not in cell.done("keys", "list", "orders")
    assert "version 2" in cell.done("keys", "rotate", "orders", "--suite", "xaes-256-gcm")
    assert "decrypt_only" in cell.done("keys", "list", "orders")
    assert cell.done("query", "orders", "--count") == "346\n"
    assert "Kunde" in cell.done(
        "namespace", "attributes", "orders", "-a", "Region=Keyword", "--alias", "Kunde=CustomerId"
    )
    named, as_before = (f"{name} >= 'cust-00005' GROUP BY ExecutionStatus" for name in ("Kunde", "CustomerId"))
    assert cell.done("query", "orders", named, "--count") == cell.done("query", "orders", as_before, "--count") != "0\n"
    explained = cell.done("query", "orders", "WorkflowId STARTS_WITH 'orde'", "--explain")
    advice = cell.done("index", "advise", "orders")
    assert all(text in advice for text in ("346 runs, preset compatible", "WorkflowType", "CustomerId", "1KiB"))
    assert "cust-00005" not in advice
    assert '"sampled":346' in cell.done("index", "advise", "orders", "--json")
    rotated = cell.done(
        *(
            "index",
            "rotate",
            "orders",
            "--preset",
            "strict",
            "--bucket",
            "15m",
            "--prefixes",
            "CustomerId",
            "--wait",
            "0",
        )
    )
    assert "346 records rewritten; keys destroyed: 1" in rotated
    assert "epoch 2, preset strict" in rotated
    assert '"chosen":true' in cell.done("index", "advise", "orders", "--json")
    assert cell.done("query", "orders", named, "--count") == cell.done("query", "orders", as_before, "--count") != "0\n"
    assert explained != cell.done("query", "orders", "WorkflowId STARTS_WITH 'orde'", "--explain"), "it opens more now"
    declined = cell.run("namespace", "shred", "orders", typed="something else\n")
    assert declined.returncode == 2
    assert cell.done("query", "orders", "--count") == "346\n"
    shredded = shred(cell, "orders")
    assert "346 visibility_records" in shredded
    assert "5 data keys: no wrapped form of them is left" in shredded
    assert "shredded" in cell.done("namespace", "list")
    cell.refused("query", "orders", "--count")
    assert "WRONG" not in cell.done("doctor")
    assert cell.done("namespace", "create", "orders")


def test_a_history_is_read_back(command_line_cell, sample_lines):
    """The events of a run come back byte for byte as JSON, and as a table that shows their types."""
    for line in sample_lines[:2]:
        item = orjson.loads(line)
        shown = command_line_cell.done("history", "shop", item["workflow_id"], "--run-id", item["run_id"], "--json")
        events = [orjson.loads(each) for each in shown.splitlines()]
        assert [base64.b64decode(event["event"]) for event in events] == [
            base64.b64decode(event) for event in item["events"]
        ]
        assert [event["event_id"] for event in events] == list(range(1, len(events) + 1))
    table = command_line_cell.done("history", "shop", item["workflow_id"])
    assert item["run_id"] in table
    assert "WorkflowExecutionStarted" in table


def test_a_query_is_paged_to_its_end(command_line_cell, sample_lines):
    """The pages hold every run once, and the table and the JSON Lines have the same page tokens."""
    found, token = [], None
    while True:
        more = ("--page-token", token) if token else ()
        page = [
            orjson.loads(each)
            for each in command_line_cell.done("query", "shop", "--limit", "5", "--json", *more).splitlines()
        ]
        found += [each["run_id"] for each in page if "run_id" in each]
        token = page[-1].get("next_page_token")
        if token is None:
            break
    assert len(found) == IMPORTED
    assert set(found) == {orjson.loads(line)["run_id"] for line in sample_lines[:IMPORTED]}
    table = command_line_cell.done("query", "shop", "--limit", "5")
    token = re.search(r"--page-token (\S+)", table)[1]
    rest = command_line_cell.done("query", "shop", "--limit", "1000", "--page-token", token)
    assert {run for run in found if run in table} == set(found[:5])
    assert {run for run in found if run in rest} == set(found[5:])


def test_counts_and_groups(command_line_cell, sample_lines):
    """A count is exact, with a filter and by status."""
    items = [orjson.loads(line) for line in sample_lines[:IMPORTED]]
    running = sum(item["status"] == "RUNNING" for item in items)
    assert command_line_cell.done("query", "shop", "ExecutionStatus = 'Running'", "--count") == f"{running}\n"
    groups = orjson.loads(command_line_cell.done("query", "shop", "GROUP BY ExecutionStatus", "--count", "--json"))
    assert groups["count"] == sum(groups["groups"].values()) == IMPORTED
    assert groups["groups"]["Running"] == running
    assert "Running" in command_line_cell.done("query", "shop", "GROUP BY ExecutionStatus", "--count")


def spoilt(line, **changes):
    return orjson.dumps({**orjson.loads(line), **changes})


WRONG_LINES = {
    "garbage": (lambda _: b"\xff\xfe" + CANARY.encode(), "not JSON"),
    "cut off": (lambda line: line[: len(line) // 2], "not JSON"),
    "a list": (lambda _: orjson.dumps([CANARY]), "is not a JSON object"),
    "foreign": (lambda _: orjson.dumps({"name": CANARY}), "name is not a key of the format"),
    "no UUID": (lambda line: spoilt(line, run_id=CANARY), "run_id is not a UUID"),
    "no time": (lambda line: spoilt(line, start_time=CANARY), "start_time is not a time"),
    "status": (lambda line: spoilt(line, status=CANARY), "status is not one of"),
    "event": (lambda line: spoilt(line, events=[CANARY]), "event 1 is not a HistoryEvent"),
    "attribute": (
        lambda line: spoilt(line, search_attributes={CANARY: {"type": "Int", "value": CANARY}}),
        "is not a Int",
    ),
    "NUL": (lambda line: spoilt(line, workflow_id=CANARY + "\x00"), "NUL"),
}


def test_a_wrong_line_of_an_import_file_is_named(command_line_cell, sample_lines, tmp_path):
    """A file with one wrong line is refused as a whole, with the line's number and its fault, and without its content."""
    for name, (spoil, _) in WRONG_LINES.items():
        (tmp_path / name).write_bytes(b"\n".join([*sample_lines[20:22], spoil(sample_lines[22]), sample_lines[23]]))
    refused = command_line_cell.all_refused([("import", "shop", str(tmp_path / name)) for name in WRONG_LINES])
    for line, (name, (_, reason)) in zip(refused, WRONG_LINES.items(), strict=True):
        assert "line 3: " in line, name
        assert reason in line, name


def test_an_import_file_that_is_not_there_or_not_whole_is_refused(command_line_cell, sample_path, tmp_path):
    """A missing, empty, truncated or foreign file is refused as such, and nothing is written."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut.gz").write_bytes(sample_path.read_bytes()[:200_000])
    (tmp_path / "damaged.gz").write_bytes(sample_path.read_bytes()[:300] + bytes(500))
    (tmp_path / "foreign").write_bytes(bytes(range(256)) * 10)
    reasons = {
        "nobody": "does not exist",
        "empty": "the file is empty",
        "cut.gz": r"is truncated or damaged after line \d+",
        "damaged.gz": r"is truncated or damaged after line \d+",
        "foreign": r"line 1: not JSON",
        ".": "can't be read",
    }
    refused = command_line_cell.all_refused([("import", "shop", str(tmp_path / name)) for name in reasons])
    for line, (name, reason) in zip(refused, reasons.items(), strict=True):
        assert re.search(reason, line), name


def test_an_attribute_of_another_type_is_refused(command_line_cell, sample_lines, tmp_path):
    """An import that gives a registered attribute another type changes neither the rows nor the registration."""
    (tmp_path / "typed.jsonl").write_bytes(
        spoilt(sample_lines[30], run_id=str(uuid4()), search_attributes={"Extra": {"type": "Keyword", "value": CANARY}})
    )
    assert "another type" in command_line_cell.refused("import", "shop", str(tmp_path / "typed.jsonl"))


WRONG_QUERIES = {
    f"CustomerId ~ '{CANARY}'": 11,
    f"CustomerId = '{CANARY}": 13,
    f"({CANARY.replace('-', '_')} = 1)": 1,
    f"CustomerId = '{CANARY}' AND": None,
    "ItemCount = 'text'": 12,
    "CustomerId LIKE 'x%'": 11,
    "Paid = true ORDER BY StartTime": None,
    "GROUP BY ExecutionStatus": None,
}


@pytest.mark.parametrize("option", [(), ("--count",)], ids=["list", "count"])
def test_a_wrong_filter_is_refused_with_its_position(command_line_cell, option):
    """An invalid filter is refused with its position, and a mark under it."""
    queries = {query: position for query, position in WRONG_QUERIES.items() if option == () or position is not None}
    before = command_line_cell.rows()
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda query: command_line_cell.run("query", "shop", query, *option), queries))
    for result, (query, position) in zip(results, queries.items(), strict=True):
        line = refusal(result)
        if position is not None:
            assert f"at character {position}" in line, query
            assert result.stderr.splitlines()[:2] == [f"  {query}", f"  {' ' * position}^"], query
    assert command_line_cell.rows() == before


WRONG_INPUT = [
    ("query", f"{CANARY}"),
    ("history", CANARY, "x"),
    ("history", "shop", CANARY),
    ("history", "shop", CANARY, "--run-id", "x'); --"),
    ("import", CANARY, "few.jsonl"),
    ("keys", "list", CANARY),
    ("keys", "rotate", CANARY),
    ("keys", "rotate", "shop", "--class", "index"),
    ("keys", "rotate", "shop", "--class", "identity"),
    ("namespace", "shred", CANARY, "--confirm", CANARY),
    ("namespace", "shred", "shop", "--confirm", CANARY),
    ("namespace", "shred", "shop", "--confirm", "shop", "--grace", "soon"),
    ("namespace", "shred", "shop", "--confirm", "shop", "--grace", "366d"),
    ("namespace", "shred", "shop", "--final", CANARY),
    ("namespace", "shred", "shop", "--final", "0123456789", "--certificate", "erasure.json"),
    ("namespace", "shred", "shop", "--final", "0123456789", "--certificate", "few.jsonl"),
    ("namespace", "shred", "shop", "--final", "0123456789", "--certificate", "nowhere/erasure.json"),
    ("namespace", "unshred", CANARY),
    ("namespace", "unshred", "shop"),
    ("namespace", "certificate", CANARY),
    ("namespace", "certificate", str(UUID(int=1))),
    ("verify-certificate", "nobody.json"),
    ("verify-certificate", "few.jsonl", "--public-key", "nobody.pub"),
    ("verify-certificate", "few.jsonl", "--public-key", "few.jsonl"),
    ("namespace", "create", "shop"),
    ("namespace", "create", ""),
    ("namespace", "create", "new", "-a", f"{CANARY}=Colour"),
    ("namespace", "create", "new", "-a", "WorkflowId=Keyword"),
    ("namespace", "create", "new", "-a", "=Keyword"),
    ("namespace", "create", "new", "--kek", "local:nobody-made-it"),
    ("namespace", "create", "new", "--kek", "elsewhere:key", "--create-kek"),
    ("namespace", "create", "new", "--kek", "no-uri"),
    ("namespace", "attributes", CANARY),
    ("namespace", "attributes", "shop", "--alias", CANARY),
    ("namespace", "attributes", "shop", "--alias", f"Other={CANARY}"),
    ("namespace", "attributes", "shop", "--alias", f"WorkflowId={CANARY}"),
    ("index", "rotate", CANARY),
    ("index", "rotate", "shop", "--preset", "loose"),
    ("index", "rotate", "shop", "--bucket", "1h"),
    ("index", "rotate", "shop", "--preset", "compatible", "--record-length", "4KiB"),
    ("index", "rotate", "shop", "--prefixes", CANARY),
    ("index", "rotate", "shop", "--prefixes", "WorkflowId"),
    ("index", "rotate", "shop", "--prefixes", "CustomerId", "--no-prefixes"),
    ("index", "advise", "shop", "--sample", "1"),
    ("index", "rotate", "shop", "--wait", "-1"),
    ("query", "shop", "--page-token", CANARY),
    ("query", "shop", "--limit", "0"),
    ("--config", "nobody.toml", "doctor-what"),
    ("--config", "nobody.toml", "query", "shop"),
    ("--config", "nobody.toml", "init"),
    ("demo", "--stop", "nobody"),
]


def test_wrong_input_is_refused(command_line_cell):
    """A wrong command ends with 2 and one line, which repeats no value, and changes nothing."""
    assert len(set(command_line_cell.all_refused(WRONG_INPUT))) > len(WRONG_INPUT) // 3, (
        "the lines distinguish the causes"
    )


def test_a_lost_keyring_is_told_as_such(command_line_cell, tmp_path):
    """A missing, damaged or too readable keyring is refused with its name and what to do, and no new keyring is made."""
    spoilt_cell = command_line_cell.copy(tmp_path)
    keyring = tmp_path / "strongroom-keyring.json"
    whole = keyring.read_bytes()
    keyring.unlink()
    for command in (("query", "shop"), ("namespace", "list"), ("init",)):
        assert re.search(r"strongroom-keyring\.json is missing.*backup", spoilt_cell.refused(*command))
        assert not keyring.exists()
    for damaged in (b"", whole[:-20], whole.replace(b'"format"', b'"formal"')):
        keyring.write_bytes(damaged)
        keyring.chmod(0o600)
        assert "is damaged" in spoilt_cell.refused("query", "shop")
    keyring.write_bytes(whole)
    for mode in (0o640, 0o602, 0o644):
        keyring.chmod(mode)
        assert "chmod 600" in spoilt_cell.refused("query", "shop")
    found = spoilt_cell.run("doctor")
    assert found.returncode == 1
    assert "WRONG" in found.stdout
    keyring.chmod(0o600)
    assert spoilt_cell.done("query", "shop", "--count") == f"{IMPORTED}\n"


def test_a_foreign_database_is_refused(command_line_cell, tmp_path):
    """Every command is refused on a database of a newer schema, of another cell, or that can't be reached."""
    stranger = command_line_cell.copy(tmp_path)
    config = tmp_path / "strongroom.toml"
    config.write_text(re.sub(r'id = "[^"]+"', f'id = "{uuid4()}"', config.read_text()))
    for command in (("query", "shop"), ("init",)):
        assert "belongs to cell" in stranger.refused(*command)
    sql(command_line_cell.dsn, "INSERT INTO schema_version VALUES ($1, 'of the future', now())", current_version() + 1)
    try:
        for command in (("query", "shop"), ("init",), ("namespace", "create", "new"), ("import", "shop", "few.jsonl")):
            assert "newer" in command_line_cell.refused(*command)
        assert command_line_cell.run("doctor").returncode == 1
    finally:
        sql(command_line_cell.dsn, "DELETE FROM schema_version WHERE version = $1", current_version() + 1)
    nowhere = {"STRONGROOM_DSN": f"postgresql://user:{CANARY}@127.0.0.1:1/none"}
    for command in (("query", "shop"), ("init",), ("namespace", "list")):
        assert "can't be reached" in command_line_cell.refused(*command, environment=nowhere)
    found = command_line_cell.run("doctor", environment=nowhere)
    assert found.returncode == 1
    assert CANARY not in found.stdout + found.stderr


def test_an_import_that_was_killed_can_be_run_again(command_line_cell, sample_lines, tmp_path):
    """An import that was killed and run again ends with the same rows as one that was not."""
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"\n".join(spoilt(line, run_id=str(uuid4())) for line in [*sample_lines, *sample_lines]))
    total = 2 * len(sample_lines)
    command_line_cell.done("namespace", "create", "killed")
    [[namespace_id]] = sql(
        command_line_cell.dsn, "SELECT namespace_id FROM namespaces ORDER BY created_at DESC LIMIT 1"
    )

    def stored():
        return sql(
            command_line_cell.dsn, "SELECT count(*) FROM visibility_records WHERE namespace_id = $1", namespace_id
        )[0][0]

    with subprocess.Popen(
        [STRONGROOM, "import", "killed", str(path)], cwd=command_line_cell.folder, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not stored():
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 120
    while sql(
        command_line_cell.dsn,
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'strongroom'",
    ):
        assert time.monotonic() < deadline
    assert 0 < stored() < total

    def rows():
        nodes = "SELECT shard_id, tree_id, branch_id, node_id, txn_id, prev_txn_id FROM history_node"
        trees = "SELECT shard_id, tree_id, branch_id FROM history_tree"
        records = "SELECT shard_id, id, version, k, b1, b2, t FROM visibility_records"
        return [
            sorted(map(tuple, sql(command_line_cell.dsn, f"{each} WHERE namespace_id = $1", namespace_id)))
            for each in (nodes, trees, records)
        ]

    command_line_cell.done("import", "killed", str(path))
    after = rows()
    assert [len(trees) for trees in after[1:]] == [total, total]
    for table in ("history_node", "history_tree", "visibility_records"):
        sql(command_line_cell.dsn, f"DELETE FROM {table} WHERE namespace_id = $1", namespace_id)  # noqa: S608
    command_line_cell.done("import", "killed", str(path))
    assert rows() == after
    last = orjson.loads(path.read_bytes().splitlines()[-1])
    shown = command_line_cell.done("history", "killed", last["workflow_id"], "--run-id", last["run_id"], "--json")
    assert len(shown.splitlines()) == len(last["events"])
    shred(command_line_cell, "killed")


def every_command(group, path=()):
    """Yield the words of each command and each group below a group."""
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


def test_help_shows_an_example(tmp_path):
    """The help of every command and of every group works without a configuration, and shows an example."""
    cell, commands = Cell(tmp_path, ""), list(every_command(cli))
    assert len(commands) > 50
    with ThreadPoolExecutor(4) as threads:
        shown = list(threads.map(lambda command: cell.done(*command, "--help"), commands))
    for text, command in zip(shown, commands, strict=True):
        assert f"Usage: strongroom {' '.join(command)}" in text
        assert re.search(r"Examples?:\s+strongroom ", text), command


def test_the_version_is_that_of_the_package(tmp_path):
    """The command line prints the version of the package."""
    assert re.search(r"\d+\.\d+", Cell(tmp_path, "").done("--version"))
