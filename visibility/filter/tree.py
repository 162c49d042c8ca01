"""A list filter as a typed tree, with resolved attributes and converted values. A negation is a separate node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from strongroom.visibility.attributes import AttributeType

Comparison: TypeAlias = Literal["=", "<", "<=", ">", ">="]
Value: TypeAlias = str | int | float | bool
"""The value of a condition. A Datetime is in nanoseconds since 1970, an ExecutionDuration in nanoseconds."""

STATUS_NAMES = (
    "Running",
    "Completed",
    "Failed",
    "Canceled",
    "Terminated",
    "ContinuedAsNew",
    "TimedOut",
    "Paused",
)
"""Values of ExecutionStatus. The first one has the code 1."""

OPEN_STATUSES = frozenset({"Running", "Paused"})
"""Statuses of open runs, which have no close time."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A search attribute with its canonical name."""

    name: str
    type: AttributeType


SearchAttributes: TypeAlias = Mapping[str, AttributeType | Attribute]
"""The search attributes of a namespace: custom names with their types, and aliases with the attributes that they mean."""


@dataclass(frozen=True, slots=True)
class Compare:
    """`attribute = value`, or an order comparison."""

    attribute: Attribute
    operator: Comparison
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """`attribute IN (...)`."""

    attribute: Attribute
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`attribute STARTS_WITH 'prefix'`."""

    attribute: Attribute
    prefix: str


@dataclass(frozen=True, slots=True)
class Between:
    """`attribute BETWEEN low AND high`, inclusive."""

    attribute: Attribute
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class IsNull:
    """`attribute IS NULL`."""

    attribute: Attribute


@dataclass(frozen=True, slots=True)
class And:
    """Every item is satisfied."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one item is satisfied."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The item is not satisfied. So a document without the attribute of a negated condition matches."""

    item: Node


Leaf: TypeAlias = Compare | In | StartsWith | Between | IsNull
Node: TypeAlias = Leaf | And | Or | Not


@dataclass(frozen=True, slots=True)
class Order:
    """A key of ORDER BY. Runs without a value come last in both directions."""

    attribute: Attribute
    descending: bool


@dataclass(frozen=True, slots=True)
class ListFilter:
    """A filter: its condition, and the keys of ORDER BY or GROUP BY."""

    where: Node
    order_by: tuple[Order, ...] = ()
    group_by: Attribute | None = None


def attributes_of(node: Node) -> frozenset[str]:
    """Return the names of all attributes in the conditions of a filter."""
    match node:
        case And(items) | Or(items):
            return frozenset().union(*map(attributes_of, items))
        case Not(item):
            return attributes_of(item)
        case _:
            return frozenset({node.attribute.name})


_FEW = 8


def merged_alternatives(items: Sequence[Node]) -> Sequence[Node]:
    """Return the items of an OR, with all values that one attribute may equal in one condition if there are many items.

    A program that has many ids often joins them by OR. So they cost as little as an IN.
    """
    if len(items) <= _FEW:
        return items
    values: dict[Attribute, dict[Value, None]] = {}
    others: list[Node] = []
    for item in items:
        match item:
            case Compare(attribute, "=", value):
                values.setdefault(attribute, {})[value] = None
            case In(attribute, several):
                values.setdefault(attribute, {}).update(dict.fromkeys(several))
            case _:
                others.append(item)
    return [*others, *(In(attribute, tuple(found)) for attribute, found in values.items())]
