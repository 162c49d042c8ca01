"""Statements of the key registry that concurrent calls share."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KeyClass, RegistryAltered
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.shared_lookups import SharedLookups

from .registry_rows import read_registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import DataKeyRecord
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.row_level_security import VisibleNamespaces

    from .registry_heads import RegistryHeads

_SQL = load_queries("keys/store")


@dataclass(frozen=True, slots=True, eq=False)
class _LeaseRequest:
    """A call of `lease_records`. Two calls with the same arguments are two requests."""

    namespace_id: UUID
    version: int
    count: int
    limit: int


class SharedKeyStatements:
    """Reads keys and reserves uses of keys for many namespaces in one statement.

    Args:
        database: The database of the registry.
        heads: The heads of the registry, which authenticate what is read.
    """

    def __init__(self, database: Database, heads: RegistryHeads) -> None:
        self._database = database
        self._heads = heads
        self._keys = SharedLookups(self._list)
        self._leases = SharedLookups(self._lease)
        self._reservations = SharedLookups(self._reserve)

    async def keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace, in the order of class and version.

        Raises:
            RegistryAltered: They are not the keys that the namespace's head authenticates.
        """
        found = await self._keys.get(namespace_id)
        if isinstance(found, RegistryAltered):
            raise copy(found)  # a copy, because each raise adds to the traceback
        return found or []

    async def lease(self, namespace_id: UUID, version: int, *, count: int, limit: int) -> bool:
        """Reserve uses of a data key; return False if that would exceed the limit."""
        return bool(await self._leases.get(_LeaseRequest(namespace_id, version, count, limit)))

    async def reserve(self, namespace_id: UUID, version: int, *, count: int, limit: int) -> bool:
        """Reserve uses of a key of suite 1, whose number the head authenticates; return False if that would exceed the limit.

        Raises:
            RegistryAltered: The rows of the namespace are not those of its head.
        """
        granted = await self._reservations.get(_LeaseRequest(namespace_id, version, count, limit))
        if isinstance(granted, RegistryAltered):
            raise copy(granted)
        return bool(granted)

    async def _reserve(self, requests: Sequence[_LeaseRequest]) -> Mapping[_LeaseRequest, bool | RegistryAltered]:
        granted: dict[_LeaseRequest, bool | RegistryAltered] = {}
        leases: dict[tuple[UUID, int], int] = {}
        namespaces = {request.namespace_id for request in requests}
        async with self._heads.change(self._database, namespaces, namespaces) as change:
            for request in requests:
                if request.namespace_id in change.altered:
                    granted[request] = change.altered[request.namespace_id]
                    continue
                registry = change.of(request.namespace_id)
                key = registry.keys.get((KeyClass.DATA, request.version))
                granted[request] = key is not None and key.lease + request.count <= request.limit
                if key is not None and granted[request]:
                    registry.put(replace(key, lease=key.lease + request.count))
                    leases[request.namespace_id, request.version] = key.lease + request.count
            if leases:
                columns = zip(*((*place, lease) for place, lease in leases.items()), strict=True)
                await change.connection.execute(_SQL["reserve"], *map(list, columns))
        return granted

    async def _list(self, namespaces: Sequence[UUID]) -> Mapping[UUID, list[DataKeyRecord] | RegistryAltered]:
        visible: VisibleNamespaces = namespaces[0] if len(namespaces) == 1 else namespaces
        key, seen, newest = await self._heads.key(), self._heads.seen(namespaces), self._heads.newest
        found: dict[UUID, list[DataKeyRecord] | RegistryAltered] = {}
        async with self._database.connection(visible) as connection:
            summary, read = await read_registry(connection, namespaces)
        self._heads.check_summary(key, summary, newest)
        for namespace_id, (head, records) in read.items():
            if head is None and not records and namespace_id not in seen:
                continue  # it has no keys
            try:
                self._heads.check(key, namespace_id, head, records, seen)
                found[namespace_id] = records
            except RegistryAltered as error:
                found[namespace_id] = error
        return found

    async def _lease(self, requests: Sequence[_LeaseRequest]) -> Mapping[_LeaseRequest, bool]:
        """Reserve uses. Several requests for one key are sent one after the other, because a statement updates a row once."""
        granted: dict[_LeaseRequest, bool] = {}
        left = list(requests)
        while left:
            turn = {(request.namespace_id, request.version): request for request in reversed(left)}
            columns = zip(*((*place, request.count, request.limit) for place, request in turn.items()), strict=True)
            async with self._database.connection({namespace_id for namespace_id, _ in turn}) as connection:
                rows = await connection.fetch(_SQL["lease"], *map(list, columns))
            done = {(UUID(bytes=row["namespace_id"].bytes), row["version"]) for row in rows}
            granted |= {request: place in done for place, request in turn.items()}
            left = [request for request in left if request not in granted]
        return granted
