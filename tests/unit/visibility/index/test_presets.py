"""What the index holds in each preset, and what a thief of the index makes of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

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
"""Shares of statuses that the thief knows."""
RUNS = 40_000
TYPES = {"ExecutionStatus": AttributeType.KEYWORD, "RunId": AttributeType.KEYWORD}


def tokenizer(layout):
    """Return a tokenizer of a namespace whose epoch has a layout."""
    return Tokenizer(index_keys(layout), epoch=1)


def all_of(maker, attributes, types):
    """Return all tokens of a document, wherever they stand."""
    ((bag, hashed),) = tokens_of(maker, [attributes], types)
    return {*bag, *hashed} - {None}


def stolen(layout):
    """Return the status of each run, and its token of ExecutionStatus, which the thief is told to be one."""
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
    """Guess each run's status from how often its token occurs; return the share of right guesses, averaged over the statuses.

    The thief knows the mix and how many tokens each status has, and gives the most frequent tokens to the status whose tokens
    should be the most frequent: the likeliest assignment.
    """
    statuses, tokens = stolen(layout)
    salts = {status: layout.salts.get(status, 1) for status in MIX}
    expected = sorted(MIX, key=lambda status: -MIX[status] / salts[status])
    slots = [status for status in expected for _ in range(salts[status])]
    guess = dict(zip((token for token, _ in Counter(tokens).most_common()), slots, strict=False))
    right = Counter(status for status, token in zip(statuses, tokens, strict=True) if guess.get(token) == status)
    return sum(right[status] / count for status, count in Counter(statuses).items()) / len(MIX)


def test_a_histogram_tells_unsalted_statuses_and_no_salted_ones():
    """Control: without salts the thief who knows the mix names most statuses. With them he does as well as by chance."""
    chance = 1 / len(MIX)
    assert recovered(Layout()) > 0.7
    salted = new_layout("strict", {status: round(share * 10_000) for status, share in MIX.items()})
    assert sum(salted.salts.values()) >= SALTS * 0.98
    assert recovered(salted) < chance + 0.1


def test_salts_follow_the_shares_at_hand():
    """A namespace that has runs gets salts of its own shares; one that has few gets the usual ones."""
    assert dict(new_layout("strict", {"Completed": 500, "Failed": 500}).salts) == {"Completed": 100, "Failed": 100}
    assert new_layout("strict", {"Failed": 5}) == new_layout("strict")


def test_a_run_keeps_its_salt():
    """Equal runs give equal tokens, so that writing one anew tells nothing; its token is among those that a query asks for."""
    maker = tokenizer(new_layout("strict"))
    asked = maker.query("ExecutionStatus", maker.equality("ExecutionStatus", AttributeType.KEYWORD, "Completed"))
    assert len(asked) == 180
    for number in range(300):
        document = {"ExecutionStatus": "Completed", "RunId": f"run-{number}"}
        first, again = tokens_of(maker, [document, document], TYPES)
        assert first == again
        assert len(asked.intersection(first[0])) == 1


@pytest.mark.parametrize("kind", AttributeType)
def test_strict_shows_nothing_of_what_it_seals(kind):
    """A custom attribute that is sealed leaves no token, not even that it is there; under `compatible` it does."""
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


def test_strict_never_shows_more():
    """Of no attribute does the preset `strict` hold a kind of token that `compatible` does not."""
    for name, field in BUILT_IN.items():
        strict = field.strict or field.compatible
        shown = ("present", "equality", "prefixes", "ranges", "words", "bucket")
        assert all(getattr(strict, each) in (None, False, (), getattr(field.compatible, each)) for each in shown), name


def test_columns_show_attributes_in_the_preset_that_says_so_alone():
    """Hashed columns hold the equality tokens of their attributes under `compatible`; `strict` and the first form have one bag."""
    types = {name: field.type for name, field in BUILT_IN.items()}
    document = dict.fromkeys(HASHED, "Completed") | {"RunId": "r"}
    ((bag, hashed),) = tokens_of(tokenizer(Layout()), [document], types)
    assert None not in hashed
    assert set(bag).isdisjoint(hashed)
    for layout in (Layout(form=1), new_layout("strict"), Layout("strict", form=1)):
        ((_, columns),) = tokens_of(tokenizer(layout), [document], types)
        assert columns == (None,) * len(hashed)


@pytest.mark.parametrize("statuses", [None, {}, {"Completed": 10}, {"Completed": 900, "Failed": 100, "Running": 1}])
@pytest.mark.parametrize("preset", ["compatible", "strict"])
def test_a_layout_is_read_as_it_was_written(preset, statuses):
    """Its text in the registry gives the same layout back."""
    layout = new_layout(preset, statuses)
    for form in (1, 2):
        one = replace(layout, form=form)
        assert parse_layout(str(one)) == one


def test_documents_of_the_first_form_stay_what_they_were():
    """Epochs from before have the layouts that stand in their registry, and the tokens that their documents were written with."""
    assert parse_layout("") == Layout(form=1)
    assert parse_layout("strict Failed=4") == Layout("strict", {"Failed": 4}, form=1)
    types = {name: field.type for name, field in BUILT_IN.items()}
    document = {"WorkflowId": "12345678", "StartTime": 5, "ExecutionTime": 5}
    first, now = (all_of(tokenizer(Layout(form=form)), document, types) for form in (1, 2))
    assert len(first) == 3 + 9, "the value, its prefixes of 4 and 8, and the nine ranges of a time"
    assert len(now) == 2 + 1, "the value, its prefix of 4, and that the times are the same"


@pytest.mark.parametrize(
    "text",
    [
        "open",
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
    """A layout of another version is an error, and no guess."""
    with pytest.raises(DataLoss):
        parse_layout(text)
    with pytest.raises(InvalidPersistenceRequest):
        new_layout("open")
