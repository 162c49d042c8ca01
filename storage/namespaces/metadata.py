"""Namespaces as a service keeps them: Temporal's MetadataStore, over the rows that `NamespaceStore` makes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import IntegrityError, KekRef, KeyConflict, KeyState, Suite, create_data_keys
from strongroom.kms.sealing.record_kinds import NAMESPACE_DATA
from strongroom.storage.checks import check_blob, check_flag, check_number, check_page_size, check_uuid, open_keys
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE
from strongroom.storage.errors import (
    ConditionFailed,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
)
from strongroom.storage.page_tokens import token_id, token_of_bytes

from .rows import (
    NamespaceDetails,
    NamespaceRows,
    check_name,
    check_region_of,
    locked_version,
    open_details,
)
from .store import UNREADABLE, NamespaceStore

if TYPE_CHECKING:
    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("namespaces/metadata")
_VERSION_SQL = load_queries("namespaces/store")


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """A namespace as its service sees it.

    Attributes:
        namespace_id: as it was created with.
        name: sealed; None where `unreadable` says why.
        data: the service's own; sealed under the namespace's keys. Empty where the namespace was made without.
        is_global: whether it is replicated to other clusters.
        notification_version: the table's version when the namespace was last changed.
        unreadable: why name and data can't be shown; None when they can.
    """

    namespace_id: UUID
    name: str | None
    data: DataBlob | None
    is_global: bool
    notification_version: int
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class NamespacePage:
    """Some namespaces, in the order of their ids, and where to go on; `next_page_token` is None at the end."""

    namespaces: tuple[NamespaceRecord, ...]
    next_page_token: bytes | None


class MetadataStore:
    """Creates, reads, changes and deletes namespaces. Every change raises one version of the whole table.

    Args:
        database: where they are.
        keyring: for their keys and the cell's.
        index_layout: what visibility documents of a new namespace hold; text of a `strongroom.visibility.Layout`.
    """

    def __init__(self, database: Database, keyring: Keyring, *, index_layout: str = "") -> None:
        self._database = database
        self._keyring = keyring
        self._index_layout = index_layout
        self._rows = NamespaceRows(database, keyring)
        self._store = NamespaceStore(database, keyring)

    async def create_namespace(
        self,
        namespace_id: UUID,
        name: str,
        *,
        data: DataBlob,
        kek: KekRef,
        is_global: bool = False,
        suite: Suite = Suite.XAES_256_GCM,
    ) -> None:
        """Create a namespace with keys of its own, wrapped by `kek`.

        Keys that a creation left which broke off are taken up by the next one of the same id and KEK.

        Raises:
            NamespaceAlreadyExists: the name is taken, or the id is or was.
            KmsError: the KEK can't be used.
        """
        check_uuid("namespace_id", namespace_id)
        check_blob("data", data)
        check_flag("is_global", is_global)
        token = await self._rows.name_token(name)
        if namespace_id == self._keyring.cell_id:
            msg = "this id is the cell's own"
            raise InvalidPersistenceRequest(msg)
        if await self._rows.by_id(namespace_id) or await self._rows.by_token(token):
            raise NamespaceAlreadyExists
        try:
            await create_data_keys(self._keyring, namespace_id, kek, suite=suite, index_layout=self._index_layout)
        except KeyConflict:
            if not await self._left_over(namespace_id, kek, suite):
                msg = "this id has keys already, and they are not such as the request asks for"
                raise NamespaceAlreadyExists(msg) from None
        details = NamespaceDetails(name, MappingProxyType({}), region=self._keyring.region)
        # Who loses here leaves its keys: another one may have taken them up.
        await self._rows.insert(namespace_id, details, created_at=datetime.now(UTC), data=data, is_global=is_global)

    async def get_namespace(self, *, namespace_id: UUID | None = None, name: str | None = None) -> NamespaceRecord:
        """Return a living namespace by its id or by its name.

        Raises:
            InvalidPersistenceRequest: both are given, or none.
            NamespaceNotFound: there is none.
            KmsError: its keys can't be had, or are destroyed and its rows are not yet deleted.
        """
        if (namespace_id is None) == (name is None):
            msg = "name exactly one: the namespace's id or its name"
            raise InvalidPersistenceRequest(msg)
        if name is not None:
            return await self._open(await self._rows.by_name(name), name)
        assert namespace_id is not None  # noqa: S101 - the other one is None
        check_uuid("namespace_id", namespace_id)
        row = await self._rows.by_id(namespace_id)
        if row is None or row["shredded_at"] is not None:
            raise NamespaceNotFound
        return await self._open(row)

    async def update_namespace(
        self, namespace_id: UUID, *, data: DataBlob, is_global: bool, notification_version: int
    ) -> None:
        """Replace what the service keeps of a namespace; `notification_version` is that of the table, not of the row.

        Raises:
            ConditionFailed: the table is at another version.
            NamespaceNotFound: no such namespace.
        """
        await self._change(namespace_id, None, data, is_global, notification_version)

    async def rename_namespace(
        self, namespace_id: UUID, name: str, *, data: DataBlob, is_global: bool, notification_version: int
    ) -> None:
        """Give a namespace another name, and replace what the service keeps of it. The former name is free then.

        Raises:
            NamespaceAlreadyExists: the name is taken.
            ConditionFailed, NamespaceNotFound: as `update_namespace`.
        """
        token = await self._rows.name_token(name)
        await self._change(namespace_id, (name, token), data, is_global, notification_version)

    async def delete_namespace(self, namespace_id: UUID) -> None:
        """Shred a namespace: its keys are destroyed and its rows deleted. One that is not there is no error."""
        check_uuid("namespace_id", namespace_id)
        await self._store.shred(namespace_id)

    async def delete_namespace_by_name(self, name: str) -> None:
        """As `delete_namespace`."""
        try:
            namespace_id = await self._store.find(name)
        except NamespaceNotFound:
            return
        await self._store.shred(namespace_id)

    async def list_namespaces(self, *, page_size: int, page_token: bytes | None = None) -> NamespacePage:
        """Return living namespaces in the order of their ids. One whose keys can't be had is listed, and says why."""
        check_page_size(page_size)
        after = UUID(int=0) if page_token is None else UUID(bytes=token_id(page_token, "list_namespaces", b""))
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["page"], after, page_size)
        namespaces = tuple([await self._listed(row) for row in rows])
        more = len(rows) == page_size
        token = token_of_bytes("list_namespaces", b"", namespaces[-1].namespace_id.bytes) if more else None
        return NamespacePage(namespaces, token)

    async def get_metadata(self) -> int:
        """Return the table's version: each creation, update and renaming raises it by one."""
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_VERSION_SQL["get_version"])
        return row["notification_version"] if row else 0

    async def _change(
        self,
        namespace_id: UUID,
        name_and_token: tuple[str, bytes] | None,
        data: DataBlob,
        is_global: bool,  # noqa: FBT001 - of our own two callers
        notification_version: int,
    ) -> None:
        check_blob("data", data)
        check_flag("is_global", is_global)
        check_number("notification_version", notification_version)
        keys = await open_keys(self._keyring, namespace_id)
        # A new name is looked for among all others.
        sight = namespace_id if name_and_token is None else EVERY_NAMESPACE
        async with self._database.transaction(sight) as connection:
            if await locked_version(connection) != notification_version:
                msg = "namespaces were changed meanwhile: the table has another notification_version"
                raise ConditionFailed(msg)
            row = await connection.fetchrow(_SQL["lock"], namespace_id)
            if row is None or row["shredded_at"] is not None:
                raise NamespaceNotFound
            sealed = keys.seal(NAMESPACE_DATA, (notification_version, int(is_global)), data.pack())
            await connection.execute(_SQL["update"], namespace_id, notification_version, is_global, sealed)
            if name_and_token is not None:
                await self._rename(connection, keys, row, *name_and_token)
            await connection.execute(_VERSION_SQL["raise_version"])

    async def _rename(self, connection: Connection, keys: NamespaceKeys, row: Row, name: str, token: bytes) -> None:
        namespace_id = UUID(bytes=row["namespace_id"].bytes)
        known = await self._keyring.with_keys(namespace_id, lambda keys: open_details(keys, row))
        check_region_of(known, self._keyring.region)
        details = NamespaceDetails(name, known.search_attributes, known.aliases, known.region)
        sealed = details.seal(keys, row["version"] + 1)
        if not await connection.fetch(_SQL["rename"], namespace_id, token, sealed):
            raise NamespaceAlreadyExists

    async def _listed(self, row: Row) -> NamespaceRecord:
        try:
            return await self._open(row)
        except UNREADABLE as error:
            return NamespaceRecord(
                UUID(bytes=row["namespace_id"].bytes),
                None,
                None,
                row["is_global"],
                row["notification_version"],
                unreadable=str(error),
            )

    async def _open(self, row: Row, name: str | None = None) -> NamespaceRecord:
        namespace_id = UUID(bytes=row["namespace_id"].bytes)
        details, data = await self._keyring.with_keys(
            namespace_id, lambda keys: (open_details(keys, row), _open_data(keys, row))
        )
        check_region_of(details, self._keyring.region)
        if name is not None:
            check_name(details, name)
        return NamespaceRecord(namespace_id, details.name, data, row["is_global"], row["notification_version"])

    async def _left_over(self, namespace_id: UUID, kek: KekRef, suite: Suite) -> bool:
        return all(
            record.state is KeyState.ACTIVE and KekRef(record.provider, record.kek_id) == kek and record.suite is suite
            for record in await self._keyring.store.list_data_keys(namespace_id)
        )


def _open_data(keys: NamespaceKeys, row: Row) -> DataBlob:
    if row["data"] is None:
        # A namespace from before this store. It was never changed by it, so one that seems so has lost its value.
        if row["notification_version"] or row["is_global"]:
            raise IntegrityError
        return DataBlob(b"")
    key = (row["notification_version"], int(row["is_global"]))
    return DataBlob.unpack(keys.open(NAMESPACE_DATA, key, row["data"]))
