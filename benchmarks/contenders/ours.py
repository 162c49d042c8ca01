"""Strongroom's own path, from `NamespaceKeys` to framed bytes, once for each cipher that this build has."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks.contenders.names import NATIVE, PYTHON
from benchmarks.contenders.protocol import Absent, Contender
from strongroom.kms import KeyClass, NamespaceKeys, RecordKind, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.sealing.record_kind import encode_parts
from strongroom.storage import HISTORY_NODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contenders.protocol import Key, Row, Sealed

# A history node's key without its compression: random bytes do not compress, and trying would be measured instead.
PLAIN = RecordKind(HISTORY_NODE.name, HISTORY_NODE.column, HISTORY_NODE.key)
SCOPE = (7, os.urandom(16), os.urandom(16))
NAMES = {"python": PYTHON, "native": NATIVE}
_DIFFERS = (
    "a new key for each batch, derived from the namespace's and found again in a cache when rows are opened; "
    "32 bytes of header and nonce; cell, namespace and row bound"
)


def available() -> tuple[str, ...]:
    """Return the ciphers that this version of `strongroom.kms` can seal with here; an older one has only its own."""
    if find_spec("strongroom.kms.sealing.ciphers") is None:
        return ("python",)
    from strongroom.kms.sealing import ciphers  # noqa: PLC0415 - an older version lacks it

    return tuple(ciphers.available())


def chosen() -> str:
    """Return our name with the cipher that keys have where none is asked for."""
    if find_spec("strongroom.kms.sealing.ciphers") is None:
        return PYTHON
    from strongroom.kms.sealing import ciphers  # noqa: PLC0415 - an older version lacks it

    return NAMES[ciphers.chosen()]


def namespace_keys(cipher: str = "python") -> NamespaceKeys:
    """Return fresh keys of a namespace, without a registry, that seal with this cipher."""
    root, choice = Secret(os.urandom(32)), {"cipher": cipher} if find_spec("strongroom.kms.sealing.ciphers") else {}
    data = {1: DataKey(root, version=1, suite=Suite.XAES_256_GCM, **choice)}
    return NamespaceKeys(
        cell_id=uuid4(), namespace_id=uuid4(), data=data, index={}, identity={}, active={KeyClass.DATA: 1}
    )


def associated_bytes() -> int:
    """Return how many bytes of associated data a row of ours has."""
    return 8 + len(PLAIN.context(bytes(16), bytes(16))) + len(encode_parts(PLAIN.key, (*SCOPE, 1, 1, 1)))


def contenders() -> list[Contender]:
    """Return one for each cipher."""
    return [contender(cipher) for cipher in available()]


def missing() -> dict[str, str]:
    """Return what is left out, and why."""
    return {} if "native" in available() else {NATIVE: "strongroom_kernel is not built into this environment"}


def contender(cipher: str) -> Contender:
    """Return our path with a cipher.

    Raises:
        Absent: this build has no such cipher.
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
