"""Strongroom's path from `NamespaceKeys` to framed bytes, as one contender per cipher of this build.

`make bench-compare` also runs this module on an older commit, whose modules have other names. `_first` looks up both.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmarks.sealing.contenders.names import NATIVE, PYTHON
from benchmarks.sealing.contenders.protocol import Absent, Contender
from strongroom.kms import KeyClass, NamespaceKeys, RecordKind, Secret, Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sealing.contenders.protocol import Key, Row, Sealed


def _first(name: str, *modules: str) -> Any:
    """Return a name from the first of these modules that the measured commit has."""
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    message = f"none of {', '.join(modules)} has {name}"
    raise ImportError(message)


DataKey = _first("DataKey", "strongroom.kms.keys.data_key", "strongroom.kms.data_key")
encode_parts = _first("encode_parts", "strongroom.kms.sealing.record_kind", "strongroom.kms.record_kind")
HISTORY_NODE = _first("HISTORY_NODE", "strongroom.kms.sealing.record_kinds", "strongroom.storage")
ciphers = _first("ciphers", "strongroom.kms.sealing", "strongroom.kms")
# A history node's key without compression: random bytes do not compress, and the attempt would be measured too.
PLAIN = RecordKind(HISTORY_NODE.name, HISTORY_NODE.column, HISTORY_NODE.key)
SCOPE = (7, os.urandom(16), os.urandom(16))
NAMES = {"python": PYTHON, "native": NATIVE}
_DIFFERS = (
    "a new key for each batch, derived from the namespace's and found again in a cache when rows are opened; "
    "32 bytes of header and nonce; cell, namespace and row bound"
)


def available() -> tuple[str, ...]:
    """Return the ciphers that this version of `strongroom.kms` can seal with on this machine."""
    return tuple(ciphers.available())


def chosen() -> str:
    """Return the name of the contender with the default cipher."""
    return NAMES[ciphers.chosen()]


def namespace_keys(cipher: str = "python") -> NamespaceKeys:
    """Return new keys of a namespace, without a registry, that seal with this cipher."""
    data = {1: DataKey(Secret(os.urandom(32)), version=1, suite=Suite.XAES_256_GCM, cipher=cipher)}
    return NamespaceKeys(
        cell_id=uuid4(), namespace_id=uuid4(), data=data, index={}, identity={}, active={KeyClass.DATA: 1}
    )


def associated_bytes() -> int:
    """Return the number of bytes of associated data in a Strongroom row."""
    return 8 + len(PLAIN.context(bytes(16), bytes(16))) + len(encode_parts(PLAIN.key, (*SCOPE, 1, 1, 1)))


def contenders() -> list[Contender]:
    """Return one contender for each cipher."""
    return [contender(cipher) for cipher in available()]


def missing() -> dict[str, str]:
    """Return the ciphers that are left out, with the reasons."""
    return {} if "native" in available() else {NATIVE: "strongroom_kernel is not built into this environment"}


def contender(cipher: str) -> Contender:
    """Return Strongroom's path with a cipher.

    Raises:
        Absent: This build has no such cipher.
    """
    if cipher not in available():
        msg = f"this build of Strongroom has no cipher {cipher}"
        raise Absent(msg)
    keys, scope = namespace_keys(cipher), SCOPE
    seal_many, open_many = keys.seal_many, keys.open_many

    def seal(rows: Sequence[Row]) -> list[bytes]:
        return seal_many(PLAIN, rows, scope=scope)

    def open_(sealed: Sealed) -> list[bytes]:
        return open_many(PLAIN, sealed, scope=scope)

    def seal_one(key: Key, plaintext: bytes) -> bytes:
        return seal_many(PLAIN, ((key, plaintext),), scope=scope)[0]

    def open_one(key: Key, value: bytes) -> bytes:
        return open_many(PLAIN, ((key, value),), scope=scope)[0]

    return Contender(NAMES[cipher], "this commit", _DIFFERS, seal, open_, seal_one, open_one)
