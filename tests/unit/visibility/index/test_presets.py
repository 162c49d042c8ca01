"""What the index holds in each preset, and what a thief can learn from it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from strongroom.storage import DataLoss, InvalidPersistenceRequest
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.fields import BUILT_IN, CUSTOM_FIELDS, HASHED, SEALED
from strongroom.visibility.index.document_tokens import tokens_of
from strongroom.visibility.index.layout import SALTS, Layout, new_layout, parse_layout
from strongroom.visibility.index.tokens import Tokenizer
from tests.support.index_keys import index_keys

MIX = {
    "Completed": 0.90,
    "Failed": 0.05,
    "Canceled": 0.02,
    "Terminated": 0.01,
    "ContinuedAsNew": 0.01,
    "TimedOut": 0.005,
    "Paused": 0.005,
}
"""Shares of the statuses, which the thief knows."""
RUNS = 40_000
TYPES = {"ExecutionStatus": AttributeType.KEYWORD, "RunId": AttributeType.KEYWORD}


def tokenizer(layout):
    """Return the tokenizer of an epoch with a layout."""
    return Tokenizer(index_keys(layout), epoch=1)


def all_of(maker, attributes, types):
    """Return all tokens of a document, from the token set and the columns."""
    ((token_set, hashes),) = tokens_of(maker, [attributes], types)
    return {*token_set, *hashes} - {None}


def stolen(layout):
    """Return the status of each run, and its token of ExecutionStatus. The thief knows which tokens these are."""
    rng = random.Random(1)  # noqa: S311 - repeatable
    statuses = rng.choices(list(MIX), weights=MIX.values(), k=RUNS)
    maker = tokenizer(layout)

    def tokens(**attributes):
        return all_of(maker, attributes, TYPES)

    present = set.intersection(*(tokens(ExecutionStatus=status, RunId="0") for status in MIX))
    return statuses, [
        (tokens(ExecutionStatus=status, RunId=str(number)) - tokens(RunId=str(number)) - present).pop()
        for number, status in enumerate(statuses)
    ]


def recovered(layout):
    """Guess the status of each run from the frequency of its token; return the share of right guesses, averaged over statuses.

    The thief knows the shares and the number of tokens of each status. They assign the most frequent tokens to the status whose
    tokens should be the most frequent, which is the most likely assignment.
    """
    statuses, tokens = stolen(layout)
    salts = {status: layout.salts.get(status, 1) for status in MIX}
    expected = sorted(MIX, key=lambda status: -MIX[status] / salts[status])
    slots = [status for status in expected for _ in range(salts[status])]
    guess = dict(zip((token for token, _ in Counter(tokens).most_common()), slots, strict=False))
    right = Counter(status for status, token in zip(statuses, tokens, strict=True) if guess.get(token) == status)
    return sum(right[status] / count for status, count in Counter(statuses).items()) / len(MIX)


def test_salts_hide_statuses_from_a_frequency_analysis():
    """Without salts, a thief who knows the shares guesses most statuses. With salts, they do no better than by chance."""
    chance = 1 / len(MIX)
    assert recovered(Layout()) > 0.7
    salted = new_layout("strict", {status: round(share * 10_000) for status, share in MIX.items()})
    assert sum(salted.salts.values()) >= SALTS * 0.98
    assert recovered(salted) < chance + 0.1


def test_salts_follow_the_shares_of_the_namespace():
    """A namespace with enough runs gets salts by its own shares; one with few runs gets the usual salts."""
    assert dict(new_layout("strict", {"Completed": 500, "Failed": 500}).salts) == {"Completed": 100, "Failed": 100}
    assert new_layout("strict", {"Failed": 5}) == new_layout("strict")


def test_a_run_keeps_its_salt():
    """Writing a run again gives the same token, so it reveals nothing. A query asks for that token."""
    maker = tokenizer(new_layout("strict"))
    asked = maker.query("ExecutionStatus", maker.equality("ExecutionStatus", AttributeType.KEYWORD, "Completed"))
    assert len(asked) == 180
    for number in range(300):
        document = {"ExecutionStatus": "Completed", "RunId": f"run-{number}"}
        first, again = tokens_of(maker, [document, document], TYPES)
        assert first == again
        assert len(asked.intersection(first[0])) == 1


@pytest.mark.parametrize("kind", AttributeType)
def test_strict_reveals_nothing_of_a_sealed_attribute(kind):
    """A sealed custom attribute has no token at all; with `compatible` it has some."""
    values = {
        AttributeType.BOOL: True,
        AttributeType.INT: 5,
        AttributeType.DOUBLE: 1.5,
        AttributeType.DATETIME: 10**18,
        AttributeType.KEYWORD_LIST: ("a", "b"),
    }
    document = {"Own": values.get(kind, "text")}
    assert all_of(tokenizer(Layout()), document, {"Own": kind})
    sealed = CUSTOM_FIELDS[kind].strict is SEALED
    assert bool(all_of(tokenizer(new_layout("strict")), document, {"Own": kind})) is not sealed


def test_strict_never_reveals_more():
    """For no attribute does `strict` hold a kind of token that `compatible` does not hold."""
    for name, field in BUILT_IN.items():
        strict = field.strict or field.compatible
        shown = ("present", "equality", "prefixes", "ranges", "words", "bucket")
        assert all(getattr(strict, each) in (None, False, (), getattr(field.compatible, each)) for each in shown), name


def test_only_compatible_has_tokens_in_columns():
    """`compatible` stores the equality tokens of some attributes in columns; `strict` has one token set."""
    types = {name: field.type for name, field in BUILT_IN.items()}
    document = dict.fromkeys(HASHED, "Completed") | {"RunId": "r"}
    ((token_set, hashes),) = tokens_of(tokenizer(Layout()), [document], types)
    assert None not in hashes
    assert set(token_set).isdisjoint(hashes)
    ((_, hashes),) = tokens_of(tokenizer(new_layout("strict")), [document], types)
    assert set(hashes) == {None}


@pytest.mark.parametrize("statuses", [None, {}, {"Completed": 10}, {"Completed": 900, "Failed": 100, "Running": 1}])
@pytest.mark.parametrize("preset", ["compatible", "strict"])
def test_a_layout_is_parsed_from_its_text(preset, statuses):
    """Parsing the text of a layout returns an equal layout."""
    layout = new_layout(preset, statuses)
    assert parse_layout(str(layout)) == layout


def test_the_text_of_a_layout_never_changes():
    """The registry stores this text, and the commitment of the key covers it."""
    assert str(Layout()) == "compatible 2"
    assert str(Layout("strict", {"Failed": 4, "Completed": 180})) == "strict 2 Completed=180 Failed=4"


def test_values_that_others_imply_have_no_tokens_of_their_own():
    """A prefix that is the whole value, and an execution time that is the start time, add no tokens."""
    types = {name: field.type for name, field in BUILT_IN.items()}
    document = {"WorkflowId": "12345678", "StartTime": 5, "ExecutionTime": 5}
    assert len(all_of(tokenizer(Layout()), document, types)) == 2 + 1, "the value, its prefix of 4, and the equal times"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "open",
        "strict",
        "strict Failed=4",
        "strict Completed",
        "strict Completed=",
        "strict Other=3",
        " ",
        "strict  Failed=2",
        "compatible",
        "compatible 1",
        "compatible 3",
        "compatible 2 Failed=3",
        "strict 3",
        "strict 2 2",
        "2",
    ],
)
def test_an_unknown_layout_is_refused(text):
    """A layout of another version is an error and is never guessed."""
    with pytest.raises(DataLoss):
        parse_layout(text)
    with pytest.raises(InvalidPersistenceRequest):
        new_layout("open")
