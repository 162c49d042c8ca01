"""Convert a literal of a list filter to the value that an attribute is compared with.

A converter returns None for a literal that does not fit. It does not raise, because the chain of causes would then contain the
literal, which a tenant wrote.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidExpression
from strongroom.visibility.fields import BUILT_IN

from .tree import STATUS_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .tree import Attribute, Value

_INT64 = range(-(2**63), 2**63)
_SECOND = 10**9
_SIXTY = 60

_ESCAPE = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}
"""MySQL's escapes. A backslash before any other character means that character."""

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d{1,2}):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
_LARGEST_ZONE = (24, 60)
"""The largest hours and minutes of a time zone. Go takes 24:00 and 23:60 too."""
_LEAP_CYCLE = 146_097
"""Number of days after which the calendar repeats: 400 years."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_CLOCK = re.compile(r"[ \t]*\+?(\d+):[ \t]*\+?(\d+):[ \t]*\+?(\d+)", re.ASCII)
_PART = re.compile(r"(?=\.?\d)(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_INT64_DIGITS = 19
_FRACTION_DIGITS = 100
"""Digits of a fraction that are read. Those after them are less than a nanosecond of a day."""
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\N{MICRO SIGN}s": 10**3,
    "\N{GREEK SMALL LETTER MU}s": 10**3,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3_600 * _SECOND,
    "d": 86_400 * _SECOND,
}

_NO_STATUS = "Unspecified"
"""The status of Temporal's API with the code 0. No run has it."""
_STATUSES: Mapping[Value, str] = {
    **{name: name for name in (_NO_STATUS, *STATUS_NAMES)},
    **dict(enumerate((_NO_STATUS, *STATUS_NAMES))),
    **{
        "WORKFLOW_EXECUTION_STATUS" + re.sub("(?=[A-Z])", "_", name).upper(): name
        for name in (_NO_STATUS, *STATUS_NAMES)
    },
}


def unquote(token: str) -> str:
    """Return the text of a string literal with its quotes."""
    quote = token[0] * 2

    def meaning(match: re.Match[str]) -> str:
        escaped = match[1]
        if escaped is None:
            return quote[0] if match[0] == quote else match[0]
        return _ESCAPES.get(escaped, escaped)

    return _ESCAPE.sub(meaning, token[1:-1])


def number(token: str) -> int | float | None:
    """Return the number of a literal: an int if it has only digits, otherwise a float.

    Returns:
        The number; None if it is too large for a float.
    """
    compact = "".join(token.split())  # a space may follow the sign
    inexact = float(compact)
    if not math.isfinite(inexact):
        return None
    digits = compact.lstrip("+-")
    if not digits.isdigit():
        return inexact
    whole = int(digits.lstrip("0") or "0")  # at most 309 digits, because the float is finite
    return -whole if compact.startswith("-") else whole


def convert(attribute: Attribute, literal: Value, position: int) -> Value:
    """Return the value of a literal that is compared with an attribute.

    Args:
        attribute: The attribute.
        literal: A str for a string literal, an int or float for a number, a bool for TRUE or FALSE.
        position: The position of the literal in the filter, in characters.

    Raises:
        InvalidExpression: The literal does not fit the attribute.
    """
    converter, wanted = _SPECIAL.get(attribute.name) or _BY_TYPE[attribute.type]
    value = converter(literal)
    if value is None:
        raise InvalidExpression(f"this value does not fit {shown(attribute)}, which takes {wanted}", position=position)
    return value


def shown(attribute: Attribute) -> str:
    """Return the name of an attribute for messages. Custom names are left out, because messages are logged."""
    return attribute.name if attribute.name in BUILT_IN else "this attribute"


def _text(literal: Value) -> str | None:
    if isinstance(literal, bool):  # Elasticsearch compares a text with the word
        return "true" if literal else "false"
    return literal if isinstance(literal, str) else None


def _truth(literal: Value) -> bool | None:
    return literal if isinstance(literal, bool) else None


def _number(literal: Value) -> int | float | None:
    return None if isinstance(literal, bool | str) else literal


