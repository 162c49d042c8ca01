"""Access control and the audit log on the command line, as operators walk through it."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.fixtures.command_line import run_command, sql

pytestmark = pytest.mark.integration
OWNER, SECOND = "ana@example.com", "bob@example.com"


@pytest.fixture
def walk(config_path):
    """Runs commands as somebody whose key is known; two owners are there, and two namespaces."""
    keys = {}

    def run(*arguments, by=OWNER, code=0):
        environment = {"STRONGROOM_API_KEY": keys[by]} if by in keys else {}
        done = run_command(config_path.parent, *arguments, environment=environment)
        assert done.returncode == code, done
        found = re.search(r"^sr_\S+$", done.stdout, re.MULTILINE)
        if found:
            keys[arguments[2]] = found[0]
        return done.stdout + done.stderr

    run("init", by=None)
    run("namespace", "create", "payments", by=None)
    run("namespace", "create", "clinic", by=None)
    run("access", "init", OWNER, by=None)
    run("access", "add", SECOND)
    run("access", "bind", SECOND, "owner")
    run("access", "api-key", SECOND)
    return run


def test_who_has_no_key_does_nothing(walk, config_path):
    """Neither without a key, nor with a wrong, revoked or altered one; the audit log is told."""
    for command in (
        ("namespace", "list"),
        ("query", "payments"),
        ("keys", "list"),
        ("access", "list"),
        ("audit", "verify"),
    ):
        assert "STRONGROOM_API_KEY" in walk(*command, by=None, code=2)
    walk("access", "add", "carl")
    walk("access", "api-key", "carl")
    key_id = re.search(r"carl.*?([0-9a-f]{12}) until", walk("access", "list"), re.DOTALL)[1]
    walk("access", "bind", "carl", "read", "-n", "payments")
    walk("query", "payments", by="carl")
    assert "namespace does not exist" in walk("query", "clinic", by="carl", code=2)
    assert walk("query", "clinic", by="carl", code=2) == walk("query", "never-made", by="carl", code=2)
    walk("access", "revoke", key_id)
    assert "no principal has this API key" in walk("query", "payments", by="carl", code=2)
    assert "not authenticated" in walk("audit", "export")
    with config_path.open("a") as file:
        file.write("\n[access]\nenforce = true\n")
    walk("namespace", "list")


def test_a_policy_that_was_taken_away_opens_nothing(walk, config_path, dsn):
    """Where the configuration says that there is one."""
    sql(dsn, "DELETE FROM access_policy")
    walk("namespace", "list", by=None)
    with config_path.open("a") as file:
        file.write("\n[access]\nenforce = true\n")
    for by in (None, OWNER):
        assert "access.enforce" in walk("namespace", "list", by=by, code=2)


def test_a_review_says_who_has_what(walk):
    """Since when, by whom, last used; and that the audit log holds the policy."""
    walk("namespace", "list", by=SECOND)
    report = json.loads(walk("access", "review", "--json"))
    roles = {each["principal"]: each for each in report["roles"]}
    assert {name: each["role"] for name, each in roles.items()} == {OWNER: "owner", SECOND: "owner"}
    assert roles[SECOND]["by"] == OWNER
    assert roles[SECOND]["last_used"] is not None
    assert report["policy_matches"]
    assert "stale" not in walk("access", "review")


def test_shredding_on_the_command_line_takes_two(walk):
    """The second confirmation needs somebody else's approval."""
    walk("access", "add", "kim")
    walk("access", "bind", "kim", "key-custodian")
    walk("access", "api-key", "kim")
    told = walk("namespace", "shred", "payments", "--confirm", "payments", "--grace", "0s", by="kim")
    code = re.search(r"--final (\w+)", told)[1]
    final = ("namespace", "shred", "payments", "--final", code, "--certificate", "erasure.json")
    assert "two people" in walk(*final, by="kim", code=2)
    walk("namespace", "unshred", "payments", by="kim")
    request = (
        "access",
        "request",
        "--operation",
        "shredding.finish",
        "-n",
        "payments",
        "--reason",
        "erasure request 12",
    )
    grant = re.search(r"approve ([0-9a-f]{12})", walk(*request, by="kim"))[1]
    told = walk("namespace", "shred", "payments", "--confirm", "payments", "--grace", "0s", by="kim")
    code = re.search(r"--final (\w+)", told)[1]
    final = ("namespace", "shred", "payments", "--final", code, "--certificate", "erasure.json")
    assert "two people" in walk(*final, by="kim", code=2)
    walk("access", "approve", grant)
    walk(*final, by="kim")
    assert "namespace does not exist" in walk("query", "payments", code=2)


