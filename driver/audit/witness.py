"""The rows of signed checkpoints in the cell's database, which write access to the files of an audit log can't change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError, is_signed
from strongroom.storage.cell import AuditCheckpoint, AuditCompaction

from .chain import GENESIS
from .checkpoint import compaction_message, kept_hash, of_row
from .newest_policy import LIMIT
from .rows import check_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import SigningKey
    from strongroom.storage.cell import AuditCheckpointStore

    from .checkpoint import Checkpoint, SignedCheckpoint

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEPT = 1000
"""Number of newest rows that a compaction keeps. It begins when there are twice as many."""


@dataclass(frozen=True, slots=True)
class Known:
    """The content of the database when a process began.

    Attributes:
        newest: The newest checkpoint of each stream.
        places: The host and folder of each stream.
        rows: The rows, whose signatures are not checked.
        statement: The statement about deleted rows, whose signature is not checked; None if there is none.
    """

    newest: Mapping[UUID, Checkpoint]
    places: Mapping[UUID, str]
    rows: Sequence[SignedCheckpoint]
    statement: AuditCompaction | None

    def policy_version(self, public_key: bytes | None) -> int:
        """Return the highest version of the access policy in a row; 0 if there is none.

        Args:
            public_key: The public key of the cell's audit log. Rows without a valid signature are left out. With None all rows count.
        """
        made = [each for each in self.rows if 0 < each.policy_version < LIMIT]
        for each in sorted(made, key=lambda row: (row.policy_version, row.number), reverse=True):
            if public_key is None or each.is_signed(public_key):
                return max(each.policy_version, self._compacted_version(public_key))
        return self._compacted_version(public_key)

    def _compacted_version(self, public_key: bytes | None) -> int:
        made = self.statement
        if made is None or not 0 < made.policy_version < LIMIT:
            return 0
        is_valid = public_key is None or is_signed(compaction_message(made), made.signature, public_key=public_key)
        return made.policy_version if is_valid else 0


@dataclass(frozen=True, slots=True)
class Recent:
    """The end of the rows.

    Attributes:
        number: The number of the newest row; 0 if there is none.
        hash: Its hash.
        of_stream: The newest checkpoint of the stream; None if there is none.
        lost: The row that this process added last, if it is no longer there.
    """

    number: int
    hash: bytes
    of_stream: Checkpoint | None
    lost: SignedCheckpoint | None


class Witness:
    """Adds the checkpoints of one process to the rows of its cell.

    Every operation raises `StorageError` if the database can't be used.

    Args:
        store: The rows.
    """

    def __init__(self, store: AuditCheckpointStore) -> None:
        self._store = store
        self._own: SignedCheckpoint | None = None

    async def known(self) -> Known:
        """Return what the database has."""
        statement, rows = await self._store.list_checkpoints()
        made = [of_row(row) for row in rows]
        return Known(
            newest={each.covered.stream_id: each.covered for each in made},
            places={each.covered.stream_id: each.place for each in made},
            rows=made,
            statement=statement,
        )

    async def recent(self, stream_id: UUID) -> Recent:
        """Return the end of the rows, and check that the row which this process added last is still there.

        Args:
            stream_id: The stream of the process.
        """
        own = self._own
        rows = [of_row(row) for row in await self._store.recent(stream_id, 0 if own is None else own.number)]
        is_lost = own is not None and all(row.hash() != own.hash() for row in rows)
        statement = await self._store.compaction() if is_lost or not rows else None
        if own is not None and statement is not None and statement.number >= own.number:
            is_lost = False  # A compaction deleted it.
        number, last = (rows[-1].number, rows[-1].hash()) if rows else (0, GENESIS)
        if statement is not None and statement.number > number:
            number, last = statement.number, statement.hash
        of_stream = [row.covered for row in rows if row.covered.stream_id == stream_id]
        return Recent(number, last, of_stream[-1] if of_stream else None, own if is_lost else None)

    def forget_lost(self) -> None:
        """Continue after the rows that the database has, because their loss was recorded."""
        self._own = None

    async def add(self, made: SignedCheckpoint) -> bool:
        """Add a row.

        Returns:
            Whether it was added. If not, another process added a row meanwhile.
        """
        row = AuditCheckpoint(
            number=made.number,
            previous=made.previous,
            stream=made.covered.stream_id,
            place=made.place,
            sequence=made.covered.sequence,
            chain=made.covered.chain,
            policy_version=made.policy_version,
            written_at=made.at,
            signature=made.signature,
        )
        if not await self._store.add(row):
            return False
        self._own = made
        return True

    async def unused(self, public_key: bytes, *, since: datetime, keep: int = KEPT) -> list[Checkpoint]:
        """Return the last checkpoint of each stream that a compaction with these arguments forgets.

        Each has a valid signature, so the database can't add a stream or move a checkpoint.

        Args:
            public_key: The public key of the cell's audit log.
            since: Time since which the stream has no row.
            keep: Number of newest rows in which the stream has no row.

        Raises:
            IntegrityError: The rows were changed.
        """
        _, made = await self._checked(public_key)
        newest = {each.covered.stream_id: each for each in made}
        covered = {each.number for each in made[: max(0, len(made) - keep)]}
        return [each.covered for each in newest.values() if each.number in covered and each.at < since]

    async def compact(self, key: SigningKey, *, keep: int = KEPT, forget_before: datetime | None = None) -> int:
        """Delete rows that newer rows of their streams replace, and leave a signed statement.

        Args:
            key: The cell's audit key.
            keep: Number of newest rows to keep.
            forget_before: Time before which streams without a newer row are forgotten; None to forget none.

        Returns:
            The number of rows that were deleted.

        Raises:
            IntegrityError: The rows were changed, so none is deleted.
        """
        statement, made = await self._checked(key.public_key)
        if len(made) < 2 * keep and forget_before is None:
            return 0
        covered = made[: len(made) - keep]
        if len(made) <= keep or (statement is not None and covered[-1].number <= statement.number):
            return 0
        before = max(
            each for each in (_EPOCH if statement is None else statement.forgotten_before, forget_before) if each
        )
        newest = {each.covered.stream_id: each.number for each in made}
        kept = [each for each in covered if newest[each.covered.stream_id] == each.number and each.at >= before]
        unsigned = AuditCompaction(
            number=covered[-1].number,
            hash=covered[-1].hash(),
            kept=kept_hash(each.hash() for each in kept),
            policy_version=max(
                0 if statement is None else statement.policy_version, *(each.policy_version for each in covered)
            ),
            forgotten_before=before,
            signature=b"",
        )
        delete = sorted({each.number for each in covered} - {each.number for each in kept})
        done = await self._store.compact(
            replace(unsigned, signature=key.sign(compaction_message(unsigned))),
            replaces=0 if statement is None else statement.number,
            delete=delete,
        )
        return len(delete) if done else 0

    async def _checked(self, public_key: bytes) -> tuple[AuditCompaction | None, list[SignedCheckpoint]]:
        """Return the statement and the rows, which are valid; raise what `compact` raises."""
        known = await self.known()
        made, problems = await asyncio.to_thread(check_rows, known.statement, known.rows, public_key)
        if problems:
            msg = f"the checkpoints in the database are not compacted: {problems[0]}; run 'strongroom audit verify'"
            raise IntegrityError(msg)
        return known.statement, made