def _whole(literal: Value) -> int | None:
    if isinstance(literal, int) and not isinstance(literal, bool) and literal in _INT64:
        return literal
    return None


def parse_datetime(literal: Value) -> int | None:
    """Return a time of RFC 3339, or an integer, as nanoseconds since 1970; None for anything else.

    `datetime` has no nanoseconds, so it is used for the seconds only.
    """
    match = _RFC3339.fullmatch(literal) if isinstance(literal, str) else None
    if match is None:
        return _whole(literal)
    *fields, fraction, sign, zone_hours, zone_minutes = match.groups()
    year, month, day, hour, minute, second = map(int, fields)
    hours, minutes = int(zone_hours or 0), int(zone_minutes or 0)
    if hours > _LARGEST_ZONE[0] or minutes > _LARGEST_ZONE[1]:
        return None
    try:
        elapsed = datetime(year or 400, month, day, hour, minute, second, tzinfo=UTC) - _EPOCH
    except ValueError:  # no such day or hour
        return None
    days = elapsed.days if year else elapsed.days - _LEAP_CYCLE
    seconds = days * 86_400 + elapsed.seconds - (hours * 3_600 + minutes * 60) * (-1 if sign == "-" else 1)
    return seconds * _SECOND + int((fraction or "")[:9].ljust(9, "0"))


def _status(literal: Value) -> str | None:
    # In Python True and 1.0 equal the key 1. A word of TRUE or FALSE is a text, as for each Keyword, and no run has it.
    if isinstance(literal, bool):
        return _text(literal)
    return _STATUSES.get(literal) if type(literal) in (str, int) else None


def _duration(literal: Value) -> int | None:
    if isinstance(literal, str):
        elapsed = _duration_text(literal)
    elif isinstance(literal, float) and literal.is_integer():  # such as 36e11, an integer that is written as a float
        elapsed = int(literal)
    else:
        elapsed = _whole(literal)
    return elapsed if elapsed is not None and elapsed in _INT64 else None


def _duration_text(text: str) -> int | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = map(_bounded, clock.groups())
        return (hours * 3_600 + minutes * 60 + seconds) * _SECOND if max(minutes, seconds) < _SIXTY else None
    start = 1 if text[:1] in ("+", "-") else 0
    elapsed, at = 0, start
    while part := _PART.match(text, at):
        unit, fraction = _UNITS[part[3]], (part[2] or "")[:_FRACTION_DIGITS]
        elapsed += _bounded(part[1]) * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        at = part.end()
    if at == start or at < len(text):
        return None
    return -elapsed if text[0] == "-" else elapsed


def _bounded(digits: str) -> int:
    """Return a number, or 2^64 in place of one with more than 19 digits. `int` raises an error from 4,300 digits on."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _INT64_DIGITS else 2**64


_BY_TYPE: Mapping[AttributeType, tuple[Callable[[Value], Value | None], str]] = {
    AttributeType.KEYWORD: (_text, "a string in quotes"),
    AttributeType.KEYWORD_LIST: (_text, "a string in quotes"),
    AttributeType.TEXT: (_text, "a string in quotes"),
    AttributeType.INT: (_number, "a number, without quotes"),
    AttributeType.DOUBLE: (_number, "a number, without quotes"),
    AttributeType.BOOL: (_truth, "TRUE or FALSE, without quotes"),
    AttributeType.DATETIME: (
        parse_datetime,
        "a time such as '2026-11-23T09:30:00.123456789Z' or '...+01:00', or whole nanoseconds since 1970",
    ),
}

_SPECIAL: Mapping[str, tuple[Callable[[Value], Value | None], str]] = {
    "ExecutionStatus": (
        _status,
        f"one of {', '.join(map(repr, STATUS_NAMES))}, or a code from 0 to {len(STATUS_NAMES)}",
    ),
    "ExecutionDuration": (
        _duration,
        "whole nanoseconds, or '1h30m' (d, h, m, s, ms, us, ns), or 'h:mm:ss', within 64 bits of nanoseconds",
    ),
}
