"""Filters of any depth have token queries of few levels, with the same meaning."""

from __future__ import annotations

import random

import pytest

from strongroom.visibility import AttributeType, Layout
from strongroom.visibility.backends.token_query import All, AnyOf, Not, Some, all_of, any_of, none_of
from strongroom.visibility.filter.parser import parse_filter
from strongroom.visibility.search.approximation import Approximation, exact
from strongroom.visibility.search.compiler import compile_query
from strongroom.visibility.search.nesting import MOST_LEVELS, levels, shallow
from tests.support.index_keys import index_keys


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
    """Return a tree with several deep branches, which have deep branches themselves, and negated parts at all depths."""
    query = leaf(rng)
    for level in range(depth):
        side = bushy(rng, depth // 2) if rng.random() < 0.2 else leaf(rng)
        query = (all_of, any_of)[level % 2](side, query)
        if rng.random() < 0.2:
            query = none_of(query)
    return query


def chain(name, conditions):
    """Return a filter whose ORs and ANDs alternate, one in the other."""
    text = f"{name}='0'"
    for number in range(1, conditions):
        text = f"{name}='{number}' {('AND', 'OR')[number % 2]} ({text})"
    return text


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
    for most in (3, 4, 8, MOST_LEVELS):
        for _ in range(10):
            query = bushy(rng, 30)
            found = shallow(exact(query), most)
            assert max(levels(found.sure), levels(found.possible)) <= most
            for number in range(100):
                document = Document(rng.sample(range(40), number % 40))
                assert holds(found.sure, document) <= holds(query, document) <= holds(found.possible, document)


def test_a_negation_in_a_branch_of_a_branch_of_a_branch_is_compiled():
    """Each branch may have half as many levels as its path. A negated condition that may have one only is left to opened documents."""
    inner = f"(K != '0' AND (L='0' OR (L='1' AND L='2'))) OR ({chain('L', 6)})"
    text = f"((({inner}) AND ({chain('M', 11)})) OR ({chain('N', 20)}))"
    types = dict.fromkeys("KLMN", AttributeType.KEYWORD)
    found = compile_query(parse_filter(text, types).where, index_keys(Layout()))
    assert max(levels(found.sure), levels(found.possible)) <= MOST_LEVELS


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