def test_holds_and_retention(walk):
    """A hold stops pruning; to keep records for less takes two."""
    hold = re.search(r"audit lift (\w+)", walk("audit", "hold", "--reason", "case 1"))[1]
    assert "legal hold" in walk("audit", "prune", code=2)
    assert "case 1" in walk("audit", "holds")
    walk("audit", "lift", hold)
    walk("audit", "prune")
    assert "--shorten" in walk("audit", "retention", "10", code=2)
    assert "two people" in walk("audit", "retention", "10", "--shorten", code=2)
    asked = walk("access", "request", "--operation", "audit.shorten_retention", "--reason", "less to keep")
    grant = re.search(r"approve ([0-9a-f]{12})", asked)[1]
    assert "another principal" in walk("access", "approve", grant, code=2)
    walk("access", "approve", grant, by=SECOND)
    walk("audit", "retention", "10", "--shorten")
    assert "10 days" in walk("audit", "holds")
    walk("audit", "retention", "800")
    walk("audit", "prune", "--dry-run")


def test_an_export_verifies_without_the_cell(walk, config_path):
    """With the public key alone; one altered letter, and the record is named."""
    key = walk("audit", "key").strip()
    walk("audit", "export", "--to", str(config_path.parent / "out.jsonl"))
    done = run_command(
        config_path.parent / "..", "audit", "verify", str(config_path.parent / "out.jsonl"), "--public-key", key
    )
    assert done.returncode == 0, done
    lines = (config_path.parent / "out.jsonl").read_text().replace(OWNER, "eve@example.com", 1)
    (config_path.parent / "out.jsonl").write_text(lines)
    done = run_command(
        config_path.parent / "..", "audit", "verify", str(config_path.parent / "out.jsonl"), "--public-key", key
    )
    assert done.returncode == 1, done
    assert "was altered" in done.stdout


def test_a_log_that_was_cut_is_noticed(walk, config_path):
    """By the checkpoint in the database."""
    walk("audit", "verify")
    (segment,) = (config_path.parent / "audit").rglob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[: len(lines) // 2]))
    assert re.search(r"missing|another than when it was signed", walk("audit", "verify", code=1))


def test_a_stream_that_was_taken_away_is_missing(walk, config_path):
    """All of this host's log; where other hosts have logs of their own that is said, and no problem."""
    (stream,) = (path for path in (config_path.parent / "audit").iterdir())
    walk("audit", "verify")
    stream.rename(config_path.parent / "away")
    assert "the whole stream is missing" in walk("audit", "verify", code=1)
    assert "other hosts" in walk("audit", "verify", "--other-hosts")


def test_doctor_looks_at_log_and_rights(walk, config_path):
    """Whether the log can be written, and whether one owner is alone; what is wrong makes it end with 1."""
    told = walk("doctor")
    assert re.search(r"audit log\s.*can be written", told)
    assert "2 owners" in told
    walk("access", "remove", SECOND)
    assert "Make another" in walk("doctor")
    (config_path.parent / "audit").rename(config_path.parent / "kept")
    (config_path.parent / "audit").write_text("a file where a folder should be")
    assert "audit log can't be written" in walk("doctor", code=1)
