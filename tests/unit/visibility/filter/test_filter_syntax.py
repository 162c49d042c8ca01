import inspect
import pickle
import sys

import pytest

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidQuery, MalformedQuery, UnsupportedQuery
from strongroom.visibility.filter.parser import parse_filter

CUSTOM = {
    "Customer": AttributeType.KEYWORD,
    "Tags": AttributeType.KEYWORD_LIST,
    "Count": AttributeType.INT,
    "Paid": AttributeType.BOOL,
    "Due": AttributeType.DATETIME,
    "Order": AttributeType.KEYWORD,
}
SECRET = "tenant7secret"  # noqa: S105 - stands for what a tenant wrote


def failure(text):
    with pytest.raises(InvalidQuery) as caught:
        parse_filter(text, CUSTOM)
    return caught.value


UNSUPPORTED = [
    ("Customer LIKE 'x%'", 9, "LIKE"),
    ("Customer NOT LIKE 'x%'", 13, "LIKE"),
    ("Customer REGEXP 'x'", 9, "regular expression"),
    ("Customer not rlike 'x'", 13, "regular expression"),
    ("Customer <=> 'x'", 9, "<=>"),
    ("Paid IS TRUE", 8, "TRUE or FALSE"),
    ("Paid IS NOT FALSE", 12, "TRUE or FALSE"),
    ("true", 0, "TRUE or FALSE"),
    ("Count = 1 AND true", 14, "TRUE or FALSE"),
    ("Paid", 0, "alone"),
    ("(Paid)", 1, "alone"),
    ("NOT Paid", 4, "alone"),
    ("Paid AND Count = 1", 0, "alone"),
    ("Paid ORDER BY Count", 0, "alone"),
    ("now() = 1", 0, "functions"),
    ("Due > now()", 6, "functions"),
    ("Count = abs (1)", 8, "functions"),
    ("Count + 1 = 2", 6, "arithmetic"),
    ("Count = 2 * 3", 10, "arithmetic"),
    ("Count = 2-1", 9, "arithmetic"),
    ("Count = 2 DIV 1", 10, "arithmetic"),
    ("Count << 1", 6, "arithmetic"),
    ("~Count = 1", 0, "arithmetic"),
    ("!Count = 1", 0, "write NOT"),
    ("Count IN (SELECT 1)", 10, "sub-query"),
    ("EXISTS (SELECT 1)", 0, "sub-query"),
    ("CASE WHEN Paid THEN 1 END = 1", 5, "CASE"),
    ("Count = CASE 1 END", 8, "CASE"),
    ("Count = :count", 8, "bind"),
    ("Count = ?", 8, "bind"),
    ("Count = 1 LIMIT 5", 10, "LIMIT"),
    ("Count = 1 UNION SELECT * FROM t", 10, "UNION"),
    ("Count = 1 union all select 1", 10, "UNION"),
    ("Count = 1 HAVING Count > 1", 10, "HAVING"),
    ("Count = 1 FOR UPDATE", 10, "locking"),
]


@pytest.mark.parametrize(("text", "position", "word"), UNSUPPORTED)
def test_operations_of_sql_that_are_not_served(text, position, word):
    """What other dialects have, and what Temporal panics on or ignores, is refused by name, at its place."""
    error = failure(text)
    assert type(error) is UnsupportedQuery
    assert error.position == position
    assert word in str(error)


MALFORMED = [
    ("Customer = ('a','b')", 11, "use IN for several values"),
    ("Customer = NULL", 11, "IS NULL"),
    ("Customer = Tags", 11, "expected one value"),
    ("'x' = Customer", 0, "expected an attribute"),
    ("Customer IN ()", 13, "expected one value"),
    ("Customer IN ('a',)", 17, "expected one value"),
    ("Customer IN ('a'", 16, "expected ',' or ')'"),
    ("Customer IN 'a'", 12, "expected '('"),
    ("Customer == 'a'", 9, "expected an operator"),
    ("Customer = 'a' 'b'", 15, "expected AND, OR or the end"),
    ("Customer = 'open", 11, "never closed"),
    ("Customer = 'it''s", 11, "never closed"),
    ("`Customer = 'a'", 0, "never closed"),
    ("Count = 1 /* open", 10, "never closed"),
    ("Count = 1; Count = 2", 11, "expected the end"),
    ("Count = 1)", 9, "expected the end"),
    ("(Count = 1", 10, "expected ')'"),
    ("Count BETWEEN 1", 15, "expected AND"),
    ("Count BETWEEN 1 OR 2", 16, "expected AND"),
    ("Count = 1 AND", 13, "expected an attribute"),
    ("AND Count = 1", 0, "expected an attribute"),
    ("Count = 1 ORDER Count", 16, "expected BY"),
    ("ORDER BY Count GROUP BY ExecutionStatus", 15, "expected ',' or the end"),
    ("Order = 'x'", 6, "expected BY"),
    ("Count = 0x1F", 8, "expected one value"),
    ("Count = 12abc", 8, "expected one value"),
    ("Count = 1.2.3", 8, "expected one value"),
    ("Count = --1", 11, "expected one value"),
    ("a.b.c.d = 1", 5, "expected an operator"),
    ("Größe = 1", 2, "expected an operator"),
    ("Count\u00a0= 1", 5, "an invisible character (U+00A0)"),
    ("Count = 1 \u2014 x", 10, "expected AND"),
    ("Count = \ud800", 8, "surrogate"),
    ("Count = 1\0", 9, "an invisible character (U+0000)"),
]


