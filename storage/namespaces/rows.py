"""The rows of the namespace table, as both namespace stores read and write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from strongroom.kms import IntegrityError, KekRef, KeyState, WrongRegion
from strongroom.kms.sealing.record_kinds import NAMESPACE_DATA, NAMESPACE_DETAILS
from strongroom.storage.checks import check_uuid
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE
from strongroom.storage.errors import DataLoss, InvalidPersistenceRequest, NamespaceAlreadyExists, NamespaceNotFound
from strongroom.storage.shared_lookups import SharedLookups

from .journal import replaced_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from strongroom.kms import Keyring, NamespaceKeys, Suite
    from strongroom.storage.data_blob import DataBlob
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.row_level_security import VisibleNamespaces
    from strongroom.storage.journal.newest_rows import Place
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("namespaces/store")
_TABLE_VERSION = "namespace_metadata"
NAME_BYTES = 255
"""Maximum size of a namespace's name, in bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class NamespaceDetails:
    """The plaintext of the column `details`.

    Attributes:
        name: The name of the namespace.
        search_attributes: The registered search attributes, name to type.
        aliases: Other names of search attributes, each with the registered name.
        region: The region of the namespace, which is the cell's; None for no region.
    """

    name: str
    search_attributes: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    region: str | None = None

    def seal(self, keys: NamespaceKeys, version: int) -> bytes:
        """Seal the details for the row of a version."""
        details: dict[str, object] = {
            "name": self.name,
            "search_attributes": dict(self.search_attributes),
            "aliases": dict(self.aliases),
        }
        if self.region is not None:
            details["region"] = self.region
        return keys.seal(NAMESPACE_DETAILS, (version,), orjson.dumps(details))


