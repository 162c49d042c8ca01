"""Delete old audit records, and leave a signed statement from which the remaining records can be verified."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import orjson

from strongroom.kms import replace_file

from .chain import with_chain
from .checkpoint import PRUNED_PREFIX, Checkpoint
from .events import BASE, now
from .stream import parse, segments, streams

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from strongroom.kms import SigningKey


@dataclass(frozen=True, slots=True)
class Pruned:
    """The records that were deleted from a stream.

    Attributes:
        stream_id: The stream.
        through: The number of the last deleted record.
        segments: The number of deleted segments.
    """

    stream_id: UUID
    through: int
    segments: int


def prune(root: Path, *, before: datetime, key: SigningKey, dry_run: bool = False) -> list[Pruned]:
    """Delete each segment whose records are all older than `before`, but never a stream's last segment.

    The signed statement is on disk before anything is deleted, so pruning can be stopped at any moment and run again.

    Args:
        root: The folder of all streams.
        before: The time before which records are old, in UTC.
        key: The cell's audit key.
        dry_run: Whether to delete nothing, and only return what would be deleted.

    Returns:
        What was deleted, or would be deleted. Streams with nothing to delete are left out.

    Raises:
        OSError: A file can't be read, written or deleted.
    """
    done = []
    for stream_id, folder in streams(root):
        old, last = [], None
        for segment in segments(folder)[:-1]:
            end = _last_record(segment)
            if end is None or end[2] >= before:
                break
            old.append(segment)
            last = end
        if last is None:
            continue
        sequence, chain, _ = last
        if not dry_run:
            _write_base(folder, Checkpoint(stream_id, sequence, chain), key)
            for segment in old:
                segment.unlink()
        done.append(Pruned(stream_id, sequence, len(old)))
    return done


def _last_record(segment: Path) -> tuple[int, bytes, datetime] | None:
    """Return number, chain and time of a segment's last record; None if it can't be read. The segment is then kept."""
    lines = segment.read_bytes().splitlines()
    parsed = parse(lines[-1]) if lines else None
    if parsed is None or not isinstance(parsed[0].get("at"), str):
        return None
    try:
        return parsed[0]["sequence"], parsed[2], datetime.fromisoformat(parsed[0]["at"])
    except ValueError:
        return None


def _write_base(folder: Path, base: Checkpoint, key: SigningKey) -> None:
    statement = {
        "stream": base.stream_id,
        "sequence": base.sequence,
        "event": BASE,
        "at": now(),
        "covers": base.sequence,
        "public_key": key.public_key.hex(),
        "signature": key.sign(base.message(PRUNED_PREFIX)).hex(),
    }
    replace_file(folder / "base.json", with_chain(orjson.dumps(statement, option=orjson.OPT_UTC_Z), base.chain))
