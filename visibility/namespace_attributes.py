"""The search attributes of a stored namespace, as filters and visibility records need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .attributes import AttributeType
from .filter.tree import Attribute

if TYPE_CHECKING:
    from strongroom.storage import Namespace

    from .filter.tree import SearchAttributes


def attribute_types(namespace: Namespace) -> SearchAttributes:
    """Return the custom search attributes of a namespace with their types, and the aliases."""
    types = {name: AttributeType(kind) for name, kind in namespace.search_attributes.items()}
    return {**types, **{alias: Attribute(name, types[name]) for alias, name in namespace.aliases.items()}}
