"""The signed checkpoints of all audit logs, stored in the database. Write access to the logs' files can't change them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.storage.engine.database import Database

_SQL = load_queries("cell/audit_checkpoints")


@dataclass(frozen=True, slots=True)
class AuditCheckpoint:
    """The position of an audit log. The driver's package makes and verifies `previous` and `signature`.

    Attributes:
        number: The number of the checkpoint in the cell: 1, 2, 3 ...
        previous: The hash of the checkpoint before it; 32 bytes.
        stream: The id of the log.
        place: The host and the folder of the log.
        sequence: The sequence number of the last record that it covers.
        chain: The hash over all records up to that one; 32 bytes.
        policy_version: The highest version of the access policy that the process has seen.
        written_at: The time of the checkpoint, in UTC.
        signature: The signature of the cell's audit key; 64 bytes.
    """

    number: int
    previous: bytes
    stream: UUID
    place: str
    sequence: int
    chain: bytes
    policy_version: int
    written_at: datetime
    signature: bytes


@dataclass(frozen=True, slots=True)
class AuditCompaction:
    """A signed statement about checkpoints that were deleted because newer ones replace them.

    Attributes:
        number: The number of the last checkpoint that it covers.
        hash: The hash of that checkpoint; 32 bytes.
        kept: The hash over the covered checkpoints that remain; 32 bytes.
        policy_version: The highest version of the access policy in the covered checkpoints.
        forgotten_before: Streams without a checkpoint since this time were left out, in UTC.
        signature: The signature of the cell's audit key; 64 bytes.
    """

    number: int
    hash: bytes
    kept: bytes
    policy_version: int
    forgotten_before: datetime
    signature: bytes


class AuditCheckpointStore:
    """Adds and reads checkpoints. Nothing replaces a checkpoint.

    Every operation raises `DatabaseUnavailable` if the database can't be reached.

    Args:
        database: The cell's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, checkpoint: AuditCheckpoint) -> bool:
        """Add a checkpoint after all others.

        Args:
            checkpoint: The checkpoint.

        Returns:
            Whether it was added. If not, another process added one with this number.
        """
        row = (
            *(checkpoint.number, checkpoint.previous, checkpoint.stream, checkpoint.place, checkpoint.sequence),
            *(checkpoint.chain, checkpoint.policy_version, checkpoint.written_at, checkpoint.signature),
        )
        async with self._database.connection(NO_NAMESPACE) as connection:
            return bool(await connection.fetch(_SQL["add"], *row))

    async def recent(self, stream: UUID, number: int) -> list[AuditCheckpoint]:
        """Return the newest checkpoint, the newest of one stream, and one by its number, in the order of their numbers.

        Args:
            stream: The stream.
            number: The number.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            return [AuditCheckpoint(**row) for row in await connection.fetch(_SQL["recent"], stream, number)]

    async def compaction(self) -> AuditCompaction | None:
        """Return the statement about deleted checkpoints; None if none was ever deleted."""
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["compaction"])
        return None if row is None else AuditCompaction(**row)

    async def list_checkpoints(self) -> tuple[AuditCompaction | None, list[AuditCheckpoint]]:
        """Return all checkpoints in the order of their numbers, with the statement about deleted ones, from one snapshot."""
        async with self._database.transaction(NO_NAMESPACE, read_only=True) as connection:
            statement = await connection.fetchrow(_SQL["compaction"])
            rows = [AuditCheckpoint(**row) for row in await connection.fetch(_SQL["list"])]
        return None if statement is None else AuditCompaction(**statement), rows

    async def compact(self, statement: AuditCompaction, *, replaces: int, delete: Sequence[int]) -> bool:
        """Store a statement about checkpoints, and delete them.

        Args:
            statement: The statement.
            replaces: The number of the statement that it replaces; 0 if there is none.
            delete: The numbers of the checkpoints to delete.

        Returns:
            Whether it was done. If not, another process compacted the checkpoints.
        """
        row = (
            *(statement.number, statement.hash, statement.kept, statement.policy_version),
            *(statement.forgotten_before, statement.signature, replaces),
        )
        async with self._database.transaction(NO_NAMESPACE) as connection:
            if not await connection.fetch(_SQL["compact"], *row):
                return False
            await connection.execute(_SQL["delete"], list(delete))
            return True
