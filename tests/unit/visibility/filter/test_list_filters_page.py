"""Every example on docs/reference/list-filters.md finds the runs, or fails with the message, that the page says."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest

from strongroom.visibility import AttributeType, VisibilityRecord, matches, parse_filter
from strongroom.visibility.errors import InvalidQuery
from strongroom.visibility.filter.values import parse_datetime
from strongroom.visibility.search.ordering import ranking
from tests.support.pages import code_blocks
from tests.support.tree import ROOT

PAGE = ROOT / "docs" / "reference" / "list-filters.md"
TYPES = {
    "CustomerId": AttributeType.KEYWORD,
    "Labels": AttributeType.KEYWORD_LIST,
    "Notes": AttributeType.TEXT,
    "Pieces": AttributeType.INT,
    "Amount": AttributeType.DOUBLE,
    "Paid": AttributeType.BOOL,
    "Due": AttributeType.DATETIME,
}
EXAMPLES = re.findall(r"^\| `([^`]*)` \| (none|[\d, ]+|error at .+) \|$", PAGE.read_text(), re.MULTILINE)


def run(number, written):
    """Return a run of the page."""
    times = {name: parse_datetime(written.pop(name)) for name in ("StartTime", "CloseTime", "Due") if name in written}
    status, workflow_id = written.pop("ExecutionStatus"), written.pop("WorkflowId")
    attributes = {name: tuple(value) if isinstance(value, list) else value for name, value in written.items()}
    if "Due" in times:
        attributes["Due"] = times["Due"]
    close = times.get("CloseTime")
    return VisibilityRecord(
        workflow_id=workflow_id,
        run_id=str(UUID(int=number)),
        workflow_type="ship",
        execution_status=status,
        task_queue="orders",
        start_time=times["StartTime"],
        execution_time=times["StartTime"],
        close_time=close,
        execution_duration=None if close is None else close - times["StartTime"],
        search_attributes=attributes,
    )


RUNS = {
    number: run(number, json.loads(line)) for number, line in enumerate(code_blocks(PAGE)[0].text.splitlines(), start=1)
}


@pytest.mark.parametrize(("text", "result"), EXAMPLES)
def test_an_example_gives_the_result_of_the_page(text, result):
    """The page is true."""
    assert answer(text) == result


def answer(text):
    """Return what the page must say about a filter."""
    try:
        parsed = parse_filter(text, TYPES)
    except InvalidQuery as error:
        return f"error at {error.position}: {str(error).split(': ', 1)[1]}"
    found = [number for number, each in RUNS.items() if matches(parsed.where, each.attributes())]
    if parsed.order_by:
        rank = ranking(parsed.order_by)
        found.sort(key=lambda number: rank(RUNS[number]))
    return ", ".join(map(str, found)) or "none"


def test_every_example_is_walked():
    """Each row of the tables of examples is found by the pattern of this test."""
    tables = re.findall(r"^\| filter \| finds \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    assert sum(table.count("\n") for table in tables) == len(EXAMPLES) > 60
