"""The clusters of a deployment, and the hosts that are up: Temporal's ClusterMetadataStore."""

from __future__ import annotations

from dataclasses import dataclass
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
    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("cluster/metadata")
_IMAGES = RowImages("cluster_metadata")
_PORTS = 2**16
_MAX_CLUSTER_NAME = 1000  # an index of PostgreSQL holds no value that is much longer


@dataclass(frozen=True, slots=True)
class ClusterMetadata:
    """The stored row of a cluster.

    Attributes:
        cluster_name: The operator's name for the cluster, which is stored in clear.
        version: The version of the row; 1 or more.
        data: The service's blob, which is sealed under the cell's keys.
    """

    cluster_name: str
    version: int
    data: DataBlob


@dataclass(frozen=True, slots=True)
class ClusterMetadataPage:
    """A page of the list of clusters.

    Attributes:
        clusters: The clusters in the order of their names.
        next_page_token: The token of the next page; None at the end.
    """

    clusters: tuple[ClusterMetadata, ...]
    next_page_token: bytes | None


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
        """
        page_size = wanted_page_size(page_size)
        after = token_name(page_token, "list_cluster_metadata", b"") if page_token else ""
        async with self._database.connection(NO_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["list"], after, page_size)
        clusters = await self._keyring.with_keys(
            self._keyring.cell_id, lambda keys: tuple(_opened(keys, row) for row in rows)
        )
        is_full = len(rows) == page_size
        token = token_of_name("list_cluster_metadata", b"", clusters[-1].cluster_name) if is_full else None
        return ClusterMetadataPage(clusters, token)

    async def get_cluster_metadata(self, cluster_name: str) -> ClusterMetadata:
        """Return a cluster.

        Args:
            cluster_name: The cluster's name; 1 to 1000 bytes of UTF-8 without a zero character.

        Raises:
            NotFound: No cluster has this name.
            IntegrityError: The row does not open.
        """
        _check_cluster_name(cluster_name)
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"], cluster_name)
        if row is None:
            msg = "no cluster has this name"
            raise NotFound(msg)
        return await self._keyring.with_keys(self._keyring.cell_id, lambda keys: _opened(keys, row))

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
        keys = await self._keyring.open(self._keyring.cell_id)
        sealed = keys.seal(CLUSTER_METADATA, (cluster_name, version + 1), data.pack())
        changes = Changes(CELL)
        row = _IMAGES.row(None, cluster_name)
        changes.add(row, tag(sealed))
        async with self._database.transaction(NO_NAMESPACE) as connection:
            if version == 0:
                if not await connection.fetch(_SQL["create"], cluster_name, sealed):
                    return False
                await self._journal.write(connection, changes)
                return True
            stored = await connection.fetchrow(_SQL["lock"], cluster_name, version)
            if stored is not None:
                changes.remove(row, tag(stored["data"]))
                await connection.execute(_SQL["update"], cluster_name, version, sealed)
                await self._journal.write(connection, changes)
                return True
        msg = "the cluster has another version, or was deleted; read it again"
        raise DatabaseUnavailable(msg)

    async def delete_cluster_metadata(self, cluster_name: str) -> None:
        """Delete a cluster. Deleting one that does not exist is not an error.

        Args:
            cluster_name: The cluster's name; 1 to 1000 bytes of UTF-8 without a zero character.

        Raises:
            InvalidPersistenceRequest: The name is invalid.
        """
        _check_cluster_name(cluster_name)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            deleted = await connection.fetchrow(_SQL["delete"], cluster_name)
            if deleted is not None:
                changes = Changes(CELL)
                changes.remove(_IMAGES.row(None, cluster_name), tag(deleted["data"]))
                await self._journal.write(connection, changes)

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


def _opened(keys: NamespaceKeys, row: Row) -> ClusterMetadata:
    key = (row["cluster_name"], row["version"])
    return ClusterMetadata(*key, DataBlob.unpack(keys.open(CLUSTER_METADATA, key, row["data"])))
