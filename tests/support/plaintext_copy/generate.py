"""Seeded random documents and filters of all types, from small pools so that filters match; and Hypothesis strategies."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import strategies

from .attributes import DIVISION
from .mapping import rfc3339
from .typed import STATUSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .attributes import Attribute, Attributes

    Document = dict[str, Any]

NAMESPACE = "0d8e1b52-3f0a-4f6e-9b1c-6f1d2c3b4a59"
CUSTOM: Mapping[str, str] = {
    "Customer": "Keyword",
    "Größe": "Keyword",
    "TemporalLowCardinalityKeyword01": "Keyword",
    "Labels": "KeywordList",
    "Notes": "Text",
    "Pieces": "Int",
    "Balance": "Int",
    "Price": "Double",
    "Paid": "Bool",
    "Due": "Datetime",
}
"""Custom attributes, at least one of each type. Their names differ from the names of their fields."""

SECOND = 10**9
EPOCH = 1_795_000_000 * SECOND
TEXTS = (
    "",
    "a",
    "A",
    "ab",
    "abc",
    "abcd",
    "abcde",
    "abcdefgh",
    "abcdefghi",
    "ä",
    "a\u0308",
    "äb",
    "日本語",
    "日本",
    "o'hara",
    "'quoted'",
    'say "so"',
    "back\\slash",
    "100%_",
    "line\nbreak\ttab",
    "\N{GRINNING FACE}",
    "\uffff",
    "z",
    "order/web/00001",
    "order/web/00002",
    "order/app/00001",
    "order/web/00001/child/of/the/very/long/kind",
)
SENTENCES = (
    "",
    "...",
    "a",
    "leave with neighbour, please",
    "Leave At The DOOR",
    "zwei Wörter, zwei WÖRTER",
    "don't stop at door 12",
    "o'clock 1.5 1,5 a.b x_y",
    "日本 語 テキスト ひら",
    "version 1.2.3 of v1.2.3",
    "\N{GRINNING FACE} done",
    "x" * 300,
)
QUESTIONS = (
    *SENTENCES,
    "door",
    "NEIGHBOUR nobody",
    "wörter",
    "dont",
    "12",
    "1.5",
    "a.b",
    "日",
    "テ",
    "x" * 255,
    "nobody",
    "!?",
)
WHOLE = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 100, 1000, 4095, 4096, 65_536, 2**31, 2**40)
WIDE = (
    *WHOLE,
    *(-value for value in WHOLE[1:]),
    2**53 + 1,
    -(2**53) - 1,
    2**63 - 1,
    2**63 - 2,
    -(2**63),
    -(2**63) + 1,
)
DOUBLES = (
    0.0,
    0.5,
    1.0,
    1.2345,
    1.23456,
    -1.2345,
    -0.5,
    -1.0,
    -2.75,
    3.14159265358979,
    -2.71828182845905,
    1e-9,
    -1e-9,
    99.99,
    -99.99,
    123_456.789,
    1e12,
    -1e12,
    9e14,
    -9e14,
)
TYPES = ("Order", "Refund", "refund", "a", "Größe")
QUEUES = ("orders", "orders-slow", "")
SIZES = ("S", "M", "L")
COLOURS = ("red", "green", "blue")
BUILDS = ("v1", "v2", "unversioned")
DIVISIONS = ("TemporalScheduler", "TemporalBatcher")
EDGES = (
    1.00005,
    -1.00005,
    0.00005,
    1.0000499999,
    8.12345,
    1234.56785,
    2.00015,
    -0.00015,
    1e18,
    -1e18,
    1e300,
    -1e300,
    2.0**53,
    803295312224062.2,
)
"""Doubles that Elasticsearch rounds in one way for a document and in another for a query, or that exceed its 64 bits."""


def random_documents(random: Random, amount: int, *, edges: bool = False) -> list[Document]:
    """Return documents of as many runs, with the attributes of `CUSTOM`.

    Args:
        random: The source of random numbers.
        amount: The number of documents.
        edges: Whether to use Doubles of `EDGES` too.
    """
    return [_document(random, edges=edges) for _ in range(amount)]


def random_time(random: Random) -> int:
    """Return a time near the others: whole seconds, their neighbours, and nanoseconds between."""
    whole = EPOCH + random.randrange(20) * SECOND
    return whole + random.choice((0, 0, 0, 1, SECOND - 1, SECOND // 2, 120_000_000, random.randrange(SECOND)))


def _document(random: Random, *, edges: bool) -> Document:
    start, run_id = random_time(random), str(UUID(int=random.getrandbits(128), version=4))
    workflow_id = random.choice([text for text in TEXTS if text])
    document: Document = {
        "WorkflowId": workflow_id,
        "RunId": run_id,
        "WorkflowType": random.choice(TYPES),
        "ExecutionStatus": "Running",
        "TaskQueue": random.choice(QUEUES),
        "StartTime": start,
        "ExecutionTime": start + random.choice((0, 0, 1, SECOND)),
        "RootWorkflowId": random.choice((workflow_id, random.choice(TEXTS))),
        "RootRunId": random.choice((run_id, str(UUID(int=random.getrandbits(2))))),
    }
    if random.random() < 0.2:
        del document["RootWorkflowId"], document["RootRunId"]
    if random.random() < 0.7:
        document |= {
            "ExecutionStatus": random.choice(STATUSES[1:-1]),
            "CloseTime": start + random.choice((0, 1, SECOND, 5 * SECOND + 1, 3600 * SECOND)),
            "HistoryLength": random.choice(WHOLE),
            "HistorySizeBytes": random.choice(WHOLE),
            "StateTransitionCount": random.choice(WHOLE),
        }
        document["ExecutionDuration"] = document["CloseTime"] - start
    elif random.random() < 0.2:
        document["ExecutionStatus"] = "Paused"
    if random.random() < 0.3:
        document |= {"ParentWorkflowId": random.choice(TEXTS), "ParentRunId": str(UUID(int=random.getrandbits(2)))}
    doubles = (*DOUBLES, *EDGES) if edges else DOUBLES
    optional = {
        "Customer": lambda: random.choice(TEXTS),
        "Größe": lambda: random.choice(SIZES),
        "TemporalLowCardinalityKeyword01": lambda: random.choice(COLOURS),
        "Labels": lambda: [random.choice(TEXTS[:9]) for _ in range(random.randrange(4))],
        "Notes": lambda: random.choice(SENTENCES),
        "Pieces": lambda: random.choice(WHOLE),
        "Balance": lambda: random.choice(WIDE),
        "Price": lambda: random.choice(doubles),
        "Paid": lambda: random.random() < 0.5,
        "Due": lambda: random_time(random),
        "BuildIds": lambda: random.sample(BUILDS, random.randrange(1, 3)),
        "TemporalScheduledStartTime": lambda: random_time(random),
        "TemporalSchedulePaused": lambda: random.random() < 0.5,
        "BatcherUser": lambda: random.choice(TEXTS),
    }
    document |= {name: value() for name, value in optional.items() if random.random() < 0.6}
    if random.random() < 0.1:
        document["TemporalNamespaceDivision"] = random.choice(DIVISIONS)
    return {name: value for name, value in document.items() if value != []}


def random_filter(
    random: Random, attributes: Attributes, *, depth: int = 3, order_by: float = 0.0, edges: bool = False
) -> str:
    """Return a filter that is valid, in a random spelling.

    Args:
        random: The source of random numbers.
        attributes: The attributes that the filter may name. Values of `CUSTOM` and the built-in ones fit `random_documents`.
        depth: Maximum nesting of conditions.
        order_by: The probability of an ORDER BY.
        edges: Whether to ask for Doubles of `EDGES` too, and to sort by the division.
    """
    where = "" if random.random() < 0.03 else _node(random, attributes, depth, edges=edges)
    if random.random() < order_by:
        # ORDER BY the division names it, so the implicit condition is not added. This is for edges only.
        sortable = [each for each in attributes if each.kind != "Text" and (edges or each.field != DIVISION)]
        keys = [
            f"{_name(random, attribute)}{_case(random, random.choice(('', ' asc', ' desc')))}"
            for attribute in random.sample(sortable, random.randrange(1, 4))
        ]
        where += _case(random, " order by ") + ", ".join(keys)
    return where and where + random.choice(("", "", "", ";", " ", " -- done", " # done", " // done"))


def random_condition(random: Random, attribute: Attribute, *, edges: bool = False) -> str:
    """Return one condition on an attribute."""
    name = _name(random, attribute)
    if random.random() < 0.1:
        return f"{name} {_case(random, random.choice(('is null', 'is not null')))}"

    def value() -> str:
        return _literal(random, attribute, edges=edges)

    ordered = ("=", "!=", "<>", "<", "<=", ">", ">=", "in", "in", "between", "between")
    operators = {
        "Keyword": (*ordered, "starts_with", "starts_with", "starts_with"),
        "KeywordList": ("=", "!=", "in"),
        "Text": ("=", "!="),
        "Bool": ordered[:-2],
    }.get(attribute.kind, ordered)
    if attribute.field == "ExecutionStatus":
        operators = ordered
    operator = random.choice(operators)
    word = _case(random, operator if operator[0] not in "isb" or random.random() < 0.75 else f"not {operator}")
    match operator:
        case "in":
            return f"{name} {word} ({', '.join(value() for _ in range(random.randrange(1, 5)))})"
        case "between":
            return f"{name} {word} {value()} {_case(random, 'and')} {value()}"
        case "starts_with":
            text = random.choice(TEXTS)
            return f"{name} {word} {quoted(random, text[: random.randrange(len(text) + 1)])}"
    blank = random.choice(("", " "))
    return f"{name}{blank}{word}{blank}{value()}"


def _node(random: Random, attributes: Attributes, depth: int, *, edges: bool) -> str:
    chance = random.random()
    if depth == 0 or chance < 0.25:
        return random_condition(random, random.choice(_weighted(attributes)), edges=edges)
    if chance < 0.4:
        inner = _node(random, attributes, depth - 1, edges=edges)
        return f"{_case(random, 'not')} ({inner})" if random.random() < 0.7 else f"{_case(random, 'not')} {inner}"
    parts = [_node(random, attributes, depth - 1, edges=edges) for _ in range(random.randrange(2, 4))]
    joined = f" {random.choice((_case(random, 'and'), _case(random, 'or'), 'AND', 'OR', '&&', '||'))} ".join(parts)
    return f"({joined})" if random.random() < 0.7 else joined


def _weighted(attributes: Attributes) -> Sequence[Attribute]:
    """Return attributes, with repeats as weights. System attributes that documents rarely have occur once only."""
    found = list(attributes)
    rare = ("Temporal", "Batcher", "Binary")
    often = [attribute for attribute in found if not attribute.field.startswith(rare)]
    return [*found, *often, *often, *often, attributes["TemporalNamespaceDivision"]]


def _name(random: Random, attribute: Attribute) -> str:
    name = attribute.name
    if name == "WorkflowId" and random.random() < 0.05:
        name = random.choice(("ScheduleId", "TemporalScheduleId"))
    elif attribute.field == name and name.startswith("Temporal") and random.random() < 0.2:
        name = name.removeprefix("Temporal")
    return f"`{name}`" if not name.isascii() or random.random() < 0.1 else name


def _case(random: Random, word: str) -> str:
    return random.choice((word, word.upper(), word.upper(), word.title()))


def quoted(random: Random, text: str) -> str:
    """Return a text as a literal of the language, in one of its spellings."""
    quote = random.choice("'''\"")
    text = text.replace("\\", "\\\\")
    if random.random() < 0.3:
        text = text.replace("\n", "\\n").replace("\t", "\\t")
    return quote + text.replace(quote, random.choice((quote * 2, "\\" + quote))) + quote


def time_literal(random: Random, time: int) -> str:
    """Return a time as a literal: in UTC or another zone, with any precision that can express it, or as an integer."""
    form = random.random()
    if form < 0.15:
        return str(time)
    if form < 0.3:
        hours = random.choice((-11, -1, 2, 5))
        local = rfc3339(time + hours * 3600 * SECOND).removesuffix("Z")
        return f"'{local}{'-' if hours < 0 else '+'}{abs(hours):02}:00'"
    return f"'{rfc3339(time, digits=form < 0.5)}'"


_ASKED: Mapping[str, Sequence[str]] = {
    "ExecutionStatus": STATUSES,
    "WorkflowType": (*TYPES, "none"),
    "TaskQueue": (*QUEUES, "none"),
    "Größe": (*SIZES, "XL"),
    "TemporalLowCardinalityKeyword01": (*COLOURS, "none"),
    "TemporalNamespaceDivision": (*DIVISIONS, "none"),
    "BuildIds": (*BUILDS, "none"),
    "Labels": TEXTS[:9],
}
_DURATIONS = "0 1 -1 1000000000 '1ns' '1s' '1000000000' '00:00:05' '1h' '60m' '0.5h30m' '-1s' '1d'".split()


def _literal(random: Random, attribute: Attribute, *, edges: bool) -> str:
    if attribute.field == "ExecutionStatus" and random.random() < 0.3:
        return random.choice((str(random.randrange(len(STATUSES) + 1)), "'Unspecified'"))
    if attribute.field == "ExecutionDuration":
        return random.choice(_DURATIONS)
    match attribute.kind:
        case "Keyword" | "KeywordList":
            return quoted(random, random.choice(_ASKED.get(attribute.name, TEXTS)))
        case "Text":
            return quoted(random, random.choice(QUESTIONS))
        case "Bool":
            return _case(random, random.choice(("true", "false")))
        case "Datetime":
            return time_literal(random, random_time(random))
        case "Int":
            return str(random.choice((*WIDE, 0.5, 1.5, -1.5, 2.0, 16.0)))
    return repr(random.choice((*DOUBLES, *(EDGES if edges else ()), 1, -1, 100, 2**40)))


def randoms() -> strategies.SearchStrategy[Random]:
    """Hypothesis: seeded random generators for the functions here. A failure names the seed."""
    return strategies.integers(0, 2**32).map(Random)


def documents(amount: int = 30) -> strategies.SearchStrategy[list[Document]]:
    """Hypothesis: lists of documents."""
    return randoms().map(lambda random: random_documents(random, amount))


def filters(attributes: Attributes, *, order_by: float = 0.0) -> strategies.SearchStrategy[str]:
    """Hypothesis: valid filters."""
    return randoms().map(lambda random: random_filter(random, attributes, order_by=order_by))
