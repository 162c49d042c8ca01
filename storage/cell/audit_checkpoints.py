"""The newest signed checkpoint of each audit log, stored in the database. Write access to the log's files can't change it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from strongroom.storage.engine.database import Database

_SQL = load_queries("cell/audit_checkpoints")


@dataclass(frozen=True, slots=True)
class AuditCheckpoint:
    """The position of an audit log.

    Attributes:
        stream: The id of the log.
        sequence: The sequence number of its last record.
        chain: The hash over all records up to that one; 32 bytes.
        signature: The signature of the cell's audit key; 64 bytes.
        written_at: The time of the checkpoint, in UTC.
    """

    stream: UUID
    sequence: int
    chain: bytes
    signature: bytes
    written_at: datetime


class AuditCheckpointStore:
    """Stores the newest checkpoint of each stream.

    Args:
        database: The cell's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, checkpoint: AuditCheckpoint) -> None:
        """Store a checkpoint, unless a later one of its stream is stored.

        Args:
            checkpoint: The checkpoint.

        Raises:
            DatabaseUnavailable: The database can't be reached.
        """
        row = (checkpoint.stream, checkpoint.sequence, checkpoint.chain, checkpoint.signature, checkpoint.written_at)
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["put"], *row)

    async def list_checkpoints(self) -> list[AuditCheckpoint]:
        """Return the newest checkpoint of every stream, in the order of the stream ids.

        Raises:
            DatabaseUnavailable: The database can't be reached.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            return [AuditCheckpoint(**row) for row in await connection.fetch(_SQL["list"])]
