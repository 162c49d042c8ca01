"""The newest change of each keyring file, in PostgreSQL: `strongroom.kms.KeyringLedger`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KeyringHead
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.shared_lookups import SharedLookups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.storage.engine.database import Database

_SQL = load_queries("keys/keyring_ledger")


class PostgresKeyringLedger:
    """The record of keyring files. `strongroom.kms.KeyringLedger` has the arguments of each operation.

    Every method raises `StorageError` if the database does not answer.

    Args:
        database: The cell's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heads = SharedLookups(self._read)

    async def head(self, provider: str) -> KeyringHead | None:
        """Return the newest recorded change of a provider's keyring; None if none was recorded."""
        return await self._heads.get(provider)

    async def advance(self, provider: str, new: KeyringHead, *, expected: str | None) -> bool:
        """Record a change if the recorded one is the expected one, and return whether it was recorded."""
        row = (provider, new.keyring_id, new.change, new.changes)
        async with self._database.connection(NO_NAMESPACE) as connection:
            if expected is None:
                return bool(await connection.fetch(_SQL["register"], *row))
            return bool(await connection.fetch(_SQL["advance"], *row, expected))

    async def adopt(self, provider: str, new: KeyringHead) -> None:
        """Record a change, whatever was recorded before."""
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["adopt"], provider, new.keyring_id, new.change, new.changes)

    async def _read(self, providers: Sequence[str]) -> Mapping[str, KeyringHead]:
        async with self._database.connection(NO_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["heads"], providers)
        return {
            row["provider"]: KeyringHead(
                UUID(bytes=row["keyring_id"].bytes), row["change"], row["changes"], row["changed_at"]
            )
            for row in rows
        }
