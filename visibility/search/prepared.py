"""A cache of prepared filters: parsed, and compiled with the keys of a namespace.

Each page of a list has the same filter, and a user interface repeats its filters. A prepared filter contains tokens and what a
tenant searched for, so it is cached no longer than the unwrapped keys that it was compiled with.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.backends.token_query import count_tokens
from strongroom.visibility.filter.parser import parse_filter

from .argument_checks import check_search_attributes
from .compiler import compile_query

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys
    from strongroom.visibility.filter.tree import ListFilter, SearchAttributes

    from .approximation import Approximation

KEPT = 1024
"""Maximum number of cached filters of all namespaces, if they are short. A long one counts as one for each `_SHORT` characters, and
for each `_FEW_TOKENS` tokens: with `strict` an id has 256."""
_SHORT = 256
_FEW_TOKENS = 64
_LONG = 4096
"""Length from which on a filter is prepared in a thread, so that other searches are not held up."""
_LEAST = 16
"""Smallest number of documents that the first fetch of a list adds to the page. They usually show where its last second ends."""
_Text: TypeAlias = "tuple[str, tuple[tuple[str, object], ...], int]"
_Prepared: TypeAlias = "tuple[ListFilter, Approximation, Earlier]"


@dataclass(slots=True)
class Earlier:
    """What the earlier searches of a filter read, so that one fetch is usually enough for the next one.

    Attributes:
        overlap: Number of documents that the first fetch of a list adds to the page. It takes few different values, because each
            page size has a prepared statement of its own.
        opened: Number of documents that the last count opened.
    """

    overlap: int = _LEAST
    opened: int = 0

    def listed(self, needed: int) -> None:
        """Adapt the overlap to a list. It grows at once to what the list needed, and is at most halved if the list needed less.

        Args:
            needed: The number of documents beyond the page that the list needed. It can be negative.
        """
        power_of_two = 1 << max(needed - 1, 0).bit_length()
        self.overlap = min(CHUNK, max(_LEAST, power_of_two, self.overlap // 2))


class PreparedFilter(NamedTuple):
    """A filter, parsed and compiled.

    Attributes:
        keys: The keys that it was compiled with.
        parsed: The parsed filter.
        compiled: The token queries of its condition.
        earlier: What its earlier searches read. It is shared by all searches of the filter.
    """

    keys: NamespaceKeys
    parsed: ListFilter
    compiled: Approximation
    earlier: Earlier


class PreparedFilters:
    """Prepares filters and caches them.

    Args:
        kept: Maximum number of cached filters.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._filters: WeakKeyDictionary[NamespaceKeys, dict[_Text, _Prepared]] = WeakKeyDictionary()
        self._kept = self._room = kept

    async def prepare_in_turn(
        self, keys: NamespaceKeys, query: str, types: SearchAttributes, archetype_id: int = 0
    ) -> PreparedFilter:
        """Prepare a filter like `prepare`. While a long filter is parsed and compiled, other tasks run."""
        if not isinstance(query, str) or len(query) <= _LONG:
            return self.prepare(keys, query, types, archetype_id)
        check_search_attributes(types)
        text = (query, tuple(types.items()), archetype_id)
        cached = self._filters.get(keys, {}).get(text)
        if cached is None:
            cached = await asyncio.to_thread(_prepared, keys, query, types, archetype_id)
            self._keep(keys, text, cached)
        return PreparedFilter(keys, *cached)

    def prepare(
        self, keys: NamespaceKeys, query: str, types: SearchAttributes, archetype_id: int = 0
    ) -> PreparedFilter:
        """Return a filter for the documents of a namespace.

        Args:
            keys: The keys of the namespace.
            query: The text of the filter.
            types: The namespace's custom search attributes.
            archetype_id: The archetype that is asked for; 0 for workflows.

        Raises:
            InvalidQuery: The filter is not valid, see `parse_filter`.
            InvalidPersistenceRequest: The types are not a mapping of names to types.
        """
        check_search_attributes(types)
        text = (query, tuple(types.items()), archetype_id)
        cached = self._filters.get(keys, {}).get(text)
        if cached is None:
            cached = _prepared(keys, query, types, archetype_id)
            self._keep(keys, text, cached)
        return PreparedFilter(keys, *cached)

    def _keep(self, keys: NamespaceKeys, text: _Text, prepared: _Prepared) -> None:
        _, compiled, _ = prepared
        tokens = count_tokens(compiled.sure) + (0 if compiled.exact else count_tokens(compiled.possible))
        needed = 1 + len(text[0]) // _SHORT + tokens // _FEW_TOKENS
        if needed > self._room:
            self._filters.clear()
            self._room = self._kept
        if needed <= self._room:
            self._filters.setdefault(keys, {})[text] = prepared
            self._room -= needed


def _prepared(keys: NamespaceKeys, query: str, types: SearchAttributes, archetype_id: int) -> _Prepared:
    parsed = parse_filter(query, types, archetype_id=archetype_id)
    return parsed, compile_query(parsed.where, keys), Earlier()