class NamespaceRows:
    """Reads and inserts rows of the namespace table.

    Args:
        database: The database.
        keyring: The keys of the namespaces and of the cell.
        journal: The journal of this process.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal) -> None:
        self._journal = journal
        self._database = database
        self._keyring = keyring
        self._by_id = SharedLookups(self._read_ids)
        self._by_token = SharedLookups(self._read_tokens)

    async def name_token(self, name: str) -> bytes:
        """Return the token of a name. It is made with the cell's keys, because the namespace's own keys are found by its name.

        Args:
            name: The name, 1 to 255 bytes of UTF-8.

        Raises:
            InvalidPersistenceRequest: The name is empty, too long or not text.
        """
        encoded = name.encode("utf-8", "replace") if isinstance(name, str) else b""
        if not 0 < len(encoded) <= NAME_BYTES or encoded.decode() != name:
            msg = f"a namespace's name has 1 to {NAME_BYTES} bytes of UTF-8"
            raise InvalidPersistenceRequest(msg)
        cell = await self._keyring.open(self._keyring.cell_id)
        return cell.identity("namespace name").token(encoded)[:16]

    async def by_id(self, namespace_id: UUID) -> Row | None:
        """Return the row of an id, even of a shredded namespace. Concurrent calls share a statement.

        Raises:
            InvalidPersistenceRequest: The id is not a UUID. The statement would fail for all calls that share it.
        """
        check_uuid("namespace_id", namespace_id)
        return await self._by_id.get(namespace_id)

    async def by_name(self, name: str) -> Row:
        """Return the row of a name.

        Raises:
            NamespaceNotFound: No namespace has this name.
        """
        row = await self.by_token(await self.name_token(name))
        if row is None:
            raise NamespaceNotFound
        return row

    async def by_token(self, name_token: bytes) -> Row | None:
        """Return the row of a name's token. Concurrent calls share a statement."""
        return await self._by_token.get(name_token)

    async def _read_ids(self, namespaces: Sequence[UUID]) -> Mapping[UUID, Row]:
        visible: VisibleNamespaces = namespaces[0] if len(namespaces) == 1 else namespaces
        async with self._database.connection(visible) as connection:
            rows = await connection.fetch(_SQL["get_by_id"], namespaces)
        return {UUID(bytes=row["namespace_id"].bytes): row for row in rows}

    async def _read_tokens(self, tokens: Sequence[bytes]) -> Mapping[bytes, Row]:
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["get_by_token"], tokens)
        return {row["name_token"]: row for row in rows}

    async def insert(
        self, namespace_id: UUID, details: NamespaceDetails, *, created_at: datetime, data: DataBlob, is_global: bool
    ) -> None:
        """Insert a namespace that has keys, and raise the table's version.

        Args:
            namespace_id: The id of the namespace.
            details: Its name and search attributes.
            created_at: The time of its creation, UTC.
            data: The service's settings.
            is_global: Whether it is replicated to other clusters.

        Raises:
            NamespaceAlreadyExists: The name or the id is taken.
        """
        token = await self.name_token(details.name)
        keys = await self._keyring.open(namespace_id)
        sealed_details = details.seal(keys, 1)
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            version = await self.locked_version(connection)
            sealed_data = keys.seal(NAMESPACE_DATA, (version, int(is_global)), data.pack())
            row = (namespace_id, token, sealed_details, created_at, version, is_global, sealed_data)
            if not await connection.fetch(_SQL["insert"], *row):
                raise NamespaceAlreadyExists
            await self.raise_version(connection, version)
            self.written(connection, namespace_id, 1, version)
            await self._journal.write(connection, replaced_namespace(namespace_id, None, (sealed_details, sealed_data)))

    @property
    def moment(self) -> int:
        """The number of changes of the known newest rows, which `check` needs. Read it before reading the row."""
        return self._journal.rows.moment

    async def check(self, row: Row, before: int) -> None:
        """Refuse a row that is older than this process has seen it.

        Args:
            row: The row, whose details and settings were opened.
            before: The value of `moment` before the row was read.

        Raises:
            DataLoss: An older row was put back.
        """
        await self._check(self._database, row, before, (row["version"], row["notification_version"]))
        # The version of the table is not sealed itself. It is above the sealed one of each namespace.
        self._journal.rows.remember(_TABLE_VERSION, None, (row["notification_version"] + 1,), before)

    async def check_details(self, row: Row, before: int) -> None:
        """Refuse a row whose details alone were opened; see `check`. They authenticate one of the two versions."""
        await self._check(self._database, row, before, (row["version"], 0))

    async def check_locked(self, row: Row, before: int, connection: Connection) -> None:
        """Refuse a row that a transaction has locked and not opened; see `check`. Its versions are compared, and not remembered."""
        await self._check(connection, row, before, (0, 0))

    async def _check(self, place: Place, row: Row, before: int, authentic: tuple[int, int]) -> None:
        key, versions = UUID(bytes=row["namespace_id"].bytes), (row["version"], row["notification_version"])
        await self._journal.rows.check(place, "namespaces", key, versions, before, authentic=authentic)

    def written(self, connection: Connection, namespace_id: UUID, version: int, notification_version: int) -> None:
        """Refuse a row below these versions as soon as the transaction of a connection is committed.

        Args:
            connection: The connection.
            namespace_id: The namespace.
            version: The version of the details that were sealed; 0 if none were.
            notification_version: That of the settings that were sealed; 0 if none were.
        """
        self._journal.rows.written(connection, "namespaces", namespace_id, (version, notification_version))

    async def table_version(self) -> int:
        """Return the version of the namespace table; 0 if it has none.

        Raises:
            DataLoss: An older version was put back.
        """
        before = self.moment
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get_version"])
        return 0 if row is None else await self._checked_version(row["notification_version"], before, self._database)

    async def locked_version(self, connection: Connection) -> int:
        """Return the version of the namespace table, and lock it until the transaction ends.

        Raises:
            DataLoss: The version is missing, or an older one was put back.
        """
        before = self.moment
        row = await connection.fetchrow(_SQL["lock_version"])
        if row is None:
            msg = "the row of namespace_metadata is missing"
            raise DataLoss(msg)
        return await self._checked_version(row["notification_version"], before, connection)

    async def raise_version(self, connection: Connection, version: int) -> None:
        """Raise the version of the namespace table, which was locked, by one."""
        await connection.execute(_SQL["raise_version"])
        self._journal.rows.written(connection, _TABLE_VERSION, None, (version + 1,))

    async def _checked_version(self, version: int, before: int, place: Place) -> int:
        await self._journal.rows.check(place, _TABLE_VERSION, None, (version,), before, authentic=(0,))
        return version


def is_gone(row: Row) -> bool:
    """Return whether the namespace of a row is shredded or deleted."""
    return row["shredded_at"] is not None or row["deleted_at"] is not None


async def has_new_keys(keyring: Keyring, namespace_id: UUID, kek: KekRef, suite: Suite) -> bool:
    """Return whether all keys of an id are active and have this KEK and suite, as after a creation."""
    return all(
        record.state is KeyState.ACTIVE and KekRef(record.provider, record.kek_id) == kek and record.suite is suite
        for record in await keyring.store.list_data_keys(namespace_id)
    )


def open_details(keys: NamespaceKeys, row: Row) -> NamespaceDetails:
    """Open the details of a row."""
    details = orjson.loads(keys.open(NAMESPACE_DETAILS, (row["version"],), row["details"]))
    attributes, aliases = MappingProxyType(details["search_attributes"]), MappingProxyType(details["aliases"])
    return NamespaceDetails(details["name"], attributes, aliases, details.get("region"))


def check_region_of(details: NamespaceDetails, region: str | None) -> None:
    """Check that a namespace is bound to the region of the cell that opens it.

    Raises:
        WrongRegion: The namespace is bound to another region, or to none.
    """
    if details.region != region:
        bound = f"the namespace is bound to {details.region or 'no region'}, this cell to {region or 'no region'}"
        msg = f"{bound}; open it with a cell of its region"
        raise WrongRegion(msg)


def check_name(found: str | None, name: str) -> None:
    """Check that a namespace which was found by the token of a name has that name.

    Raises:
        IntegrityError: It has another name, so tokens were swapped in the database.
    """
    if found != name:
        raise IntegrityError
