from __future__ import annotations

import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pglast
import pytest

from strongroom.storage import current_version
from strongroom.storage.schema.migrations import migrations
from tests.support.fixtures.command_line import STRONGROOM, faults, run_command, shred, sql

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Cell:
    """A folder with a configuration, and its database."""

    folder: Path
    dsn: str

    def run(self, *arguments):
        """Run the installed command line in the folder."""
        return run_command(self.folder, *arguments)

    def done(self, *arguments):
        """Run a command that must succeed, and return its output."""
        result = self.run(*arguments)
        assert (result.returncode, faults(result.stderr)) == (0, ""), result
        return result.stdout

    def refused(self, *arguments, code=2):
        """Run a command that must fail; return its output."""
        result = self.run(*arguments)
        assert result.returncode == code, result
        assert "Traceback" not in result.stderr
        return result.stdout + result.stderr


@pytest.fixture
def initialised_cell(dsn, tmp_path):
    """Return an initialised cell."""
    initialised_cell = Cell(tmp_path, dsn)
    initialised_cell.done("init", "--dsn", dsn)
    return initialised_cell


@pytest.fixture
def empty(initialised_cell):
    """Return a cell whose database is empty, and whose configuration names no keys."""
    sql(initialised_cell.dsn, "DROP SCHEMA strongroom CASCADE")
    path = initialised_cell.folder / "strongroom.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("commitment")))
    return initialised_cell


def test_apply_makes_the_schema_and_then_has_nothing_to_do(empty):
    """The first run on an empty database runs every migration, the second none, and both print the version."""
    assert "missing" in empty.refused("schema", "status", code=1)
    first = empty.done("schema", "apply")
    assert [line for line in first.splitlines() if line.startswith("applied")] == [
        f"applied {step.name}" for step in migrations()
    ]
    assert empty.done("schema", "apply").strip() == f"schema version {current_version()}, on one server"
    assert "missing functions: none" in empty.done("schema", "status")


def test_two_that_apply_at_once_run_each_step_once(empty):
    """One of two concurrent `schema apply` runs the migrations, and the other runs none. The cell works."""
    assert "run `strongroom schema apply`" in empty.refused("schema", "status", code=1)
    assert "schema apply" in empty.refused("namespace", "list")
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: empty.run("schema", "apply"), range(2)))
    assert [result.returncode for result in results] == [0, 0]
    applied = [line for result in results for line in result.stdout.splitlines() if line.startswith("applied")]
    assert applied == [f"applied {step.name}" for step in migrations()]
    empty.done("init")
    empty.done("namespace", "create", "shop")


def test_keys_that_the_configuration_names_are_not_made_again(initialised_cell):
    """`init` on a database that lost the cell's keys is refused, and makes no other keys in their place."""
    sql(initialised_cell.dsn, "DROP SCHEMA strongroom CASCADE")
    for _ in range(2):
        assert "restore the registry from a backup" in initialised_cell.refused("init")


def test_a_database_of_a_newer_version_is_left_alone(initialised_cell):
    """The error names the database's version, and nothing is changed."""
    sql(initialised_cell.dsn, "INSERT INTO schema_version VALUES (9999, 'of the future', now())")
    for command in (["schema", "apply"], ["namespace", "list"]):
        assert "9999" in initialised_cell.refused(*command)
    assert "of the future" in initialised_cell.refused("schema", "status", code=1)


def test_a_missing_function_is_named_and_made_again(initialised_cell):
    """`schema status` names it, and `schema apply` creates it."""
    (name,) = {
        row["proname"]
        for row in sql(initialised_cell.dsn, "SELECT proname FROM pg_proc WHERE proname LIKE 'get_tasks_%'")
    }
    sql(initialised_cell.dsn, f"DROP FUNCTION {name}")
    assert "get_tasks" in initialised_cell.refused("schema", "status", code=1)
    assert "schema apply" in initialised_cell.refused("namespace", "list")
    initialised_cell.done("schema", "apply")
    initialised_cell.done("namespace", "list")


