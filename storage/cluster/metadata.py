"""The clusters of a deployment, and the hosts that are up: Temporal's ClusterMetadataStore."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms.sealing.record_kinds import CLUSTER_METADATA
from strongroom.storage.checks import MAX_PAGE_SIZE, check_blob, check_id, check_number, check_uuid, wanted_page_size
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import DatabaseUnavailable, InvalidPersistenceRequest, NotFound
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import CELL, tag
from strongroom.storage.journal.rows import RowImages
from strongroom.storage.page_tokens import token_name, token_of_name

from .cluster_rows import DELETED, ClusterMetadata, ClusterMetadataPage, ClusterRow, open_cluster, packed_cluster
from .members import (
    ClusterMembersPage,
    ServiceRole,
    address_text,
    check_duration,
    check_time,
    host_of,
    member_of,
    role_number,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.newest_rows import Place
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("cluster/metadata")
_TABLE = "cluster_metadata"
_IMAGES = RowImages(_TABLE)
_PORTS = 2**16
_MAX_CLUSTER_NAME = 1000  # an index of PostgreSQL holds no value that is much longer


class ClusterMetadataStore:
    """Reads and writes clusters and hosts. They belong to the deployment and contain no tenant data.

    Every operation raises `DatabaseUnavailable` if the database can't be reached, and `KmsError` if the cell's keys are unavailable.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal) -> None:
        self._journal = journal
        self._database = database
        self._keyring = keyring

    async def list_cluster_metadata(self, *, page_size: int, page_token: bytes | None = None) -> ClusterMetadataPage:
        """List clusters in the order of their names.

        Args:
            page_size: The maximum number of clusters to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: The page size is invalid, or the token is from another operation.
            IntegrityError: A row does not open.
            DataLoss: An older row was put back.
        """
        page_size = wanted_page_size(page_size)
        after = token_name(page_token, "list_cluster_metadata", b"") if page_token else ""
        clusters: list[ClusterMetadata] = []
        while True:
            before = self._journal.rows.moment
            async with self._database.connection(NO_NAMESPACE) as connection:
                rows = await connection.fetch(_SQL["list"], after, page_size - len(clusters))
            opened = await self._opened(rows, before, self._database)
            is_last = len(rows) < page_size - len(clusters)
            clusters += [each.metadata for each in opened if each.metadata is not None]
            if is_last or len(clusters) == page_size:
                break
            after = opened[-1].cluster_name  # deleted clusters were left out
        token = None if is_last else token_of_name("list_cluster_metadata", b"", clusters[-1].cluster_name)
        return ClusterMetadataPage(tuple(clusters), token)

    async def get_cluster_metadata(self, cluster_name: str) -> ClusterMetadata:
        """Return a cluster.

        Args:
            cluster_name: The cluster's name; 1 to 1000 bytes of UTF-8 without a zero character.

        Raises:
            NotFound: No cluster has this name.
            IntegrityError: The row does not open.
            DataLoss: An older row was put back.
        """
        _check_cluster_name(cluster_name)
        before = self._journal.rows.moment
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"], cluster_name)
        found = None if row is None else (await self._opened([row], before, self._database))[0].metadata
        if found is None:
            msg = "no cluster has this name"
            raise NotFound(msg)
        return found

    async def save_cluster_metadata(self, cluster_name: str, *, data: DataBlob, version: int) -> bool:
        """Create or replace a cluster.

        Args:
            cluster_name: The cluster's name; 1 to 1000 bytes of UTF-8 without a zero character.
            data: The service's new blob; at most 4 MiB.
            version: The version that was read; 0 to create the cluster. The stored version is one more.

        Returns:
            Whether the cluster was stored. False if `version` is 0 and the cluster exists.

        Raises:
            DatabaseUnavailable: Another version is stored, or the cluster was deleted. Read it again.
            InvalidPersistenceRequest: The name or the version is invalid.
            TransactionSizeLimit: The blob has more than 4 MiB.
        """
        _check_cluster_name(cluster_name)
        check_blob("data", data)
        check_number("version", version)
        new = packed_cluster(version + 1, data)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            if version == 0 and await self._create(connection, cluster_name, new):
                return True
            row = await self._locked(connection, cluster_name)
            if row is not None and row.stored_version == version:
                await self._replace(connection, row, new)
                return True
        if version == 0:
            return False
        msg = "the cluster has another version, or was deleted; read it again"
        raise DatabaseUnavailable(msg)

    async def delete_cluster_metadata(self, cluster_name: str) -> None:
        """Delete a cluster; its row and its name in clear stay. Deleting one that does not exist is not an error.

        Args:
            cluster_name: The cluster's name.

        Raises:
            InvalidPersistenceRequest: The name is invalid.
        """
        _check_cluster_name(cluster_name)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            row = await self._locked(connection, cluster_name)
            if row is not None and row.data is not None:
                await self._replace(connection, row, packed_cluster(DELETED, None))

    async def _create(self, connection: Connection, cluster_name: str, packed: bytes) -> bool:
        """Insert the first row of a cluster. Return False if it has a row."""
        keys = await self._keyring.open(self._keyring.cell_id)
        sealed = keys.seal(CLUSTER_METADATA, (cluster_name, 1), packed)
        if not await connection.fetch(_SQL["create"], cluster_name, sealed):
            return False
        await self._note(connection, cluster_name, 1, None, sealed)
        return True

    async def _replace(self, connection: Connection, row: ClusterRow, packed: bytes) -> None:
        """Replace a row that the transaction has locked."""
        keys = await self._keyring.open(self._keyring.cell_id)
        sealed = keys.seal(CLUSTER_METADATA, (row.cluster_name, row.number + 1), packed)
        await connection.execute(_SQL["update"], row.cluster_name, row.number, sealed)
        await self._note(connection, row.cluster_name, row.number + 1, tag(row.sealed), sealed)

    async def _note(self, connection: Connection, name: str, number: int, old: bytes | None, sealed: bytes) -> None:
        changes = Changes(CELL)
        changes.replace(_IMAGES.row(None, name), old, tag(sealed))
        self._journal.rows.written(connection, _TABLE, name, (number,))
        await self._journal.write(connection, changes)

    async def _locked(self, connection: Connection, cluster_name: str) -> ClusterRow | None:
        """Return the row of a cluster, and lock it until the transaction ends. None if it never existed."""
        before = self._journal.rows.moment
        row = await connection.fetchrow(_SQL["lock"], cluster_name)
        return None if row is None else (await self._opened([row], before, connection))[0]

    async def _opened(self, rows: Sequence[Row], before: int, place: Place) -> list[ClusterRow]:
        """Open rows, and refuse those that are older than this process has seen them."""
        opened = await self._keyring.with_keys(
            self._keyring.cell_id, lambda keys: [open_cluster(keys, row) for row in rows]
        )
        for each in opened:
            await self._journal.rows.check(place, _TABLE, each.cluster_name, (each.number,), before)
        return opened

    async def get_cluster_members(
        self,
        *,
        host_id: UUID | None = None,
        role: ServiceRole | None = None,
        rpc_address: str | None = None,
        last_heartbeat_within: timedelta | None = None,
        session_started_after: datetime | None = None,
        page_size: int = MAX_PAGE_SIZE,
        page_token: bytes | None = None,
    ) -> ClusterMembersPage:
        """List the hosts whose record has not expired, in the order of their ids. Every filter that is given must match.

        Args:
            host_id: The id of the host; None for any.
            role: The role of the host; None for any.
            rpc_address: The IP address of the host; None for any.
            last_heartbeat_within: The longest time since the last heartbeat; None for any.
            session_started_after: The time after which the host's process started, with a time zone; None for any.
            page_size: The maximum number of hosts to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: A filter, the page size or the token is invalid.
        """
        page_size = wanted_page_size(page_size)
        if host_id is not None:
            check_uuid("host_id", host_id)
        if last_heartbeat_within is not None:
            check_duration("last_heartbeat_within", last_heartbeat_within)
        if session_started_after is not None:
            check_time("session_started_after", session_started_after)
        filters = (
            host_id.bytes if host_id is not None else None,
            role_number(role) if role is not None else None,
            address_text(rpc_address) if rpc_address is not None else None,
            last_heartbeat_within,
            session_started_after,
            host_of(page_token) if page_token else b"",
        )
        async with self._database.connection(NO_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["members"], *filters, page_size)
        members = tuple(member_of(row) for row in rows)
        return ClusterMembersPage(members, members[-1].host_id.bytes if len(members) == page_size else None)

    async def upsert_cluster_membership(
        self,
        host_id: UUID,
        *,
        role: ServiceRole,
        rpc_address: str,
        rpc_port: int,
        session_start: datetime,
        record_expiry: timedelta,
    ) -> None:
        """Record a heartbeat of a host. The database's clock gives the time.

        Args:
            host_id: The id of the host's process.
            role: The service that the host runs.
            rpc_address: An IP address without a zone.
            rpc_port: The port; 0 to 65,535.
            session_start: The start of the host's process, with a time zone.
            record_expiry: The time until the record expires: more than 0, and at most 36,500 days.

        Raises:
            InvalidPersistenceRequest: A value is invalid.
        """
        check_uuid("host_id", host_id)
        check_number("rpc_port", rpc_port, limit=_PORTS)
        check_time("session_start", session_start)
        check_duration("record_expiry", record_expiry)
        row = (host_id.bytes, role_number(role), address_text(rpc_address), rpc_port, session_start, record_expiry)
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["upsert_member"], *row)

    async def prune_cluster_membership(self, *, max_records: int = MAX_PAGE_SIZE) -> int:
        """Delete hosts whose record has expired, the oldest first.

        Args:
            max_records: The maximum number of records to delete; 1 or more.

        Returns:
            The number of records that were deleted.

        Raises:
            InvalidPersistenceRequest: `max_records` is invalid.
        """
        check_number("max_records", max_records, least=1)
        async with self._database.connection(NO_NAMESPACE) as connection:
            return len(await connection.fetch(_SQL["prune_members"], max_records))


def _check_cluster_name(value: object) -> None:
    encoded = check_id("cluster_name", value)
    if len(encoded) > _MAX_CLUSTER_NAME or b"\x00" in encoded:
        msg = f"cluster_name is longer than {_MAX_CLUSTER_NAME} bytes, or has a character that the database can't store"
        raise InvalidPersistenceRequest(msg)
