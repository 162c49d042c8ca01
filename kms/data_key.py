"""One version of a namespace's data key, unwrapped: seals and opens, and never shows its bytes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import derivation
from .errors import IntegrityError, SealingLimitExceeded
from .header import HEADER_BYTES, Suite, encode_header
from .leases import Lease
from .packing import check_length, pack
from .sealing import TAIL_BYTES, batch_nonces, random_nonces, seal_batch
from .xaes import XAES256GCM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .header import Header
    from .record_kind import Key, RecordKind
    from .sealing import Decrypt
    from .secret import Secret

    SealingGroup: TypeAlias = tuple[RecordKind, bytes, Key, Sequence[tuple[Key, bytes]]]
    """A kind, its associated data in the namespace, the scope and the rows."""

MAX_BATCH = 2**16
OVERHEAD_BYTES = {Suite.AES_256_GCM: HEADER_BYTES + 12 + 16, Suite.XAES_256_GCM: HEADER_BYTES + 24 + 16}
"""What a suite adds to a plaintext: header, nonce and tag."""
SUBKEYS_KEPT = 4096
"""Derived keys kept for reading: one serves every row of the batch that it was drawn for."""


class DataKey:
    """An unwrapped data key of class `data`."""

    __slots__ = ("_aes", "_lease", "_subkeys", "_xaes", "suite", "version")

    def __init__(self, root: Secret, *, version: int, suite: Suite, lease: Lease | None = None) -> None:
        key = derivation.seal_key(root, suite).reveal()
        self.version = version
        self.suite = suite
        self._xaes = XAES256GCM(key) if suite is Suite.XAES_256_GCM else None
        self._aes = AESGCM(key) if suite is Suite.AES_256_GCM else None
        self._subkeys: dict[bytes, AESGCM] = {}
        self._lease = lease or Lease()

    def seal_groups(self, groups: Sequence[SealingGroup]) -> list[list[bytes]]:
        """Seal the rows of several groups under fresh nonces, drawn once for all.

        Raises:
            SealingLimitExceeded: too many rows, too long a row, or (suite 1) a lease that is used up.
        """
        count = sum(len(rows) for _, _, _, rows in groups)
        if count > MAX_BATCH:
            msg = f"a batch of {count} rows; the format's limit is {MAX_BATCH}"
            raise SealingLimitExceeded(msg)
        if self._xaes is not None:
            prefix, tails = batch_nonces(count)
            encrypt = self._xaes.derive(prefix).encrypt
            self._lease.unreported += count
        else:
            self._lease.spend(count)
            prefix, tails = b"", random_nonces(count)
            encrypt = self._gcm().encrypt
        sealed, spent = [], 0
        for kind, context, scope, rows in groups:
            encoded_scope, encode = kind.key_encoder(scope)
            group: list[bytes] = []
            for flags, run in _runs(kind, rows):
                header = encode_header(self.suite, flags, self.version)
                group += seal_batch(
                    encrypt,
                    head=header + prefix,
                    tails=tails[spent : spent + len(run)],
                    associated=header + context + encoded_scope,
                    encode=encode,
                    rows=run,
                )
                spent += len(run)
            if not kind.is_packed:
                # In one pass over what was made: to look at each plaintext beforehand costs several times as much.
                check_length(max(map(len, group), default=0) - OVERHEAD_BYTES[self.suite])
            sealed.append(group)
        return sealed

    def decryptor(self, sealed: bytes, header: Header) -> tuple[Decrypt, int]:
        """Return what decrypts a sealed value of this version, and where the last 12 bytes of its nonce begin.

        Raises:
            IntegrityError: the value claims another suite than this version has.
        """
        if header.suite is not self.suite:
            raise IntegrityError
        if self._xaes is None:
            return self._gcm().decrypt, HEADER_BYTES
        prefix = sealed[HEADER_BYTES : HEADER_BYTES + TAIL_BYTES]
        subkey = self._subkeys.get(prefix)
        if subkey is None:
            subkey = self._xaes.derive(prefix)
            if len(self._subkeys) >= SUBKEYS_KEPT:
                for oldest in tuple(itertools.islice(self._subkeys, SUBKEYS_KEPT // 2)):
                    self._subkeys.pop(oldest, None)  # another thread may have been here
            self._subkeys[prefix] = subkey
        return subkey.decrypt, HEADER_BYTES + TAIL_BYTES

    def _gcm(self) -> AESGCM:
        assert self._aes is not None  # noqa: S101 - suite 1 always has it
        return self._aes

    def __repr__(self) -> str:
        return f"DataKey(version={self.version}, suite={self.suite.name}, key=<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


def _runs(kind: RecordKind, rows: Sequence[tuple[Key, bytes]]) -> list[tuple[int, Sequence[tuple[Key, bytes]]]]:
    """Pack the plaintexts, and split the batch into runs of rows with the same header flags, in order."""
    if not kind.is_packed:
        return [(0, rows)]
    packed = [(key, pack(kind, plaintext)) for key, plaintext in rows]
    return [
        (flags, [(key, body) for key, (_, body) in run])
        for flags, run in itertools.groupby(packed, key=lambda row: row[1][0])
    ]
