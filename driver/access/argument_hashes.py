"""Keyed hashes of arguments: only the owner of a namespace's key can find a workflow's audit records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from strongroom.driver.audit.encoding import members

from .arguments import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from strongroom.kms import NamespaceKeys

HASH_BYTES = 16
REMEMBERED = 1024
"""Number of hashes that are remembered for a namespace, because shards, task queues and workflows recur."""


class ArgumentHashes:
    """Hashes under one namespace's key.

    Args:
        keys: The namespace's keys.

    Raises:
        KmsError: There is no identity key, or it was destroyed.
    """

    def __init__(self, keys: NamespaceKeys) -> None:
        self._hash = argument_hash(keys)
        self._values: dict[tuple[str, object], bytes] = {}
        self._ids: dict[tuple[str, int], bytes] = {}

    def members(self, values: Mapping[str, Any], recorded: Collection[str]) -> bytes:
        """Return a hash for each recorded value, as members of a JSON object. Equal values of one name have equal hashes.

        Args:
            values: The values of a call, by name.
            recorded: The names of those that the audit log holds.
        """
        parts = []
        for name, value in values.items():
            if name not in recorded:
                continue
            kind = type(value)
            if kind is UUID:  # An integer is hashed and compared ten times as fast.
                parts.append(self._ids.get((name, value.int)) or self._remember(name, value, self._ids, value.int))
            elif kind is str or kind is int:
                parts.append(self._values.get((name, value)) or self._remember(name, value, self._values, value))
            else:
                parts.append(self._member(name, value))
        return b",".join(parts)

    def _remember(self, name: str, value: object, cache: dict[tuple[str, Any], bytes], key: object) -> bytes:
        if len(cache) >= REMEMBERED:
            cache.clear()
        member = cache[name, key] = self._member(name, value)
        return member

    def _member(self, name: str, value: object) -> bytes:
        return members({name: self._hash(name, value)})


def argument_hash(keys: NamespaceKeys) -> Callable[[str, object], str]:
    """Return a function that hashes an argument's name and value under a namespace's key, in hexadecimal.

    Raises:
        KmsError: As `ArgumentHashes`.
    """
    token = keys.identity("audit").token
    return lambda name, value: token(name.encode() + b"\x00" + canonical(value))[:HASH_BYTES].hex()


_HASHES: WeakKeyDictionary[NamespaceKeys, ArgumentHashes] = WeakKeyDictionary()


def hashes_of(keys: NamespaceKeys) -> ArgumentHashes:
    """Return the hashes under these keys. They are forgotten together with the keys.

    Raises:
        KmsError: As `ArgumentHashes`.
    """
    hashes = _HASHES.get(keys)
    if hashes is None:
        hashes = _HASHES[keys] = ArgumentHashes(keys)
    return hashes