@pytest.mark.parametrize(("text", "position", "words"), MALFORMED)
def test_what_is_no_list_filter(text, position, words):
    """A syntax error says where the filter stops making sense, and what would fit there."""
    error = failure(text)
    assert type(error) is MalformedQuery
    assert error.position == position
    assert words in str(error)
    assert f"malformed query at character {position}: " in str(error)


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET} = 1",
        f"`{SECRET}` = 1",
        f"Count = '{SECRET}'",
        f"Count = {SECRET}",
        f"Count = '{SECRET}",
        f"Count = 1 {SECRET}",
        f"Count = 1 /* {SECRET}",
        f"{SECRET}(1)",
        f"{SECRET}",
        f"Due = '{SECRET}'",
        f"ExecutionStatus IN ('{SECRET}')",
        f"ExecutionDuration = '{SECRET}'",
        f"ORDER BY {SECRET}",
        f"GROUP BY {SECRET}",
        f"Customer LIKE '{SECRET}'",
        f"\ud800{SECRET}",
        f"Customer = '{SECRET}' " * 200,
        f"Customer IN ('{SECRET}'" + ", ''" * 10_000 + ")",
    ],
)
def test_errors_quote_nothing_of_a_tenant(text):
    """No part of an error, nor the errors behind it, holds a literal or a name that the namespace does not know."""
    error = failure(text)
    assert SECRET not in f"{error!s}{error!r}{error.args}{vars(error)}{pickle.dumps(error)!r}"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_errors_can_be_pickled():
    """An error that crosses to another process keeps its class, its text and its position."""
    for text in ("Count = ", "Count LIKE 1", "Nothing = 1", "Count = 'x'", "Count = 1 " * 500):
        error = failure(text)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (type(again), str(again), again.position) == (type(error), str(error), error.position)


REPEATED = 4096
"""Bytes of a repeated unit: more frames than a parser that recurses would have."""


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "(",
            "NOT ",
            "((Count = 1) OR ",
            "Count IN (",
            "Count = 1 AND ",
            "'",
            '"',
            "`",
            "''",
            "\\",
            "'\\",
            "/*",
            "/* */",
            "--",
        ),
        *("- ", "1", "1.", ".1", "1e", "a", "@", "Count=", "Count,", "ORDER BY Count,", "1,", ";", ")", "<", "x(", " "),
    ],
)
def test_hostile_repetition_needs_no_stack(unit):
    """However a filter repeats itself, reading it neither recurses nor fails in an unforeseen way."""
    parse_filter("")  # the grammar is read once, and that may recurse
    whole = unit * (REPEATED // len(unit))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        for text in (whole, whole[: REPEATED - 12] + " Count = 1", whole[:2040] + "Count = 1" + ")" * 2040):
            try:
                parse_filter(text, CUSTOM)
            except InvalidQuery as error:
                assert error.position is None or 0 <= error.position <= len(text)  # noqa: PT017 - some are legal
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("text", "position", "code"),
    [
        ("\ufeffWorkflowId = 'a'", 0, "FEFF"),
        ("\ufeff", 0, "FEFF"),
        ("WorkflowId\ufeff = 'a'", 10, "FEFF"),
        ("WorkflowId = 'a'\ufeff", 16, "FEFF"),
        ("WorkflowId\u00a0= 'a'", 10, "00A0"),
        ("WorkflowId = \u200b'a'", 13, "200B"),
    ],
)
def test_an_invisible_character_is_named(text, position, code):
    """Temporal refuses a byte order mark too. A person can't see it, so the message has its code and place."""
    with pytest.raises(MalformedQuery, match=rf"invisible character \(U\+{code}\)") as refused:
        parse_filter(text)
    assert f"character {position}:" in str(refused.value)
    assert parse_filter("WorkflowId = '\ufeffa'").where
