"""Token queries are no deeper than their meaning needs, because Elasticsearch takes 30 nested queries at most."""

from __future__ import annotations

import pytest

from strongroom.visibility.backends.token_query import (
    EVERYTHING,
    NOTHING,
    All,
    AnyOf,
    Epoch,
    Not,
    Some,
    all_of,
    any_of,
    difference,
    none_of,
)

LEAVES = [Epoch(number) for number in range(100)]


@pytest.mark.parametrize(("combine", "kind"), [(all_of, All), (any_of, Some)])
def test_nested_conditions_of_one_kind_are_of_one_level(combine, kind):
    """`a AND (b AND (c AND ...))` is `a AND b AND c ...`, and likewise with OR."""
    query = LEAVES[-1]
    for leaf in reversed(LEAVES[:-1]):
        query = combine(leaf, query)
    assert query == kind(tuple(LEAVES))


def test_conditions_of_the_other_kind_stay_together():
    """OR within AND is not spread out, and neither is an AND that is negated."""
    a, b, c = LEAVES[:3]
    assert all_of(a, any_of(b, c)) == All((a, Some((b, c))))
    assert any_of(a, all_of(b, c)) == Some((a, All((b, c))))
    assert all_of(a, none_of(all_of(b, c))) == All((a, Not(All((b, c)))))
    assert all_of(all_of(a, EVERYTHING), NOTHING) == NOTHING
    assert any_of(any_of(a, NOTHING), EVERYTHING) == EVERYTHING
    assert all_of(EVERYTHING, all_of()) == EVERYTHING
    assert any_of(NOTHING, any_of()) == NOTHING


def test_a_difference_negates_only_what_the_queries_do_not_share():
    """The condition of two sides may itself have several parts next to the conditions that both have."""
    shared, a, b, c = LEAVES[:4]
    assert difference(all_of(shared, a), all_of(shared, all_of(b, c))) == All((shared, a, Not(All((b, c)))))
    assert difference(shared, all_of(shared, a)) == All((shared, Not(a)))
    assert difference(all_of(shared, a), shared) == NOTHING
    wide, narrow = (AnyOf(frozenset(tokens), is_exclusive=True) for tokens in ((1, 2), (1,)))
    assert difference(all_of(shared, wide), all_of(shared, narrow)) == All(
        (shared, AnyOf(frozenset((2,)), is_exclusive=True))
    )


def test_two_negations_differ_in_what_they_negate():
    """A count of NOT a range opens the documents of the range's ends. Two negations would compare every document with all tokens."""
    shared, *_ = LEAVES
    wide, narrow = (AnyOf(frozenset(tokens), is_exclusive=True) for tokens in ((1, 2), (1,)))
    ends = AnyOf(frozenset((2,)), is_exclusive=True)
    assert difference(Not(narrow), Not(wide)) == ends
    assert difference(all_of(shared, Not(narrow)), all_of(shared, Not(wide))) == All((shared, ends))
