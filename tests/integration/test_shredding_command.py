from __future__ import annotations

import gzip
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.fixtures.command_line import run_command, run_in_thread, sql
from tests.support.registry import authenticate_cell
from tests.support.tree import VECTORS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # each command starts an interpreter

RUNS = 6


@dataclass(frozen=True)
class Cell:
    """A folder with a configuration, and its database."""

    folder: Path
    dsn: str

    def run(self, *arguments, **options):
        """Run the installed command line in the folder."""
        return run_command(self.folder, *arguments, **options)

    def done(self, *arguments, code=0, **options):
        """Run a command that must exit with a code; return its output."""
        result = self.run(*arguments, **options)
        assert result.returncode == code, result
        assert "Traceback" not in result.stderr
        return result.stdout + result.stderr


@pytest.fixture
def cell_with_runs(dsn, tmp_path, sample_path):
    """Return a cell with a namespace of a few real runs."""
    cell_with_runs = Cell(tmp_path, dsn)
    cell_with_runs.done("init", "--dsn", dsn, "--shards", "16")
    cell_with_runs.done("namespace", "create", "orders")
    with gzip.open(sample_path) as file:
        (tmp_path / "few.jsonl").write_bytes(b"".join(line for _, line in zip(range(RUNS), file, strict=False)))
    cell_with_runs.done("import", "orders", "few.jsonl")
    return cell_with_runs


READING = [
    ("query", "orders", "--count"),
    ("query", "orders", "WorkflowType = 'x'", "--explain"),
    ("history", "orders", "x"),
    ("import", "orders", "few.jsonl"),
    ("namespace", "attributes", "orders"),
    ("index", "rotate", "orders", "--wait", "0"),
    ("keys", "rotate", "orders"),
    ("keys", "reseal", "orders", "--wait", "0"),
    ("audit", "hash", "orders", "workflow_id", "x"),
]
"""Commands that need the keys of a namespace."""


def code_in(text):
    return re.search(r"--final ([0-9a-f]+)", text)[1]


def test_asked_for_and_taken_back(cell_with_runs):
    """A scheduled namespace is unreadable, an early or wrong code is refused, and after `unshred` the namespace works."""
    assert cell_with_runs.run("namespace", "shred", "orders", typed="something else\n").returncode == 2
    asked = cell_with_runs.done("namespace", "shred", "orders", typed="orders\n")
    code = code_in(asked)
    assert re.search(rf"visibility_records\s+{RUNS}", asked)
    assert "wraps nothing else in this cell, so it will be deleted" in asked
    assert re.search(r"are notified, and can't read it.*drops its keys within \d+ s\. Nothing is lost yet", asked)
    again = cell_with_runs.done("namespace", "shred", "orders", "--confirm", "orders")
    assert code_in(again) == code
    assert "already scheduled for shredding at" in again
    changed = ("namespace", "shred", "orders", "--confirm", "orders", "--grace", "0s", "--keep-kek")
    assert "--grace and --keep-kek would have no effect" in cell_with_runs.done(*changed, code=2)
    for command in READING:
        told = cell_with_runs.done(*command, code=2)
        assert "namespace orders is scheduled for shredding and can't be read" in told, command
        assert re.search(r"from 20[0-9-]+ [0-9:]+ UTC.*strongroom namespace unshred orders$", told, re.MULTILINE), (
            command
        )
    assert "to be shredded, due 20" in cell_with_runs.done("namespace", "list")
    assert "WRONG" not in cell_with_runs.done("doctor")
    final = ("namespace", "shred", "orders", "--certificate", "e.json", "--final")
    assert "grace period lasts until 20" in cell_with_runs.done(*final, code, code=2)
    assert "code" in cell_with_runs.done(*final, "f" * 10, code=2)
    assert not (cell_with_runs.folder / "e.json").exists()
    cell_with_runs.done("namespace", "unshred", "orders")
    assert cell_with_runs.done("query", "orders", "--count") == f"{RUNS}\n"
    cell_with_runs.done("namespace", "shred", "orders", "--confirm", "orders", "--grace", "0s")
    assert "code" in cell_with_runs.done(*final, code, code=2), "the code of a request that was taken back"


