"""Checkpoints: signed positions of a stream. They show whether any record before them was changed.

A checkpoint is a record of its stream, and a row in the database. The rows of a cell are numbered, and each has the hash of the
row before it (docs/how-to/audit-log.md, "Checkpoints").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from strongroom.kms import is_signed

from .chain import GENESIS
from .events import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from strongroom.kms import SigningKey
    from strongroom.storage.cell import AuditCheckpoint, AuditCompaction

    from .events import Fields

PREFIX = b"strongroom-audit-checkpoint/1\n"
PRUNED_PREFIX = b"strongroom-audit-pruned/1\n"
COMPACTED_PREFIX = b"strongroom-audit-compacted/1\n"
NOT_IN_DATABASE = 0
"""The number of a checkpoint that the database does not have, for example because it could not be reached."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST = 2**63 - 1


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

    def message(self, prefix: bytes) -> bytes:
        """Return the bytes that are signed for a statement about this position."""
        return prefix + self.stream_id.bytes + self.sequence.to_bytes(8, "big") + self.chain

    def is_signed(self, signature: bytes, *, public_key: bytes, prefix: bytes) -> bool:
        """Return whether the signature of a statement is valid for a public key."""
        return is_signed(self.message(prefix), signature, public_key=public_key)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A signed position, as it is in a record and in a row of the database.

    Attributes:
        number: The number of the row; `NOT_IN_DATABASE` if there is none.
        previous: The hash of the row before it, 32 bytes; zeros if there is none.
        covered: The position.
        place: The host and the folder of the log.
        policy_version: The highest version of the access policy that the process has seen.
        at: The time, in UTC.
        signature: The signature of the cell's audit key.
    """

    number: int
    previous: bytes
    covered: Checkpoint
    place: str
    policy_version: int
    at: datetime
    signature: bytes = b""

    def message(self) -> bytes:
        """Return the bytes that are signed."""
        place = self.place.encode()
        return b"".join(
            (
                PREFIX,
                self.number.to_bytes(8, "big"),
                self.previous,
                self.covered.message(b""),
                self.policy_version.to_bytes(8, "big"),
                microseconds(self.at).to_bytes(8, "big", signed=True),
                len(place).to_bytes(2, "big"),
                place,
            )
        )

    def hash(self) -> bytes:
        """Return the hash that the next row has."""
        return sha256(self.message()).digest()

    def signed(self, key: SigningKey) -> SignedCheckpoint:
        """Return the checkpoint with its signature."""
        return replace(self, signature=key.sign(self.message()))

    def is_signed(self, public_key: bytes) -> bool:
        """Return whether the signature is valid for a public key."""
        return is_signed(self.message(), self.signature, public_key=public_key)


def microseconds(at: datetime) -> int:
    """Return a time as microseconds since 1970, UTC."""
    return (at - _EPOCH) // _MICROSECOND


def as_event(checkpoint: SignedCheckpoint, *, public_key: bytes) -> Fields:
    """Return the record of a checkpoint."""
    return {
        "event": CHECKPOINT,
        "at": checkpoint.at,
        "covers": checkpoint.covered.sequence,
        "covered_chain": checkpoint.covered.chain.hex(),
        "number": checkpoint.number,
        "previous": checkpoint.previous.hex(),
        "place": checkpoint.place,
        "policy_version": checkpoint.policy_version,
        "public_key": public_key.hex(),
        "signature": checkpoint.signature.hex(),
    }


def of_record(stream_id: UUID, fields: Mapping[str, Any]) -> tuple[SignedCheckpoint, bytes] | None:
    """Return the checkpoint in a record, and the public key in it; None if the record is not valid."""
    try:
        numbers = [fields["covers"], fields["number"], fields["policy_version"]]
        chain, previous, signature, key = (
            bytes.fromhex(fields[name]) for name in ("covered_chain", "previous", "signature", "public_key")
        )
        at, place = datetime.fromisoformat(fields["at"]), fields["place"]
        is_valid = all(type(each) is int and 0 <= each <= _LARGEST for each in numbers) and at.tzinfo is not None
        if not is_valid or not isinstance(place, str) or len(chain) != len(GENESIS) or len(previous) != len(GENESIS):
            return None
        covered = Checkpoint(stream_id, numbers[0], chain)
        made = SignedCheckpoint(numbers[1], previous, covered, place, numbers[2], at, signature)
        made.message()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return made, key


def of_row(row: AuditCheckpoint) -> SignedCheckpoint:
    """Return the checkpoint in a row of the database."""
    covered = Checkpoint(row.stream, row.sequence, row.chain)
    return SignedCheckpoint(
        row.number, row.previous, covered, row.place, row.policy_version, row.written_at, row.signature
    )


def kept_hash(hashes: Iterable[bytes]) -> bytes:
    """Return the hash over the checkpoints that a compaction keeps."""
    return sha256(b"".join(hashes)).digest()


def compaction_message(statement: AuditCompaction) -> bytes:
    """Return the bytes that are signed for a compaction."""
    return b"".join(
        (
            COMPACTED_PREFIX,
            statement.number.to_bytes(8, "big"),
            statement.hash,
            statement.kept,
            statement.policy_version.to_bytes(8, "big"),
            microseconds(statement.forgotten_before).to_bytes(8, "big", signed=True),
        )
    )
