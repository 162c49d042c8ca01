"""A cache of the values of group tokens, so that a repeated GROUP BY opens no documents (DESIGN.md, "Two sides").

A value is taken only from an opened document whose value has this token, so an index can't give a group another name. The cache is in
memory only. A value is cached no longer than the unwrapped keys that its document was opened with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms import NamespaceKeys

KEPT = 2**22
"""Maximum size of the cached values of all namespaces, in bytes."""
_ENTRY = 150
"""Bytes of an entry without its characters. A character takes at most four more."""


class GroupNames:
    """See the module.

    Args:
        kept: Maximum size of the cached values of all namespaces, in bytes.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._names: WeakKeyDictionary[NamespaceKeys, dict[tuple[int, str], dict[int, str]]] = WeakKeyDictionary()
        self._kept = self._room = kept

    def known(self, keys: NamespaceKeys, epoch: int, attribute: str) -> Mapping[int, str]:
        """Return the cached values of an attribute in an epoch, by group token."""
        return self._names.get(keys, {}).get((epoch, attribute), {})

    def keep(self, keys: NamespaceKeys, epoch: int, attribute: str, names: Mapping[int, str]) -> None:
        """Cache values. If they do not fit, all others are dropped; if they don't fit alone, they are not cached.

        Args:
            keys: The keys of the namespace, with which the documents were opened.
            epoch: The epoch of the tokens.
            attribute: The name of the attribute. Another attribute can have the same tag, so a token alone does not identify a value.
            names: The value of each token.
        """
        needed = sum(_ENTRY + 4 * len(name) for name in names.values())
        if needed > self._room:
            self._names.clear()
            self._room = self._kept
        if needed <= self._room:
            self._names.setdefault(keys, {}).setdefault((epoch, attribute), {}).update(names)
            self._room -= needed
