"""The last signed checkpoint of each audit log, kept where whoever can write to the log's files can't."""

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
    """How far an audit log was.

    Attributes:
        stream: which log.
        sequence: of its last record.
        chain: 32 bytes, the hash over all records up to that one.
        signature: 64 bytes, by the cell's audit key.
        written_at: when; UTC.
    """

    stream: UUID
    sequence: int
    chain: bytes
    signature: bytes
    written_at: datetime


class AuditCheckpointStore:
    """Keeps the newest checkpoint of each stream."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, checkpoint: AuditCheckpoint) -> None:
        """Keep a checkpoint, unless a later one of its stream is there."""
        row = (checkpoint.stream, checkpoint.sequence, checkpoint.chain, checkpoint.signature, checkpoint.written_at)
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["put"], *row)

    async def list_checkpoints(self) -> list[AuditCheckpoint]:
        """Return all of them."""
        async with self._database.connection(NO_NAMESPACE) as connection:
            return [AuditCheckpoint(**row) for row in await connection.fetch(_SQL["list"])]
