"""Verify audit records with a public key, and find the first altered or missing record of each stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .chain import GENESIS, link
from .checkpoint import NOT_IN_DATABASE, PRUNED_PREFIX, Checkpoint, of_record
from .events import BASE, BREAK, CHECKPOINT, OPENED
from .newest_policy import policy_version_of
from .stream import parse
from .taking import BEHIND, DATABASE, OTHER, PRUNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        breaks: The breaks that processes recorded.
        confirmed: The signed checkpoints in the records that the database must have.
        policy_version: The highest version of the access policy that the records name.
    """

    streams: Sequence[StreamVerification]
    unreadable: Sequence[int]
    breaks: Sequence[str] = ()
    confirmed: Sequence[SignedCheckpoint] = ()
    policy_version: int = 0

    @property
    def ok(self) -> bool:
        """Whether all streams are valid."""
        return not self.unreadable and not self.breaks and all(stream.problem is None for stream in self.streams)

    @property
    def records(self) -> int:
        """The number of valid records."""
        return sum(stream.records for stream in self.streams)


@dataclass(slots=True)
class _Mentions:
    """What valid records say about streams and the access policy.

    Attributes:
        named: The stream and the record that names a stream, by the stream that is named.
        breaks: The breaks.
        policy_version: The highest version of the access policy.
    """

    named: dict[UUID, str] = field(default_factory=dict)
    breaks: list[str] = field(default_factory=list)
    policy_version: int = 0

    def read(self, stream_id: UUID, fields: Mapping[str, Any]) -> None:
        """Note what a record says."""
        event = fields.get("event")
        if event == OPENED and isinstance(fields.get("streams"), list):
            for name in fields["streams"]:
                named = _uuid(name)
                if named is not None:
                    self.named.setdefault(named, f"record {fields['sequence']} of stream {stream_id}")
        elif event == BREAK:
            self.breaks.append(_description(stream_id, fields))
        self.policy_version = max(self.policy_version, policy_version_of(fields))


@dataclass(slots=True)
class _Stream:
    first: int = 1
    base: bytes = GENESIS
    sequence: int = 0
    chain: bytes = GENESIS
    signed: int = 0
    problem: str | None = None
    chains: bytearray = field(default_factory=bytearray)
    confirmed: list[SignedCheckpoint] = field(default_factory=list)

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
    mentions = _Mentions()
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
            last = stream.sequence
            public_key = _check_record(stream, stream_id, fields, body, chain, public_key)
            if stream.sequence > last:
                mentions.read(stream_id, fields)
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
            )
            for stream_id, stream in sorted(by_id.items())
        ],
        unreadable[:10],
        mentions.breaks,
        [each for stream in by_id.values() for each in stream.confirmed],
        mentions.policy_version,
    )


def _description(stream_id: UUID, fields: Mapping[str, Any]) -> str:
    """Return a description of a recorded break."""
    where = f"record {fields['sequence']} of stream {stream_id}, {fields.get('at')}"
    found, stated, reason = fields.get("found"), fields.get("stated"), fields.get("reason")
    if reason == DATABASE:
        return f"the database lost checkpoint {stated} while a process was running; its newest was {found} ({where})"
    what = {
        BEHIND: f"had {found} records, and the database's checkpoint covers {stated}",
        OTHER: f"had another record {stated} than the database's checkpoint covers",
        PRUNED: "had a statement about pruned records that is not signed by the audit key",
    }.get(str(reason), "could not be read")
    return f"stream {fields.get('ended')} {what}, so it was ended ({where})"


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
