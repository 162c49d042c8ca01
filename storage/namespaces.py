"""Namespaces: the unit of isolation. Each has keys of its own, and its name is nowhere in clear."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import orjson

from strongroom.kms import (
    IntegrityError,
    KeyConflict,
    KeyDestroyed,
    KeyringFileError,
    KeyState,
    KmsError,
    Suite,
    UnsupportedFormat,
    create_data_keys,
    destroy_data_keys,
)

from .errors import ConditionFailed, InvalidPersistenceRequest, NamespaceAlreadyExists, NamespaceNotFound
from .queries import load_queries
from .record_kinds import NAMESPACE_DETAILS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import KekRef, Keyring

    from .database import Database, Row

_SQL = load_queries("namespaces")
_PURGED = ("history_node", "history_tree", "visibility_records")
NAME_BYTES = 255
_CHANGE_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace as its owner sees it.

    Attributes:
        namespace_id: in clear in every row.
        name: sealed; None when the namespace is shredded, or its keys can't be had now (`unreadable` says why).
        version: rises with each change.
        created_at: UTC.
        shredded_at: UTC; None while it lives.
        search_attributes: registered custom search attributes: name to type, as Temporal names types.
        unreadable: why the name can't be shown; None when it can.
    """

    namespace_id: UUID
    name: str | None
    version: int
    created_at: datetime
    shredded_at: datetime | None = None
    search_attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class Shredded:
    """What shredding a namespace did: keys destroyed, and rows deleted by table."""

    namespace_id: UUID
    keys_destroyed: int
    rows_deleted: Mapping[str, int]


