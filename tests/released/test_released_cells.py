"""This version opens what every released version wrote, on each supported PostgreSQL (docs/policy/stability.md)."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from strongroom.driver.access import changes
from strongroom.driver.access.api_keys import make_api_key
from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from tests.released.contents import CELL, DSN, DUMP, FOLDER, KEPT
from tests.released.kept_values import from_json
from tests.support.dumps import restored
from tests.support.every_table import EveryTable
from tests.support.fixtures.command_line import command, run_command, run_in_thread
from tests.support.services import POSTGRES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

VERSIONS = sorted(path.parent.name for path in FOLDER.glob(f"*/{CELL}"))


@dataclass(frozen=True)
class ReleasedCell:
    """A cell that a released version wrote, in a database of this test; and what that version returned."""

    folder: Path
    kept: dict[str, Any]

    def read(self):
        """Read a row of every table through the stores."""

        async def read():
            async with Strongroom.open(load_config(self.folder / "strongroom.toml")) as cell:
                kept = self.kept
                namespace_id, expected = UUID(kept["namespace_id"]), from_json(kept["expected"])
                await EveryTable(cell, kept["name"], namespace_id, kept["shard_id"], expected).read()

        run_in_thread(read())

    def answers(self, names):
        """Ask what that version was asked of these namespaces; return each question with both answers."""
        for *words, answer in self.kept["answers"]:
            if words[1] not in names:
                continue
            done = run_command(self.folder, *words)
            assert done.returncode == 0, done
            yield words, parsed(answer), parsed(done.stdout)


def parsed(lines):
    """Return the documents of JSON Lines."""
    return [json.loads(line) for line in lines.splitlines()]


def includes(found, kept):
    """Return whether an answer has everything that the released version answered. Objects may have more keys (stability.md)."""
    if isinstance(kept, dict):
        return isinstance(found, dict) and all(key in found and includes(found[key], kept[key]) for key in kept)
    if isinstance(kept, list):
        return len(found) == len(kept) and all(map(includes, found, kept))
    return found == kept


async def new_api_key(configuration):
    """Give the owner of the cell another API key, because the released one has expired; return it."""
    now = datetime.now(UTC)
    key, kept = make_api_key(now=now, lifetime=timedelta(days=1))
    async with Strongroom.open(load_config(configuration)) as cell:
        await cell.access.change(lambda policy: changes.add_api_key(policy, "owner", kept, by="owner", now=now))
    return key


@pytest.fixture(params=VERSIONS)
def released_cell(request, contract_databases, tmp_path, monkeypatch):
    """A cell as a released version left it, restored by the owner of an empty database, with the schema of this version."""
    dsn = run_in_thread(contract_databases.create())
    with tarfile.open(FOLDER / request.param / CELL) as archive:
        archive.extractall(tmp_path, filter="data")
    restored(tmp_path / DUMP, dsn, programs=min(POSTGRES))
    configuration = tmp_path / "strongroom.toml"
    configuration.write_text(configuration.read_text().replace(DSN, dsn))
    command(tmp_path, "schema", "apply")
    monkeypatch.setenv("STRONGROOM_API_KEY", run_in_thread(new_api_key(configuration)))
    yield ReleasedCell(tmp_path, json.loads((tmp_path / KEPT).read_text()))
    run_in_thread(contract_databases.drop(dsn))


def test_a_released_cell_opens_and_goes_on(released_cell):
    """Every row opens, searches have the same answers, and nothing raises an alarm; also after new writes and rotations."""
    folder = released_cell.folder
    for check in ("doctor", "verify", "audit verify"):
        command(folder, *check.split())
    released_cell.read()
    for words, kept, found in released_cell.answers({"payments", "records"}):
        assert includes(found, kept), words

    command(folder, "verify-certificate", "gone-erasure.json")
    command(folder, "query", "gone", "--count", code=2)
    command(folder, "keys", "rotate", "records")
    command(folder, "keys", "reseal", "records", "--wait", "0")
    command(folder, "index", "rotate", "records", "--wait", "0")
    command(folder, "namespace", "create", "new")
    command(folder, "import", "new", "runs.jsonl")
    released_cell.read()
    for words, kept, found in released_cell.answers({"records"}):
        assert includes(found, kept), words
    for check in ("doctor", "verify", "audit verify"):
        command(folder, *check.split())


def test_the_comparison_finds_a_difference():
    """Control: another value, a missing key and a missing row are differences; a new key is none."""
    kept = [{"run": "a", "tags": [1, 2]}, {"run": "b"}]
    assert includes([{"run": "a", "tags": [1, 2], "new": 1}, {"run": "b"}], kept)
    assert not includes([{"run": "a", "tags": [1]}, {"run": "b"}], kept)
    assert not includes([{"tags": [1, 2]}, {"run": "b"}], kept)
    assert not includes(kept[:1], kept)
