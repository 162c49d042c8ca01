"""Verify audit records with a public key: find the first record of each stream that was altered or is missing."""

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
        signed: The number of the last record that a valid signature covers; 0 if there is none.
        begins: The number of the first record; more than 1 if a signed statement says that the records before were pruned.
        problem: The first record that was altered or is missing, and what is wrong; None if the stream is valid.
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
        unreadable: The numbers of lines that are no record, the first ten.
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
        """Return the chain after a record that was read, or before the first record; None for any other."""
        start = (sequence - self.first) * _CHAIN_BYTES
        if start == -_CHAIN_BYTES:
            return self.base
        return bytes(self.chains[start : start + _CHAIN_BYTES]) or None if start >= 0 else None


def verify_records(
    lines: Iterable[bytes], *, public_key: bytes | None = None, witnessed: Sequence[Checkpoint] = ()
) -> Verification:
    """Verify records.

    Args:
        lines: One record each. Streams may be mixed, and records may be repeated, because an interrupted export repeats some.
        public_key: The public key of the cell's audit log. With None the key of the first signature is used. That proves that
            the records belong together, but not who wrote them.
        witnessed: Trusted checkpoints from another place. The records up to them must exist.

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
            public_key = _checked(stream, stream_id, fields, body, chain, public_key)
    for checkpoint in witnessed:
        _witnessed(by_id.setdefault(checkpoint.stream_id, _Stream()), checkpoint)
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


def _checked(
    stream: _Stream, stream_id: UUID, fields: Mapping[str, Any], body: bytes, chain: bytes, public_key: bytes | None
) -> bytes | None:
    """Compare a record with the records before it; return the public key for the next one."""
    sequence = fields["sequence"]
    if fields.get("event") == BASE:
        return _based(stream, Checkpoint(stream_id, sequence, chain), fields, public_key)
    if sequence <= stream.sequence:
        before = stream.chain_at(sequence - 1)
        if before is None or stream.chain_at(sequence) != chain or link(before, body) != chain:
            stream.problem = f"record {sequence} was altered: it occurs twice, and the two differ"
        return public_key
    if sequence != stream.sequence + 1:
        first, last = stream.sequence + 1, sequence - 1
        stream.problem = f"record {first} is missing" if first == last else f"records {first} to {last} are missing"
        return public_key
    if link(stream.chain, body) != chain:
        stream.problem = f"record {sequence} was altered, or the one before it"
        return public_key
    if fields.get("event") == CHECKPOINT:
        public_key = _signed(stream, stream_id, fields, public_key)
    stream.sequence, stream.chain = sequence, chain
    stream.chains += chain
    return public_key


def _signed(stream: _Stream, stream_id: UUID, fields: Mapping[str, Any], public_key: bytes | None) -> bytes | None:
    covered, signature, named = _signature(fields)
    key = public_key or named
    chain = stream.chain_at(covered)
    checkpoint = Checkpoint(stream_id, covered, chain or b"")
    if chain is None or not checkpoint.is_signed(signature, public_key=key, prefix=PREFIX):
        stream.problem = (
            f"the signature in record {fields['sequence']} does not fit: one of the records from "
            f"{stream.signed + 1} to {covered} was altered, or another key signed"
        )
        return public_key
    stream.signed = max(stream.signed, covered)
    return key


def _based(stream: _Stream, base: Checkpoint, fields: Mapping[str, Any], public_key: bytes | None) -> bytes | None:
    """Begin after the records that a signed statement says were pruned."""
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


def _witnessed(stream: _Stream, checkpoint: Checkpoint) -> None:
    """Compare a stream with a checkpoint from another place."""
    if stream.problem is not None or checkpoint.sequence < stream.first:
        return
    if checkpoint.sequence > stream.sequence:
        what = f"records {stream.sequence + 1} to {checkpoint.sequence} are missing at the end"
        stream.problem = what if stream.sequence else f"the whole stream is missing: {checkpoint.sequence} records"
    elif stream.chain_at(checkpoint.sequence) != checkpoint.chain:
        stream.problem = f"one of the records up to {checkpoint.sequence} was changed after it was signed"
    else:
        stream.signed = max(stream.signed, checkpoint.sequence)


def _signature(fields: Mapping[str, Any]) -> tuple[int, bytes, bytes]:
    """Return the last record that a signature covers, the signature, and its public key."""
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
