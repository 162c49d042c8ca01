"""Verify audit records with a public key, and find the first altered or missing record of each stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from .chain import GENESIS, link
from .checkpoint import NOT_IN_DATABASE, PRUNED_PREFIX, Checkpoint, of_record
from .events import BASE, CHECKPOINT
from .mentions import Mentions, uuid_of
from .stream import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from .acceptance import Acceptance, Difference
    from .checkpoint import SignedCheckpoint

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
        identity: The hash of what was found, if there is a problem; see `Difference`.
        is_final: Whether no process continues the stream: it was ended because of a break, or it is missing.
    """

    stream_id: UUID
    records: int
    signed: int
    begins: int
    problem: str | None
    identity: bytes = b""
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Verification:
    """The result for all streams.

    Attributes:
        streams: The streams, in the order of their ids.
        unreadable: The numbers of the first ten lines that are not records.
        breaks: The breaks that processes recorded.
        acceptances: The signed acceptances.
        confirmed: The signed checkpoints in the records that the database must have.
        policy_version: The highest version of the access policy that the records name.
    """

    streams: Sequence[StreamVerification]
    unreadable: Sequence[int]
    breaks: Sequence[Difference] = ()
    acceptances: Sequence[Acceptance] = ()
    confirmed: Sequence[SignedCheckpoint] = ()
    policy_version: int = 0

    @property
    def ok(self) -> bool:
        """Whether all streams are valid, except for what was accepted."""
        found = [each.identity for each in self.breaks] + [each.identity for each in self.streams if each.problem]
        return not self.unreadable and self.accepted.issuperset(found)

    @property
    def accepted(self) -> frozenset[bytes]:
        """The accepted differences."""
        return frozenset(identity for each in self.acceptances for identity in each.identities)

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
    rest: bytes = b""
    confirmed: list[SignedCheckpoint] = field(default_factory=list)

    def chain_at(self, sequence: int) -> bytes | None:
        """Return the chain after a record, or before the first record; None if the record was not read."""
        start = (sequence - self.first) * _CHAIN_BYTES
        if start == -_CHAIN_BYTES:
            return self.base
        return bytes(self.chains[start : start + _CHAIN_BYTES]) or None if start >= 0 else None

    def identity(self, stream_id: UUID) -> bytes:
        """Return the hash of what was found: the valid records, and the lines after the first problem."""
        found = self.sequence.to_bytes(8, "big") + self.chain + self.rest
        return sha256(b"stream" + stream_id.bytes + found).digest()

    @property
    def is_missing(self) -> bool:
        """Whether no line of the stream was read."""
        return not self.sequence and not self.rest


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
    mentions = Mentions()
    ids: dict[str, UUID] = {}
    unreadable: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parsed = parse(line)
        stream_id = None if parsed is None else ids.get(name := parsed[0]["stream"]) or uuid_of(name)
        if parsed is None or stream_id is None:
            unreadable.append(number)
            continue
        stream = by_id.get(stream_id)
        if stream is None:
            ids[name] = stream_id
            stream = by_id[stream_id] = _Stream()
        public_key = _read_record(stream, stream_id, parsed, public_key, mentions)
        if stream.problem is not None:
            stream.rest = sha256(stream.rest + line).digest()
    for named, record in mentions.named.items():
        if named not in by_id:
            by_id[named] = _Stream(problem=f"the whole stream is missing: {record} names it")
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
                stream.identity(stream_id) if stream.problem else b"",
                stream_id in mentions.ended or stream.is_missing,
            )
            for stream_id, stream in sorted(by_id.items())
        ],
        unreadable[:10],
        mentions.breaks,
        [each for each in mentions.acceptances if public_key is not None and each.is_signed(public_key)],
        [each for stream in by_id.values() for each in stream.confirmed],
        mentions.policy_version,
    )


def _read_record(
    stream: _Stream,
    stream_id: UUID,
    parsed: tuple[Mapping[str, Any], bytes, bytes],
    public_key: bytes | None,
    mentions: Mentions,
) -> bytes | None:
    """Check a record and note what it says, if no record before it has a problem. Return the public key for the next record."""
    if stream.problem is not None:
        return public_key
    last = stream.sequence
    public_key = _check_record(stream, stream_id, *parsed, public_key)
    if stream.sequence > last:
        mentions.read(stream_id, parsed[0], parsed[2])
    return public_key


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
    read = of_record(stream_id, fields)
    covered = 0 if read is None else read[0].covered.sequence
    key = public_key if read is None or public_key is not None else read[1]
    is_pruned = covered < stream.first - 1  # The record after it may be in the first segment that is left.
    fits = read is not None and (is_pruned or stream.chain_at(covered) == read[0].covered.chain)
    if read is None or key is None or not fits or not read[0].is_signed(key):
        stream.problem = (
            f"the signature in record {fields['sequence']} is not valid: one of the records from "
            f"{stream.signed + 1} to {covered} was altered, or the signature was made with another key"
        )
        return public_key
    stream.signed = max(stream.signed, covered)
    if read[0].number != NOT_IN_DATABASE:
        stream.confirmed.append(read[0])
    return key


def _check_pruned(
    stream: _Stream, base: Checkpoint, fields: Mapping[str, Any], public_key: bytes | None
) -> bytes | None:
    """Check the signed statement that records were pruned, and begin after them. Return the public key for the next record."""
    signature, named = _signature(fields)
    key = public_key or named
    if fields.get("covers") != base.sequence or not base.is_signed(signature, public_key=key, prefix=PRUNED_PREFIX):
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


def _signature(fields: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return the signature of a statement and the public key in it; both are empty if they can't be read."""
    try:
        return bytes.fromhex(fields["signature"]), bytes.fromhex(fields["public_key"])
    except (KeyError, TypeError, ValueError):
        return b"", b""
