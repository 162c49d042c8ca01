"""Shards and their owners: Temporal's ShardStore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms.sealing.record_kinds import SHARD
from strongroom.storage.checks import check_blob, check_id, check_number, check_shard_id, check_type, check_uuid
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import DatabaseUnavailable, NotFound, OlderThanAnchor, ShardOwnershipLost
from strongroom.storage.fences import ALTERED, ShardFences, has_altered_range, refused_shard
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import tag
from strongroom.storage.journal.rows import RowImages
from strongroom.storage.shard_numbers import CellShardNumbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("executions/shards")
_ROW = RowImages("shards").row(None)
"""The image of a shard's row without its tag. The shard is not part of it."""


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """A shard's row.

    Attributes:
        shard_id: The shard, from 1.
        range_id: A number that rises with each new owner. Every write to the shard names it.
        info: The service's own description, sealed with the cell's keys.
    """

    shard_id: int
    range_id: int
    info: DataBlob


class ShardStore:
    """Reads shards and moves their ownership.

    All operations raise `InvalidPersistenceRequest` for a field that is not valid, before anything is sent, and
    `DatabaseUnavailable` if the database can't be reached.

    Attributes:
        numbers: The numbers of the cell's shards.

    Args:
        database: The connections, for look-ups by key.
        keyring: The unwrapped keys.
        journal: The journal of this process.
        shard_count: The number of the cell's shards.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal, *, shard_count: int) -> None:
        self._journal = journal
        self._database = database
        self._keyring = keyring
        self.numbers = CellShardNumbers(keyring, shard_count)
        self._fences = ShardFences(keyring)

    async def shard_of(self, namespace_id: UUID, workflow_id: str) -> int:
        """Return the shard of a workflow, from 1. It never changes, and is the one that a Temporal server uses (`ShardNumbers`).

        Args:
            namespace_id: The namespace. Whether it exists is not checked.
            workflow_id: The workflow id, 1 to 65,535 bytes of UTF-8.

        Raises:
            InvalidPersistenceRequest: An argument is not valid.
            KmsError: The cell's keys are not available.
        """
        check_uuid("namespace_id", namespace_id)
        encoded = check_id("workflow_id", workflow_id)
        return (await self.numbers.get()).shard_of(namespace_id, encoded)

    async def get_or_create_shard(self, shard_id: int, create: Callable[[], ShardInfo] | None = None) -> ShardInfo:
        """Return a shard, and create it if it does not exist. If two callers create it at once, both get the shard of the first.

        Args:
            shard_id: The shard, from 1.
            create: Returns the shard to create; None to read only.

        Raises:
            NotFound: The shard does not exist, and `create` is None.
            IntegrityError: The row does not open.
            KmsError: The cell's keys are not available.
            TransactionSizeLimit: The info is larger than 4 MiB.
        """
        check_shard_id(shard_id)
        keys = await self._keyring.open(self._keyring.cell_id)
        if create is not None and await self._get(shard_id) is None:
            created = create()
            _check(created)
            sealed = keys.seal(SHARD, (created.shard_id, created.range_id), created.info.pack())
            mac = await self._fences.mac(created.shard_id, created.range_id)
            row = (created.shard_id, created.range_id, mac, sealed)
            async with self._database.transaction(NO_NAMESPACE) as connection:
                if await connection.fetch(_SQL["create"], *row):
                    await self._journal.write(connection, Changes(created.shard_id, [_ROW + tag(sealed)]))
        stored = await self._get(shard_id)
        if stored is None:
            msg = f"shard {shard_id} does not exist yet"
            raise NotFound(msg)
        return stored

    async def update_shard(self, shard: ShardInfo, *, previous_range_id: int) -> None:
        """Replace a shard's row, and with it the owner. Writes to the shard that are in flight are finished first.

        Args:
            shard: The new row.
            previous_range_id: The range id that the stored row must have.

        Raises:
            ShardOwnershipLost: The stored range_id is another one.
            IntegrityError: The stored range_id was altered.
            OlderThanAnchor: The shard is older than this process, or an anchor, has seen it.
            DatabaseUnavailable: The shard does not exist, as in Temporal.
            KmsError: The cell's keys are not available.
            TransactionSizeLimit: The info is larger than 4 MiB.
        """
        _check(shard)
        check_number("previous_range_id", previous_range_id)
        keys = await self._keyring.open(self._keyring.cell_id)
        sealed = keys.seal(SHARD, (shard.shard_id, shard.range_id), shard.info.pack())
        mac = await self._fences.mac(shard.shard_id, shard.range_id)
        previous_mac = await self._fences.mac(shard.shard_id, previous_range_id)
        row = (shard.shard_id, shard.range_id, mac, sealed)
        changes = Changes(shard.shard_id)
        changes.overwrite(_ROW, tag(sealed))
        async with (
            self._journal.entry(changes) as entry,
            self._database.connection(NO_NAMESPACE) as connection,
        ):
            conditions = (previous_range_id, previous_mac)
            newest = self._journal.newest.get(shard.shard_id, 0)
            updated = await connection.fetchrow(_SQL["update"], *row, *conditions, *entry.arguments, newest)
            entry.answer(updated)
            if updated is not None:
                return
            stored = await connection.fetchrow(_SQL["get"], shard.shard_id)
        if stored is None:
            msg = f"shard {shard.shard_id} does not exist yet"
            raise DatabaseUnavailable(msg)
        _check_mac(shard.shard_id, stored, previous_range_id, previous_mac)
        if stored["range_id"] == previous_range_id:
            raise OlderThanAnchor(
                [f"shard {shard.shard_id} has sums below number {newest}, which this process has seen"]
            )
        raise ShardOwnershipLost(shard.shard_id)

    async def assert_shard_ownership(self, shard_id: int, *, range_id: int) -> None:
        """Raise an error unless the shard has this range_id.

        Args:
            shard_id: The shard, from 1.
            range_id: The range id that the caller holds.

        Raises:
            ShardOwnershipLost: The shard has another range_id, or does not exist.
            IntegrityError: The shard's range_id was altered.
            KmsError: The cell's keys are not available.
        """
        check_shard_id(shard_id)
        check_number("range_id", range_id)
        mac = await self._fences.mac(shard_id, range_id)
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"], shard_id)
        if row is not None:
            _check_mac(shard_id, row, range_id, mac)
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


def _check_mac(shard_id: int, row: Row, range_id: int, mac: bytes) -> None:
    """Refuse a row in which only the range id or only its MAC is the expected one."""
    if has_altered_range(row, range_id, mac):
        raise refused_shard(shard_id, ALTERED)


def _check(shard: ShardInfo) -> None:
    check_type("shard", shard, ShardInfo)
    check_shard_id(shard.shard_id)
    check_number("range_id", shard.range_id)
    check_blob("info", shard.info)
