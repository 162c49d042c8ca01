"""Convert a filter to the request of Temporal's Elasticsearch store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import doubles
from .attributes import DIVISION, InvalidFilter
from .language import All, Not, Some
from .mapping import SORTABLE, rfc3339
from .typed import Request, Test, read

if TYPE_CHECKING:
    from .attributes import Attribute, Attributes

_INT64 = range(-(2**63), 2**63)
_NANOSECONDS = range(2**63)
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_NOTHING: dict[str, Any] = {"match_none": {}}
DEFAULT_ORDER = [
    {"CloseTime": {"order": "desc", "missing": "_first"}},
    {"StartTime": {"order": "desc", "missing": "_first"}},
]
_BY_RUN = {"RunId": {"order": "desc"}}


def temporal_query(
    text: str,
    attributes: Attributes,
    *,
    namespace_id: str,
    scaled_float: bool = False,
    faithful: bool = False,
) -> dict[str, Any]:
    """Return the body of a search for a filter: `query` and `sort`, or `query`, `size` and `aggs` for a GROUP BY.

    Args:
        text: The filter.
        attributes: The attributes of the namespace.
        namespace_id: The id of the namespace.
        scaled_float: Whether the index has this type for Doubles; see `mapping.index_body`.
        faithful: Whether to keep Temporal's pitfalls; see the package.

    Raises:
        InvalidFilter: Temporal refuses the filter.
    """
    request = read(text, attributes)
    return _Builder(scaled_float, faithful).body(request, namespace_id)


class _Builder:
    def __init__(self, scaled_float, faithful):
        self._scaled_float = scaled_float
        self._faithful = faithful

    def body(self, request: Request, namespace_id: str) -> dict[str, Any]:
        query = {"bool": {"filter": [{"term": {"NamespaceId": namespace_id}}, self.clause(request.where)]}}
        if request.group_by:
            terms: dict[str, Any] = {"field": request.group_by.field, "size": 10 if self._faithful else 10_000}
            if request.group_by.field == DIVISION:
                terms["missing"] = ""
            return {"query": query, "size": 0, "aggs": {"groups": {"terms": terms}}}
        if request.order_by:
            sort = [
                {self._sorted_by(attribute): {"order": "desc" if descending else "asc", "missing": "_last"}}
                for attribute, descending in request.order_by
            ]
            return {"query": query, "sort": [*sort, _BY_RUN]}
        return {"query": query, "sort": DEFAULT_ORDER if self._faithful else [*DEFAULT_ORDER, _BY_RUN]}

    def clause(self, node: object) -> dict[str, Any]:  # noqa: C901 - a case for each node of a filter
        match node:
            case Not(item):
                return {"bool": {"must_not": [self.clause(item)]}}
            case All(items):
                return {"bool": {"filter": [self.clause(item) for item in items]}}
            case Some(items):
                return {"bool": {"should": [self.clause(item) for item in items], "minimum_should_match": 1}}
            case Test(attribute, "IS NULL", _):
                return {"bool": {"must_not": [{"exists": {"field": attribute.field}}]}}
            case Test(attribute, "STARTS_WITH", (prefix,)):
                return {"prefix": {attribute.field: prefix}}
            case Test(attribute, "=", (value,)) if attribute.kind == "Text":
                return {"match": {attribute.field: value}}
            case Test(attribute, "=", (value,)):
                return self._any_of(attribute, (value,), single=True)
            case Test(attribute, "IN", values):
                return self._any_of(attribute, values, single=False)
            case Test(attribute, "BETWEEN", (low, high)):
                return self._range(attribute, {"gte": low, "lte": high})
            case Test(attribute, operator, (value,)):
                return self._range(attribute, {_BOUNDS[operator]: value})
        raise TypeError(node)

    def _sorted_by(self, attribute: Attribute) -> str:
        as_double = attribute.kind == "Double" and not self._scaled_float
        return attribute.field + SORTABLE if as_double else attribute.field

    def _any_of(self, attribute, values, *, single):
        asked = [self._exact(attribute, value, refuse=not single) for value in values]
        asked = [value for value in asked if value is not None]
        if single and asked:
            return {"term": {attribute.field: asked[0]}}
        return {"terms": {attribute.field: asked}} if asked else _NOTHING

    def _exact(self, attribute, value, *, refuse):
        """Return the value to search for, or None if no document can have it."""
        match attribute.kind:
            case "Datetime":
                if value not in _NANOSECONDS:
                    self._refuse()
                    return None
                return rfc3339(value, digits=not self._faithful)
            case "Int" if isinstance(value, float) and not _fits(value):
                if refuse:
                    self._refuse()
                return None
            case "Double" if not self._scaled_float:
                return doubles.asked(value)
        return value

    def _range(self, attribute, bounds):
        field = attribute.field
        if attribute.kind == "Double" and not self._scaled_float:
            whole = {}
            for bound, value in bounds.items():
                side = doubles.lower if bound.startswith("g") else doubles.upper
                whole[bound[0] + "te"] = side(value, inclusive=bound.endswith("e"))
            return {"range": {field: whole}}
        if attribute.kind in ("Int", "Datetime"):
            legal = _NANOSECONDS if attribute.kind == "Datetime" else _INT64
            for bound, value in list(bounds.items()):
                if legal.start <= value < legal.stop:
                    continue
                self._refuse()
                below = value < legal.start
                if below != bound.startswith("g"):
                    return _NOTHING
                del bounds[bound]  # all values satisfy this bound
            if not bounds:
                return {"exists": {"field": field}}
            if attribute.kind == "Datetime":
                bounds = {bound: rfc3339(value, digits=not self._faithful) for bound, value in bounds.items()}
        return {"range": {field: bounds}}

    def _refuse(self):
        if self._faithful:
            raise InvalidFilter("invalid", "Elasticsearch refuses a value outside 64 bits")


def _fits(value):
    return _INT64.start <= value < _INT64.stop
