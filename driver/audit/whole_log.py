"""Verify the whole log of a host: its files, and the checkpoints in the database, each against the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checkpoint import of_row
from .own_stream import place_of
from .reader import read_lines
from .rows import check_confirmed, check_rows
from .stream import streams
from .verify import verify_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from strongroom.storage import AuditCheckpointStore

    from .verify import Verification


@dataclass(frozen=True, slots=True)
class LogReport:
    """The result of a verification.

    Attributes:
        records: The result for the records. A stream of which the database has a checkpoint is in it, even if it has no files.
        checkpoints: The number of checkpoints in the database with a valid signature.
        problems: What is wrong with the checkpoints in the database.
        places: Host and folder of each stream that the database has.
        elsewhere: The streams of other hosts and folders.
        policy_version: The highest version of the access policy in records and checkpoints.
    """

    records: Verification
    checkpoints: int
    problems: Sequence[str]
    places: Mapping[UUID, str]
    elsewhere: Sequence[UUID]
    policy_version: int

    @property
    def ok(self) -> bool:
        """Whether nothing was altered, removed or added."""
        return self.records.ok and not self.problems


async def verify_log(
    store: AuditCheckpointStore, root: Path, *, public_key: bytes, has_other_hosts: bool = False
) -> LogReport:
    """Verify the log in a folder while other processes may write it. Nothing is written.

    Args:
        store: The checkpoints in the database.
        root: The folder of all streams.
        public_key: The public key of the cell's audit log.
        has_other_hosts: Whether streams of other hosts and folders need not be in this folder.

    Raises:
        StorageError: The database can't be read.
        OSError: A file can't be read.
    """
    # The records that a checkpoint covers are on disk before it, so the checkpoints are read first.
    statement, rows = await store.list_checkpoints()
    signed, problems = await asyncio.to_thread(check_rows, statement, rows, public_key)
    places = {each.covered.stream_id: each.place for each in signed}
    here = {stream_id for stream_id, _ in streams(root)}
    own = place_of(root)
    elsewhere = [stream_id for stream_id, place in places.items() if stream_id not in here and place != own]
    skipped = set(elsewhere) if has_other_hosts else set()
    witnessed = [each.covered for each in signed if each.covered.stream_id not in skipped]
    found = await asyncio.to_thread(
        lambda: verify_records(read_lines(root), public_key=public_key, witnessed=witnessed)
    )
    # A checkpoint is in the database before the record that names it, so the database is read again.
    later_statement, later = await store.list_checkpoints()
    problems += check_confirmed(found.confirmed, later_statement, [of_row(row) for row in later])
    versions = [found.policy_version, *(each.policy_version for each in signed)]
    if statement is not None:
        versions.append(statement.policy_version)
    return LogReport(found, len(signed), problems, places, elsewhere, max(versions))
