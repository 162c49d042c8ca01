"""Signed statements of how far a stream was: whoever has one can tell whether anything before it was changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms import is_signed

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from .events import Fields

PREFIX = b"strongroom-audit-checkpoint/1\n"
PRUNED_PREFIX = b"strongroom-audit-pruned/1\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed.

    Attributes:
        stream_id: of the log.
        sequence: of the last record that it covers.
        chain: after that record, 32 bytes.
    """

    stream_id: UUID
    sequence: int
    chain: bytes

    def message(self, prefix: bytes = PREFIX) -> bytes:
        """Return the bytes that the signature is over."""
        return prefix + self.stream_id.bytes + self.sequence.to_bytes(8, "big") + self.chain

    def is_signed(self, signature: bytes, *, public_key: bytes, prefix: bytes = PREFIX) -> bool:
        """Return whether the owner of a public key signed it."""
        return is_signed(self.message(prefix), signature, public_key=public_key)


def as_event(checkpoint: Checkpoint, *, kind: str, at: datetime, public_key: bytes, signature: bytes) -> Fields:
    """Return the record that carries a signature; it is about the records before it."""
    return {
        "event": kind,
        "at": at,
        "covers": checkpoint.sequence,
        "covered_chain": checkpoint.chain.hex(),
        "public_key": public_key.hex(),
        "signature": signature.hex(),
    }
