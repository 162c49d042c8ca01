"""Verify the whole log of a host: its files, and the checkpoints in the database, each against the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .acceptance import Difference
from .own_stream import place_of
from .positions import checkpoints_of
from .reader import read_lines
from .rows import check_rows, describe, lost_checkpoints
from .stream import streams
from .verify import verify_records
from .witness import Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from strongroom.storage import AuditCheckpointStore
    from strongroom.storage.cell.positions import Position

    from .verify import Verification


@dataclass(frozen=True, slots=True)
class LogReport:
    """The result of a verification.

    Attributes:
        records: The result for the records. A stream of which the database has a checkpoint is in it, even if it has no files.
        checkpoints: The number of checkpoints in the database with a valid signature.
        altered: What is wrong with the checkpoints in the database.
        lost: The checkpoints that records name and the database does not have.
        places: Host and folder of each stream that the database has.
        elsewhere: The streams of other hosts and folders.
        policy_version: The highest version of the access policy in records and checkpoints.
    """

    records: Verification
    checkpoints: int
    altered: Sequence[str]
    lost: Sequence[Difference]
    places: Mapping[UUID, str]
    elsewhere: Sequence[UUID]
    policy_version: int

    @property
    def problems(self) -> list[str]:
        """What is wrong with the checkpoints, except for what was accepted."""
        return [*self.altered, *describe([each for each in self.lost if each.identity not in self.records.accepted])]

    @property
    def ok(self) -> bool:
        """Whether nothing was altered, removed or added."""
        return self.records.ok and not self.problems


async def verify_log(
    store: AuditCheckpointStore,
    root: Path,
    *,
    public_key: bytes,
    has_other_hosts: bool = False,
    anchored: Sequence[Position] = (),
) -> LogReport:
    """Verify the log in a folder while other processes may write it. Nothing is written.

    Args:
        store: The checkpoints in the database.
        root: The folder of all streams.
        public_key: The public key of the cell's audit log.
        has_other_hosts: Whether streams of other hosts and folders need not be in this folder.
        anchored: The positions of streams that an object store has.

    Raises:
        StorageError: The database can't be read.
        OSError: A file can't be read.
    """
    # The records that a checkpoint covers are on disk before it, so the checkpoints are read first.
    known = await Witness(store).known()
    statement = known.statement
    signed, problems = await asyncio.to_thread(check_rows, statement, known.rows, public_key)
    places = {each.covered.stream_id: each.place for each in signed}
    here = {stream_id for stream_id, _ in streams(root)}
    own = place_of(root)
    elsewhere = [stream_id for stream_id, place in places.items() if stream_id not in here and place != own]
    skipped = set(elsewhere) if has_other_hosts else set()
    witnessed = [each.covered for each in signed if each.covered.stream_id not in skipped]
    stated = checkpoints_of(anchored)
    witnessed += [
        each for each in stated if each.stream_id in here or not (has_other_hosts or each.stream_id in elsewhere)
    ]
    found = await asyncio.to_thread(
        lambda: verify_records(read_lines(root), public_key=public_key, witnessed=witnessed)
    )
    # A checkpoint is in the database before the record that names it, so the database is read again.
    later = await Witness(store).known()
    lost = lost_checkpoints(found.confirmed, later.statement, later.rows)
    versions = [found.policy_version, *(each.policy_version for each in signed)]
    if statement is not None:
        versions.append(statement.policy_version)
    return LogReport(found, len(signed), problems, lost, places, elsewhere, max(versions))


def acceptable(found: LogReport) -> tuple[list[Difference], list[str]]:
    """Return the differences that a person can accept, and descriptions of those that nobody can.

    A stream that a process may continue, a line that is not a record, and rows that do not verify are not accepted, because what is
    added to them later would be accepted with them.
    """
    records = found.records
    altered = [each for each in records.streams if each.problem]
    refused = [f"stream {each.stream_id}: {each.problem}" for each in altered if not each.is_final]
    refused += [f"line {number} is not a record" for number in records.unreadable]
    differences = [
        *records.breaks,
        *(Difference(each.identity, f"stream {each.stream_id}: {each.problem}") for each in altered if each.is_final),
        *found.lost,
    ]
    return [each for each in differences if each.identity not in records.accepted], [*refused, *found.altered]
