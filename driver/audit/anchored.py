"""The newest positions, and the highest version of the access policy, that the records of an audit log state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.storage.cell.positions import newest_by_name

from .backwards import lines_backwards
from .checkpoint import of_record
from .events import ANCHOR, CHECKPOINT, POLICY
from .newest_policy import LIMIT, policy_version_of
from .statement import of_fields
from .stream import parse, segments, streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from uuid import UUID

    from strongroom.storage.cell.positions import Position

_MARKS = (b'"event":"anchor"', b'"event":"checkpoint"', b'"event":"policy"')


@dataclass(slots=True)
class LoggedPositions:
    """The content of a log's newest records.

    Attributes:
        positions: The newest positions, by name.
        policy_version: The highest version of the access policy.
    """

    positions: dict[str, Position] = field(default_factory=dict)
    policy_version: int = 0


def logged_positions(root: Path, public_key: bytes | None) -> LoggedPositions:
    """Return what the last records of a folder's streams state.

    Each stream is read backwards until its last complete statement and its last checkpoint.

    Args:
        root: The folder of all streams.
        public_key: The public key of the cell's audit log. Records without a valid signature state nothing then. With None, while the
            KMS can't be reached, they count, because nothing of the cell is opened before they are read again with the key.
    """
    found = LoggedPositions()
    for stream_id, folder in streams(root):
        _read(found, folder, stream_id, public_key)
    return found


def _read(found: LoggedPositions, folder: Path, stream_id: UUID, public_key: bytes | None) -> None:
    has_statement = has_checkpoint = False
    for fields in _records_backwards(folder):
        event = fields.get("event")
        if event == ANCHOR and not has_statement:
            statement = of_fields(fields)
            if statement is None or not (public_key is None or statement.is_signed(public_key)):
                continue
            found.positions = newest_by_name(list(found.positions.values()), statement.positions)
            has_statement = statement.is_complete
        elif event == POLICY and public_key is None and not has_checkpoint:
            found.policy_version = max(found.policy_version, policy_version_of(fields))
        elif event == CHECKPOINT and not has_checkpoint:
            has_checkpoint = public_key is None or _is_signed(stream_id, fields, public_key)
            if has_checkpoint:
                found.policy_version = max(found.policy_version, policy_version_of(fields))
        if has_statement and has_checkpoint:
            return


def _is_signed(stream_id: UUID, fields: Mapping[str, Any], public_key: bytes) -> bool:
    read = of_record(stream_id, fields)
    return read is not None and read[0].policy_version < LIMIT and read[0].is_signed(public_key)


def _records_backwards(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a stream that may state something, the last one first."""
    for segment in reversed(segments(folder)):
        for line in lines_backwards(segment):
            parsed = parse(line) if any(mark in line for mark in _MARKS) else None
            if parsed is not None:
                yield parsed[0]
