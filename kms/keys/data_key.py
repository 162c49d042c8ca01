"""An unwrapped version of a namespace's data key. It seals and opens, and never reveals its bytes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast

from strongroom.kms.errors import IntegrityError, InvalidRequest, SealingLimitExceeded
from strongroom.kms.sealing.ciphers import implementation
from strongroom.kms.sealing.header import HEADER_BYTES, Suite, encode_header
from strongroom.kms.sealing.packing import MAX_PLAINTEXT_BYTES, pack
from strongroom.kms.sealing.xaes import PREFIX_BYTES

from . import derivation
from .leases import Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms.sealing.header import Header
    from strongroom.kms.sealing.record_kind import Plaintext, RecordKey, RecordKind
    from strongroom.kms.secret import Secret

    SealingGroup: TypeAlias = tuple[RecordKind, bytes, RecordKey, Sequence[tuple[RecordKey, Plaintext]]]
    """A record kind, its associated data in the namespace, the scope and the rows."""

MAX_BATCH = 2**16

TOO_LONG = f"a plaintext is longer than the format's limit of {MAX_PLAINTEXT_BYTES} bytes"
KEY_MISMATCH = "the parts of a row's key do not match its record kind"


class DataKey:
    """An unwrapped data key of class `data`.

    Args:
        root: The root key, 32 bytes.
        version: The version of the key within its namespace.
        suite: The suite with which it seals.
        lease: The counter of its uses. None means an empty counter, so that a key of suite 1 seals nothing.
        cipher: The name of the implementation. None selects the default one (`ciphers.py`).
    """

    __slots__ = ("_cipher", "_header", "_lease", "implementation", "suite", "version")

    def __init__(
        self, root: Secret, *, version: int, suite: Suite, lease: Lease | None = None, cipher: str | None = None
    ) -> None:
        self.version = version
        self.suite = suite
        self.implementation = implementation(cipher)
        self._cipher = self.implementation.Cipher(derivation.seal_key(root, suite).reveal(), suite)
        self._lease = lease or Lease()
        self._header = encode_header(suite, 0, version)

    def seal_groups(self, groups: Sequence[SealingGroup]) -> list[list[bytes]]:
        """Seal the rows of several groups as one batch.

        Raises:
            SealingLimitExceeded: There are too many rows, a row is too long, or the lease of a key of suite 1 is used up.
            InvalidRequest: A key part does not have the type of the record kind.
        """
        count = sum([len(rows) for _, _, _, rows in groups])
        self._count(count)
        batch = self._cipher.batch(count)
        sealed = []
        try:
            for kind, context, scope, rows in groups:
                group: list[bytes] = []
                for flags, run in _runs(kind, rows):
                    header = encode_header(self.suite, flags, self.version) if flags else self._header
                    group += batch.seal(header, context, kind.types, scope, run)
                sealed.append(group)
        except self.implementation.KeyMismatch:
            raise InvalidRequest(KEY_MISMATCH) from None
        except OverflowError:
            raise SealingLimitExceeded(TOO_LONG) from None
        return sealed

    def seal_rows(
        self, kind: RecordKind, context: bytes, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
    ) -> list[bytes]:
        """Seal rows of one record kind that is not packed. This skips the set-up that `seal_groups` needs for several groups."""
        count = len(rows)
        if self.suite is Suite.XAES_256_GCM and count <= MAX_BATCH:
            self._lease.unreported += count
        else:
            self._count(count)
        try:
            return self._cipher.seal(self._header, context, kind.types, scope, rows)
        except self.implementation.KeyMismatch:
            raise InvalidRequest(KEY_MISMATCH) from None
        except OverflowError:
            raise SealingLimitExceeded(TOO_LONG) from None

    def _count(self, count: int) -> None:
        if count > MAX_BATCH:
            msg = f"the batch has {count} rows; the format's limit is {MAX_BATCH}"
            raise SealingLimitExceeded(msg)
        if self.suite is Suite.XAES_256_GCM:
            self._lease.unreported += count
        else:
            self._lease.spend(count)

    def subkey_of(self, sealed: bytes, header: Header) -> tuple[Any, int]:
        """Return the key that opens a sealed value of this version, and the offset of the last 12 bytes of its nonce.

        Raises:
            IntegrityError: The value's suite is not that of this version, or the value ends within its nonce.
        """
        if header.suite is not self.suite:
            raise IntegrityError
        end = HEADER_BYTES + (PREFIX_BYTES if header.suite is Suite.XAES_256_GCM else 0)
        if len(sealed) < end:
            raise IntegrityError
        return self._cipher.subkey(sealed[HEADER_BYTES:end]), end

    def __repr__(self) -> str:
        return f"DataKey(version={self.version}, suite={self.suite.name}, key=<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


def _runs(
    kind: RecordKind, rows: Sequence[tuple[RecordKey, Plaintext]]
) -> list[tuple[int, Sequence[tuple[RecordKey, bytes]]]]:
    """Pack the plaintexts, and return runs of neighbouring rows with equal header flags."""
    if not kind.is_packed or kind.body_flags is not None:
        return [(kind.body_flags or 0, cast("Sequence[tuple[RecordKey, bytes]]", rows))]
    packed = [(key, pack(kind, plaintext)) for key, plaintext in rows]
    return [
        (flags, [(key, body) for key, (_, body) in run])
        for flags, run in itertools.groupby(packed, key=lambda row: row[1][0])
    ]
