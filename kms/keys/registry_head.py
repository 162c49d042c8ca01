"""The heads of the key registry, which authenticate each namespace's keys with a key of the cell (FORMAT.md section 6.6).

A head authenticates all rows of a namespace, with a version that only rises. The summary authenticates the heads of all namespaces.
Both are made with a key that is derived from the cell's identity root, which the configuration pins.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from strongroom.kms.errors import RegistryAltered
from strongroom.kms.sealing.header import Suite

from . import derivation
from .registry import KeyClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms.secret import Secret

    from .registry import DataKeyRecord

NOT_SCHEDULED = bytes(32)
"""The digest of the shredding of a namespace that is not scheduled for one."""
NONCE_BYTES = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NONE = -(2**63)
_MODULUS = 2**256
_HEAD, _TERM, _MASK, _SUMMARY = b"head", b"term", b"mask", b"summary"


@dataclass(frozen=True, slots=True)
class RegistryHead:
    """The head of one namespace.

    Attributes:
        version: The number of changes of the namespace's keys, from 1.
        shredding: The digest of its shredding, 32 bytes; `NOT_SCHEDULED` without one.
        mac: The authentication code, 32 bytes.
    """

    version: int
    shredding: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class RegistrySummary:
    """The summary of the heads of all namespaces.

    Attributes:
        version: The number of changes in the whole registry, from 1.
        nonce: 16 random bytes, new in each version.
        total: The masked sum of the heads, 32 bytes.
        mac: The authentication code, 32 bytes.
    """

    version: int
    nonce: bytes
    total: bytes
    mac: bytes


class RegistryKey:
    """The key that makes and checks heads.

    Args:
        root: The identity root of the cell.
        cell_id: The cell's id, bound to its region if it has one.
    """

    __slots__ = ("_cell", "_key")

    def __init__(self, root: Secret, cell_id: UUID) -> None:
        self._key = derivation.registry_key(root)
        self._cell = cell_id.bytes

    def head(
        self, namespace_id: UUID, version: int, keys: Iterable[DataKeyRecord], shredding: bytes = NOT_SCHEDULED
    ) -> RegistryHead:
        """Return the head of a namespace's keys.

        Args:
            namespace_id: The namespace.
            version: The version of the head.
            keys: All its rows of the registry, in any order.
            shredding: The digest of its shredding.
        """
        content = namespace_id.bytes + struct.pack(">Q", version) + shredding + encode_keys(keys)
        return RegistryHead(version, shredding, self._mac(_HEAD, content))

    def check(self, namespace_id: UUID, head: RegistryHead | None, keys: Sequence[DataKeyRecord]) -> None:
        """Check that a namespace's rows are those that its head authenticates.

        Raises:
            RegistryAltered: They are not, or there is no head.
        """
        if head is None:
            raise altered(namespace_id, "its head is missing")
        expected = self.head(namespace_id, head.version, keys, head.shredding)
        if not hmac.compare_digest(expected.mac, head.mac):
            raise altered(namespace_id, f"the rows are not those of version {head.version}")

    def summary(self, version: int, total: int, *, nonce: bytes | None = None) -> RegistrySummary:
        """Return the summary for a sum of terms. The nonce masks the sum, so that nobody can learn single terms from it."""
        nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce
        masked = ((total + self._mask(nonce)) % _MODULUS).to_bytes(32, "big")
        return RegistrySummary(version, nonce, masked, self._mac(_SUMMARY, struct.pack(">Q", version) + nonce + masked))

    def total(self, summary: RegistrySummary | None) -> int:
        """Return the sum of terms in a summary.

        Raises:
            RegistryAltered: The summary was changed, or there is none.
        """
        if summary is None:
            msg = "the summary of the key registry is missing, so it was changed outside of Strongroom"
            raise RegistryAltered(msg)
        content = struct.pack(">Q", summary.version) + summary.nonce + summary.total
        if not hmac.compare_digest(self._mac(_SUMMARY, content), summary.mac):
            msg = "the summary of the key registry was changed outside of Strongroom"
            raise RegistryAltered(msg)
        return (int.from_bytes(summary.total, "big") - self._mask(summary.nonce)) % _MODULUS

    def term(self, namespace_id: UUID, head: RegistryHead | None) -> int:
        """Return what a head adds to the sum; 0 without a head."""
        if head is None:
            return 0
        content = namespace_id.bytes + struct.pack(">Q", head.version) + head.mac
        return int.from_bytes(self._mac(_TERM, content), "big")

    def check_all(self, heads: Mapping[UUID, RegistryHead], summary: RegistrySummary | None) -> None:
        """Check that these are the newest heads of all namespaces of the cell.

        Raises:
            RegistryAltered: A head is missing, is an older one, or belongs to no namespace of the cell.
        """
        total = sum(self.term(namespace_id, head) for namespace_id, head in heads.items()) % _MODULUS
        if total != self.total(summary):
            msg = (
                "the key registry lacks a namespace's keys, or has older ones, so it was changed outside of Strongroom. This "
                "call changed nothing; restore the registry from a backup"
            )
            raise RegistryAltered(msg)

    def _mask(self, nonce: bytes) -> int:
        return int.from_bytes(self._mac(_MASK, nonce), "big")

    def _mac(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._key.reveal(), self._cell + _bytes(purpose) + content, "sha256")


def altered(namespace_id: UUID, what: str) -> RegistryAltered:
    """Return the error for a namespace whose keys are not as Strongroom wrote them."""
    return RegistryAltered(
        f"the key registry of {namespace_id} was changed outside of Strongroom: {what}. Its keys are not used; restore the registry "
        "from a backup"
    )


def encode_keys(keys: Iterable[DataKeyRecord]) -> bytes:
    """Return the canonical encoding of a namespace's rows.

    The wrapped roots are not part of it, because the commitments bind them. The times of creation are not part of it: they only
    decide when a rotation is due.
    """
    ordered = sorted(keys, key=lambda key: (key.key_class.value, key.version))
    return struct.pack(">I", len(ordered)) + b"".join(map(_key, ordered))


def shredding_digest(
    *,
    times: Sequence[datetime | None],
    flags: Sequence[bool],
    keks: Iterable[tuple[str | None, str | None, str | None, str | None, datetime | None, str | None, str | None]],
) -> bytes:
    """Return the digest of a scheduled shredding.

    Args:
        times: The times of its request, of the end of the grace period, and of its confirmation.
        flags: Whether its KEKs are kept, and whether a job confirms it.
        keks: For each KEK provider, id, disposal, state, time of deletion, request id and error, ordered by provider and id.
    """
    encoded = [b"".join(map(_time, times)), bytes(flags)]
    for provider, kek_id, disposal, state, deletion_at, request_id, error in keks:
        encoded += [_text(provider), _text(kek_id), _text(disposal), _text(state), _time(deletion_at)]
        encoded += [_text(request_id), _text(error)]
    return sha256(b"".join(encoded)).digest()


def _key(key: DataKeyRecord) -> bytes:
    counted = key.key_class is KeyClass.DATA and key.suite is Suite.AES_256_GCM
    return b"".join(
        (
            _text(key.key_class.value),
            struct.pack(">IB", key.version, key.suite.value),
            _text(key.state.value),
            _text(None if key.disabled_from is None else key.disabled_from.value),
            bytes((key.withdrawn,)),
            _text(key.provider),
            _text(key.kek_id),
            _text(key.kek_version),
            key.commitment,
            _text(key.layout),
            struct.pack(">Q", key.lease if counted else 0),
            _time(key.destroyed_at),
        )
    )


def _text(text: str | None) -> bytes:
    return b"\x00" if text is None else b"\x01" + _bytes(text.encode())


def _bytes(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _time(moment: datetime | None) -> bytes:
    return struct.pack(">q", _NONE if moment is None else (moment - _EPOCH) // _MICROSECOND)
