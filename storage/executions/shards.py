"""Shards and who owns them: Temporal's ShardStore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import SHARD
from strongroom.storage.checks import check_blob, check_number, check_shard_id
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import DatabaseUnavailable, NotFound, ShardOwnershipLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

_SQL = load_queries("executions/shards")


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What is stored of a shard.

    Attributes:
        shard_id: from 1.
        range_id: rises with each new owner; every write to the shard names it.
        info: the service's own; sealed under the cell's keys.
    """

    shard_id: int
    range_id: int
    info: DataBlob


class ShardStore:
    """Reads and moves the ownership of shards."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def get_or_create_shard(self, shard_id: int, create: Callable[[], ShardInfo] | None = None) -> ShardInfo:
        """Return a shard; make it where it is missing. Of two that make it at once, both return the one that was first.

        Args:
            shard_id: which.
            create: makes what to store; None to read only.

        Raises:
            NotFound: there is none, and nothing to create it with.
        """
        check_shard_id(shard_id)
        keys = await self._keyring.open(self._keyring.cell_id)
        if create is not None and await self._get(shard_id) is None:
            made = create()
            _check(made)
            sealed = keys.seal(SHARD, (made.shard_id, made.range_id), made.info.pack())
            async with self._database.connection(NO_NAMESPACE) as connection:
                await connection.execute(_SQL["create"], made.shard_id, made.range_id, sealed)
        found = await self._get(shard_id)
        if found is None:
            msg = f"shard {shard_id} does not exist yet"
            raise NotFound(msg)
        return found

    async def update_shard(self, shard: ShardInfo, *, previous_range_id: int) -> None:
        """Replace a shard's row, and with it who may write.

        Raises:
            ShardOwnershipLost: the stored range_id is another one.
            DatabaseUnavailable: there is no such shard.
        """
        _check(shard)
        check_number("previous_range_id", previous_range_id)
        keys = await self._keyring.open(self._keyring.cell_id)
        sealed = keys.seal(SHARD, (shard.shard_id, shard.range_id), shard.info.pack())
        async with self._database.connection(NO_NAMESPACE) as connection:
            updated = await connection.fetch(_SQL["update"], shard.shard_id, shard.range_id, sealed, previous_range_id)
            if updated:
                return
            exists = await connection.fetchrow(_SQL["get"], shard.shard_id)
        if exists is None:
            msg = f"shard {shard.shard_id} does not exist yet"
            raise DatabaseUnavailable(msg)
        raise ShardOwnershipLost(shard.shard_id)

    async def assert_shard_ownership(self, shard_id: int, *, range_id: int) -> None:
        """Raise `ShardOwnershipLost` unless the shard is at this range_id."""
        check_shard_id(shard_id)
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"], shard_id)
        if row is None or row["range_id"] != range_id:
            raise ShardOwnershipLost(shard_id)

    async def _get(self, shard_id: int) -> ShardInfo | None:
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"], shard_id)
        if row is None:
            return None
        key = (shard_id, row["range_id"])
        packed = await self._keyring.with_keys(self._keyring.cell_id, lambda keys: keys.open(SHARD, key, row["data"]))
        return ShardInfo(shard_id, row["range_id"], DataBlob.unpack(packed))


def _check(shard: ShardInfo) -> None:
    check_shard_id(shard.shard_id)
    check_number("range_id", shard.range_id)
    check_blob("info", shard.info)
