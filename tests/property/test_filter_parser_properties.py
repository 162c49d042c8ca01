import datetime as dt

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidQuery
from strongroom.visibility.filter.parser import parse_filter
from strongroom.visibility.filter.tree import (
    STATUS_NAMES,
    And,
    Attribute,
    Between,
    Compare,
    In,
    IsNull,
    ListFilter,
    Not,
    Or,
    StartsWith,
    attributes_of,
)
from tests.support.counts import examples

CUSTOM = {
    "Customer": AttributeType.KEYWORD,
    "order by": AttributeType.KEYWORD,
    "tick`ed": AttributeType.KEYWORD_LIST,
    "Notes": AttributeType.TEXT,
    "Count": AttributeType.INT,
    "Price": AttributeType.DOUBLE,
    "Paid": AttributeType.BOOL,
    "Due": AttributeType.DATETIME,
}
DIVISION = Attribute("TemporalNamespaceDivision", AttributeType.KEYWORD)
ATTRIBUTES = [
    *(Attribute(name, kind) for name, kind in CUSTOM.items()),
    DIVISION,
    Attribute("ExecutionStatus", AttributeType.KEYWORD),
    Attribute("ExecutionDuration", AttributeType.INT),
]
FRAGMENTS = (
    *(
        "Customer",
        "Count",
        "Price",
        "Paid",
        "Due",
        "`order by`",
        "Nothing",
        "WorkflowId",
        "ExecutionStatus",
        "'x'",
        "''",
    ),
    *(
        '"y"',
        "'Running'",
        "'2026-01-01T00:00:00Z'",
        "1",
        "-1.5",
        "1e999",
        "TRUE",
        "=",
        "!=",
        "<",
        "<=>",
        ">=",
        "IN",
        "NOT",
    ),
    *(
        "STARTS_WITH",
        "BETWEEN",
        "IS",
        "NULL",
        "AND",
        "OR",
        "||",
        "(",
        ")",
        ",",
        ";",
        "ORDER BY",
        "GROUP BY",
        "DESC",
        "LIKE",
    ),
    *("UNION", "--", "/*", "*/", "'", "`", "\\", "\n", "+", ":", "?", "\0", "\ud800", "é", "@", "$"),
)
SEEDS = (
    "WorkflowType = 'order' AND StartTime > '2026-01-01T00:00:00.5+01:00' ORDER BY StartTime DESC, RunId;",
    "Count BETWEEN -1 AND 2 OR NOT (Price IN (-1.5, 2) AND Paid != true) -- why",
    "`order by` NOT STARTS_WITH 'it''s' && ExecutionStatus IN ('Running', 3) GROUP BY ExecutionStatus",
    r"Notes = 'two \'words\'' || Due IS NOT NULL /* x */ AND ExecutionDuration >= '1h30m'",
)
int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\`-/*;"), max_size=6)
VALUES = {
    AttributeType.KEYWORD: text,
    AttributeType.KEYWORD_LIST: text,
    AttributeType.TEXT: text,
    AttributeType.INT: int64 | st.floats(allow_nan=False, allow_infinity=False),
    AttributeType.DOUBLE: int64 | st.floats(allow_nan=False, allow_infinity=False),
    AttributeType.BOOL: st.booleans(),
    AttributeType.DATETIME: int64,
}
SPECIAL = {"ExecutionStatus": st.sampled_from(STATUS_NAMES), "ExecutionDuration": int64}


@st.composite
def leaves(draw):
    attribute = draw(st.sampled_from(ATTRIBUTES))
    value = SPECIAL.get(attribute.name, VALUES[attribute.type])
    forms = [st.just(IsNull(attribute)), st.builds(Compare, st.just(attribute), st.just("="), value)]
    if attribute.type is not AttributeType.TEXT:
        forms.append(st.builds(In, st.just(attribute), st.lists(value, min_size=1, max_size=3).map(tuple)))
    if attribute.type not in (AttributeType.TEXT, AttributeType.KEYWORD_LIST):
        forms.append(st.builds(Compare, st.just(attribute), st.sampled_from(["<", "<=", ">", ">="]), value))
        if attribute.type is not AttributeType.BOOL:
            forms.append(st.builds(Between, st.just(attribute), value, value))
    if attribute.type is AttributeType.KEYWORD:
        forms.append(st.builds(StartsWith, st.just(attribute), value))
    return draw(st.one_of(forms))


def grown(trees):
    items = st.lists(trees, min_size=2, max_size=3).map(tuple)
    return trees | st.builds(Not, trees) | st.builds(And, items) | st.builds(Or, items)


trees = grown(grown(leaves()))


def literal(value, random):
    if isinstance(value, bool):
        return random.choice(["true", "FALSE" if not value else "TRUE", "True"]) if value else "False"
    if not isinstance(value, str):
        return repr(value)
    quote = random.choice("'\"")
    return quote + value.replace("\\", "\\\\").replace(quote, random.choice([quote * 2, "\\" + quote])) + quote


def rendered(node, random):
    """Write a tree as a filter, in one of the ways to write it."""
    match node:
        case And(items) | Or(items):
            word = random.choice([" AND ", "&&", " and "] if isinstance(node, And) else [" OR ", "||", " or "])
            return word.join(operand(node, item, random) for item in items)
        case Not(Compare(attribute, "=", value)) if random.random() < 0.5:
            return f"{name(attribute, random)} {random.choice(['!=', '<>'])} {literal(value, random)}"
        case Not(In() | StartsWith() | Between() | IsNull() as leaf) if random.random() < 0.5:
            return condition(leaf, random, "NOT ")
        case Not(item):
            return f"NOT {operand(node, item, random)}"
        case leaf:
            return condition(leaf, random, "")


def operand(parent, item, random):
    """Write an item of a combination, in parentheses where it needs them and sometimes where it does not."""
    needed = isinstance(item, Or) or (isinstance(item, And) and not isinstance(parent, Or))
    return f"({rendered(item, random)})" if needed or random.random() < 0.3 else f" {rendered(item, random)} "


def condition(leaf, random, negation):
    column = name(leaf.attribute, random)
    match leaf:
        case Compare(_, operator, value):
            return f"{column}{operator}{literal(value, random)}"
        case In(_, values):
            return f"{column} {negation}IN({', '.join(literal(value, random) for value in values)})"
        case StartsWith(_, prefix):
            return f"{column} {negation}STARTS_WITH{literal(prefix, random)}"
        case Between(_, low, high):
            return f"{column} {negation}BETWEEN {literal(low, random)} AND {literal(high, random)}"
        case _:
            return f"{column} IS {negation}NULL"


def name(attribute, random):
    if attribute.name.isalpha() and random.random() < 0.5:
        return attribute.name
    return f"`{attribute.name.replace('`', '``')}`"


def survives(text):
    try:
        assert isinstance(parse_filter(text, CUSTOM), ListFilter)
    except InvalidQuery as error:
        assert error.position is None or 0 <= error.position <= len(text)  # noqa: PT017 - most texts are no filters


@settings(max_examples=examples(300), deadline=None)
@given(trees, st.randoms(use_true_random=False))
def test_a_rendered_tree_parses_back(tree, random):
    """A filter means the tree it was written from, names, values and grouping, in whichever way it was written."""
    written = rendered(tree, random)
    assume(len(written.encode()) <= 4096)
    implicit = () if DIVISION.name in attributes_of(tree) else (IsNull(DIVISION),)
    assert parse_filter(written, CUSTOM).where == (And((tree, *implicit)) if implicit else tree)


@settings(max_examples=examples(500), deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_filter_or_an_invalid_query(text):
    """No text makes the parser raise anything but InvalidQuery."""
    survives(text)


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40), st.sampled_from([" ", ""]))
def test_any_heap_of_words_is_a_filter_or_an_invalid_query(words, blank):
    """Neither does any sequence of words and signs of the language."""
    survives(blank.join(words))


@settings(max_examples=examples(1000), deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 9), st.sampled_from(FRAGMENTS)), max_size=6),
)
def test_any_mutation_is_a_filter_or_an_invalid_query(seed, edits):
    """Nor does a legal filter with parts cut out and others put in."""
    parse_filter(seed, CUSTOM)
    for at, cut, fragment in edits:
        seed = seed[:at] + fragment + seed[at + cut :]
    survives(seed)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)),  # noqa: DTZ001 - the zone is drawn below
    st.integers(0, 999),
    st.integers(-1439, 1439),
)
def test_times_are_exact(moment, nanoseconds, minutes):
    """A time in any zone keeps each of its nine digits."""
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    written = moment.replace(tzinfo=zone).isoformat(timespec="microseconds")
    written = f"{written[:26]}{nanoseconds:03}{written[26:]}"
    elapsed = moment.replace(tzinfo=zone) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    expected = elapsed // dt.timedelta(microseconds=1) * 1000 + nanoseconds
    found = parse_filter(f"Due = '{written}'", CUSTOM).where
    assert found == And((Compare(Attribute("Due", AttributeType.DATETIME), "=", expected), IsNull(DIVISION)))
