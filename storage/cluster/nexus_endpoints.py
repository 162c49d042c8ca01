"""Nexus endpoints, the targets of Nexus operations: Temporal's NexusEndpointStore. The table and each row have a version."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from strongroom.kms.sealing.record_kinds import NEXUS_ENDPOINT
from strongroom.storage.checks import check_blob, check_number, check_type, check_uuid, wanted_page_size
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import NexusEndpointVersionConflict, NexusTableVersionConflict, NotFound
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import CELL, tag
from strongroom.storage.journal.rows import RowImages
from strongroom.storage.page_tokens import token_id, token_of_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.newest_rows import Place
    from strongroom.storage.journal.writer import Journal

    _Opened: TypeAlias = "tuple[NexusEndpoint, int]"

_SQL = load_queries("cluster/nexus_endpoints")
_TABLE = "nexus_endpoints"
_STATUS = "nexus_endpoints_status"
_IMAGES = RowImages(_TABLE)
_CHANGE = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class NexusEndpoint:
    """A Nexus endpoint.

    Attributes:
        endpoint_id: The UUID that the service gave it.
        version: The version of the row; 1 or more. In a request, the version that was read, or 0 to create the endpoint.
        data: The service's blob, which is sealed under the cell's keys.
    """

    endpoint_id: UUID
    version: int
    data: DataBlob


@dataclass(frozen=True, slots=True)
class NexusEndpointPage:
    """A page of the list of endpoints.

    Attributes:
        table_version: The table's version, which the next change and the next page must name.
        endpoints: The endpoints in the order of their ids; empty if only the version was requested.
        next_page_token: The token of the next page; None at the end.
    """

    table_version: int
    endpoints: tuple[NexusEndpoint, ...]
    next_page_token: bytes | None


class NexusEndpointStore:
    """Reads and writes endpoints. They belong to the deployment and are sealed under the cell's keys.

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

    async def create_or_update_nexus_endpoint(self, endpoint: NexusEndpoint, *, last_known_table_version: int) -> None:
        """Create an endpoint, or replace it if its version is the one that was read. The table's and the endpoint's version rise by 1.

        Args:
            endpoint: The endpoint with its new blob of at most 4 MiB, and the version that was read; 0 to create it.
            last_known_table_version: The table's version that the caller knows.

        Raises:
            NexusTableVersionConflict: The table has another version.
            NexusEndpointVersionConflict: The endpoint has another version or does not exist, or the given version is 0 and it exists.
            InvalidPersistenceRequest: A field is invalid.
            TransactionSizeLimit: The blob has more than 4 MiB.
        """
        check_type("endpoint", endpoint, NexusEndpoint)
        check_uuid("endpoint_id", endpoint.endpoint_id)
        check_number("version", endpoint.version)
        check_blob("data", endpoint.data)
        check_number("last_known_table_version", last_known_table_version)
        keys = await self._keyring.open(self._keyring.cell_id)
        key = (endpoint.endpoint_id.bytes, endpoint.version + 1)
        change = last_known_table_version + 1
        sealed = keys.seal(NEXUS_ENDPOINT, key, _CHANGE.pack(change) + endpoint.data.pack())
        query = "update" if endpoint.version else "create"
        async with self._database.transaction(NO_NAMESPACE) as connection:
            await self._raise_version(connection, last_known_table_version)
            before = self._journal.rows.moment
            written = await connection.fetchrow(_SQL[query], endpoint.endpoint_id, endpoint.version, sealed)
            if written is None:
                raise NexusEndpointVersionConflict
            if endpoint.version:
                replaced = _opened(keys, {"id": endpoint.endpoint_id, "version": endpoint.version, **written})
                await self._check([replaced], before, connection)
            self._journal.rows.written(connection, _TABLE, endpoint.endpoint_id, (change,))
            changes = Changes(CELL)
            old = tag(written["data"]) if endpoint.version else None
            changes.replace(_IMAGES.row(None, endpoint.endpoint_id), old, tag(sealed))
            await self._journal.write(connection, changes)

    async def delete_nexus_endpoint(self, endpoint_id: UUID, *, last_known_table_version: int) -> None:
        """Delete an endpoint. The table's version rises by 1.

        Args:
            endpoint_id: The endpoint.
            last_known_table_version: The table's version that the caller knows.

        Raises:
            NexusTableVersionConflict: The table has another version.
            NotFound: The endpoint does not exist. The table's version stays the same.
            InvalidPersistenceRequest: An id or number is invalid.
        """
        check_uuid("endpoint_id", endpoint_id)
        check_number("last_known_table_version", last_known_table_version)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            await self._raise_version(connection, last_known_table_version)
            deleted = await connection.fetchrow(_SQL["delete"], endpoint_id)
            if deleted is None:
                raise _no_endpoint()
            self._journal.rows.written(connection, _TABLE, endpoint_id, (last_known_table_version + 1,))
            changes = Changes(CELL)
            changes.remove(_IMAGES.row(None, endpoint_id), tag(deleted["data"]))
            await self._journal.write(connection, changes)

    async def get_nexus_endpoint(self, endpoint_id: UUID) -> NexusEndpoint:
        """Return an endpoint.

        Args:
            endpoint_id: The endpoint.

        Raises:
            NotFound: The endpoint does not exist.
            IntegrityError: The endpoint's row does not open.
            DataLoss: An older row was put back.
        """
        check_uuid("endpoint_id", endpoint_id)
        before = self._journal.rows.moment
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"], endpoint_id)
        if row is None:
            raise _no_endpoint()
        found = await self._keyring.with_keys(self._keyring.cell_id, lambda keys: _opened(keys, row))
        return (await self._check([found], before, self._database))[0]

    async def list_nexus_endpoints(
        self, *, page_size: int, page_token: bytes | None = None, last_known_table_version: int = 0
    ) -> NexusEndpointPage:
        """List endpoints in the order of their ids, with the table's version at that moment.

        Args:
            page_size: The maximum number of endpoints to return; 0 for the version alone, a negative number or more than
                10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.
            last_known_table_version: The version of the page before, so that all pages have the same version; 0 for any.

        Raises:
            NexusTableVersionConflict: The table has another version.
            InvalidPersistenceRequest: A number is invalid, or the token is from another operation.
            IntegrityError: A row does not open.
            DataLoss: An older row, or an older version of the table, was put back.
        """
        page_size = 0 if type(page_size) is int and page_size == 0 else wanted_page_size(page_size)
        check_number("last_known_table_version", last_known_table_version)
        after = UUID(bytes=token_id(page_token, "list_nexus_endpoints", b"")) if page_token else UUID(int=0)
        before = self._journal.rows.moment
        async with self._database.transaction(NO_NAMESPACE, read_only=True) as connection:
            status = await connection.fetchrow(_SQL["version"])
            version: int = status["version"] if status is not None else 0
            await self._journal.rows.check(connection, _STATUS, None, (version,), before, authentic=(0,))
            if last_known_table_version not in (0, version):
                raise NexusTableVersionConflict
            rows = await connection.fetch(_SQL["list"], after, page_size) if page_size else []
        opened = await self._keyring.with_keys(self._keyring.cell_id, lambda keys: [_opened(keys, row) for row in rows])
        endpoints = tuple(await self._check(opened, before, self._database))
        is_full = page_size > 0 and len(rows) == page_size
        token = token_of_bytes("list_nexus_endpoints", b"", endpoints[-1].endpoint_id.bytes) if is_full else None
        return NexusEndpointPage(version, endpoints, token)

    async def _raise_version(self, connection: Connection, last_known: int) -> None:
        """Raise the table's version from the one that the caller knows. Concurrent changes wait until the transaction ends.

        Raises:
            NexusTableVersionConflict: The table has another version.
            DataLoss: An older version was put back.
        """
        before = self._journal.rows.moment
        if not await connection.fetch(_SQL["raise_version"], last_known):
            raise NexusTableVersionConflict
        await self._journal.rows.check(connection, _STATUS, None, (last_known,), before, authentic=(0,))
        self._journal.rows.written(connection, _STATUS, None, (last_known + 1,))

    async def _check(self, opened: Sequence[_Opened], before: int, place: Place) -> list[NexusEndpoint]:
        """Refuse endpoints that are older than this process has seen them.

        Raises:
            DataLoss: An older row was put back.
        """
        for endpoint, change in opened:
            await self._journal.rows.check(place, _TABLE, endpoint.endpoint_id, (change,), before)
            # The version of the table is not sealed itself. It is never below the sealed one of an endpoint.
            self._journal.rows.remember(_STATUS, None, (change,), before)
        return [endpoint for endpoint, _ in opened]


def _opened(keys: NamespaceKeys, row: Row | Mapping[str, Any]) -> _Opened:
    """Open a row. Its plaintext begins with the version of the table that its last change made (kms/FORMAT.md section 9)."""
    endpoint_id = UUID(bytes=row["id"].bytes)
    packed = keys.open(NEXUS_ENDPOINT, (endpoint_id.bytes, row["version"]), row["data"])
    endpoint = NexusEndpoint(endpoint_id, row["version"], DataBlob.unpack(packed[_CHANGE.size :]))
    return endpoint, _CHANGE.unpack_from(packed)[0]


def _no_endpoint() -> NotFound:
    return NotFound("nexus endpoint not found")
