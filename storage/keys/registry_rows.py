"""The rows of the key registry and of its heads."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import DataKeyRecord, KeyClass, KeyState, Suite
from strongroom.kms.keys.registry_head import RegistryHead, RegistrySummary
from strongroom.storage.engine.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage.engine.connection import Connection, Row

_SQL = load_queries("keys/registry_heads")


async def unverified_keys(connection: Connection, namespaces: Sequence[UUID]) -> list[DataKeyRecord]:
    """Return the rows of some namespaces as the database has them."""
    return [record_of(row) for row in await connection.fetch(_SQL["keys"], namespaces)]


async def read_registry(
    connection: Connection, namespaces: Sequence[UUID]
) -> tuple[RegistrySummary | None, dict[UUID, tuple[RegistryHead | None, list[DataKeyRecord]]]]:
    """Return the summary, and the head and the rows of each namespace as the database has them, all of one snapshot."""
    summary: RegistrySummary | None = None
    found: dict[UUID, tuple[RegistryHead | None, list[DataKeyRecord]]] = {}
    for row in await connection.fetch(_SQL["read"], namespaces):
        summary = summary_of(row)
        _, keys = found.setdefault(id_of(row), (head_of(row), []))
        if row["class"] is not None:
            keys.append(record_of(row))
    return summary, found


def head_of(row: Row) -> RegistryHead | None:
    """Return the head in a row that has one."""
    return None if row["mac"] is None else RegistryHead(row["head_version"], row["shredding"], row["mac"])


def summary_of(row: Row) -> RegistrySummary | None:
    """Return the summary in a row that has one."""
    if row["summary_mac"] is None:
        return None
    return RegistrySummary(row["summary_version"], row["nonce"], row["total"], row["summary_mac"])


def digest_of(summary: RegistrySummary) -> bytes:
    """Return the digest of a state of the registry. The nonce in it is new in each version."""
    return sha256(summary.version.to_bytes(8, "big") + summary.nonce + summary.total + summary.mac).digest()


def id_of(row: Row) -> UUID:
    """Return the namespace of a row."""
    return UUID(bytes=row["namespace_id"].bytes)


def record_of(row: Row) -> DataKeyRecord:
    """Return the key in a row of `data_keys`."""
    return DataKeyRecord(
        namespace_id=id_of(row),
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
        disabled_from=None if row["disabled_from"] is None else KeyState(row["disabled_from"]),
        lease=row["record_lease"],
    )
