"""The tutorial with a Temporal server works as it is written: its files, programs and commands are taken from the page."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from functools import partial

import pytest

from examples.temporal.processes import accepts, free_ports, start, stopped_at_the_end
from tests.support.pages import code_blocks
from tests.support.reader import Reader
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "tutorials" / "temporal-server.md"
PORT = re.compile(r"\b(?:7233|7234|7235|7239|6933|6934|6935|6939)\b")
"""The ports of the page. Free ones take their place, because other tests run servers of their own."""
STARTED = {"second terminal": "the stores", "third terminal": "the Temporal server"}


def follow(reader, stack):
    """Do what the page says after its installation; return the output of each command."""
    blocks = code_blocks(PAGE)
    named = sorted({port for block in blocks for port in PORT.findall(block.text)})
    ports = dict(zip(named, map(str, free_ports(len(named))), strict=True))
    ready = {
        "second terminal": lambda log: "listening on" in log.read_text(),
        "third terminal": lambda _log: accepts(int(ports["7233"])),
    }
    output = {}
    for block in blocks:
        text = PORT.sub(lambda found: ports[found[0]], block.text)
        if block.label in {"strongroom.toml", "temporal.yaml", "orders.py"}:
            with (reader.folder / block.label).open("a") as file:
                file.write(text)
        elif block.label in STARTED:
            process = start(
                block.label, shlex.split(text.removeprefix("env/bin/")), reader.folder, environment=reader.environment
            )
            stopped_at_the_end(stack, process)
            process.wait_until(partial(ready[block.label], process.log), f"the start of {STARTED[block.label]}")
        elif block.label == "run":
            output |= {line: reader.type(line) for line in text.splitlines()}
    return output


def test_a_reader_who_follows_the_page_gets_what_it_says(dsn, temporal_binary, tmp_path):
    """A workflow runs, the command line shows it, the database shows no customer, and the namespace is erased."""
    (tmp_path / "temporal-server-strongroom").symlink_to(temporal_binary)
    reader = Reader(tmp_path, dsn, {"CODE": r"--final (\w+)"})
    with ExitStack() as stack:
        output = follow(reader, stack)
    (stated,) = [block.text for block in code_blocks(PAGE) if block.language == "text"]
    assert output["python orders.py"] == stated
    assert "order-1" in output["strongroom query shop \"WorkflowType = 'Order'\""]
    assert "ada@example.com" in output["strongroom history shop order-1"]
    assert int(output['pg_dump --data-only --inserts "$STRONGROOM_DSN" | grep --count INSERT']) > 0
    assert output['pg_dump --data-only --inserts "$STRONGROOM_DSN" | grep ada@example.com || true'] == ""
    assert (tmp_path / "erasure.json").exists()
