"""`strongroom verify` on the command line: which shards it verifies, what it names, and its exit code."""

from __future__ import annotations

import json

import pytest

from strongroom.driver.config import write_config
from tests.support.fixtures.command_line import run_command, sql

pytestmark = pytest.mark.integration

SHARDS = 16


@pytest.fixture
def run_in_new_cell(tmp_path, dsn):
    """Run commands in an initialised cell."""
    write_config(tmp_path / "strongroom.toml", dsn=dsn, shards=SHARDS)

    def command(*arguments, code=0):
        result = run_command(tmp_path, *arguments)
        assert result.returncode == code, result
        return result.stdout + result.stderr

    command("init")
    return command


def test_a_deleted_row_is_found_by_each_choice_of_shards(run_in_new_cell, dsn, sample_path):
    """A choice with the shard of the row ends with 1 and names the table. One without it ends with 0, as all shards do before."""
    run_in_new_cell("namespace", "create", "payments", "-a", "CustomerId=Keyword", "-a", "Amount=Double")
    run_in_new_cell("namespace", "create", "empty")
    run_in_new_cell("import", "payments", str(sample_path))
    assert "nothing was put back, deleted or brought back" in run_in_new_cell("verify")
    [deleted] = sql(dsn, "SELECT shard_id, tree_id, node_id FROM history_node ORDER BY shard_id LIMIT 1")
    sql(dsn, "DELETE FROM history_node WHERE tree_id = $1 AND node_id = $2", deleted["tree_id"], deleted["node_id"])
    shard_id = deleted["shard_id"]
    for choice in ((), ("--shard", shard_id), ("--from", shard_id)):
        assert f"shard {shard_id}: rows of history_node were put back, deleted" in run_in_new_cell(
            "verify", *choice, code=1
        )
    found = json.loads(run_in_new_cell("verify", "--namespace", "payments", "--rate", "1000000", "--json", code=1))
    assert not found["ok"]
    assert found["altered"] == [{"shard": shard_id, "tables": ["history_node"], "problems": []}]
    for choice in (("--shard", shard_id + 1), ("--from", shard_id + 1), ("--namespace", "empty")):
        assert "nothing was put back, deleted or brought back" in run_in_new_cell("verify", *choice)


def test_a_wrong_choice_is_refused(run_in_new_cell):
    """Two choices at once, and shards that the cell does not have, end with 2."""
    assert "exclude each other" in run_in_new_cell("verify", "--shard", "1", "--namespace", "payments", code=2)
    for option in ("--shard", "--from"):
        assert f"no shard {SHARDS + 1}; it has -1 to {SHARDS}" in run_in_new_cell("verify", option, SHARDS + 1, code=2)
