"""Access control and the audit log on the command line, in the steps of an operator."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib

import pytest

from tests.support.earlier_rows import put_back, saved
from tests.support.fixtures.command_line import run_command, sql

pytestmark = pytest.mark.integration
OWNER, SECOND = "ana@example.com", "bob@example.com"


@pytest.fixture
def walk(config_path):
    """Return a function that runs commands with a principal's API key. The cell has two owners and two namespaces."""
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
    """Without a key, or with a wrong, revoked or altered one, no command runs. The refusal is recorded."""
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
    assert "carl has the role read in namespace payments" in walk("access", "bind", "carl", "read", "-n", "payments")
    walk("query", "payments", by="carl")
    assert "carl has no role that allows audit.export" in walk("audit", "export", by="carl", code=2)
    assert "carl has no role that allows audit.verify" in walk("audit", "verify", by="carl", code=2)
    assert "namespace does not exist" in walk("query", "clinic", by="carl", code=2)
    assert walk("query", "clinic", by="carl", code=2) == walk("query", "never-made", by="carl", code=2)
    walk("access", "revoke", key_id)
    assert "no principal has this API key" in walk("query", "payments", by="carl", code=2)
    assert "not authenticated" in walk("audit", "export")
    with config_path.open("a") as file:
        file.write("\n[access]\nenforce = true\n")
    walk("namespace", "list")


def test_the_advice_to_enforce_is_valid_toml(config_path):
    """The setting that `access init` prints can be added to the configuration as it is."""
    run_command(config_path.parent, "init").check_returncode()
    printed = run_command(config_path.parent, "access", "init", OWNER).stdout
    assert tomllib.loads(printed[printed.index("[access]") :]) == {"access": {"enforce": True}}


def test_a_policy_that_was_taken_away_opens_nothing(walk, config_path, dsn):
    """A deleted policy stops every command by the audit log, and without the log if the configuration enforces access control."""
    sql(dsn, "DELETE FROM access_policy")
    for by in (None, OWNER):
        assert "was deleted" in walk("namespace", "list", by=by, code=2)
    (config_path.parent / "audit").rename(config_path.parent / "away")
    sql(dsn, "DELETE FROM audit_checkpoints")
    walk("namespace", "list", by=None)
    with config_path.open("a") as file:
        file.write("\n[access]\nenforce = true\n")
    for by in (None, OWNER):
        assert "access.enforce" in walk("namespace", "list", by=by, code=2)


def test_a_review_says_who_has_what(walk):
    """A review lists each role with its origin and last use, and compares the policy with the audit log."""
    walk("namespace", "list", by=SECOND)
    report = json.loads(walk("access", "review", "--json"))
    roles = {each["principal"]: each for each in report["roles"]}
    assert {name: each["role"] for name, each in roles.items()} == {OWNER: "owner", SECOND: "owner"}
    assert roles[SECOND]["by"] == OWNER
    assert roles[SECOND]["last_used"] is not None
    assert report["policy_matches"]
    assert "stale" not in walk("access", "review")


def test_an_approval_is_a_use_of_the_role_that_it_needs(walk):
    """An owner who only approves requests uses the role. Control: before the approval, and another role that it does not need."""

    def last_use():
        roles = json.loads(walk("access", "review", "--json"))["roles"]
        return {each["role"]: each["last_used"] for each in roles if each["principal"] == SECOND}

    walk("access", "bind", SECOND, "read", "-n", "clinic")
    grant = re.search(
        r"approve ([0-9a-f]{12})", walk("access", "request", "--role", "auditor", "--reason", "yearly audit")
    )[1]
    assert last_use() == {"owner": None, "read": None}
    walk("access", "approve", grant, by=SECOND)
    (approved,) = json.loads(walk("access", "grants", "--json"))["grants"]
    assert last_use() == {"owner": approved["approved_at"], "read": None}


def test_shredding_on_the_command_line_takes_two(walk):
    """The second confirmation of a shredding needs the approval of another person."""
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


def test_a_namespace_whose_kek_is_lost_is_shredded_by_its_id(walk, config_path):
    """A request of two people names the namespace by its id, because a name can't be verified without its KEK."""
    keyring = config_path.parent / "strongroom-keyring.json"
    copy = keyring.read_bytes()
    lost = re.search(r"created (\S+),", walk("namespace", "create", "lost"))[1]
    keyring.write_bytes(copy)
    (status,) = json.loads(walk("keys", "keyring", "status", "--json", code=1))["keyrings"]
    walk("keys", "keyring", "adopt", "--confirm", status["keyring"])
    code = re.search(r"--final (\w+)", walk("namespace", "shred", lost, "--confirm", lost, "--grace", "0s"))[1]
    final = ("namespace", "shred", lost, "--final", code, "--certificate", "erasure.json")
    assert "access request --operation shredding.finish -n NAMESPACE --reason TEXT" in walk(*final, code=2)
    request = ("access", "request", "--operation", "shredding.finish", "--reason", "its KEK is lost", "-n")
    assert "namespace does not exist" in walk(*request, "00000000-0000-4000-8000-000000000000", code=2)
    approve = re.search(r"access approve [0-9a-f]{12}", walk(*request, lost))[0]
    assert f"another person approves it with 'strongroom {approve}'" in walk(*final, code=2)
    walk(*approve.split(), by=SECOND)
    assert "destroyed" in walk(*final)


