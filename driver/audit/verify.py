"""Verify audit records with a public key, and find the first altered or missing record of each stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .chain import GENESIS, link
from .checkpoint import PREFIX, PRUNED_PREFIX, Checkpoint
from .events import BASE, CHECKPOINT
from .stream import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CHAIN_BYTES = 32


@dataclass(frozen=True, slots=True)
class StreamVerification:
    """The result for one stream.

    Attributes:
        stream_id: The stream.
        records: The number of valid records.
        signed: The sequence number of the last record that a valid signature covers; 0 if there is none.
        begins: The sequence number of the first record. It is more than 1 if earlier records were pruned, which a signature proves.
        problem: A description of the first altered or missing record; None if the stream is valid.
    """

    stream_id: UUID
    records: int
    signed: int
    begins: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result for all streams.

    Attributes:
        streams: The streams, in the order of their ids.
        unreadable: The numbers of the first ten lines that are not records.
    """

    streams: Sequence[StreamVerification]
    unreadable: Sequence[int]

    @property
    def ok(self) -> bool:
        """Whether all streams are valid."""
        return not self.unreadable and all(stream.problem is None for stream in self.streams)

    @property
    def records(self) -> int:
        """The number of valid records."""
        return sum(stream.records for stream in self.streams)


@dataclass(slots=True)
class _Stream:
    first: int = 1
    base: bytes = GENESIS
    sequence: int = 0
    chain: bytes = GENESIS
    signed: int = 0
    problem: str | None = None
    chains: bytearray = field(default_factory=bytearray)

    def chain_at(self, sequence: int) -> bytes | None:
        """Return the chain after a record, or before the first record; None if the record was not read."""
        start = (sequence - self.first) * _CHAIN_BYTES
        if start == -_CHAIN_BYTES:
            return self.base
        return bytes(self.chains[start : start + _CHAIN_BYTES]) or None if start >= 0 else None


def verify_records(
    lines: Iterable[bytes], *, public_key: bytes | None = None, witnessed: Sequence[Checkpoint] = ()
) -> Verification:
    """Verify the records of all streams.

    Args:
        lines: The records, one in each line. Streams may be mixed. Records may be repeated, because an interrupted export does that.
        public_key: The public key of the cell's audit log. None uses the key of the first signature, which proves that the records
            belong together, but not who wrote them.
        witnessed: Trusted checkpoints, for example from the database. All records up to each checkpoint must exist.

    Returns:
        The result, with the first problem of each stream.
    """
    by_id: dict[UUID, _Stream] = {}
    ids: dict[str, UUID] = {}
    unreadable: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parsed = parse(line)
        stream_id = None if parsed is None else ids.get(name := parsed[0]["stream"]) or _uuid(name)
        if parsed is None or stream_id is None:
            unreadable.append(number)
            continue
        fields, body, chain = parsed
        stream = by_id.get(stream_id)
        if stream is None:
            ids[name] = stream_id
            stream = by_id[stream_id] = _Stream()
        if stream.problem is None:
            public_key = _check_record(stream, stream_id, fields, body, chain, public_key)
    for checkpoint in witnessed:
        _check_witness(by_id.setdefault(checkpoint.stream_id, _Stream()), checkpoint)
    return Verification(
        [
            StreamVerification(
                stream_id,
                max(0, stream.sequence - stream.first + 1),
                stream.signed,
                stream.first,
                stream.problem,
            )
            for stream_id, stream in sorted(by_id.items())
        ],
        unreadable[:10],
    )


def _check_record(
    stream: _Stream, stream_id: UUID, fields: Mapping[str, Any], body: bytes, chain: bytes, public_key: bytes | None
) -> bytes | None:
    """Check a record against the records before it. Return the public key for the next record."""
    sequence = fields["sequence"]
    if fields.get("event") == BASE:
        return _check_pruned(stream, Checkpoint(stream_id, sequence, chain), fields, public_key)
    if sequence <= stream.sequence:
        before = stream.chain_at(sequence - 1)
        if before is None or stream.chain_at(sequence) != chain or link(before, body) != chain:
            stream.problem = f"record {sequence} was altered: it occurs twice with different contents"
        return public_key
    if sequence != stream.sequence + 1:
        first, last = stream.sequence + 1, sequence - 1
        stream.problem = f"record {first} is missing" if first == last else f"records {first} to {last} are missing"
        return public_key
    if link(stream.chain, body) != chain:
        stream.problem = f"record {sequence} or the record before it was altered"
        return public_key
    if fields.get("event") == CHECKPOINT:
        public_key = _check_signature(stream, stream_id, fields, public_key)
    stream.sequence, stream.chain = sequence, chain
    stream.chains += chain
    return public_key


def _check_signature(
    stream: _Stream, stream_id: UUID, fields: Mapping[str, Any], public_key: bytes | None
) -> bytes | None:
    """Check the signature in a checkpoint record. Return the public key for the next record."""
    covered, signature, named = _signature(fields)
    key = public_key or named
    chain = stream.chain_at(covered)
    checkpoint = Checkpoint(stream_id, covered, chain or b"")
    if chain is None or not checkpoint.is_signed(signature, public_key=key, prefix=PREFIX):
        stream.problem = (
            f"the signature in record {fields['sequence']} is not valid: one of the records from "
            f"{stream.signed + 1} to {covered} was altered, or the signature was made with another key"
        )
        return public_key
    stream.signed = max(stream.signed, covered)
    return key


def _check_pruned(
    stream: _Stream, base: Checkpoint, fields: Mapping[str, Any], public_key: bytes | None
) -> bytes | None:
    """Check the signed statement that records were pruned, and begin after them. Return the public key for the next record."""
    _, signature, named = _signature(fields)
    key = public_key or named
    if not base.is_signed(signature, public_key=key, prefix=PRUNED_PREFIX):
        stream.problem = f"the statement that records up to {base.sequence} were pruned is not signed by the audit key"
        return public_key
    if stream.sequence == 0:
        stream.first, stream.sequence = base.sequence + 1, base.sequence
        stream.base = stream.chain = base.chain
        stream.signed = base.sequence
    return key


def _check_witness(stream: _Stream, checkpoint: Checkpoint) -> None:
    """Check a stream against a trusted checkpoint."""
    if stream.problem is not None or checkpoint.sequence < stream.first:
        return
    if checkpoint.sequence > stream.sequence:
        missing = f"records {stream.sequence + 1} to {checkpoint.sequence} are missing at the end"
        stream.problem = missing if stream.sequence else f"the whole stream is missing: {checkpoint.sequence} records"
    elif stream.chain_at(checkpoint.sequence) != checkpoint.chain:
        stream.problem = f"one of the records up to {checkpoint.sequence} was changed after it was signed"
    else:
        stream.signed = max(stream.signed, checkpoint.sequence)


def _signature(fields: Mapping[str, Any]) -> tuple[int, bytes, bytes]:
    """Return the number of the last record that a signature covers, the signature, and the public key in the record."""
    try:
        covered = fields["covers"]
        signature, key = bytes.fromhex(fields["signature"]), bytes.fromhex(fields["public_key"])
    except (KeyError, TypeError, ValueError):
        return 0, b"", b""
    return (covered if type(covered) is int and covered >= 0 else 0), signature, key


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
