"""Namespaces as a service sees them: Temporal's MetadataStore, on the rows of `NamespaceStore`."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KekRef, KeyConflict, Suite, commits_several_times, create_data_keys
from strongroom.kms.sealing.record_kinds import NAMESPACE_DATA
from strongroom.storage.checks import check_blob, check_flag, check_number, check_uuid, open_keys, wanted_page_size
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import (
    ConditionFailed,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
)
from strongroom.storage.page_tokens import token_id, token_of_bytes

from .journal import replaced_namespace
from .kek_rule import KekRule, no_rule, wanted_kek
from .namespace_record import NamespacePage, NamespaceRecord
from .opened_records import OpenedRecords
from .rows import NamespaceDetails, NamespaceRows, check_region_of, has_new_keys, is_gone, open_details
from .store import NamespaceStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("namespaces/metadata")
_ID_IS_USED = "a deleted namespace had this id, and an id is never used twice; create the namespace with another id"
_OTHER_KEYS = "this id already has keys that are not active, or have another KEK or cipher suite; use another id"


class MetadataStore:
    """Creates, reads, changes and deletes namespaces. Every change raises the version of the whole table.

    Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
        keyring: The keys of the namespaces and of the cell.
        delete: Deletes a namespace. A namespace that does not exist is not an error.
        index_layout: The layout of a new namespace's visibility documents, the text of a `strongroom.visibility.Layout`.
        kek_rule: Returns the KEK of a namespace for which none is named.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        *,
        delete: Callable[[UUID], Awaitable[object]],
        index_layout: str,
        kek_rule: KekRule = no_rule,
    ) -> None:
        self._database, self._keyring, self._journal = database, keyring, journal
        self._kek_rule, self._index_layout = kek_rule, index_layout
        self._rows = NamespaceRows(database, keyring, journal)
        self._records, self._delete = OpenedRecords(keyring, self._rows.check), delete
        self._store = NamespaceStore(database, keyring, journal, index_layout=index_layout)

    @commits_several_times
    async def create_namespace(
        self,
        namespace_id: UUID,
        name: str,
        *,
        data: DataBlob,
        kek: KekRef | None = None,
        is_global: bool = False,
        suite: Suite = Suite.XAES_256_GCM,
    ) -> None:
        """Create a namespace with its own keys.

        If an interrupted creation left keys, the next creation with the same id and KEK uses them.

        Args:
            namespace_id: The id; no namespace may ever have had it.
            name: The name, 1 to 255 bytes of UTF-8.
            data: The service's settings, at most 4 MiB.
            kek: The KEK that wraps its keys, of a configured provider; None for the rule `[namespaces] kek` of the configuration.
            is_global: Whether it is replicated to other clusters.
            suite: The cipher suite of its rows.

        Raises:
            NamespaceAlreadyExists: The name is taken, or the id is or was in use.
            KekNotConfigured: No KEK is named, and the configuration has no rule.
            InvalidPersistenceRequest, TransactionSizeLimit: An argument is malformed, or the settings are too large.
            KmsError: The KEK can't be used.
        """
        check_uuid("namespace_id", namespace_id)
        check_blob("data", data)
        check_flag("is_global", is_global)
        token = await self._rows.name_token(name)
        if namespace_id == self._keyring.cell_id:
            raise InvalidPersistenceRequest("this id is the cell's own")
        known = await self._rows.by_id(namespace_id)
        if known is not None and is_gone(known):
            raise NamespaceAlreadyExists(_ID_IS_USED)
        if known is not None or await self._rows.by_token(token):
            raise NamespaceAlreadyExists
        kek = await wanted_kek(kek, self._kek_rule, namespace_id)
        try:
            await create_data_keys(self._keyring, namespace_id, kek, suite=suite, index_layout=self._index_layout)
        except KeyConflict:
            if not await has_new_keys(self._keyring, namespace_id, kek, suite):
                raise NamespaceAlreadyExists(_OTHER_KEYS) from None
        details = NamespaceDetails(name, MappingProxyType({}), region=self._keyring.region)
        # A caller that loses a race leaves the keys, because another caller may already use them.
        await self._rows.insert(namespace_id, details, created_at=datetime.now(UTC), data=data, is_global=is_global)

    async def get_namespace(
        self, *, namespace_id: UUID | None = None, name: str | None = None, unavailable: bool = False
    ) -> NamespaceRecord:
        """Return a namespace by its id or by its name. It must not be shredded.

        Args:
            namespace_id: The id; None to find it by name.
            name: The name; None to find it by id.
            unavailable: Whether to return a namespace whose keys are not available, as a list does. Its name is not verified then.

        Raises:
            InvalidPersistenceRequest: Both are given, or neither.
            NamespaceNotFound: The namespace does not exist.
            KmsError: Its keys are not available, for example because it is being shredded.
            IntegrityError: The row was changed outside of the stores.
            DataLoss: An older row was put back.
        """
        if (namespace_id is None) == (name is None):
            msg = "name exactly one: the namespace's id or its name"
            raise InvalidPersistenceRequest(msg)
        check_flag("unavailable", unavailable)
        before = self._rows.moment
        if name is not None:
            found = await self._rows.by_name(name)
            return await self._records.open(found, name, before=before, unavailable=unavailable)
        assert namespace_id is not None  # noqa: S101 - the other one is None
        check_uuid("namespace_id", namespace_id)
        row = await self._rows.by_id(namespace_id)
        if row is None or is_gone(row):
            raise NamespaceNotFound
        return await self._records.open(row, before=before, unavailable=unavailable)

    async def update_namespace(
        self, namespace_id: UUID, *, data: DataBlob, is_global: bool, notification_version: int
    ) -> None:
        """Replace the service's settings of a namespace.

        Args:
            namespace_id: The namespace.
            data: The new settings, at most 4 MiB.
            is_global: Whether it is replicated to other clusters.
            notification_version: The current version of the table, not of the row.

        Raises:
            ConditionFailed: The table has another version.
            NamespaceNotFound: The namespace does not exist.
            InvalidPersistenceRequest, TransactionSizeLimit: An argument is malformed, or the settings are too large.
            KmsError: Its keys are not available.
        """
        await self._change(namespace_id, None, data, is_global, notification_version)

    async def rename_namespace(
        self, namespace_id: UUID, name: str, *, data: DataBlob, is_global: bool, notification_version: int
    ) -> None:
        """Rename a namespace, and replace the service's settings of it. The old name is free afterwards.

        Args:
            namespace_id: The namespace.
            name: The new name, 1 to 255 bytes of UTF-8.
            data: The new settings, at most 4 MiB.
            is_global: Whether it is replicated to other clusters.
            notification_version: The current version of the table, not of the row.

        Raises:
            NamespaceAlreadyExists: The name is taken.
            ConditionFailed: The table has another version.
            NamespaceNotFound: The namespace does not exist.
            InvalidPersistenceRequest, TransactionSizeLimit: An argument is malformed, or the settings are too large.
            KmsError: Its keys are not available.
        """
        token = await self._rows.name_token(name)
        await self._change(namespace_id, (name, token), data, is_global, notification_version)

    async def delete_namespace(self, namespace_id: UUID) -> None:
        """Delete a namespace. It is found by nobody, its name is free, and its keys can't be used. It need not exist.

        Its keys are destroyed and its rows deleted after the grace period of the configuration, by a job. Until then an operator can
        restore it. The call is one transaction, whatever the number of rows.

        Args:
            namespace_id: The namespace.

        Raises:
            InvalidPersistenceRequest: It is not a UUID, or it is the cell itself.
            StrongroomError: The deletion failed. Call it again.
        """
        check_uuid("namespace_id", namespace_id)
        await self._delete(namespace_id)

    async def delete_namespace_by_name(self, name: str) -> None:
        """Delete a namespace by its name; see `delete_namespace`.

        Args:
            name: The namespace's name.

        Raises:
            InvalidPersistenceRequest: The name is empty or too long.
            StrongroomError: As `delete_namespace`.
        """
        try:
            namespace_id = await self._store.find(name)
        except NamespaceNotFound:
            return
        await self._delete(namespace_id)

    async def list_namespaces(self, *, page_size: int, page_token: bytes | None = None) -> NamespacePage:
        """Return the namespaces that are not shredded, in the order of their ids, even those without available keys.

        Args:
            page_size: The maximum number of namespaces to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: The page size or the token is malformed.
        """
        page_size = wanted_page_size(page_size)
        after = UUID(bytes=token_id(page_token, "list_namespaces", b"")) if page_token else UUID(int=0)
        before = self._rows.moment
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["page"], after, page_size)
        namespaces = await self._records.open_all(rows, before=before)
        more = len(rows) == page_size
        token = token_of_bytes("list_namespaces", b"", namespaces[-1].namespace_id.bytes) if more else None
        return NamespacePage(namespaces, token)

    async def get_metadata(self) -> int:
        """Return the version of the table, which each creation, update and renaming raises by one.

        Raises:
            DataLoss: An older version was put back.
        """
        return await self._rows.table_version()

    async def _change(
        self,
        namespace_id: UUID,
        name_and_token: tuple[str, bytes] | None,
        data: DataBlob,
        is_global: bool,  # noqa: FBT001 - called by two methods of this class
        notification_version: int,
    ) -> None:
        check_blob("data", data)
        check_flag("is_global", is_global)
        check_number("notification_version", notification_version)
        keys = await open_keys(self._keyring, namespace_id)
        # A new name is compared with the names of all namespaces.
        visible = namespace_id if name_and_token is None else EVERY_NAMESPACE
        async with self._database.transaction(visible) as connection:
            if await self._rows.locked_version(connection) != notification_version:
                msg = "another caller changed the namespaces: notification_version is not the current one; read it again and retry"
                raise ConditionFailed(msg)
            before = self._rows.moment
            row = await connection.fetchrow(_SQL["lock"], namespace_id)
            if row is None or is_gone(row):
                raise NamespaceNotFound
            await self._rows.check_locked(row, before, connection)
            sealed = keys.seal(NAMESPACE_DATA, (notification_version, int(is_global)), data.pack())
            await connection.execute(_SQL["update"], namespace_id, notification_version, is_global, sealed)
            old = details, _ = row["details"], row["data"]
            version = 0 if name_and_token is None else row["version"] + 1
            if name_and_token is not None:
                details = await self._rename(connection, keys, row, *name_and_token)
            self._rows.written(connection, namespace_id, version, notification_version)
            await self._rows.raise_version(connection, notification_version)
            await self._journal.write(connection, replaced_namespace(namespace_id, old, (details, sealed)))

    async def _rename(self, connection: Connection, keys: NamespaceKeys, row: Row, name: str, token: bytes) -> bytes:
        namespace_id = UUID(bytes=row["namespace_id"].bytes)
        known = await self._keyring.with_keys(namespace_id, lambda keys: open_details(keys, row))
        check_region_of(known, self._keyring.region)
        details = NamespaceDetails(name, known.search_attributes, known.aliases, known.region)
        sealed = details.seal(keys, row["version"] + 1)
        if not await connection.fetch(_SQL["rename"], namespace_id, token, sealed):
            raise NamespaceAlreadyExists
        return sealed
