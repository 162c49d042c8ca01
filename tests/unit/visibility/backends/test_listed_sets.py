"""How a list that selects by the token set is divided into a walk and look-ups."""

from __future__ import annotations

import pytest

from strongroom.visibility.backends.postgres_lists import listed_set
from strongroom.visibility.backends.token_query import EVERYTHING, AnyOf, Bucket, Epoch, Not, all_of, any_of

CLOSED = Bucket("b1", 0, 9)
RANGE = AnyOf(frozenset(range(10, 40)), is_exclusive=True)
OF_CLOSED = AnyOf(frozenset(range(50, 90)), CLOSED, is_exclusive=True)
FEW = AnyOf(frozenset({1, 2}))
TYPE = AnyOf(frozenset({7}), column="h_type")


@pytest.mark.parametrize(
    ("query", "others", "needed"),
    [
        (RANGE, EVERYTHING, (RANGE.tokens,)),
        (all_of(TYPE, RANGE), TYPE, (RANGE.tokens,)),
        (all_of(RANGE, FEW, TYPE), all_of(FEW, TYPE), (FEW.tokens, RANGE.tokens)),
        (OF_CLOSED, CLOSED, (OF_CLOSED.tokens,)),
        (any_of(all_of(Epoch(1), FEW, RANGE), all_of(Epoch(2), RANGE)), EVERYTHING, (FEW.tokens | RANGE.tokens,)),
    ],
)
def test_each_document_has_a_needed_token_and_the_walk_keeps_all_other_conditions(query, others, needed):
    """The bucket that tokens imply is among the other conditions, so that a walk does not read all open runs first."""
    listed = listed_set(query)
    assert (listed.others, listed.needed) == (others, needed)


@pytest.mark.parametrize("query", [EVERYTHING, FEW, TYPE, Not(RANGE), all_of(TYPE, Not(RANGE)), any_of(TYPE, RANGE)])
def test_other_queries_are_left_to_the_planner(query):
    """They have few tokens, or a document of them may have none of the tokens."""
    assert listed_set(query) is None
