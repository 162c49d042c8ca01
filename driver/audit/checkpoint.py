"""Checkpoints: signed positions of a stream. They show whether any record before them was changed."""

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
    """A position in a stream.

    Attributes:
        stream_id: The stream.
        sequence: The number of the last record that it covers.
        chain: The chain after that record, 32 bytes.
    """

    stream_id: UUID
    sequence: int
    chain: bytes

    def message(self, prefix: bytes = PREFIX) -> bytes:
        """Return the bytes that are signed."""
        return prefix + self.stream_id.bytes + self.sequence.to_bytes(8, "big") + self.chain

    def is_signed(self, signature: bytes, *, public_key: bytes, prefix: bytes = PREFIX) -> bool:
        """Return whether the signature is valid for a public key."""
        return is_signed(self.message(prefix), signature, public_key=public_key)


def as_event(checkpoint: Checkpoint, *, kind: str, at: datetime, public_key: bytes, signature: bytes) -> Fields:
    """Return the record of a signature over the records before it."""
    return {
        "event": kind,
        "at": at,
        "covers": checkpoint.sequence,
        "covered_chain": checkpoint.chain.hex(),
        "public_key": public_key.hex(),
        "signature": signature.hex(),
    }
