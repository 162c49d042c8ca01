"""Resolve the attributes of a parsed filter and convert its values, or refuse the filter as Temporal does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING

from .attributes import DIVISION, LOW_CARDINALITY, Attribute, Attributes, InvalidFilter
from .language import All, Condition, Not, Some, parse

if TYPE_CHECKING:
    from collections.abc import Callable

_ORDERED = frozenset(("=", "<", "<=", ">", ">=", "IN", "BETWEEN", "IS NULL"))
_OPERATORS = {
    "Keyword": _ORDERED | {"STARTS_WITH"},
    "KeywordList": frozenset(("=", "IN", "IS NULL")),
    "Text": frozenset(("=", "IS NULL")),
    "Int": _ORDERED,
    "Double": _ORDERED,
    "Bool": _ORDERED - {"BETWEEN"},
    "Datetime": _ORDERED,
}
STATUSES = "Running Completed Failed Canceled Terminated ContinuedAsNew TimedOut Paused".split()
_LONG_STATUSES = {
    "WORKFLOW_EXECUTION_STATUS_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", status).upper(): status for status in STATUSES
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d{1,2}:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
_UNITS |= {"m": 60 * _UNITS["s"], "h": 3600 * _UNITS["s"], "d": 86400 * _UNITS["s"]}
_DURATION = re.compile(rf"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:{'|'.join(_UNITS)}))+)", re.ASCII)
_PART = re.compile(rf"(\d+\.?\d*|\.\d+)({'|'.join(sorted(_UNITS, key=len, reverse=True))})", re.ASCII)
_CLOCK = re.compile(r"(\d+):(0*[0-5]?\d):(0*[0-5]?\d)", re.ASCII)
_SCHEDULE = "temporal-sys-scheduler:"


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on an attribute. Values are as in documents: text, number, bool, or nanoseconds."""

    __test__ = False

    attribute: Attribute
    operator: str
    values: tuple[str | int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A filter, with the implicit condition on the division."""

    where: object
    order_by: tuple[tuple[Attribute, bool], ...]
    group_by: Attribute | None


def read(text: str, attributes: Attributes) -> Request:
    """Parse and type a filter.

    Raises:
        InvalidFilter: Temporal refuses the filter.
    """
    parsed = parse(text)
    named: set[str] = set()

    def resolve(name: str) -> Attribute:
        attribute = attributes.resolve(name)
        named.add(attribute.field)
        return attribute

    where = None if parsed.where is None else _typed(parsed.where, resolve)
    order_by = tuple((resolve(name), descending) for name, descending in parsed.order_by)
    group_by = tuple(resolve(name) for name in parsed.group_by)
    if any(attribute.kind == "Text" for attribute, _ in order_by):
        raise InvalidFilter("unsupported", "a Text has no order")
    if len(group_by) > 1:
        raise InvalidFilter("unsupported", "one attribute can be grouped by")
    for attribute in group_by:
        if attribute.field not in ("ExecutionStatus", DIVISION) and not attribute.field.startswith(LOW_CARDINALITY):
            raise InvalidFilter("unsupported", f"{attribute.name} can't be grouped by")
    items = [] if where is None else [where]
    if DIVISION not in named:
        items.append(Test(attributes[DIVISION], "IS NULL", ()))
    return Request(All(tuple(items)), order_by, group_by[0] if group_by else None)


def _typed(node: object, resolve: Callable[[str], Attribute]) -> object:
    match node:
        case Not(item):
            return Not(_typed(item, resolve))
        case All(items):
            return All(tuple(_typed(item, resolve) for item in items))
        case Some(items):
            return Some(tuple(_typed(item, resolve) for item in items))
        case Condition(name, operator, values):
            attribute = resolve(name)
            if operator not in _OPERATORS[attribute.kind]:
                raise InvalidFilter("invalid", f"{operator} does not fit a {attribute.kind}")
            converted = tuple(_value(attribute, value) for value in values)
            if name == "ScheduleId" and attribute.field == "WorkflowId":
                converted = tuple(f"{_SCHEDULE}{value}" for value in converted)
            return Test(attribute, operator, converted)
    raise TypeError(node)


def _value(attribute: Attribute, literal: object) -> object:
    special = {"ExecutionStatus": _status, "ExecutionDuration": _duration}
    value = special.get(attribute.field, _BY_KIND[attribute.kind])(literal)
    if value is None:
        raise InvalidFilter("invalid", f"{literal!r} does not fit {attribute.name}")
    return value


def _text(literal):
    if isinstance(literal, bool):
        return str(literal).lower()
    return literal if isinstance(literal, str) else None


def _number(literal):
    return literal if type(literal) in (int, float) else None


def _bool(literal):
    return literal if isinstance(literal, bool) else None


def _time(literal):
    if type(literal) is int:
        return literal
    match = _TIME.fullmatch(literal) if isinstance(literal, str) else None
    if not match:
        return None
    try:
        padded = re.sub(r"T(\d):", r"T0\1:", match[1])  # Go takes one digit for the hour
        moment = datetime.fromisoformat(padded + match[3].replace("Z", "+00:00"))
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86400 + since.seconds) * 10**9 + int((match[2] or "0").ljust(9, "0"))


def _status(literal):
    if isinstance(literal, bool):
        return _text(literal)
    if type(literal) is int:
        return ("Unspecified", *STATUSES)[literal] if 0 <= literal <= len(STATUSES) else None
    if literal in STATUSES or literal == "Unspecified":
        return literal
    return _LONG_STATUSES.get(literal) if isinstance(literal, str) else None


def _duration(literal):
    if type(literal) is int:
        nanoseconds = literal
    elif not isinstance(literal, str):
        return None
    elif re.fullmatch(r"[+-]?\d+", literal, re.ASCII):
        nanoseconds = int(literal)
    elif match := _CLOCK.fullmatch(literal):
        nanoseconds = (int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])) * 10**9
    elif match := _DURATION.fullmatch(literal):
        whole = sum(int(Fraction(amount) * _UNITS[unit]) for amount, unit in _PART.findall(match[2]))
        nanoseconds = -whole if match[1] == "-" else whole
    else:
        return None
    return nanoseconds if -(2**63) <= nanoseconds < 2**63 else None


_BY_KIND = {
    "Keyword": _text,
    "KeywordList": _text,
    "Text": _text,
    "Int": _number,
    "Double": _number,
    "Bool": _bool,
    "Datetime": _time,
}
