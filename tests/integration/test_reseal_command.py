"""`strongroom keys reseal` and `strongroom keys destroy` on the command line."""

from __future__ import annotations

import json
import re

import pytest

from strongroom.driver.config import write_config
from tests.support.fixtures.command_line import run_command, sql

pytestmark = pytest.mark.integration

OLD = "SELECT count(*) AS rows FROM history_node WHERE substring(data from 5 for 4) = '\\x00000001'"


@pytest.fixture
def run(tmp_path, dsn, sample_path):
    """Run commands in a cell whose namespace has the sample and a rotated data key."""
    write_config(tmp_path / "strongroom.toml", dsn=dsn)

    def command(*arguments, code=0, typed=None):
        result = run_command(tmp_path, *arguments, typed=typed)
        assert result.returncode == code, result
        assert "Traceback" not in result.stderr
        return result.stdout + result.stderr

    command("init")
    command("namespace", "create", "payments", "-a", "CustomerId=Keyword", "-a", "Amount=Double")
    command("import", "payments", str(sample_path))
    command("keys", "rotate", "payments")
    return command


def kek_of(run):
    """Return the KEK of the namespace."""
    keys = json.loads(run("keys", "list", "payments", "--json"))["keys"]
    return next(each["kek"] for each in keys if each["class"] == "data")


def test_sealing_anew_and_destroying(run, dsn, sample):
    """It prints counts, rate and versions, the old key is destroyed, every history opens, and a second run has nothing to do."""
    (before,) = sql(dsn, OLD)
    assert before["rows"]
    reseal = ("keys", "reseal", "payments", "--rate", "0", "--wait", "0", "--destroy")
    output = run(*reseal, "--retire-kek-versions", kek_of(run))
    done, found, rate = re.search(r"(\d+) of (\d+) rows resealed with version 2, ([\d,]+) a second", output).groups()
    assert done == found
    assert f"history_node.data {before['rows']}" in output
    assert int(rate.replace(",", "")) > 0
    assert "version 1 is destroyed: nothing used it" in output
    assert re.search(
        r"local:\S+: version 1 is retired in the KMS, and its keys are wrapped by version 2", " ".join(output.split())
    )
    assert sql(dsn, OLD)[0]["rows"] == 0
    assert re.search(r"data\W+1\W.*destroyed", run("keys", "list", "payments"))
    assert "0 of 0 rows resealed with version 2" in run("keys", "reseal", "payments", "--wait", "0")
    assert run("history", "payments", sample[0].record.workflow_id)


def test_a_key_in_use_is_kept(run, dsn):
    """It exits with 1, prints the uses by column and what to do, and destroys nothing."""
    (before,) = sql(dsn, OLD)
    output = run("keys", "destroy", "payments", "--version", "1", "--wait", "0", code=1)
    assert f"history_node.data {before['rows']}" in output
    assert "strongroom keys reseal" in output
    run("keys", "reseal", "payments", "--rate", "0", "--wait", "0")
    destroy = ("keys", "destroy", "payments", "--version", "1", "--wait", "0")
    kept = run(*destroy)
    assert "version 1 is destroyed" in kept
    assert "still unwraps what it wrapped before: its versions are kept" in " ".join(kept.split())
    assert "wrapped no destroyed key" in run(*destroy, "--retire-kek-versions", "local:other", code=2)
    destroy = (*destroy, "--retire-kek-versions", kek_of(run))
    later = run(*destroy)
    assert "was destroyed before" in later
    assert "version 1 is retired" in " ".join(later.split())
    assert json.loads(run(*destroy, "--json"))["keks"][0]["retired"] == []


def test_a_row_that_does_not_open_is_named(run, dsn):
    """It exits with 1, names the row by its key, and with `--destroy` keeps the key."""
    damage = """
        UPDATE history_node SET data = set_byte(data, 40, get_byte(data, 40) # 1)
        WHERE ctid = (SELECT ctid FROM history_node LIMIT 1) RETURNING tree_id
    """
    (row,) = sql(dsn, damage)
    output = run("keys", "reseal", "payments", "--rate", "0", "--wait", "0", "--destroy", code=1)
    assert "1 rows do not open" in output
    assert f"tree_id={row['tree_id']}" in output
    assert "version 1 is not destroyed, it is in use: history_node.data 1" in output


def test_what_is_wrong_is_refused(run):
    """It exits with 2 and one line with the reason. A shredded namespace gets the same line as an unknown one."""
    for arguments, reason in (
        (("reseal",), "give either NAMESPACE or --cell"),
        (("reseal", "payments", "--cell"), "give either NAMESPACE or --cell"),
        (("reseal", "nobody"), "namespace does not exist"),
        (("reseal", "payments", "--rate", "-1"), "rate"),
        (("destroy", "payments"), "--version"),
        (("destroy", "payments", "--version", "2"), "version 2 is active"),
        (("destroy", "payments", "--version", "9"), "no version 9"),
        (("destroy", "--cell", "--version", "7"), "no version 7"),
    ):
        assert reason in run("keys", *arguments, "--wait", "0", code=2)
    assert "0 of 0 rows resealed with version 1" in run("keys", "reseal", "--cell", "--wait", "0")
    asked = run("namespace", "shred", "payments", "--grace", "0s", typed="payments\n")
    code = re.search(r"--final (\w+)", asked)[1]
    run("namespace", "shred", "payments", "--final", code, "--certificate", "erasure.json")
    assert "namespace does not exist" in run("keys", "reseal", "payments", code=2)
