import pytest

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidExpression
from strongroom.visibility.filter.tree import STATUS_NAMES, Attribute
from strongroom.visibility.filter.values import convert, number, unquote

HOUR = 3_600 * 10**9
LONGEST = 65_000
"""Digits of a literal. A filter has room for as many, and Python's `int` takes 4,300."""
TIME = Attribute("StartTime", AttributeType.DATETIME)
STATUS = Attribute("ExecutionStatus", AttributeType.KEYWORD)
DURATION = Attribute("ExecutionDuration", AttributeType.INT)


def refused(attribute, literal):
    with pytest.raises(InvalidExpression) as caught:
        convert(attribute, literal, 7)
    assert caught.value.position == 7
    assert caught.value.__context__ is None
    return True


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("''", ""),
        ("'plain'", "plain"),
        ("'ends'''", "ends'"),
        ("'''starts'", "'starts"),
        ("''''", "'"),
        ('""""', '"'),
        ("'a\"\"b'", 'a""b'),
        ("\"a''b\"", "a''b"),
        ('"a""b"', 'a"b'),
        (r"'it\'s'", "it's"),
        (r"'\\'", "\\"),
        (r"'\\''x'", "\\'x"),
        (r"'\0\b\n\r\t\Z'", "\0\b\n\r\t\x1a"),
        (r"'100\%\_\é'", "100%_é"),
        ("'\\\n'", "\n"),
        ("'İß😀'", "İß😀"),
    ],
)
def test_quotes_and_escapes(token, text):
    """A string literal keeps every character: quotes at its ends, doubled quotes and MySQL's escapes included."""
    assert unquote(token) == text


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("- 7", -7),
        ("007", 7),
        ("0" * LONGEST + "7", 7),
        ("-" + "0" * LONGEST + "7", -7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", 2**63),
        ("-9223372036854775809", -(2**63) - 1),
        ("1" + "0" * 300, 10**300),
        ("-1.5", -1.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-2.5E-1", -0.25),
    ],
)
def test_numbers(token, value):
    """Digits alone are an int, exactly, also beyond 64 bits. A sign fits an int and a float."""
    found = number(token)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("token", ["1e999", "-1e999", "9" * LONGEST])
def test_a_number_beyond_a_double_is_none(token):
    """No literal becomes infinity, and none trips Python's limit on the length of an int."""
    assert number(token) is None


@pytest.mark.parametrize(
    ("kind", "fitting", "unfitting"),
    [
        (AttributeType.KEYWORD, ["", "x"], [1, 1.5]),
        (AttributeType.KEYWORD_LIST, ["", "x"], [1, 1.5]),
        (AttributeType.TEXT, ["", "x"], [1, 1.5]),
        (AttributeType.INT, [1, 1.5, -(2**63)], ["1", True]),
        (AttributeType.DOUBLE, [1, 1.5, 2.0**70], ["1", False]),
        (AttributeType.BOOL, [True, False], [1, 0, 1.0, "true"]),
        (AttributeType.DATETIME, [0, -1], [1.0, True, "0", 2**63, -(2**63) - 1]),
    ],
)
def test_each_type_takes_its_own_literals(kind, fitting, unfitting):
    """A literal of another kind is refused, never coerced; True is no 1 and 1 is no True."""
    attribute = Attribute("Custom", kind)
    for literal in fitting:
        value = convert(attribute, literal, 0)
        assert value == literal
        assert type(value) is type(literal)
    assert all(refused(attribute, literal) for literal in unfitting)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2026-11-23T09:30:00.123456789Z", 1795426200123456789),
        ("2026-11-23T10:30:00.123456789+01:00", 1795426200123456789),
        ("2026-11-23T04:00:00.1-05:30", 1795426200100000000),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T23:59:00+23:59", 0),
        ("2024-02-29T00:00:00Z", 1709164800 * 10**9),
        ("0001-01-01T00:00:00+01:00", -62135600400 * 10**9),
        ("0000-01-01T00:00:00Z", -62167219200 * 10**9),
        ("2026-11-23T09:30:00.1234567899999Z", 1795426200123456789),
        ("2026-11-23T09:30:00,5Z", 1795426200500000000),
        ("2026-11-23T9:30:00Z", 1795426200 * 10**9),
        ("2026-11-24T09:30:00+24:00", 1795426200 * 10**9),
        ("2026-11-23T09:30:00+00:60", 1795422600 * 10**9),
        ("9999-12-31T23:59:59.999999999-01:00", 253402304399 * 10**9 + 999999999),
    ],
)
def test_times_keep_every_nanosecond(text, nanoseconds):
    """RFC 3339 with a zone becomes exact nanoseconds since the epoch, before it and in every zone too."""
    assert convert(TIME, text, 0) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1795426200123456789",
        "2026-11-23",
        "2026-11-23T09:30:00",
        "2026-11-23T09:30Z",
        "2026-11-23 09:30:00Z",
        "2026-11-23t09:30:00z",
        "2026-11-23T09:30:00+0100",
        "2026-11-23T09:30:00+24:61",
        "2026-11-23T09:30:00+25:00",
        "2026-11-23T09:30:00,Z",
        "2026-11-23T009:30:00Z",
        "2026-11-23T9:3:00Z",
        "2026-11-23T09:30:00.Z",
        "2026-11-23T09:30:60Z",
        "2026-11-23T24:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "-001-01-01T00:00:00Z",
        "0000-02-30T00:00:00Z",
        "2026-11-23T09:30:00Z\n",
        "٢٠٢٦-11-23T09:30:00Z",
    ],
)
def test_no_time_is_guessed(text):
    """A time without date, zone or a real place in the calendar is refused."""
    assert refused(TIME, text)


