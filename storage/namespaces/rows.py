"""What both stores of namespaces do with a row: find it by its name's token, seal and open it, put it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from strongroom.kms import IntegrityError, WrongRegion
from strongroom.kms.sealing.record_kinds import NAMESPACE_DATA, NAMESPACE_DETAILS
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import DataLoss, InvalidPersistenceRequest, NamespaceAlreadyExists, NamespaceNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.data_blob import DataBlob
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("namespaces/store")
NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class NamespaceDetails:
    """What is sealed of a namespace in its column `details`.

    Attributes:
        name: as its owner gave it.
        search_attributes: name to type.
        aliases: other names of search attributes, each to the name that it stands for.
        region: that the namespace is bound to, the cell's; None in a cell of none.
    """

    name: str
    search_attributes: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    region: str | None = None

    def seal(self, keys: NamespaceKeys, version: int) -> bytes:
        """Seal for the row of a version."""
        details: dict[str, object] = {
            "name": self.name,
            "search_attributes": dict(self.search_attributes),
            "aliases": dict(self.aliases),
        }
        if self.region is not None:
            details["region"] = self.region
        return keys.seal(NAMESPACE_DETAILS, (version,), orjson.dumps(details))


class NamespaceRows:
    """Rows of the table of namespaces."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def name_token(self, name: str) -> bytes:
        """Return what stands for a name: a token under the cell's keys, as a namespace's own are not known yet.

        Raises:
            InvalidPersistenceRequest: empty, longer than 255 bytes, or not text.
        """
        encoded = name.encode("utf-8", "replace") if isinstance(name, str) else b""
        if not 0 < len(encoded) <= NAME_BYTES or encoded.decode() != name:
            msg = f"a namespace's name has 1 to {NAME_BYTES} bytes of UTF-8"
            raise InvalidPersistenceRequest(msg)
        cell = await self._keyring.open(self._keyring.cell_id)
        return cell.identity("namespace name").token(encoded)[:16]

    async def by_id(self, namespace_id: UUID) -> Row | None:
        """Return the row of an id, a shredded one too."""
        async with self._database.connection(namespace_id) as connection:
            return await connection.fetchrow(_SQL["get_by_id"], namespace_id)

    async def by_name(self, name: str) -> Row:
        """Return the row of a name.

        Raises:
            NamespaceNotFound: there is none.
        """
        row = await self.by_token(await self.name_token(name))
        if row is None:
            raise NamespaceNotFound
        return row

    async def by_token(self, name_token: bytes) -> Row | None:
        """Return the row of a name's token."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return await connection.fetchrow(_SQL["get_by_token"], name_token)

    async def insert(
        self, namespace_id: UUID, details: NamespaceDetails, *, created_at: datetime, data: DataBlob, is_global: bool
    ) -> None:
        """Put in a namespace whose keys are made, and raise the table's version.

        Raises:
            NamespaceAlreadyExists: the name or the id is taken.
        """
        token = await self.name_token(details.name)
        keys = await self._keyring.open(namespace_id)
        sealed_details = details.seal(keys, 1)
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            version = await locked_version(connection)
            sealed_data = keys.seal(NAMESPACE_DATA, (version, int(is_global)), data.pack())
            row = (namespace_id, token, sealed_details, created_at, version, is_global, sealed_data)
            if not await connection.fetch(_SQL["insert"], *row):
                raise NamespaceAlreadyExists
            await connection.execute(_SQL["raise_version"])


async def locked_version(connection: Connection) -> int:
    """Return the version of the whole table; nobody else changes it before the transaction ends."""
    row = await connection.fetchrow(_SQL["lock_version"])
    if row is None:
        msg = "the row of namespace_metadata is missing"
        raise DataLoss(msg)
    version: int = row["notification_version"]
    return version


def open_details(keys: NamespaceKeys, row: Row) -> NamespaceDetails:
    """Open a row's details."""
    details = orjson.loads(keys.open(NAMESPACE_DETAILS, (row["version"],), row["details"]))
    aliases = details.get("aliases", {})  # the first versions knew none
    attributes = MappingProxyType(details["search_attributes"])
    return NamespaceDetails(details["name"], attributes, MappingProxyType(aliases), details.get("region"))


def check_region_of(details: NamespaceDetails, region: str | None) -> None:
    """Raise `WrongRegion` where a namespace is bound to another region than the cell that opens it."""
    if details.region != region:
        msg = f"the namespace is bound to {details.region or 'no region'}, this cell to {region or 'none'}; open it in its own"
        raise WrongRegion(msg)


def check_name(details: NamespaceDetails, name: str) -> None:
    """Raise `IntegrityError` where a name's token led to a namespace of another name: someone has exchanged tokens."""
    if details.name != name:
        raise IntegrityError
