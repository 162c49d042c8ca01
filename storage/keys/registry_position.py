"""The position of the key registry: the version of its summary, for an anchor outside of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import KeyConflict
from strongroom.storage.cell.positions import REGISTRY, Position
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE

from .registry_rows import digest_of, summary_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from strongroom.kms.keys.registry_head import RegistrySummary
    from strongroom.storage.engine.database import Database

    from .registry_heads import RegistryHeads

_SQL = load_queries("keys/registry_heads")


class RegistryPosition:
    """The source of the registry's position; see `PositionSource`.

    Args:
        database: The cell's database.
        heads: The heads of the registry.
    """

    def __init__(self, database: Database, heads: RegistryHeads) -> None:
        self._database = database
        self._heads = heads

    async def positions(self) -> Sequence[Position]:
        """Read and verify the summary.

        Raises:
            RegistryAltered: It was changed outside of Strongroom, or is older than before.
            KmsError, StorageError: It can't be read or verified.
        """
        key, newest = await self._heads.key(), self._heads.newest
        summary = await self._read()
        self._heads.check_summary(key, summary, newest)
        return [_position(summary)]

    async def stored(self, _names: Collection[str], /) -> Sequence[Position]:
        """Return the position that the database states.

        Raises:
            StorageError: The database can't be read.
        """
        return [_position(await self._read())]

    async def continue_after(self, anchored: Position) -> None:
        """Raise the version of the summary above an anchored one, if the whole registry verifies.

        Raises:
            RegistryAltered: The registry was changed outside of Strongroom.
            KeyConflict: Another process changed it at the same time.
            KmsError, StorageError: It can't be read or changed.
        """
        key = await self._heads.key()
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            await connection.fetch(
                _SQL["lock_summary"]
            )  # a change that holds heads waits for it too, and has not committed
            await self._heads.all_keys(connection)
            row = await connection.fetchrow(_SQL["summary"])
            summary = None if row is None else summary_of(row)
            total = key.total(summary)
            made = key.summary(anchored.number + 1, total)
            version = 0 if summary is None else summary.version
            if not await connection.fetch(
                _SQL["raise_summary"], version, made.version, made.nonce, made.total, made.mac
            ):
                raise KeyConflict

    async def _read(self) -> RegistrySummary | None:
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["summary"])
        return None if row is None else summary_of(row)


def _position(summary: RegistrySummary | None) -> Position:
    return Position(REGISTRY, 0, b"") if summary is None else Position(REGISTRY, summary.version, digest_of(summary))
