"""A thousand filters find what Temporal 1.31 finds, or what the page of differences says.

`tests/support/visibility/temporal_filters.json` has the answers of Temporal's own converters on an Elasticsearch.
"""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.visibility import matches, parse_filter
from strongroom.visibility.errors import InvalidQuery
from strongroom.visibility.index.document import seal_documents
from strongroom.visibility.index.layout import new_layout
from strongroom.visibility.search.compiler import compile_query
from tests.support.tree import ROOT
from tests.support.visibility.conformance import RUNS, TYPES
from tests.support.visibility.token_queries import holds

ROWS = json.loads((ROOT / "tests/support/visibility/temporal_filters.json").read_text())["rows"]
PAGE = (ROOT / "docs" / "reference" / "list-filters.md").read_text()
CANARY = "zq_canary_7"


def found(text):
    """Return the numbers of the runs that a filter finds, or `refused`."""
    try:
        where = parse_filter(text, TYPES).where
    except InvalidQuery:
        return "refused"
    return [number for number, run in enumerate(RUNS) if matches(where, run.attributes())]


def test_every_filter_finds_what_temporal_finds():
    """Where an answer differs on purpose, the row has both answers and the reason."""
    wrong = {
        row["filter"]: answer for row in ROWS if (answer := found(row["filter"])) != row.get("ours", row["temporal"])
    }
    assert wrong == {}
    assert len(ROWS) > 1000


def test_the_page_lists_every_difference():
    """A difference that the page does not list is a mistake, and so is a listed one that no filter shows."""
    section = PAGE.split("## Where answers differ from Temporal 1.31")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)) - {"what", "---"}
    assert {row["why"] for row in ROWS if "why" in row} == listed


@pytest.mark.parametrize("preset", ["compatible", "strict"])
def test_the_index_finds_what_the_filter_finds(preset):
    """For every filter: the sure documents match it, and every document that matches is possible."""
    keys = NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: DataKey(Secret(bytes(32)), version=1, suite=Suite.XAES_256_GCM)},
        index={1: Secret(bytes([1] * 32))},
        identity={1: Secret(bytes([9] * 32))},
        active={KeyClass.INDEX: 1, KeyClass.DATA: 1, KeyClass.IDENTITY: 1},
        layouts={1: str(new_layout(preset))},
    )
    rows = seal_documents(keys, [(1, 1, run) for run in RUNS], TYPES)
    for row in ROWS:
        answer = row.get("ours", row["temporal"])
        if answer != "refused":
            query = compile_query(parse_filter(row["filter"], TYPES).where, keys)
            assert {n for n, each in enumerate(rows) if holds(query.sure, each)} <= set(answer), row
            assert {n for n, each in enumerate(rows) if holds(query.possible, each)} >= set(answer), row


def failure(text):
    """Return the error of a filter; None if it is valid."""
    try:
        parse_filter(text, TYPES)
    except InvalidQuery as error:
        return error
    return None


def test_an_error_quotes_no_value_and_names_the_position():
    """A refused filter is logged by services, so the error has a position and never a text of the filter."""
    texts = [row["filter"].replace("'a'", f"'{CANARY}'").replace("Nope", CANARY) for row in ROWS]
    errors = [error for error in map(failure, texts) if error is not None]
    assert len(errors) > 300
    for error in errors:
        assert CANARY not in f"{error!r} {error} {error.__cause__} {error.__context__}"
        assert error.position is not None
