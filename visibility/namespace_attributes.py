"""The search attributes of a stored namespace, as filters and visibility records need them.

A Temporal server sends the types of search attributes with each call, and a namespace that it created has none registered. Its
records name fields such as `Keyword01`, whose types follow from their names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .attributes import AttributeType
from .errors import InvalidRecord
from .fields import BUILT_IN
from .filter.tree import Attribute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.storage import Namespace

    from .filter.tree import SearchAttributes

_FIELD = re.compile(
    r"(?:Temporal(?:LowCardinality(?=Keyword[0-9]))?)?(Bool|Datetime|Double|Int|Keyword|KeywordList|Text)(?:0[1-9]|[1-9][0-9])"
)
"""Temporal's fields for custom search attributes, and with `Temporal` before them those for components of CHASM."""
_NAME = re.compile(r"[A-Za-z0-9]+")
_BEFORE = "Temporal"


def attribute_types(namespace: Namespace) -> dict[str, Attribute | AttributeType]:
    """Return the custom search attributes of a namespace with their types, and the aliases."""
    types = {name: AttributeType(kind) for name, kind in namespace.search_attributes.items()}
    return {**types, **{alias: Attribute(name, types[name]) for alias, name in namespace.aliases.items()}}


def filter_types(namespace: Namespace, query: str) -> SearchAttributes:
    """Return the search attributes of a namespace, together with the fields of a Temporal server that a filter names.

    Fields that are registered, with or without `Temporal` before them, keep their registered types.

    Args:
        namespace: The namespace.
        query: A list filter.
    """
    types = attribute_types(namespace)
    named = {name: kind for name in _NAME.findall(query) if (kind := stored_type(name, {})) is not None}
    return types | {name: kind for name, kind in named.items() if types.keys().isdisjoint(_spellings(name))}


def _spellings(name: str) -> frozenset[str]:
    """Return the names with and without `Temporal` before them, because a filter finds an attribute by either."""
    return frozenset({name, f"{_BEFORE}{name}", name.removeprefix(_BEFORE)})


def stored_type(name: str, types: Mapping[str, object]) -> AttributeType | None:
    """Return the type of an attribute that is not built in: the registered one, or that of Temporal's field; None for neither."""
    registered = types.get(name)
    if isinstance(registered, AttributeType):
        return registered
    field = _FIELD.fullmatch(name)
    return None if field is None else AttributeType(field[1])


def stored_types(names: Iterable[str], types: SearchAttributes) -> SearchAttributes:
    """Return the search attributes of a namespace, together with Temporal's fields that its records have.

    Args:
        names: The names of the attributes that occur in records.
        types: The namespace's custom search attributes.

    Raises:
        InvalidRecord: An attribute has no known type.
    """
    found = {name: stored_type(name, types) for name in set(names) - BUILT_IN.keys()}
    known = {name: kind for name, kind in found.items() if kind is not None}
    if len(known) < len(found):
        raise InvalidRecord.of_attribute(
            "the runs of the namespace have a search attribute whose type is not known, so its tokens can't be made. Compare "
            "`strongroom index advise NAMESPACE` with `strongroom namespace attributes NAMESPACE`, register what is missing with "
            "-a NAME=TYPE, and run this again",
            min(found.keys() - known.keys()),
        )
    return {**types, **known}
