"""Parse a list filter into the tree of `tree.py`, with resolved attributes and converted values.

Any text results in a filter or in an `InvalidQuery`. The time is bounded by the maximum length. Parsing does not recurse (see
`syntax.py`), and the walk over the parsed tree checks the depth before each step down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast

from lark import Token, Tree

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidExpression, MalformedQuery, UnknownAttribute, UnsupportedQuery
from strongroom.visibility.fields import BUILT_IN, NOT_SEARCHABLE, is_groupable

from .syntax import read
from .tree import (
    And,
    Attribute,
    Between,
    Compare,
    In,
    IsNull,
    ListFilter,
    Node,
    Not,
    Or,
    Order,
    StartsWith,
    attributes_of,
)
from .values import convert, number, shown, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .tree import SearchAttributes, Value

MAX_FILTER_BYTES = 2**17
"""Maximum length of a filter, in bytes of UTF-8. An id has up to 65,535 bytes."""
MAX_SYNTAX_BYTES = 2**16
"""Maximum length of a filter without its strings, in bytes of UTF-8. It bounds the time of a parse."""
MAX_NESTING = 100
"""Maximum number of nested parentheses and NOTs."""
MAX_TERMS = 10_000
"""Maximum number of conditions, of values of IN, and of keys of ORDER BY, all together."""

_DIVISION = Attribute("TemporalNamespaceDivision", AttributeType.KEYWORD)

SCHEDULER_ARCHETYPE_ID = 403_648_407
"""The number of Temporal's archetype `scheduler.scheduler`."""
_SCHEDULE_ID = "ScheduleId"
_SCHEDULE_PREFIX = "temporal-sys-scheduler:"
"""What Temporal puts before the id of a schedule to make the id of its workflow."""

_ORDERED = ("=", "!=", "<", "<=", ">", ">=")
_SCALAR = (*_ORDERED, "IN", "BETWEEN", "IS NULL")
_OPERATORS: Mapping[AttributeType, tuple[str, ...]] = {
    AttributeType.KEYWORD: (*_SCALAR, "STARTS_WITH"),
    AttributeType.KEYWORD_LIST: ("=", "!=", "IN", "IS NULL"),
    AttributeType.TEXT: ("=", "!=", "IS NULL"),
    AttributeType.INT: _SCALAR,
    AttributeType.DOUBLE: _SCALAR,
    AttributeType.BOOL: (*_ORDERED, "IN", "IS NULL"),
    AttributeType.DATETIME: _SCALAR,
}

_OPERATOR_OF = {"membership": "IN", "prefix": "STARTS_WITH", "range": "BETWEEN", "absence": "IS NULL"}
_LONGEST_GUESS = 100
_UNKNOWN = "register it first. With a Temporal server, name the field of the attribute, for example Keyword01"
_STARTS_CLAUSE = re.compile(r"(?:group|order)\b", re.IGNORECASE)
"""A filter without a condition starts so. Any other one is only a comment or `;`, and asks for nothing that a person meant."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRING = re.compile(
    rb"""(?P<string>'(?:[^'\\]|''|\\.)*+'|"(?:[^"\\]|""|\\.)*+")|`(?:[^`]|``)++`|(?:--|\#|//)[^\n]*|/\*(?!!).*?\*/""",
    re.DOTALL,
)
"""Finds strings. Quoted names and comments are skipped, because a quote in them begins no string."""


def parse_filter(
    text: str, attributes: SearchAttributes = MappingProxyType({}), *, archetype_id: int = 0
) -> ListFilter:
    """Parse a list filter.

    Args:
        text: The filter. A blank filter asks for all runs in the default division.
        attributes: The custom search attributes of the namespace. They can't redefine system and predefined attributes. The aliases
            of an archetype can, as in Temporal: CHASM's ExecutionStatus is not the status of a workflow.
        archetype_id: The archetype of CHASM whose executions are asked for; 0 for workflows. Its executions are in the division of
            its number.

    Raises:
        InvalidQuery: The filter is not valid. The subclasses are Temporal's three kinds of invalid filters.
    """
    if not isinstance(text, str):
        raise MalformedQuery("the filter must be text")
    _check_length(text)
    if broken := _SURROGATE.search(text):
        raise MalformedQuery(
            "the filter contains half of a surrogate pair; send complete characters", position=broken.start()
        )
    body = text.strip()  # all spaces of Unicode, as in Temporal; between words only ASCII's are allowed
    where, group_by, order_by = read(" " * text.find(body) + body).children
    walk = _Walk(attributes, archetype_id)
    condition = walk.node(where, 0) if isinstance(where, Tree) else None
    grouped = walk.group_by(group_by) if isinstance(group_by, Tree) else None
    ordered = walk.order_by(order_by) if isinstance(order_by, Tree) else ()
    if condition is None and body and not _STARTS_CLAUSE.match(body):
        raise MalformedQuery("the filter has no condition; send an empty filter to ask for all runs", position=0)
    return ListFilter(in_default_division(condition, grouped, archetype_id), ordered, grouped)


