"""What `query --explain` says that a condition reveals."""

from __future__ import annotations

import pytest

from strongroom.visibility import AttributeType, Layout, new_layout, parse_filter
from strongroom.visibility.index.tokens import Tokenizer
from strongroom.visibility.search.explain import explain_conditions
from tests.support.index_keys import index_keys

TYPES = {"Customer": AttributeType.KEYWORD, "Pieces": AttributeType.INT}


@pytest.mark.parametrize(
    ("condition", "preset", "reveals"),
    [
        ("WorkflowId STARTS_WITH 'order'", "compatible", "which documents share the longest prefix that has a token"),
        ("WorkflowId STARTS_WITH 'orde'", "compatible", "which documents match, and that these tokens belong together"),
        ("WorkflowId STARTS_WITH 'order'", "strict", "nothing"),
        ("Customer STARTS_WITH 'order'", "compatible", "which documents have the attribute"),
        ("Customer > 'order'", "compatible", "which documents have the attribute"),
        ("Customer IS NOT NULL", "compatible", "which documents have the attribute"),
        ("Pieces IS NULL", "compatible", "which documents have the attribute"),
        ("Customer = 'x'", "compatible", "which documents match, and whether the same condition is searched again"),
    ],
)
def test_an_explanation_says_what_the_query_itself_reveals(condition, preset, reveals):
    """A prefix that has no token of its own is asked for by a shorter one. Other documents with that one are revealed too."""
    layout = Layout() if preset == "compatible" else new_layout(preset)
    where = parse_filter(condition, TYPES).where
    *_, found = (
        each
        for each in explain_conditions(where, Tokenizer(index_keys(layout), epoch=1))
        if each.attribute in condition
    )
    assert found.reveals == reveals