def test_a_server_that_is_not_there_is_said_in_one_line(initialised_cell):
    """The error is one line, without a traceback and without the password of the dsn."""
    path = initialised_cell.folder / "strongroom.toml"
    path.write_text(
        path.read_text().replace(
            initialised_cell.dsn.replace("\\", "\\\\"), "postgresql://me:hidden-5c1f0e@127.0.0.1:1/x"
        )
    )
    for command in ("apply", "status"):
        said = initialised_cell.refused("schema", command)
        assert "can't be reached" in said
        assert "hidden-5c1f0e" not in said


def test_statements_for_citus_are_printed_without_a_database(initialised_cell):
    """PostgreSQL can parse each statement, and `--print` without `--distributed` is refused."""
    path = initialised_cell.folder / "strongroom.toml"
    path.unlink()
    printed = initialised_cell.done("schema", "apply", "--distributed", "--print")
    assert len(pglast.parse_sql(printed)) > 20
    assert "create_distributed_table" in printed
    assert "create_reference_table" not in printed  # the other tables stay on the coordinator
    assert "--distributed" in initialised_cell.refused("schema", "apply", "--print")


def test_a_server_without_citus_is_refused_and_left_as_it_was(initialised_cell):
    """The error is one line that names what is missing."""
    before = sql(
        initialised_cell.dsn,
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'strongroom'::regnamespace ORDER BY 1",
    )
    said = initialised_cell.refused("schema", "apply", "--distributed")
    assert "Citus" in said
    after = sql(
        initialised_cell.dsn,
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'strongroom'::regnamespace ORDER BY 1",
    )
    assert before == after
    assert "on one server" in initialised_cell.done("schema", "status")


def fill(cell, namespace_id, rows):
    """Write rows of a namespace as a slow service leaves them."""
    sql(
        cell.dsn,
        "INSERT INTO history_node SELECT 1, $1, $1, $1, n, 1, 0, 'row' FROM generate_series(1, $2::integer) AS n",
        namespace_id,
        rows,
    )


def left(cell, namespace_id):
    """Return the number of rows of a namespace."""
    return sql(cell.dsn, "SELECT count(*) FROM history_node WHERE namespace_id = $1", namespace_id)[0]["count"]


def test_purge_takes_a_shredded_namespace_and_nothing_else(initialised_cell):
    """A purge takes an id and needs no key. A living namespace and a malformed id are refused."""
    initialised_cell.done("namespace", "create", "gone")
    initialised_cell.done("namespace", "create", "lives")
    ids = dict.fromkeys(("gone", "lives"))
    for row in sql(initialised_cell.dsn, "SELECT namespace_id, created_at FROM namespaces ORDER BY created_at"):
        name = next(name for name, found in ids.items() if found is None)
        ids[name] = UUID(bytes=row["namespace_id"].bytes)
    shred(initialised_cell, "gone")
    for namespace_id in ids.values():
        fill(initialised_cell, namespace_id, 30)
    assert "30" in initialised_cell.done("namespace", "purge", str(ids["gone"]))
    assert (left(initialised_cell, ids["gone"]), left(initialised_cell, ids["lives"])) == (0, 30)
    initialised_cell.done("namespace", "purge", str(ids["gone"]))
    initialised_cell.refused("namespace", "purge", str(ids["lives"]))
    assert left(initialised_cell, ids["lives"]) == 30
    assert "UUID" in initialised_cell.refused("namespace", "purge", "gone")


def test_a_purge_that_is_killed_is_finished_by_the_next(initialised_cell):
    """Deleted rows stay deleted, and the second run deletes the rest."""
    namespace_id = uuid4()
    fill(initialised_cell, namespace_id, 300_000)
    process = subprocess.Popen(
        [STRONGROOM, "namespace", "purge", str(namespace_id)], cwd=initialised_cell.folder, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while left(initialised_cell, namespace_id) == 300_000 and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    initialised_cell.done("namespace", "purge", str(namespace_id))
    assert left(initialised_cell, namespace_id) == 0


@pytest.mark.parametrize(
    "command", [("schema", "apply"), ("schema", "status"), ("namespace", "purge"), ("index", "build")]
)
def test_help_has_examples(initialised_cell, command):
    """The help of each command has examples."""
    assert "Example" in initialised_cell.done(*command, "--help")
