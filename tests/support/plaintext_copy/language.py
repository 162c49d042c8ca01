"""Temporal's list filter language by recursive descent: from a text to a tree. Names and literals are kept as written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .attributes import InvalidFilter

_TOKEN = re.compile(
    r"""(?P<blank>[ \n\r\t]+|(?:--|\#|//)[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*")
    |(?P<quoted>`(?:[^`]|``)+`)
    |(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z_@]))
    |(?P<word>[A-Za-z_@][A-Za-z_@0-9]*)
    |(?P<sign><=>|<=|>=|<>|!=|&&|\|\||[=<>(),;+-])""",
    re.VERBOSE | re.DOTALL,
)
_SIGNS = {"&&": "AND", "||": "OR", "<>": "!="}
_KEYWORDS = frozenset("AND OR NOT IN IS NULL BETWEEN STARTS_WITH TRUE FALSE ORDER GROUP BY ASC DESC".split())
_COMPARISONS = frozenset(("=", "!=", "<", "<=", ">", ">="))
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


@dataclass(frozen=True, slots=True)
class Condition:
    """`name operator values`. The operator is a comparison, IN, STARTS_WITH, BETWEEN or IS NULL."""

    name: str
    operator: str
    values: tuple[str | int | float | bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The item is not satisfied."""

    item: object


@dataclass(frozen=True, slots=True)
class All:
    """Every item is satisfied."""

    items: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one item is satisfied."""

    items: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """A complete filter: its condition, if any, `(name, descending)` to sort by, and names to group by."""

    where: object | None
    order_by: tuple[tuple[str, bool], ...]
    group_by: tuple[str, ...]


def parse(text: str) -> Filter:
    """Parse a filter.

    Raises:
        InvalidFilter: The text is not in the language.
    """
    return _Parser(text).filter()


class _Parser:
    def __init__(self, text):
        self._tokens = [("end", "")]
        self._blank = not text.strip()
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                raise InvalidFilter("malformed", f"nothing in the language begins like position {at}")
            kind, token = match.lastgroup, match[0]
            at = match.end()
            if kind == "word" and token.upper() in _KEYWORDS:
                self._tokens.append(("keyword", token.upper()))
            elif kind == "sign":
                token = _SIGNS.get(token, token)
                self._tokens.append(("keyword" if token.isalpha() else "sign", token))
            elif kind != "blank":
                self._tokens.append((kind, token))
        self._tokens.append(("end", ""))
        self._at = 1

    def filter(self):
        where, order_by, group_by = None, (), ()
        if self._next in (("end", ""), ("sign", ";")) and not self._blank:
            self._fail()
        if self._next not in (("end", ""), ("keyword", "ORDER"), ("keyword", "GROUP"), ("sign", ";")):
            where = self._some()
        if self._take("GROUP"):
            self._expect("BY")
            group_by = tuple(self._list(self._name))
        if self._take("ORDER"):
            self._expect("BY")
            order_by = tuple(self._list(self._order))
        self._take(";")
        if self._next[0] != "end":
            self._fail()
        return Filter(where, order_by, group_by)

    @property
    def _next(self):
        return self._tokens[self._at]

    def _fail(self):
        raise InvalidFilter("malformed", f"{self._next[1] or 'the end'} does not fit here")

    def _take(self, *tokens):
        if self._next[0] in ("keyword", "sign") and self._next[1] in tokens:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def _expect(self, token):
        if not self._take(token):
            self._fail()

    def _list(self, part):
        parts = [part()]
        while self._take(","):
            parts.append(part())
        return parts

    def _some(self):
        items = [self._all()]
        while self._take("OR"):
            items.append(self._all())
        return Some(tuple(items)) if len(items) > 1 else items[0]

    def _all(self):
        items = [self._not()]
        while self._take("AND"):
            items.append(self._not())
        return All(tuple(items)) if len(items) > 1 else items[0]

    def _not(self):
        if self._take("NOT"):
            return Not(self._not())
        if self._take("("):
            inner = self._some()
            self._expect(")")
            return inner
        return self._condition()

    def _condition(self):
        name = self._name()
        if self._take("IS"):
            negated = self._take("NOT")
            self._expect("NULL")
            condition = Condition(name, "IS NULL")
            return Not(condition) if negated else condition
        if operator := self._take(*_COMPARISONS):
            value = self._value()
            return Not(Condition(name, "=", (value,))) if operator == "!=" else Condition(name, operator, (value,))
        negated = self._take("NOT")
        operator = self._take("IN", "STARTS_WITH", "BETWEEN")
        match operator:
            case "IN":
                self._expect("(")
                values = tuple(self._list(self._value))
                self._expect(")")
            case "STARTS_WITH":
                values = (self._value(),)
            case "BETWEEN":
                low = self._value()
                self._expect("AND")
                values = (low, self._value())
            case _:
                self._fail()
        condition = Condition(name, operator, values)
        return Not(condition) if negated else condition

    def _order(self):
        name = self._name()
        return name, self._take("ASC", "DESC") == "DESC"

    def _name(self):
        kind, token = self._next
        if kind not in ("word", "quoted"):
            self._fail()
        self._at += 1
        return token[1:-1].replace("``", "`") if kind == "quoted" else token

    def _value(self):
        if truth := self._take("TRUE", "FALSE"):
            return truth == "TRUE"
        factor = 1
        while sign := self._take("+", "-"):
            factor = -factor if sign == "-" else factor
        kind, token = self._next
        self._at += 1
        if kind == "number":
            return _number(token, factor)
        if kind != "text" or self._tokens[self._at - 2][1] in ("+", "-"):
            self._at -= 1
            self._fail()
        return _unquoted(token)


def _number(token, factor):
    if token.isdigit() and -(2**63) <= factor * int(token) < 2**63:
        return factor * int(token)
    value = factor * float(token)
    if abs(value) == float("inf"):
        raise InvalidFilter("invalid", "a number is too large")
    return value


def _unquoted(token):
    quote, inner, out, at = token[0], token[1:-1], [], 0
    while at < len(inner):
        if inner[at] == "\\":
            at += 1
            out.append(_ESCAPES.get(inner[at], inner[at]))
        else:
            out.append(inner[at])
            at += inner[at] == quote  # a doubled quote
        at += 1
    return "".join(out)
