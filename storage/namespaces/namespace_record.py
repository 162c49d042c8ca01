"""A namespace as its service sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import IntegrityError
from strongroom.kms.sealing.record_kinds import NAMESPACE_DATA
from strongroom.storage.data_blob import DataBlob

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys, StrongroomError
    from strongroom.storage.engine.connection import Row


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """A namespace as its service sees it.

    Attributes:
        namespace_id: The id that it was created with.
        name: The name; None if it is unreadable.
        data: The service's settings; empty for a namespace of `NamespaceStore`, and None if it is unreadable.
        is_global: Whether it is replicated to other clusters.
        notification_version: The table's version when the namespace was last changed.
        unreadable: The error of opening name and data; None if they were opened.
    """

    namespace_id: UUID
    name: str | None
    data: DataBlob | None
    is_global: bool
    notification_version: int
    unreadable: StrongroomError | None = None


@dataclass(frozen=True, slots=True)
class NamespacePage:
    """A page of namespaces.

    Attributes:
        namespaces: The namespaces, in the order of their ids.
        next_page_token: The token of the next page; None at the end.
    """

    namespaces: tuple[NamespaceRecord, ...]
    next_page_token: bytes | None


def unreadable_record(row: Row, reason: StrongroomError) -> NamespaceRecord:
    """Return the part of a namespace that its row shows without keys."""
    namespace_id = UUID(bytes=row["namespace_id"].bytes)
    return NamespaceRecord(namespace_id, None, None, row["is_global"], row["notification_version"], unreadable=reason)


def open_data(keys: NamespaceKeys, row: Row) -> DataBlob:
    """Open the service's settings in a row.

    Raises:
        IntegrityError: They are missing, or were changed outside of the stores.
    """
    if row["data"] is None:
        raise IntegrityError
    key = (row["notification_version"], int(row["is_global"]))
    return DataBlob.unpack(keys.open(NAMESPACE_DATA, key, row["data"]))
