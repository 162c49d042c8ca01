"""Each code block of the pages is run by a test, or is checked here and has a reason why it is not run."""

from __future__ import annotations

import ast
import json
import subprocess
import textwrap
import tomllib
from functools import reduce

import pytest
import yaml

from tests.support.configuration import MINIMAL, parsed
from tests.support.page_commands import commands, fault_of, inline_commands
from tests.support.pages import CodeBlock, code_blocks
from tests.support.tree import ROOT

DOCS = ROOT / "docs"
GENERATED = {DOCS / "reference" / "api.md", DOCS / "reference" / "commands.md"}
"""Pages of `make reference`. Their blocks are signatures and the help of commands, and a test compares them with the code."""
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "examples").rglob("README.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if page not in GENERATED),
]
SHELL = {"sh", ""}

RUN = {
    "tutorials/python-service.md": (
        "tests/pages/test_tutorial_python_service.py",
        {"install", "administrator", "run", "", "orders.py"},
    ),
    "tutorials/temporal-server.md": (
        "tests/integration/temporal/test_tutorial.py",
        {"run", "second terminal", "third terminal"},
    ),
    "how-to/backup-and-restore.md": (
        "tests/pages/test_backup_and_restore.py",
        {
            "",
            "as an administrator",
            "on the new host",
            "on the database server",
            "with Elasticsearch",
            "postgresql.conf",
        },
    ),
    "how-to/pgbouncer.md": (
        "tests/integration/test_pgbouncer_page.py",
        {"", "as an administrator", "pgbouncer.ini", "with TLS", "userlist.txt"},
    ),
    "how-to/rotate.md": ("tests/pages/test_how_to.py", {"run"}),
    "how-to/recover.md": ("tests/pages/test_how_to.py", {"run keyring", "run older", "run host"}),
    "how-to/upgrade.md": ("tests/pages/test_how_to.py", {"run"}),
    "how-to/siem.md": ("tests/pages/test_how_to.py", {"run"}),
    "reference/list-filters.md": ("tests/unit/visibility/filter/test_list_filters_page.py", {""}),
}
"""The labels of the blocks that a walker of the page runs, and the walker."""

EXAMPLE = "tests/integration/test_examples.py runs the programs with the same arguments"
NOT_RUN = {
    ("examples/admin/README.md", ""): EXAMPLE,
    ("examples/orders/README.md", ""): EXAMPLE,
    ("examples/restore_drill/README.md", ""): EXAMPLE,
    (
        "examples/worker/README.md",
        "",
    ): "tests/integration/temporal/test_example_worker.py, and test_examples.py without a server",
    ("how-to/access-control.md", ""): "commands of two people; tests/access/test_commands.py has each of them",
    ("how-to/anchors.md", "as an administrator of AWS"): "needs an account of AWS",
    ("how-to/audit-log.md", ""): "an overview; tests/audit and tests/access/test_commands.py have each command",
    ("how-to/citus.md", "as the administrator"): "tests/support/citus.py runs the same statements on a cluster",
    ("how-to/citus.md", "on a cluster"): "tests/citus does the same in Python",
    ("how-to/codec-server.md", ""): "needs a browser or a Temporal server; tests/codec has both",
    ("how-to/elasticsearch.md", ""): "tests/integration/test_index_snapshots.py makes the same requests",
    ("how-to/files.md", ""): "settings of systemd; tests/unit/driver/config/test_configured_files.py reads the page",
    ("how-to/kubernetes.md", "with Docker"): "needs a Docker engine",
    ("how-to/kubernetes.md", "with Kubernetes"): "needs a cluster",
    ("how-to/managed-postgresql.md", "as the administrator"): "needs a managed server; the tests use plain owners too",
    ("how-to/managed-postgresql.md", "with a managed server"): "needs a managed server",
    ("how-to/recover.md", "with Elasticsearch"): "the walker of backup-and-restore.md rebuilds an index",
    ("how-to/rotate.md", "with access control"): "tests/access/test_commands.py creates and revokes API keys",
    ("how-to/siem.md", "with a collector"): "tests/audit/test_export.py sends to a real collector",
    ("how-to/siem.md", "rsyslog.conf"): "the collector of tests/audit has the same settings",
    (
        "how-to/systemd.md",
        "as root",
    ): "changes the machine: walked by hand on 2026-11-30 in a root of its own, without systemctl, pip and Go",
    (
        "how-to/temporal-server.md",
        "",
    ): "tests/pages/test_temporal_server_page.py checks what needs no second deployment",
    ("tutorials/temporal-server.md", "install"): "tests/packaging installs a wheel, and the walker builds the server",
    ("tutorials/temporal-server.md", "administrator"): "the walker's database has the same owner",
    ("tutorials/temporal-server.md", ""): "the walker's connection string",
    ("how-to/upgrade.md", "install"): "tests/packaging installs a wheel",
    ("how-to/upgrade.md", "restart"): "changes the machine",
}
CHECKED = {"python", "toml", "yaml", "json"}
"""Languages whose blocks are checked by a parser. tests/pages/test_python_examples.py also runs the programs."""


