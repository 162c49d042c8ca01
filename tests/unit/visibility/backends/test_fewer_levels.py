"""Filters of any depth have token queries of few levels, with the same meaning."""

from __future__ import annotations

import random

import pytest

from strongroom.visibility.backends.token_query import All, AnyOf, Not, Some, all_of, any_of, none_of
from strongroom.visibility.search.approximation import Approximation, exact
from strongroom.visibility.search.nesting import MOST_LEVELS, levels, shallow


class Document:
    """A document with some tokens."""

    def __init__(self, tokens):
        self.tokens = frozenset(tokens)


def holds(query, document):
    """Return whether a document satisfies a query."""
    match query:
        case AnyOf(tokens):
            return not tokens.isdisjoint(document.tokens)
        case All(items):
            return all(holds(item, document) for item in items)
        case Some(items):
            return any(holds(item, document) for item in items)
        case Not(item):
            return not holds(item, document)
    raise AssertionError(query)


def leaf(rng):
    """Return a condition on one of 40 tokens."""
    return AnyOf(frozenset((rng.randrange(40),)))


def alternating(rng, depth, *, negated=False):
    """Return ANDs and ORs that alternate, `depth` levels deep."""
    query = leaf(rng)
    for level in range(depth):
        query = (all_of, any_of)[level % 2](leaf(rng), query)
        if negated and rng.random() < 0.3:
            query = none_of(query)
    return query


def bushy(rng, depth):
    """Return a tree with several deep branches."""
    query = alternating(rng, depth // 2)
    for level in range(depth // 2):
        side = alternating(rng, rng.randrange(depth // 2)) if rng.random() < 0.2 else leaf(rng)
        query = (all_of, any_of)[level % 2](side, query)
    return query


@pytest.mark.parametrize(
    "made",
    [
        lambda rng: alternating(rng, 100),
        lambda rng: alternating(rng, 100, negated=True),
        lambda rng: any_of(*(alternating(rng, 99) for _ in range(5))),
    ],
    ids=["alternating", "with NOT", "five of them"],
)
def test_a_query_of_depth_100_is_rewritten_without_loss(made):
    """It has few levels, is true of the same documents, and is still decided by the index alone."""
    rng = random.Random(7)  # noqa: S311 - repeatable
    for _ in range(10):
        query = made(rng)
        assert levels(query) > MOST_LEVELS
        found = shallow(exact(query))
        assert found.exact
        assert levels(found.sure) <= MOST_LEVELS
        assert clauses(found.sure) < 12 * clauses(query)
        for number in range(300):
            document = Document(rng.sample(range(40), number % 40))
            assert holds(found.sure, document) is holds(query, document)


def test_a_query_that_can_not_be_rewritten_keeps_the_promise_of_two_sides():
    """Where too many branches are deep, the sides differ, and opened documents decide."""
    rng = random.Random(8)  # noqa: S311 - repeatable
    for most in (4, 8, MOST_LEVELS):
        for _ in range(10):
            query = bushy(rng, 60)
            found = shallow(exact(query), most)
            assert max(levels(found.sure), levels(found.possible)) <= most
            for number in range(200):
                document = Document(rng.sample(range(40), number % 40))
                assert holds(found.sure, document) <= holds(query, document) <= holds(found.possible, document)


def test_a_query_of_few_levels_stays_as_it_is():
    """Usual filters are not rewritten."""
    rng = random.Random(9)  # noqa: S311 - repeatable
    sides = Approximation(alternating(rng, 5), alternating(rng, 10))
    assert shallow(sides) is sides


def clauses(query):
    """Return the number of conditions of a query."""
    match query:
        case All(items) | Some(items):
            return sum(map(clauses, items))
        case Not(item):
            return clauses(item)
    return 1