class NamespaceStore:
    """MetadataStore: namespaces in PostgreSQL.

    Names are looked up by tokens under the keys of the *cell*, a namespace of its own whose id is the cell's; what else is known of a
    namespace is sealed under its own keys, and goes with them.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def ensure_cell_keys(self, kek: KekRef) -> None:
        """Make the cell's own keys where there are none; several callers at once make them once."""
        cell_id = self._keyring.cell_id
        if await self._keyring.store.list_data_keys(cell_id):
            return
        with suppress(KeyConflict):  # another `init` was first; its keys are as good
            await create_data_keys(self._keyring, cell_id, kek)

    async def create(
        self,
        name: str,
        *,
        kek: KekRef,
        search_attributes: Mapping[str, str] | None = None,
        suite: Suite = Suite.XAES_256_GCM,
    ) -> Namespace:
        """Create a namespace with keys of its own, wrapped by `kek`.

        Raises:
            NamespaceAlreadyExists: the name is taken.
            InvalidPersistenceRequest: the name is empty, or longer than 255 bytes.
            KmsError: the KEK can't be used.
        """
        token = await self._name_token(name)
        if await self._fetch("get_by_token", token) is not None:
            raise NamespaceAlreadyExists
        attributes = MappingProxyType(dict(search_attributes or {}))
        namespace = Namespace(uuid4(), name, 1, datetime.now(UTC), search_attributes=attributes)
        # Keys first: a crash leaves keys that nobody uses, never a namespace without keys.
        await create_data_keys(self._keyring, namespace.namespace_id, kek, suite=suite)
        details = await self._seal(namespace)
        async with self._database.connection() as connection:
            created = await connection.fetch(
                _SQL["insert"], namespace.namespace_id, token, details, namespace.created_at
            )
        if not created:
            await destroy_data_keys(self._keyring, namespace.namespace_id)
            raise NamespaceAlreadyExists
        return namespace

    async def get(self, name: str) -> Namespace:
        """Return a living namespace by its name.

        Raises:
            NamespaceNotFound: no such name, or it was shredded.
        """
        return await self._open_named(await self._row_of(name), name)

    async def find(self, name: str) -> UUID:
        """Return the id of a namespace by its name; also of one whose shredding broke off when its keys were destroyed.

        Raises:
            NamespaceNotFound: no such name, or shredding it was finished.
        """
        row = await self._row_of(name)
        with suppress(KeyDestroyed):
            await self._open_named(row, name)
        return _bare(row).namespace_id

    async def list_namespaces(self) -> Sequence[Namespace]:
        """Return all namespaces, the shredded ones too. One whose keys can't be had is listed, and says why."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list"])
        listed = []
        for row in rows:
            try:
                listed.append(await self._open(row))
            except (KmsError, KeyringFileError, IntegrityError, UnsupportedFormat) as error:
                listed.append(replace(_bare(row), unreadable=str(error)))
        return listed

    async def add_search_attributes(self, namespace_id: UUID, added: Mapping[str, str]) -> Namespace:
        """Register more custom search attributes; names that are registered with the same type are left as they are.

        Returns:
            The namespace as it is then.

        Raises:
            NamespaceNotFound: no such namespace, or it was shredded.
            InvalidPersistenceRequest: a name is registered with another type.
            ConditionFailed: others kept changing the namespace.
        """
        for _ in range(_CHANGE_ATTEMPTS):
            row = await self._fetch("get_by_id", namespace_id)
            if row is None or row["shredded_at"] is not None:
                raise NamespaceNotFound
            changed = await self._add_search_attributes(await self._open(row), added)
            if changed is not None:
                return changed
        raise ConditionFailed

    async def _add_search_attributes(self, namespace: Namespace, added: Mapping[str, str]) -> Namespace | None:
        known = namespace.search_attributes
        if any(known.get(name, kind) != kind for name, kind in added.items()):
            msg = "a search attribute is registered with another type; the type of an attribute never changes"
            raise InvalidPersistenceRequest(msg)
        if all(name in known for name in added):
            return namespace
        changed = replace(
            namespace,
            version=namespace.version + 1,
            search_attributes=MappingProxyType({**known, **added}),
        )
        details = await self._seal(changed)
        async with self._database.connection() as connection:
            updated = await connection.fetch(_SQL["update"], namespace.namespace_id, namespace.version, details)
        return changed if updated else None

    async def shred(self, namespace_id: UUID) -> Shredded:
        """Destroy all keys of a namespace, then delete its rows. There is no way back; it can be run again to finish.

        What no deletion reaches: backups of this database, for as long as the KEK that wrapped the keys exists.
        """
        if namespace_id == self._keyring.cell_id:
            msg = "this is the cell itself: without its keys no namespace can be found by name"
            raise InvalidPersistenceRequest(msg)
        tombstones = await destroy_data_keys(self._keyring, namespace_id)
        deleted = {}
        async with self._database.transaction(unlimited=True) as connection:
            await connection.execute(_SQL["shred"], namespace_id, datetime.now(UTC))
            for table in _PURGED:
                tag = await connection.execute(_SQL[f"purge_{table}"], namespace_id)
                deleted[table] = int(tag.rpartition(" ")[2])
        destroyed = sum(record.state is KeyState.DESTROYED for record in tombstones)
        return Shredded(namespace_id, destroyed, MappingProxyType(deleted))

    async def _name_token(self, name: str) -> bytes:
        encoded = name.encode("utf-8", "replace")
        if not 0 < len(encoded) <= NAME_BYTES or encoded.decode() != name:
            msg = f"a namespace's name has 1 to {NAME_BYTES} bytes of UTF-8"
            raise InvalidPersistenceRequest(msg)
        cell = await self._keyring.open(self._keyring.cell_id)
        return cell.identity("namespace name").token(encoded)[:16]

    async def _row_of(self, name: str) -> Row:
        row = await self._fetch("get_by_token", await self._name_token(name))
        if row is None:
            raise NamespaceNotFound
        return row

    async def _open_named(self, row: Row, name: str) -> Namespace:
        namespace = await self._open(row)
        if namespace.name != name:
            raise IntegrityError  # someone has exchanged the tokens of two rows
        return namespace

    async def _fetch(self, query: str, argument: object) -> Row | None:
        async with self._database.connection() as connection:
            return await connection.fetchrow(_SQL[query], argument)

    async def _seal(self, namespace: Namespace) -> bytes:
        details = {"name": namespace.name, "search_attributes": dict(namespace.search_attributes)}
        keys = await self._keyring.open(namespace.namespace_id)
        return keys.seal(NAMESPACE_DETAILS, (namespace.version,), orjson.dumps(details))

    async def _open(self, row: Row) -> Namespace:
        namespace = _bare(row)
        if namespace.shredded_at is not None:
            return namespace
        key = (namespace.version,)
        opened = await self._keyring.with_keys(
            namespace.namespace_id, lambda keys: keys.open(NAMESPACE_DETAILS, key, row["details"])
        )
        details = orjson.loads(opened)
        attributes = MappingProxyType(details["search_attributes"])
        return replace(namespace, name=details["name"], search_attributes=attributes)


def _bare(row: Row) -> Namespace:
    """Return what can be told of a namespace without its keys."""
    namespace_id = UUID(bytes=row["namespace_id"].bytes)
    return Namespace(namespace_id, None, row["version"], row["created_at"], row["shredded_at"])
