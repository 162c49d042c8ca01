"""Wall clocks are read only in the places of this table, each with its reason (storage/DESIGN.md, "Clocks")."""

from __future__ import annotations

import ast
import re

import pytest

from checks.tree import tracked_files
from tests.support.tree import ROOT

RECORDED = "the time of a record that people read; nothing is decided by it"
HOSTS = {
    "kms/key_events.py failed": RECORDED,
    "kms/key_events.py recording_change": RECORDED,
    "kms/keyring/elapsed.py elapsed": "no wall clock: monotonic, and it counts the time in which the machine was suspended",
    "kms/providers/azure/keys.py unusable": "the vault's own expiry of a key version; the vault refuses it too",
    "kms/providers/local/content.py _now": RECORDED,
    "kms/providers/resilience.py _attempt": RECORDED,
    "driver/audit/encoding.py timestamp": RECORDED,
    "driver/audit/events.py now": RECORDED,
    "driver/cli/retention.py run": "a record is pruned only if both this host's clock and the server's call it old",
    "driver/codec/server.py _event": RECORDED,
    "driver/doctor/clock.py server_clock": "compares the clocks for a person",
    "driver/doctor/tls.py _ending": "the expiry of a certificate, shown to a person",
    "driver/shredding.py _dispose_of": RECORDED,
    "driver/telemetry/emitter.py span": RECORDED,
    "storage/histories/rows.py add": "the fork time of Temporal's history tree: the caller's, and only shown",
    "storage/histories/tree.py fork": "the fork time of Temporal's history tree: the caller's, and only shown",
    "storage/namespaces/metadata.py create_namespace": RECORDED,
    "storage/namespaces/store.py create": RECORDED,
    "storage/schema/cell.py claim_cell": RECORDED,
}
"""Reads of a host's wall clock: the file and the function, and why it is allowed."""
SERVERS = {
    "storage/engine/server_clock.py": "shown to a person, by doctor; and compared with the monotonic clock, to notice jumps",
    "storage/schema/migrations.py": RECORDED,
    "storage/sql/cell/access_policy.sql": "the expiry of keys and grants; `AccessControl.now` lets it never go back",
    "storage/sql/cluster/metadata.sql": "heartbeats, as in Temporal; a jump forward ends a membership until the next heartbeat",
    "storage/sql/keys/keyring_ledger.sql": RECORDED,
    "storage/sql/keys/reseal.sql": "the age of a rotation; what can't be undone does not use it",
    "storage/sql/keys/store.sql": "the age of keys, for a rotation that is due",
    "storage/sql/namespaces/shred_request.sql": "the grace period of a shredding, which a person ends",
    "storage/sql/namespaces/shredding_store.sql": "the grace period of a deletion that a service asked for; a jump forward ends it",
    "storage/sql/schema/migrations/0001_pre_initial.sql": "the time of a deletion; see outbox.sql",
    "storage/sql/schema/schema.sql": "as the migration",
    "storage/sql/visibility_rows/outbox.sql": "the memory of a deletion, and retries; see DESIGN.md",
}
"""Files with statements that read the server's clock, and what for."""
PACKAGES = ("kms", "storage", "visibility", "driver")
_READS = {
    "now",
    "utcnow",
    "today",
    "time",
    "time_ns",
    "localtime",
    "gmtime",
    "ctime",
    "asctime",
    "strftime",
    "clock_gettime",
}
_OWNERS = {"datetime", "date", "time", "dt"}
_SERVER = re.compile(
    r"\b(?:now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\(\)"
    r"|\b(?:CURRENT_TIMESTAMP|CURRENT_DATE|CURRENT_TIME|LOCALTIMESTAMP|LOCALTIME)\b"
)


def reads(source):
    """Return the functions of a module that read a wall clock; a class or a module is named as such."""
    found = set()

    def visit(node, inside):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = node.name
        if isinstance(node, ast.Attribute) and node.attr in _READS and _owner(node) in _OWNERS:
            found.add(inside)
        if isinstance(node, ast.ImportFrom) and node.module == "time" and {each.name for each in node.names} & _READS:
            found.add(inside)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), "the module")
    return found


def _owner(node):
    """Return the last name before an attribute: `datetime` of `datetime.now` and of `dt.datetime.now`."""
    value = node.value
    return value.id if isinstance(value, ast.Name) else getattr(value, "attr", None)


def sources(*suffixes):
    """Return the paths of the files of the product with these suffixes."""
    return [path for path in tracked_files() if path.parts[0] in PACKAGES and path.suffix in suffixes]


def test_a_hosts_clock_is_read_only_where_it_decides_nothing():
    """A new use needs a line in the table with its reason, and a line without a use is removed."""
    found = {f"{path} {where}" for path in sources(".py") for where in reads((ROOT / path).read_text())}
    assert found == set(HOSTS)


def test_the_servers_clock_is_read_only_where_a_jump_is_harmless():
    """A statement that compares a stored time with the server's clock needs a line in the table with its reason."""
    found = {str(path) for path in sources(".sql") if _SERVER.search(_without_comments((ROOT / path).read_text()))}
    strings = {str(path) for path in sources(".py") if any(map(_SERVER.search, _strings((ROOT / path).read_text())))}
    assert found | strings == set(SERVERS)


def test_the_kernel_reads_no_clock():
    """The Rust code gets times from its caller."""
    for path in (ROOT / "kernel" / "src").rglob("*.rs"):
        assert not re.search(r"SystemTime|chrono|UNIX_EPOCH", path.read_text()), path


def _without_comments(text):
    return re.sub(r"--.*", "", text)


def _strings(source):
    """Return the strings of a module that look like statements."""
    values = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [
        value for value in values if isinstance(value, str) and re.search(r"\b(SELECT|INSERT|UPDATE|DELETE)\b", value)
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    return datetime.now(UTC)",
        "def f():\n    return dt.datetime.utcnow()",
        "async def f():\n    return time.time() - 1",
        "def f(clock=time.time): pass",
        "def f():\n    from time import time_ns",
        "def f():\n    return date.today()",
    ],
)
def test_each_way_to_read_a_clock_is_found(source):
    """The controls of the walk."""
    assert reads(source) == {"f"}


@pytest.mark.parametrize(
    "source", ["time.monotonic()", "time.perf_counter()", "self.now()", "from time import monotonic"]
)
def test_other_clocks_are_not_found(source):
    """Monotonic clocks and clocks that a caller passes are allowed everywhere."""
    assert reads(source) == set()
