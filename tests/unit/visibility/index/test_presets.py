"""What the index holds in each preset, and what a thief can learn from it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from strongroom.storage import DataLoss, InvalidPersistenceRequest
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.fields import BUILT_IN, CUSTOM_FIELDS, HASHED, SEALED
from strongroom.visibility.index.document_tokens import tokens_of
from strongroom.visibility.index.layout import SALTS, Layout, new_layout, newest_layout, parse_layout
from strongroom.visibility.index.tokens import TREES, Tokenizer, first_group_token, last_group_token
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

    def token(status, run_id):
        found = all_of(maker, {"ExecutionStatus": status, "RunId": run_id}, TYPES)
        return (
            found & maker.query("ExecutionStatus", maker.equality("ExecutionStatus", TYPES["ExecutionStatus"], status))
        ).pop()

    return statuses, [token(status, str(number)) for number, status in enumerate(statuses)]


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
    run, types = {"RunId": "r"}, {"Own": kind, "RunId": AttributeType.KEYWORD}
    document = run | {"Own": values.get(kind, "text")}
    assert all_of(tokenizer(Layout()), document, types) > all_of(tokenizer(Layout()), run, types)
    assert CUSTOM_FIELDS[kind].strict is SEALED
    strict = tokenizer(new_layout("strict"))
    assert all_of(strict, document, types) == all_of(strict, run, types)


def test_strict_documents_have_the_same_number_of_tokens():
    """A run with a parent and a run without one, with or without attributes, have eight tokens; without fillers they differ."""
    types = {name: field.type for name, field in BUILT_IN.items()} | {"Own": AttributeType.KEYWORD}
    root = {"WorkflowId": "w", "RunId": "r", "ExecutionStatus": "Completed", "RootWorkflowId": "w", "RootRunId": "r"}
    child = root | {"ParentWorkflowId": "p", "ParentRunId": "q", "RootWorkflowId": "p", "RootRunId": "q", "Own": "x"}
    strict, compatible = tokenizer(new_layout("strict")), tokenizer(Layout())
    assert [len(all_of(strict, each, types)) for each in (root, child)] == [8, 8]
    assert len(all_of(compatible, root, types)) != len(all_of(compatible, child, types))


def test_an_id_has_many_tokens_in_strict():
    """Runs of one workflow id rarely share a token, and a search asks for all tokens of the id."""
    strict = tokenizer(new_layout("strict"))
    asked = strict.query("WorkflowId", strict.equality("WorkflowId", AttributeType.KEYWORD, "w"))
    types = {"WorkflowId": AttributeType.KEYWORD, "RunId": AttributeType.KEYWORD}
    found = [all_of(strict, {"WorkflowId": "w", "RunId": str(number)}, types) & asked for number in range(40)]
    assert (len(asked), {len(each) for each in found}) == (256, {1})
    assert len(set().union(*found)) > 30


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


def test_an_attribute_of_group_by_has_one_group_token_with_compatible():
    """Its tag is that of its attribute, so that the index counts its values alone. `strict` has no group token."""
    tier, other = "TemporalLowCardinalityKeywordTier", "TemporalLowCardinalityKeywordOther"
    types = dict.fromkeys((tier, other, "Customer"), AttributeType.KEYWORD)
    maker = tokenizer(Layout())
    first = first_group_token(maker.key(tier))
    documents = [{tier: "a", other: "a", "Customer": "a"}, {tier: "b"}, {tier: "a"}]
    found = [
        {token for token in token_set if first <= token <= last_group_token(first)}
        for token_set, _ in tokens_of(maker, documents, types)
    ]
    assert list(map(len, found)) == [1, 1, 1]
    assert found[0] == found[2] != found[1]
    assert first_group_token(maker.key(other)) != first
    assert not new_layout("strict").has_group_tokens(tier, AttributeType.KEYWORD)


@pytest.mark.parametrize("statuses", [None, {}, {"Completed": 10}, {"Completed": 900, "Failed": 100, "Running": 1}])
@pytest.mark.parametrize("preset", ["compatible", "strict"])
def test_a_layout_is_parsed_from_its_text(preset, statuses):
    """Parsing the text of a layout returns an equal layout."""
    layout = new_layout(preset, statuses)
    assert parse_layout(str(layout)) == layout


def test_the_text_of_a_layout_never_changes():
    """The registry stores this text, and the commitment of the key covers it."""
    assert str(Layout()) == "compatible 4"
    layout = Layout("strict", {"Failed": 4, "Completed": 180}, 3600, 1024)
    assert str(layout) == "strict 4 bucket=3600 length=1024 Completed=180 Failed=4"
    chosen = replace(layout, prefixed=frozenset(("00000000000000bb", "00000000000000aa")))
    assert str(chosen) == f"{layout} prefixes=00000000000000aa,00000000000000bb"
    assert parse_layout(str(chosen)) == chosen


@pytest.mark.parametrize("text", ["compatible 3", "strict 3 bucket=3600 length=1024 Completed=180"])
def test_a_layout_of_version_0_1_0_is_read_and_renewed(text):
    """Namespaces keep the layout of their epoch. The next epoch has the newest version of the same layout."""
    layout = parse_layout(text)
    assert (layout.version, str(layout)) == (3, text)
    assert str(newest_layout(layout)) == text.replace(" 3", " 4", 1)
    chosen = f"{text} prefixes=00000000000000aa"
    assert str(parse_layout(chosen)) == chosen


@pytest.mark.parametrize(("version", "bits", "middle", "rank"), [(3, 4, 2**15, 2249), (4, 5, 2**19, 35_972)])
def test_the_numbers_of_a_layout_have_its_tree(version, bits, middle, rank):
    """FORMAT.md section 7.2: 205,000 is 1.564 * 2^17, so r is 1 + 17 * 128 + 72 in version 3, 1 + 17 * 2048 + 1155 in version 4."""
    profile = Layout(version=version).profile("HistoryLength", AttributeType.INT)
    nodes = [found for _, (found,) in TREES[profile.ranges].nodes([205_000])]
    assert nodes == [(middle + rank) >> (bits * level) for level in range(4)]
    assert Layout("strict", version=version).profile("HistoryLength", AttributeType.INT).ranges is None


def test_values_that_others_imply_have_no_tokens_of_their_own():
    """A prefix that is the whole value, and an execution time that is the start time, add no tokens."""
    types = {name: field.type for name, field in BUILT_IN.items()}
    document = {"WorkflowId": "12345678", "StartTime": 5, "ExecutionTime": 5}
    assert len(all_of(tokenizer(Layout()), document, types)) == 5 + 1, (
        "the value, four shorter prefixes, and the equal times"
    )


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
        "compatible 5",
        "compatible 04",
        "compatible 4 4",
        "compatible 3 Failed=3",
        "compatible 3 prefixes=",
        "compatible 3 prefixes=CustomerId",
        "compatible 3 prefixes=00000000000000aA",
        "compatible 3 prefixes=00000000000000bb,00000000000000aa",
        "strict 3 bucket=3600 length=1024 prefixes=00000000000000aa Failed=4",
        "strict 4",
        "strict 3",
        "strict 3 2",
        "strict 3 Completed=180",
        "strict 3 length=1024 bucket=3600",
        "strict 3 bucket=7 length=1024",
        "strict 3 bucket=3600 length=1",
        "strict 3 bucket=3600 length=1024 bucket=3600",
        "strict 3 bucket=3600 length=1024 Failed=4 Failed=4",
        "strict 3 bucket=3600 length=1024 Failed=04",
        "2",
    ],
)
def test_an_unknown_layout_is_refused(text):
    """A layout of another version is an error and is never guessed."""
    with pytest.raises(DataLoss):
        parse_layout(text)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("open", {}), ("compatible", {"bucket": "1h"}), ("strict", {"bucket": "2h"}), ("strict", {"length": "2KiB"})],
)
def test_an_unknown_parameter_is_refused(preset, parameters):
    """The error names the values that exist."""
    with pytest.raises(InvalidPersistenceRequest, match=r"use one of|leave them out"):
        new_layout(preset, **parameters)