def name_of(page):
    """Return a page's path below docs/, or below the root if it is not in docs/."""
    return page.relative_to(DOCS if page.is_relative_to(DOCS) else ROOT).as_posix()


def unlisted(page_name, blocks):
    """Return the blocks that no list names."""
    walked = RUN.get(page_name, ("", set()))[1]
    return [
        f"{page_name}:{block.line}: {block.language} {block.label}".rstrip()
        for block in blocks
        if block.language not in CHECKED and block.label not in walked and (page_name, block.label) not in NOT_RUN
    ]


def merged(one, other):
    """Return two configurations as one. A table of both has the settings of both."""
    tables = {
        key: merged(one[key], value)
        for key, value in other.items()
        if isinstance(value, dict) and isinstance(one.get(key), dict)
    }
    return {**one, **other, **tables}


def fault_in(block, before=()):
    """Return why a block can't be right; None if its parser accepts it.

    Args:
        block: The block.
        before: The blocks of the same language before it on the page. A configuration continues theirs.
    """
    try:
        match block.language:
            case "python":
                compile(textwrap.dedent(block.text), "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            case "toml":
                parsed(reduce(merged, [tomllib.loads(each.text) for each in (*before, block)], MINIMAL))
            case "yaml":
                list(yaml.safe_load_all(block.text))
            case "json":
                for line in block.text.splitlines():
                    json.loads(line)
            case "sh":
                subprocess.run(["bash", "-n", "-c", block.text], check=True, capture_output=True, text=True)
    except Exception as error:  # noqa: BLE001 - every parser has errors of its own
        return f"{type(error).__name__}: {getattr(error, 'stderr', None) or error}"
    faults = (fault_of(command, complete=True) for command in commands(block.text)) if block.language in SHELL else ()
    return next((fault for fault in faults if fault), None)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_block_is_run_or_has_a_reason(page):
    """A page can't have a command that nobody tried."""
    assert unlisted(name_of(page), code_blocks(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_block_is_accepted_by_its_parser(page, monkeypatch):
    """Programs compile, configurations are accepted, and commands have the options that the page shows."""
    monkeypatch.setenv("STRONGROOM_ES_API_KEY", "key")
    blocks = code_blocks(page)
    earlier = {
        block.line: [each for each in blocks if each.language == block.language and each.line < block.line]
        for block in blocks
    }
    faults = {block.line: fault_in(block, earlier[block.line]) for block in blocks}
    assert {line: fault for line, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_command_in_the_text_exists(page):
    """A command or an option that was renamed is renamed in the text too, and in indented blocks."""
    text = page.read_text()
    indented = "\n".join(line.strip() for line in text.splitlines() if line.startswith("    strongroom "))
    faults = [fault_of(command, complete=False) for command in inline_commands(text) + commands(indented)]
    assert [fault for fault in faults if fault] == []


def test_the_lists_name_blocks_and_walkers_that_exist():
    """A block that went away, or a walker that was renamed, leaves no entry behind."""
    labels = {(name_of(page), block.label) for page in PAGES for block in code_blocks(page)}
    assert {(page, label) for page, (_, walked) in RUN.items() for label in walked} <= labels
    assert set(NOT_RUN) <= labels
    assert all((ROOT / walker).exists() for walker, _ in RUN.values())
    assert all(NOT_RUN.values())


@pytest.mark.parametrize(
    "block",
    [
        CodeBlock("python", "", "print(", 1),
        CodeBlock("toml", "", "[serve]\nworker = 1\n", 1),
        CodeBlock("yaml", "", "a: [", 1),
        CodeBlock("json", "", "{,}\n", 1),
        CodeBlock("sh", "", "if true\n", 1),
        CodeBlock("sh", "", "strongroom keys roll payments\n", 1),
        CodeBlock("sh", "", "strongroom keys rotate payments --now\n", 1),
        CodeBlock("sh", "", "strongroom history\n", 1),
        CodeBlock("sh", "", "/opt/strongroom-0.2.0/bin/strongroom history\n", 1),
        CodeBlock("", "", "strongroom doctor here\n", 1),
        CodeBlock("sh", "", "true && strongroom doctr | cat\n", 1),
    ],
    ids=lambda block: block.text.split("\n")[0],
)
def test_a_block_that_is_wrong_is_found(block):
    """Control: each parser refuses something."""
    assert fault_in(block)


def test_a_block_that_nobody_runs_is_found():
    """Control: a new page, and a new kind of block on a page with a walker."""
    block = CodeBlock("sh", "on the moon", "true\n", 7)
    assert unlisted("how-to/new.md", [block]) == ["how-to/new.md:7: sh on the moon"]
    assert unlisted("how-to/rotate.md", [block]) == ["how-to/rotate.md:7: sh on the moon"]
    assert unlisted("how-to/rotate.md", [CodeBlock("sh", "run", "true\n", 7)]) == []
