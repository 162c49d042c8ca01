"""Keyed hashes of arguments: a workflow's records can be found by who has its namespace's key, and by nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from strongroom.driver.audit.encoding import members

from .arguments import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.kms import NamespaceKeys

HASH_BYTES = 16
REMEMBERED = 1024
"""Hashes of recent values that are kept for a namespace: shards, queues and workflows come again and again."""


class ArgumentHashes:
    """Hashes under one namespace's key.

    Args:
        keys: of the namespace.

    Raises:
        KmsError: there is no identity key, or it was destroyed.
    """

    def __init__(self, keys: NamespaceKeys) -> None:
        self._hash = argument_hash(keys)
        self._values: dict[tuple[str, object], bytes] = {}
        self._ids: dict[tuple[str, int], bytes] = {}

    def members(self, found: Mapping[str, Any]) -> bytes:
        """Return a hash for each value, as members of a JSON object: equal for equal values of one name."""
        parts = []
        for name, value in found.items():
            kind = type(value)
            if kind is UUID:  # as a number, which is compared and hashed ten times as fast
                parts.append(self._ids.get((name, value.int)) or self._new(name, value, self._ids, value.int))
            elif kind is str or kind is int:
                parts.append(self._values.get((name, value)) or self._new(name, value, self._values, value))
            else:
                parts.append(self._made(name, value))
        return b",".join(parts)

    def _new(self, name: str, value: object, known: dict[tuple[str, Any], bytes], key: object) -> bytes:
        if len(known) >= REMEMBERED:
            known.clear()
        made = known[name, key] = self._made(name, value)
        return made

    def _made(self, name: str, value: object) -> bytes:
        return members({name: self._hash(name, value)})


def argument_hash(keys: NamespaceKeys) -> Callable[[str, object], str]:
    """Return what hashes an argument's name and value under a namespace's key, in hexadecimal.

    Raises:
        KmsError: as `ArgumentHashes`.
    """
    token = keys.identity("audit").token
    return lambda name, value: token(name.encode() + b"\x00" + canonical(value))[:HASH_BYTES].hex()


_HASHES: WeakKeyDictionary[NamespaceKeys, ArgumentHashes] = WeakKeyDictionary()


def hashes_of(keys: NamespaceKeys) -> ArgumentHashes:
    """Return what hashes under these keys; it goes when they do.

    Raises:
        KmsError: as `ArgumentHashes`.
    """
    found = _HASHES.get(keys)
    if found is None:
        found = _HASHES[keys] = ArgumentHashes(keys)
    return found
