"""A list filter as a small typed tree: attributes resolved, values normalised, negations taken out of the leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.visibility.attributes import AttributeType

Comparison: TypeAlias = Literal["=", "<", "<=", ">", ">="]
Value: TypeAlias = str | int | float | bool
"""A Datetime is an integer of nanoseconds since the epoch, an ExecutionDuration one of nanoseconds."""

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
"""Values of ExecutionStatus, in the order of their codes from 1."""

OPEN_STATUSES = frozenset({"Running", "Paused"})
"""Those that a run without a close time may have."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A search attribute by its canonical name."""

    name: str
    type: AttributeType


SearchAttributes: TypeAlias = "Mapping[str, AttributeType | Attribute]"
"""What a namespace registered: custom names with their types, and aliases with the attributes that they stand for in a filter."""


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
    """`attribute BETWEEN low AND high`, both inclusive."""

    attribute: Attribute
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class IsNull:
    """`attribute IS NULL`."""

    attribute: Attribute


@dataclass(frozen=True, slots=True)
class And:
    """Every item holds."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Some item holds."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The item does not hold; so a document without the attribute of a negated condition matches."""

    item: Node


Leaf: TypeAlias = Compare | In | StartsWith | Between | IsNull
Node: TypeAlias = Leaf | And | Or | Not


@dataclass(frozen=True, slots=True)
class Order:
    """A sort key; runs without a value come last either way."""

    attribute: Attribute
    descending: bool


@dataclass(frozen=True, slots=True)
class ListFilter:
    """A whole filter: conditions, and what to sort or to group by."""

    where: Node
    order_by: tuple[Order, ...] = ()
    group_by: Attribute | None = None


def attributes_of(node: Node) -> frozenset[str]:
    """Return the names of all attributes that a filter has a condition on."""
    match node:
        case And(items) | Or(items):
            return frozenset().union(*map(attributes_of, items))
        case Not(item):
            return attributes_of(item)
        case _:
            return frozenset({node.attribute.name})