def _check_length(text: str) -> None:
    if len(text) * 4 <= MAX_SYNTAX_BYTES:
        return
    encoded = text[: MAX_FILTER_BYTES + 1].encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_FILTER_BYTES:
        raise UnsupportedQuery(f"the filter is longer than {MAX_FILTER_BYTES} bytes of UTF-8; shorten it")
    strings = sum(len(found["string"] or b"") for found in _STRING.finditer(encoded))
    if len(encoded) - strings > MAX_SYNTAX_BYTES:
        raise UnsupportedQuery(f"the filter is longer than {MAX_SYNTAX_BYTES} bytes without its strings; shorten it")


def in_default_division(where: Node | None, group_by: Attribute | None, archetype_id: int) -> Node:
    """Add the implicit condition: a filter that does not name the namespace division asks for the runs of its default.

    The default of workflows is no division, and that of an archetype is the division of its number.
    """
    named = where is not None and _DIVISION.name in attributes_of(where)
    if named or group_by == _DIVISION:
        return And(()) if where is None else where
    default = Compare(_DIVISION, "=", str(archetype_id)) if archetype_id else IsNull(_DIVISION)
    return default if where is None else And((where, default))


@dataclass(slots=True)
class _Walk:
    """Converts lark's tree, whose nodes are named in `list_filter.lark`.

    Attributes:
        custom: The custom search attributes of the namespace.
        archetype_id: The archetype that is asked for; 0 for workflows.
        terms: The number of conditions, values and sort keys so far.
    """

    custom: SearchAttributes
    archetype_id: int
    terms: int = 0

    def node(self, tree: Tree[Token], depth: int) -> Node:
        parts = cast("Sequence[Tree[Token]]", tree.children)
        match tree.data:
            case "disjunction":
                return Or(tuple(self.node(part, depth) for part in parts))
            case "conjunction":
                return And(tuple(self.node(part, depth) for part in parts))
        first = cast("Token", tree.children[0])
        match tree.data:
            case "group":
                return self.node(parts[1], _deeper(depth, first))
            case "negation":
                return Not(self.node(parts[1], _deeper(depth, first)))
        return self.leaf(str(tree.data), *cast("tuple[Token, Token | None, *tuple[Token, ...]]", tree.children))

    def leaf(self, kind: str, name: Token, sign: Token | None, *literals: Token) -> Node:
        """Return a condition. `sign` is the operator of a comparison; in other conditions it is NOT or None."""
        attribute = self.attribute(name)
        operator = _OPERATOR_OF.get(kind) or str(sign).replace("<>", "!=")
        fitting = _OPERATORS[attribute.type]
        if operator not in fitting:
            reason = f"{operator} does not fit {shown(attribute)}, a {attribute.type.value}; use {', '.join(fitting)}"
            raise InvalidExpression(reason, position=_at(name))
        self.count(len(literals) if kind == "membership" else 1, name)
        if operator == "STARTS_WITH" and literals[0].type == "BOOLEAN":
            raise InvalidExpression("STARTS_WITH takes a string in quotes", position=_at(literals[0]))
        values = tuple(_value(attribute, literal) for literal in literals)
        if attribute.name == "WorkflowId" and _written(name) == _SCHEDULE_ID:
            values = tuple(f"{_SCHEDULE_PREFIX}{value}" for value in values)
        leaf: Node
        match operator:
            case "IN":
                leaf = In(attribute, values)
            case "STARTS_WITH":
                leaf = StartsWith(attribute, str(values[0]))
            case "BETWEEN":
                leaf = Between(attribute, *values)
            case "IS NULL":
                leaf = IsNull(attribute)
            case "!=":
                return Not(Compare(attribute, "=", values[0]))
            case _:
                return Compare(attribute, cast(Literal["=", "<", "<=", ">", ">="], operator), values[0])
        return Not(leaf) if sign else leaf

    def attribute(self, token: Token) -> Attribute:
        name = _written(token)
        for spelling in _spellings(name):
            if spelling in NOT_SEARCHABLE:
                raise InvalidExpression(f"{spelling} is reserved and can't be searched", position=_at(token))
            registered = self.custom.get(spelling)
            if isinstance(registered, Attribute) and (self.archetype_id or spelling not in BUILT_IN):
                return registered
            if found := BUILT_IN.get(spelling):
                return Attribute(spelling, found.type)
            if isinstance(registered, AttributeType):
                return Attribute(spelling, registered)
        if self.archetype_id == SCHEDULER_ARCHETYPE_ID and name == "TemporalSystemExecutionStatus":
            return Attribute("ExecutionStatus", AttributeType.KEYWORD)
        known = {each.lower(): each for each in BUILT_IN}  # no custom names: an error must not quote a tenant
        close = [known[each] for each in get_close_matches(name.lower(), known)] if len(name) <= _LONGEST_GUESS else []
        advice = f"did you mean {' or '.join(close)}?" if close else _UNKNOWN
        raise UnknownAttribute(f"the namespace has no such search attribute; {advice}", position=_at(token))

    def order_by(self, tree: Tree[Token]) -> tuple[Order, ...]:
        keys = []
        for key in cast("Sequence[Tree[Token]]", tree.children):
            name, direction = cast("tuple[Token, Token | None]", key.children)
            attribute = self.attribute(name)
            if attribute.type is AttributeType.TEXT:
                raise UnsupportedQuery("a Text has no order; sort by another attribute", position=_at(name))
            self.count(1, name)
            keys.append(Order(attribute, direction is not None and direction.type == "DESC"))
        return tuple(keys)

    def group_by(self, tree: Tree[Token]) -> Attribute:
        name, *more = cast("Sequence[Token]", tree.children)
        attribute = self.attribute(name)
        if not is_groupable(attribute.name, attribute.type):
            allowed = "ExecutionStatus, TemporalNamespaceDivision or a Keyword named TemporalLowCardinalityKeyword..."
            raise UnsupportedQuery(f"the 'GROUP BY' clause is only supported for {allowed}", position=_at(name))
        if more:
            raise UnsupportedQuery("the 'GROUP BY' clause supports only a single field", position=_at(more[0]))
        return attribute

    def count(self, terms: int, token: Token) -> None:
        self.terms += terms
        if self.terms > MAX_TERMS:
            limit = f"more than {MAX_TERMS} conditions, values of IN and sort keys; ask in parts"
            raise UnsupportedQuery(limit, position=_at(token))


def _at(token: Token) -> int:
    return token.start_pos or 0


def _written(token: Token) -> str:
    """Return the name of an attribute as it is written, without back-quotes."""
    return token[1:-1].replace("``", "`") if token.type == "QUOTED_NAME" else str(token)


def _deeper(depth: int, token: Token) -> int:
    if depth == MAX_NESTING:
        limit = f"more than {MAX_NESTING} parentheses and NOTs in each other; nest less"
        raise UnsupportedQuery(limit, position=_at(token))
    return depth + 1


def _spellings(name: str) -> tuple[str, str]:
    """Return the names to look up: the name as written, then the name that Temporal tries next."""
    if name in (_SCHEDULE_ID, f"Temporal{_SCHEDULE_ID}"):
        return name, "WorkflowId"
    return name, name.removeprefix("Temporal") if name.startswith("Temporal") else f"Temporal{name}"


def _value(attribute: Attribute, token: Token) -> Value:
    literal: Value | None
    match token.type:
        case "STRING":
            literal = unquote(token)
        case "BOOLEAN":
            literal = token.lower() == "true"
        case _:
            literal = number(token)
    if literal is None:
        raise InvalidExpression("this number is too large for a double", position=_at(token))
    return convert(attribute, literal, _at(token))
