"""Statements of the key registry that concurrent calls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import DataKeyRecord, KeyClass, KeyState, Suite
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.shared_lookups import SharedLookups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.row_level_security import VisibleNamespaces

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
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys = SharedLookups(self._list)
        self._leases = SharedLookups(self._lease)

    async def keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace, in the order of class and version."""
        return await self._keys.get(namespace_id) or []

    async def lease(self, namespace_id: UUID, version: int, *, count: int, limit: int) -> bool:
        """Reserve uses of a data key; return False if that would exceed the limit."""
        return bool(await self._leases.get(_LeaseRequest(namespace_id, version, count, limit)))

    async def _list(self, namespaces: Sequence[UUID]) -> Mapping[UUID, list[DataKeyRecord]]:
        visible: VisibleNamespaces = namespaces[0] if len(namespaces) == 1 else namespaces
        found: dict[UUID, list[DataKeyRecord]] = {}
        async with self._database.connection(visible) as connection:
            for row in await connection.fetch(_SQL["list"], namespaces):
                record = record_of(row)
                found.setdefault(record.namespace_id, []).append(record)
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


def record_of(row: Row) -> DataKeyRecord:
    """Return the key in a row of `data_keys`."""
    return DataKeyRecord(
        namespace_id=UUID(bytes=row["namespace_id"].bytes),
        key_class=KeyClass(row["class"]),
        version=row["version"],
        suite=Suite(row["suite"]),
        state=KeyState(row["state"]),
        provider=row["provider"],
        kek_id=row["kek_id"],
        kek_version=row["kek_version"],
        wrapped=row["wrapped"],
        commitment=row["commitment"],
        created_at=row["created_at"],
        destroyed_at=row["destroyed_at"],
        layout=row["layout"],
        withdrawn=row["withdrawn"],
    )