def test_statuses():
    """A status is written by name, by code or by its full name in the protocol; all three mean the name."""
    for code, name in enumerate(("Unspecified", *STATUS_NAMES)):
        assert convert(STATUS, name, 0) == name
        assert convert(STATUS, code, 0) == name
    assert convert(STATUS, "WORKFLOW_EXECUTION_STATUS_UNSPECIFIED", 0) == "Unspecified"
    assert convert(STATUS, "WORKFLOW_EXECUTION_STATUS_RUNNING", 0) == "Running"
    assert convert(STATUS, "WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW", 0) == "ContinuedAsNew"
    assert convert(STATUS, "WORKFLOW_EXECUTION_STATUS_TIMED_OUT", 0) == "TimedOut"


@pytest.mark.parametrize(
    "literal", ["running", "RUNNING", "", "Run", "unspecified", 9, -1, 999, 2**32 + 1, 1.0, 0.0, "1", "0"]
)
def test_other_statuses_are_refused(literal):
    """What is no status is an error, not a search that silently finds nothing."""
    assert refused(STATUS, literal)


@pytest.mark.parametrize(
    ("literal", "nanoseconds"),
    [
        (5, 5),
        (-5, -5),
        (36e11, HOUR),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("1ns", 1),
        ("1us", 1_000),
        ("1\u00b5s", 1_000),
        ("1\u03bcs", 1_000),
        ("1ms", 10**6),
        ("1s", 10**9),
        ("1m", 60 * 10**9),
        ("1h", HOUR),
        ("1d", 24 * HOUR),
        ("1h30m", 3 * HOUR // 2),
        ("1m1ms", 60 * 10**9 + 10**6),
        ("-1h30m", -3 * HOUR // 2),
        ("+1.5h", 3 * HOUR // 2),
        (".5s", 5 * 10**8),
        ("1.s", 10**9),
        ("1.123456789s", 1123456789),
        ("0.3ns", 0),
        ("01:02:03", HOUR + 123 * 10**9),
        ("100:00:00", 100 * HOUR),
        ("1:2:3", HOUR + 123 * 10**9),
        ("001:002:003", HOUR + 123 * 10**9),
        (" +1: 2:3", HOUR + 123 * 10**9),
        ("1." + "0" * 60 + "1s", 10**9),
        ("0." + "9" * LONGEST + "s", 10**9 - 1),
        ("0" * LONGEST + "1h", HOUR),
        ("0" * LONGEST + "1:2:3", HOUR + 123 * 10**9),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
        ("2562047h47m16.854775807s", 2**63 - 1),
    ],
)
def test_durations(literal, nanoseconds):
    """Every way to write a duration means exact nanoseconds."""
    value = convert(DURATION, literal, 0)
    assert value == nanoseconds
    assert type(value) is int


@pytest.mark.parametrize(
    "literal",
    [
        *("", "-", "+", ".", "s", ".s", "1h 30m", "1x", "1hs", "h1", "1h-30m", "--1h", "1.5", "1h\n", "\u0661h"),
        *(
            "01:60:00",
            "01:00:60",
            "01:00",
            "1:2:3:4",
            "1:2:3.5",
            "1:2:3s",
            "1:-2:3",
            "9999999999:0:0",
            "-01:00:00",
            "1h" * 2000 + "x",
            1.5,
            True,
        ),
    ],
)
def test_other_durations_are_refused(literal):
    """A duration that neither Go nor a clock would show is refused."""
    assert refused(DURATION, literal)


@pytest.mark.parametrize(
    "literal",
    [
        *("9223372036854775808", "-9223372036854775809", "2562047h47m16.854775808s", "106752d", "2562048:00:00"),
        *(
            "9" * LONGEST,
            "9" * LONGEST + "h",
            "-" + "9" * 20 + "ns",
            "1" + "0" * LONGEST + ":0:0",
            "9999999999999999999d",
            1e300,
        ),
    ],
)
def test_durations_beyond_64_bits_are_refused(literal):
    """A duration that overflows is an error and does not wrap around."""
    assert refused(DURATION, literal)
