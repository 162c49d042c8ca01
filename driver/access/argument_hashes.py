"""Keyed hashes of arguments. Only the holder of a namespace's keys can find the audit records of a workflow by its id."""

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
CACHED_HASHES = 1024
"""Maximum size of each of a namespace's two hash caches. They are useful because shards, task queues and workflows recur."""


class ArgumentHashes:
    """Computes and caches hashes under the identity key of one namespace.

    Args:
        keys: The namespace's keys.

    Raises:
        KmsError: The namespace has no identity key, or the key was destroyed.
    """

    def __init__(self, keys: NamespaceKeys) -> None:
        self._hash = argument_hasher(keys)
        self._values: dict[tuple[str, object], bytes] = {}
        self._ids: dict[tuple[str, int], bytes] = {}

    def members(self, values: Mapping[str, Any], recorded: Collection[str]) -> bytes:
        """Return the hashes of the recorded values, as members of a JSON object. Equal values with the same name have equal hashes.

        Args:
            values: The arguments of a call, by name.
            recorded: The names of the arguments that are recorded.
        """
        parts = []
        for name, value in values.items():
            if name not in recorded:
                continue
            kind = type(value)
            if kind is UUID:  # As a dictionary key, an integer is ten times as fast as a UUID.
                parts.append(self._ids.get((name, value.int)) or self._remember(name, value, self._ids, value.int))
            elif kind is str or kind is int:
                parts.append(self._values.get((name, value)) or self._remember(name, value, self._values, value))
            else:
                parts.append(self._member(name, value))
        return b",".join(parts)

    def _remember(self, name: str, value: object, cache: dict[tuple[str, Any], bytes], key: object) -> bytes:
        if len(cache) >= CACHED_HASHES:
            cache.clear()
        member = cache[name, key] = self._member(name, value)
        return member

    def _member(self, name: str, value: object) -> bytes:
        return members({name: self._hash(name, value)})


def argument_hasher(keys: NamespaceKeys) -> Callable[[str, object], str]:
    """Return a function that returns the keyed hash of an argument's name and value, in hexadecimal.

    Raises:
        KmsError: As `ArgumentHashes`.
    """
    token = keys.identity("audit").token
    return lambda name, value: token(name.encode() + b"\x00" + canonical(value))[:HASH_BYTES].hex()


_HASHES: WeakKeyDictionary[NamespaceKeys, ArgumentHashes] = WeakKeyDictionary()


def hashes_of(keys: NamespaceKeys) -> ArgumentHashes:
    """Return the hash cache of a namespace's keys. It is dropped together with the keys.

    Raises:
        KmsError: As `ArgumentHashes`.
    """
    hashes = _HASHES.get(keys)
    if hashes is None:
        hashes = _HASHES[keys] = ArgumentHashes(keys)
    return hashes
