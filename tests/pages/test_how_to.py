"""The commands of the how-to pages. An operator types each one as the page shows it, in the folder of a cell with imported runs."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.support.pages import code_blocks
from tests.support.reader import Reader
from tests.support.tree import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]  # some twenty commands, each of which starts Python

PAGES = ROOT / "docs" / "how-to"
NO_WAIT = {
    "reseal payments --destroy": "reseal payments --destroy --wait 0",
    "index rotate payments": "index rotate payments --wait 0",
}
"""No other process has the cell open, so these need not wait until the others have read the registry again."""
NEW = "/opt/strongroom-0.2.0/bin/"
"""The folder of the new version on the page of upgrades. There is only one version here."""


@pytest.fixture
def operator(dsn, tmp_path, sample_path):
    """An operator in the folder of a cell with the namespace `payments`, its runs, and a backup of its files."""
    operator = Reader(
        tmp_path / "cell", dsn, {"local:ns-4f6b": r"(local:ns-\w+)", "KEYRING": r"([0-9a-f-]{36}) +\d+ +diverged"}
    )
    operator.folder.mkdir()
    for line in (
        "init --shards 4",
        "namespace create payments -a CustomerId=Keyword -a Amount=Double",
        f"import payments {sample_path}",
    ):
        operator.type(f"strongroom {line}")
    del operator.environment["STRONGROOM_DSN"]  # it is in the configuration now
    for name in ("backup", "backup-of-keys"):
        (tmp_path / name).mkdir()
    operator.type("cp -p strongroom-keyring.json ../backup-of-keys/ && cp -p strongroom.toml ../backup/")
    return operator


def follow(operator, page, label="run"):
    """Type each command of a page's blocks with a label; return what each printed."""
    printed = {}
    for block in code_blocks(PAGES / page):
        if block.label == label:
            for line in block.text.splitlines():
                typed = line.replace("/backup", "../backup").replace(NEW, "")
                for written, value in NO_WAIT.items():
                    typed = re.sub(re.escape(written) + "$", value, typed)
                printed[line] = operator.type(typed)
    return printed


def runs(operator):
    """Return the number of runs that the namespace lists."""
    return json.loads(operator.type('strongroom query payments "" --count --json'))["count"]


def test_rotating_everything_leaves_the_runs_readable(operator):
    """After the page no old data key, index key or version of the KEK is left, and every run opens."""
    before = runs(operator)
    printed = follow(operator, "rotate.md")
    assert "version 1 is destroyed" in printed["strongroom keys reseal payments --destroy"]
    assert "keys destroyed: 1" in printed["strongroom index rotate payments"]
    assert (
        "unwraps nothing any more"
        in printed["strongroom keys retire local:ns-4f6b --version 1 --confirm local:ns-4f6b"]
    )
    assert runs(operator) == before > 0
    operator.type("strongroom index reconcile --check")


def test_a_keyring_file_that_is_copied_back_opens_everything(operator):
    """Without the file a command fails, and with the copy of the backup the doctor finds no fault."""
    before = runs(operator)
    (operator.folder / "strongroom-keyring.json").unlink()
    with pytest.raises(AssertionError, match=r"strongroom-keyring\.json is missing"):
        runs(operator)
    printed = follow(operator, "recover.md", "run keyring")
    assert "as recorded" in printed["strongroom keys keyring status"]
    assert runs(operator) == before


def test_an_older_keyring_file_is_adopted_and_names_what_stays_closed(operator):
    """The namespace that the copy has the KEK of opens, and the other one is named. Its KEK is lost, so it is shredded by its id."""
    created = operator.type("strongroom namespace create orders")
    [lost] = re.findall(r"created ([0-9a-f-]{36})", created)
    shutil.copy2(operator.folder.parent / "backup-of-keys" / "strongroom-keyring.json", operator.folder)
    operator.type("strongroom keys keyring status || true")  # its exit code is 1
    printed = follow(operator, "recover.md", "run older")
    assert lost in printed["strongroom namespace list"]
    assert "has no KEK" in printed["strongroom namespace list"]
    assert runs(operator) > 0
    assert lost in operator.type(f"strongroom namespace shred {lost} --confirm {lost} --grace 0s")


def test_another_host_takes_over_with_the_copied_files(operator):
    """A host with the configuration and the keyring alone opens the cell; the log of the other host counts as another host's."""
    before = runs(operator)
    host = Reader(operator.folder.parent / "host", None)
    host.folder.mkdir()
    printed = follow(host, "recover.md", "run host")
    assert "was written at" in printed["strongroom audit verify --other-hosts"]
    assert runs(host) == before


def test_the_commands_of_an_upgrade_run_on_a_sound_cell(operator):
    """The checks before and after, and the schema of this version, which the cell has already."""
    printed = follow(operator, "upgrade.md")
    assert "missing functions: none" in printed[f"{NEW}strongroom schema status"]


def test_exports_for_a_siem_verify_without_the_cell(operator):
    """Both files have records, the chain of the JSON Lines verifies with the published key, and a hash is printed."""
    printed = follow(operator, "siem.md")
    assert (operator.folder / "audit.ocsf.jsonl").stat().st_size > 0
    assert "CEF:" in (operator.folder / "audit.cef").read_text()
    assert re.search(r"[0-9a-f]{32}", printed["strongroom audit hash payments workflow_id order-7"])
    log = operator.folder / "audit.jsonl"
    log.write_text(log.read_text().replace('"event":"intent"', '"event":"denied"', 1))
    with pytest.raises(AssertionError):
        operator.type('strongroom audit verify audit.jsonl --public-key "$(cat audit.pub)"')
