"""A filter on a plaintext record, with Elasticsearch's semantics: the last word on what a list returns.

A document without the attribute satisfies no condition on it, and so satisfies every negation (`must_not`).
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from .attributes import AttributeType
from .filter_tree import And, Attribute, Between, Compare, In, IsNull, Node, Not, Or, StartsWith
from .tokens import asked, scaled
from .words import split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .filter_tree import Value
    from .record import AttributeValue

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(node: Node, attributes: Mapping[str, AttributeValue]) -> bool:
    """Whether a record with these attributes satisfies a filter."""
    match node:
        case And(items):
            return all(matches(item, attributes) for item in items)
        case Or(items):
            return any(matches(item, attributes) for item in items)
        case Not(item):
            return not matches(item, attributes)
        case IsNull(attribute):
            return attribute.name not in attributes
    value = attributes.get(node.attribute.name)
    if value is None:
        return False
    match node:
        case Compare(attribute, "=", wanted):
            return _equal(attribute, value, wanted)
        case Compare(attribute, sign, wanted):
            return _COMPARE[sign](*_comparable(attribute, value, wanted))
        case In(attribute, values):
            return any(_equal(attribute, value, wanted) for wanted in values)
        case StartsWith(_, head):
            return isinstance(value, str) and value.startswith(head)
        case Between(attribute, low, high):
            return _COMPARE[">="](*_comparable(attribute, value, low)) and _COMPARE["<="](
                *_comparable(attribute, value, high)
            )


def _equal(attribute: Attribute, value: AttributeValue, wanted: Value) -> bool:
    if attribute.type is AttributeType.TEXT:
        return not split_words(str(value)).isdisjoint(split_words(str(wanted)))
    if isinstance(value, tuple):
        return wanted in value
    if attribute.type is AttributeType.DOUBLE:
        return scaled(float(value)) == scaled(float(wanted))
    return value == wanted


def _comparable(attribute: Attribute, value: AttributeValue, wanted: Value) -> tuple[object, object]:
    if attribute.type is AttributeType.DOUBLE:
        return scaled(float(value)), asked(float(wanted))  # type: ignore[arg-type]
    return value, wanted