def test_a_role_is_given_and_removed_by_the_id_of_a_namespace(walk):
    """An id of a namespace can be used instead of its name."""
    (clinic,) = re.findall(r"^clinic +(\S+)", walk("namespace", "list"), re.MULTILINE)
    walk("access", "add", "carl")
    walk("access", "bind", "carl", "read", "-n", clinic)
    assert "read in clinic" in walk("access", "list")
    walk("access", "unbind", "carl", "read", "-n", clinic)
    assert "read in clinic" not in walk("access", "list")


def test_holds_and_retention(walk):
    """A legal hold stops pruning, and a shorter retention needs two people."""
    hold = re.search(r"audit lift (\w+)", walk("audit", "hold", "--reason", "case 1"))[1]
    assert "a legal hold is in force, so nothing is deleted" in walk("audit", "prune", code=2)
    assert "case 1" in walk("audit", "holds")
    walk("audit", "lift", hold)
    assert "nothing to delete: no file" in walk("audit", "prune")
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
    """An export verifies with the public key alone, and an altered record is named."""
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
    """A deleted log is noticed, because the database has its checkpoint."""
    walk("audit", "verify")
    (segment,) = (config_path.parent / "audit").rglob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[: len(lines) // 2]))
    assert re.search(r"missing|another than when it was signed", walk("audit", "verify", code=1))


def test_a_stream_that_was_taken_away_is_missing(walk, config_path):
    """A stream of this folder is missing if it is not there, even with `--other-hosts`."""
    (stream,) = (path for path in (config_path.parent / "audit").iterdir())
    walk("audit", "verify")
    stream.rename(config_path.parent / "away")
    assert "the whole stream is missing" in walk("audit", "verify", code=1)
    assert "the whole stream is missing" in walk("audit", "verify", "--other-hosts", code=1)


def test_a_stream_of_another_folder_is_accepted_as_such(walk, config_path):
    """A log of another host or folder is reported as missing, unless `--other-hosts` is passed."""
    walk("audit", "verify")
    (config_path.parent / "audit").rename(config_path.parent / "elsewhere")
    config_path.write_text(config_path.read_text().replace('folder = "audit"', 'folder = "other"'))
    walk("namespace", "list")
    assert "was written at" in walk("audit", "verify", code=1)
    assert "was written at" in walk("audit", "verify", "--other-hosts")


def test_doctor_looks_at_log_and_rights(walk, config_path):
    """The doctor checks that the log can be written and that there are two owners. A fault makes it exit with 1."""
    told = walk("doctor")
    assert re.search(r"audit log: .*can be written", told)
    assert "2 owners" in told
    walk("access", "remove", SECOND)
    assert "Make another" in walk("doctor")
    (config_path.parent / "audit").rename(config_path.parent / "kept")
    (config_path.parent / "audit").write_text("a file where a folder should be")
    assert "audit log can't be written" in walk("doctor", code=1)


def test_a_retention_does_not_turn_access_control_on(dsn, tmp_path):
    """Retention and holds are kept in the access policy. Without principals they lock nobody out, and `access init` keeps them."""
    for arguments in (
        ("init", "--dsn", dsn),
        ("audit", "retention", "1000"),
        ("audit", "hold", "--reason", "case 1"),
        ("namespace", "list"),
        ("access", "list"),
    ):
        done = run_command(tmp_path, *arguments)
        assert done.returncode == 0, done
    assert "off" in run_command(tmp_path, "doctor").stdout
    key = json.loads(run_command(tmp_path, "access", "init", "ana", "--json").stdout)["api_key"]
    held = run_command(tmp_path, "audit", "holds", "--json", environment={"STRONGROOM_API_KEY": key})
    assert (json.loads(held.stdout)["retention_days"], len(json.loads(held.stdout)["holds"])) == (1000, 1)
    assert run_command(tmp_path, "namespace", "list").returncode == 2


async def test_two_people_accept_a_restored_database(walk, attacker):
    """While the database is older than its anchors, a grant for its acceptance can be requested, withdrawn and approved.

    No other grant can be changed.
    """
    requested = await asyncio.to_thread(walk, "access", "request", "--role", "owner", "--reason", "ticket 4711")
    role = re.search(r"approve ([0-9a-f]{12})", requested)[1]
    before = await saved(attacker)
    await asyncio.to_thread(walk, "keys", "rotate", "payments")
    await put_back(attacker, before)

    def accept():
        reason = ("--reason", "backup of 2 May restored")
        walk("namespace", "list", code=2)
        dry_run = ("restore", "accept", *reason, "--dry-run", "--json")
        seen = [re.search(r'"state": *"([0-9a-f]{32})"', walk(*dry_run, by=by))[1] for by in (OWNER, SECOND)]
        assert seen[0] == seen[1]
        state = ("--state", seen[0])
        walk("restore", "accept", *reason, *state, code=2)
        assert "older than" in walk("access", "request", "--role", "owner", *reason, code=2)
        withdrawn = walk("access", "request", "--operation", "restore.accept", *state, *reason)
        walk("access", "end", re.search(r"approve ([0-9a-f]{12})", withdrawn)[1])
        assert "older than" in walk("access", "end", role, code=2)
        asked = walk("access", "request", "--operation", "restore.accept", *state, *reason)
        grant = re.search(r"approve ([0-9a-f]{12})", asked)[1]
        assert grant in walk("access", "grants", by=SECOND)
        walk("access", "approve", grant, by=SECOND)
        walk("restore", "accept", *reason, *state)
        walk("namespace", "list")

    await asyncio.to_thread(accept)
