"""Filters that are ready to be asked: parsed, and compiled with a namespace's keys. One that is asked for again is not made again.

A page of a list comes by the same text as the one before it, and whoever watches a list asks for the same over and over. What is kept
holds tokens, and what a tenant asked for; so it lives no longer than the unwrapped keys that it was made with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from strongroom.visibility.filter.parser import parse_filter

from .compiler import compile_query

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys
    from strongroom.visibility.filter.tree import ListFilter, SearchAttributes

    from .compiler import Approximation

KEPT = 1024
"""Filters of all namespaces together; the largest, of a hundred ranges, take some ten kilobytes each."""
_Text: TypeAlias = "tuple[str, tuple[tuple[str, object], ...]]"


class PreparedFilter(NamedTuple):
    """A filter in both forms.

    Attributes:
        keys: that it was compiled with.
        parsed: what the text says.
        compiled: the two sides of its condition.
    """

    keys: NamespaceKeys
    parsed: ListFilter
    compiled: Approximation


class PreparedFilters:
    """Prepares filters, and keeps what it prepared."""

    def __init__(self, kept: int = KEPT) -> None:
        self._of: WeakKeyDictionary[NamespaceKeys, dict[_Text, tuple[ListFilter, Approximation]]] = WeakKeyDictionary()
        self._kept = self._room = kept

    def prepare(self, keys: NamespaceKeys, query: str, types: SearchAttributes) -> PreparedFilter:
        """Return a filter for the documents of a namespace.

        Raises:
            InvalidQuery: see `parse_filter`.
        """
        text = (query, tuple(types.items()))
        made = self._of.get(keys, {}).get(text)
        if made is None:
            parsed = parse_filter(query, types)
            made = parsed, compile_query(parsed.where, keys)
            if not self._room:
                self._of.clear()
                self._room = self._kept
            self._of.setdefault(keys, {})[text] = made
            self._room -= 1
        return PreparedFilter(keys, *made)
