"""The tutorial for a Python service works as it is written: its commands and its program are taken from the page."""

from __future__ import annotations

import re

import pytest

from tests.support.fixtures.command_line import sql
from tests.support.pages import code_blocks
from tests.support.reader import Reader
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "tutorials" / "python-service.md"
PLACEHOLDERS = {"CODE": r"--final (\w+)", "GRANT": r"access approve (\w+)", "sr_...": r"(sr_[\w-]+)"}
"""What a reader fills in, and where the output of an earlier command shows it."""


@pytest.fixture
def reader(dsn, tmp_path):
    """A reader with an empty folder and the database of the page's section 2."""
    return Reader(tmp_path, dsn, PLACEHOLDERS)


def follow(reader):
    """Do what the page says; return the output of each command."""
    output = {}
    program = reader.folder / "orders.py"
    for block in code_blocks(PAGE):
        if block.label == "orders.py":
            program.write_text(block.text)
        elif block.label == "session":
            (replaced,) = re.findall(r"^ +orders = Orders\(.*\n", program.read_text(), re.MULTILINE)
            program.write_text(program.read_text().replace(replaced, block.text))
        elif block.label == "run":
            for line in block.text.splitlines():
                output[line.split("  #")[0].strip()] = reader.type(line)
    return output


def test_a_reader_who_follows_the_page_gets_what_it_says(reader):
    """Every command succeeds, finds have the stated result, the database shows no customer, and the tenant is erased."""
    output = follow(reader)
    (stated,) = [block.text for block in code_blocks(PAGE) if block.language == "text"]
    assert output['python orders.py find "Amount >= 92.82"'] == stated
    assert output["python orders.py find \"CustomerId = 'ada@example.com'\""].split() == ["order-3", "order-1"]
    assert "ordered" in output["strongroom history shop order-1"]
    assert int(output['pg_dump --data-only --inserts "$STRONGROOM_DSN" | grep --count INSERT']) > 0
    assert output['pg_dump --data-only --inserts "$STRONGROOM_DSN" | grep ada@example.com || true'] == ""
    assert (reader.folder / "erasure.json").exists()


def test_the_search_for_a_customer_in_the_dump_can_find_one(reader, dsn):
    """Control: a customer in clear is found by the page's own command."""
    (line,) = [line for block in code_blocks(PAGE) for line in block.text.splitlines() if "grep ada" in line]
    sql(dsn, "CREATE TABLE public.plain AS SELECT 'ada@example.com' AS customer")
    assert "ada@example.com" in reader.type(line)


def test_the_page_asks_for_no_more_than_a_plain_role():
    """The administrator's statements make a role that can log in, and a database that it owns."""
    (block,) = [block for block in code_blocks(PAGE) if block.label == "administrator"]
    assert [line.split()[0:2] for line in block.text.splitlines()] == [["CREATE", "ROLE"], ["CREATE", "DATABASE"]]
    assert not re.search("SUPERUSER|CREATEROLE|CREATEDB|GRANT", block.text)