def test_done_and_certified(cell_with_runs):
    """The second confirmation writes the certificate, which is also stored in the database and signed by the shown key."""
    asked = cell_with_runs.done("namespace", "shred", "orders", "--confirm", "orders", "--grace", "0s")
    [[namespace_id]] = sql(cell_with_runs.dsn, "SELECT namespace_id FROM shreddings")
    final = ("--final", code_in(asked), "--certificate")
    said = cell_with_runs.done("namespace", "shred", "orders", *final, "e.json")
    assert "destroyed" in said
    assert f"{RUNS} visibility_records" in said
    content = (cell_with_runs.folder / "e.json").read_bytes()
    assert json.loads(content)["namespace_id"] == str(namespace_id)
    assert b"orders" not in content
    assert cell_with_runs.run("namespace", "certificate", str(namespace_id)).stdout.encode() == content
    cell_with_runs.done("namespace", "shred", str(namespace_id), *final, "f.json")
    assert (cell_with_runs.folder / "f.json").read_bytes() == content
    cell_with_runs.done("namespace", "shred", str(namespace_id), *final, "f.json", code=2)
    assert "shredded 20" in cell_with_runs.done("namespace", "list")
    public_key = cell_with_runs.done("certificate-key").strip()
    assert public_key in cell_with_runs.done("doctor")
    pinned = cell_with_runs.done("verify-certificate", "e.json", "--public-key", public_key)
    assert "Valid: signed by the given key" in pinned
    cell_with_runs.done("namespace", "create", "orders")


VECTOR = VECTORS / "erasure_certificate.json"


def test_a_certificate_checks_out_offline(tmp_path):
    """`namespace verify` works without configuration and database, and exits with 0, 1 or 2."""
    content = VECTOR.read_bytes()
    public_key = json.loads(content)["public_key"]
    offline = Cell(tmp_path, "")
    (tmp_path / "e.json").write_bytes(content)
    (tmp_path / "cell.pub").write_text(public_key + "\n")
    alone = offline.done("verify-certificate", "e.json")
    assert "does not prove its origin" in alone
    assert public_key in alone
    for key in (public_key.upper(), "cell.pub"):
        pinned = offline.done("verify-certificate", "e.json", "--public-key", key)
        assert "Valid: signed by the given key" in pinned
        assert "does not prove" not in pinned
        assert "3 visibility_records" in pinned
        assert "write-ahead log" in pinned
    assert "another key" in offline.done("verify-certificate", "e.json", "--public-key", "0" * 64, code=1)
    altered = content.replace(b'"visibility_records":3', b'"visibility_records":4')
    assert altered != content
    for spoilt in (altered, content + b"\n", b"\xff"):
        (tmp_path / "spoilt.json").write_bytes(spoilt)
        assert offline.done("verify-certificate", "spoilt.json", code=1).startswith("NOT VALID: ")
    offline.done("verify-certificate", "nobody.json", code=2)
    for key in ("cell.pu", "e.json"):
        offline.done("verify-certificate", "e.json", "--public-key", key, code=2)


def test_a_kek_that_is_not_deleted_ends_with_1_and_is_finished_by_the_id(cell_with_runs):
    """The certificate records the refusal and the output names the next command, which deletes the KEK and exits with 0."""
    cell_with_runs.done("namespace", "create", "away", "--kek", "local:away", "--create-kek")
    asked = cell_with_runs.done("namespace", "shred", "away", "--confirm", "away", "--grace", "0s")
    config = cell_with_runs.folder / "strongroom.toml"
    whole = config.read_text()
    sql(cell_with_runs.dsn, "UPDATE data_keys SET provider = 'gone' WHERE kek_id = 'away'")
    run_in_thread(authenticate_cell(config))
    shown = cell_with_runs.done(
        "namespace", "shred", "away", "--final", code_in(asked), "--certificate", "1.json", code=1
    )
    assert "gone:away was not deleted: KeyNotFound" in shown
    assert "could NOT be deleted" in shown
    again = re.search(r"strongroom (namespace shred [0-9a-f-]{36} --final [0-9a-f]+)", shown)[1].split()
    config.write_text(whole + '\n[kms.gone]\ntype = "local"\nkeyring = "strongroom-keyring.json"\n')
    finished = cell_with_runs.done(*again, "--certificate", "2.json")
    assert "gone:away: destroyed" in finished
    assert cell_with_runs.done("verify-certificate", "2.json", code=0)
    assert '"away"' not in cell_with_runs.done("doctor")
    keyring = json.loads((cell_with_runs.folder / "strongroom-keyring.json").read_text())
    assert "away" not in keyring["keks"]
    assert "away" in keyring["deleted"]


def test_several_commands_at_once_end_with_one_certificate(cell_with_runs):
    """Two concurrent commands print the same and succeed."""
    asked = cell_with_runs.done("namespace", "shred", "orders", "--confirm", "orders", "--grace", "0s")
    [[namespace_id]] = sql(cell_with_runs.dsn, "SELECT namespace_id FROM shreddings")
    with ThreadPoolExecutor(2) as threads:
        commands = [
            ("namespace", "shred", str(namespace_id), "--final", code_in(asked), "--certificate", f"{number}.json")
            for number in range(2)
        ]
        list(threads.map(lambda arguments: cell_with_runs.done(*arguments), commands))
    contents = {(cell_with_runs.folder / f"{number}.json").read_bytes() for number in range(2)}
    assert len(contents) == 1
    assert json.loads(contents.pop())["rows_deleted"]["visibility_records"] == RUNS
