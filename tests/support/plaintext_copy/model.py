"""The oracle without a server: it evaluates a filter in plain Python, document by document."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from . import doubles
from .attributes import DIVISION
from .language import All, Not, Some
from .typed import Request, Test, read
from .words import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .attributes import Attribute, Attributes

    Document = Mapping[str, Any]

_SECOND = 10**9
_MIN, _MAX = -(2**63), 2**63 - 1


def matches(text: str, document: Document, attributes: Attributes, *, faithful: bool = False) -> bool:
    """Return whether a document satisfies a filter.

    Raises:
        InvalidFilter: Temporal refuses the filter.
    """
    return _holds(read(text, attributes).where, document, faithful=faithful)


def run_ids(text: str, documents: Iterable[Document], attributes: Attributes) -> list[str]:
    """Return the runs that satisfy a filter, in its order."""
    request = read(text, attributes)
    return [document["RunId"] for document in _ordered(request, documents)]


def count(text: str, documents: Iterable[Document], attributes: Attributes) -> int:
    """Return the number of documents that satisfy a filter."""
    where = read(text, attributes).where
    return sum(_holds(where, document) for document in documents)


def groups(text: str, documents: Iterable[Document], attributes: Attributes) -> dict[str, int]:
    """Return the number of documents by value, for a filter with GROUP BY. "" is for documents without a division."""
    request = read(text, attributes)
    name = request.group_by.name
    found: Counter[str] = Counter()
    for document in documents:
        if _holds(request.where, document) and (name in document or request.group_by.field == DIVISION):
            found[document.get(name, "")] += 1
    return dict(found)


def _ordered(request: Request, documents: Iterable[Document]) -> list[Document]:
    found = [document for document in documents if _holds(request.where, document)]
    found.sort(key=lambda document: document["RunId"].encode(), reverse=True)
    if not request.order_by:
        found.sort(key=lambda document: (document.get("CloseTime", _MAX), document["StartTime"]), reverse=True)
    for attribute, descending in reversed(request.order_by):
        found.sort(key=lambda document: _sort_key(attribute, document, descending), reverse=descending)
    return found


def _sort_key(attribute: Attribute, document: Document, descending: bool) -> Any:  # noqa: FBT001
    """Return a sort key that puts missing values last. A missing number sorts as the most extreme number, as in Lucene."""
    value = document.get(attribute.name)
    if not _has(document, attribute):
        value = None
    match attribute.kind:
        case "Keyword" | "KeywordList":
            if value is None:
                return (not descending, b"")
            texts = [value] if isinstance(value, str) else value
            encoded = sorted(each.encode() for each in texts)
            return (descending, encoded[-1] if descending else encoded[0])
        case "Double":
            if value is None:
                return float("-inf") if descending else float("inf")
            return doubles.sort_key(value)
    return (_MIN if descending else _MAX) if value is None else int(value)


def _has(document: Document, attribute: Attribute) -> bool:
    value = document.get(attribute.name)
    return value is not None and (isinstance(value, str) or not hasattr(value, "__len__") or len(value) > 0)


def _holds(node: object, document: Document, *, faithful: bool = False) -> bool:
    match node:
        case Not(item):
            return not _holds(item, document, faithful=faithful)
        case All(items):
            return all(_holds(item, document, faithful=faithful) for item in items)
        case Some(items):
            return any(_holds(item, document, faithful=faithful) for item in items)
        case Test(attribute, "IS NULL", _):
            return not _has(document, attribute)
        case Test(attribute, operator, values) if _has(document, attribute):
            return _fits(attribute.kind, operator, document[attribute.name], values, faithful=faithful)
    return False


def _fits(kind: str, operator: str, value: Any, values: tuple[Any, ...], *, faithful: bool) -> bool:
    if operator == "IN":
        return any(_fits(kind, "=", value, (wanted,), faithful=faithful) for wanted in values)
    if operator == "BETWEEN":
        low, high = values
        return _fits(kind, ">=", value, (low,), faithful=faithful) and _fits(
            kind, "<=", value, (high,), faithful=faithful
        )
    (wanted,) = values
    match kind:
        case "Text":
            return bool(words(value) & words(wanted))
        case "KeywordList":
            return wanted in value
        case "Double":
            return _double(operator, value, wanted)
        case "Keyword":
            if operator == "STARTS_WITH":
                return value.startswith(wanted)
            value, wanted = value.encode(), wanted.encode()
        case "Datetime" if faithful and wanted % _SECOND == 0:
            last = wanted + _SECOND - 1
            return {"=": wanted <= value <= last, "<=": value <= last, ">": value > last}.get(
                operator, _compare(operator, value, wanted)
            )
    return _compare(operator, value, wanted)


def _double(operator: str, value: float, wanted: float) -> bool:
    held = doubles.stored(value)
    match operator:
        case "=":
            return held == doubles.asked(wanted)
        case ">" | ">=":
            return held >= doubles.lower(wanted, inclusive=operator == ">=")
        case _:
            return held <= doubles.upper(wanted, inclusive=operator == "<=")


def _compare(operator: str, value: Any, wanted: Any) -> bool:
    match operator:
        case "=":
            return bool(value == wanted)
        case "<":
            return bool(value < wanted)
        case "<=":
            return bool(value <= wanted)
        case ">":
            return bool(value > wanted)
        case ">=":
            return bool(value >= wanted)
    raise ValueError(operator)
