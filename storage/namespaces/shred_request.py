"""The request to shred a namespace, and its progress."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from strongroom.kms.keys.registry_head import NOT_SCHEDULED, shredding_digest
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from strongroom.kms import KekDisposal
    from strongroom.storage.engine.connection import Connection, Row

_SQL = load_queries("namespaces/shred_request")
_CODE_DIGITS = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ShredRequest:
    """A scheduled shredding. All times are UTC, by the database server's clock.

    Attributes:
        namespace_id: The namespace.
        requested_at: The time of the request. The namespace can't be read from then on.
        due_at: The time from which the shredding may be confirmed.
        keep_kek: Whether the operator keeps the KEKs of the namespace.
        confirmed_at: The time at which the roots were destroyed; None while the shredding can be cancelled.
        rows_deleted: The number of rows deleted so far, by table.
        documents: The number of documents in the search index before they were deleted; None before they were counted.
        completed_at: The time at which the shredding was completed; None until then.
        automatic: Whether the service deleted the namespace, so that a job confirms the shredding when it is due.
    """

    namespace_id: UUID
    requested_at: datetime
    due_at: datetime
    keep_kek: bool
    confirmed_at: datetime | None = None
    rows_deleted: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    documents: int | None = None
    completed_at: datetime | None = None
    automatic: bool = False

    @property
    def code(self) -> str:
        """The code that the second confirmation must contain. It identifies this request and is not secret."""
        microseconds = (self.requested_at - _EPOCH) // timedelta(microseconds=1)
        message = b"strongroom shred code v1" + self.namespace_id.bytes + struct.pack(">q", microseconds)
        return sha256(message).hexdigest()[:_CODE_DIGITS]


async def find_request(connection: Connection, namespace_id: UUID, *, lock: bool = False) -> ShredRequest | None:
    """Return the request to shred a namespace, or None. With `lock` its row is locked until the transaction ends."""
    row = await connection.fetchrow(_SQL["lock" if lock else "find"], namespace_id)
    return None if row is None else _request(namespace_id, row)


async def server_time(connection: Connection) -> datetime:
    """Return the time of the database server, because the clocks of the hosts that run commands may differ."""
    row = await connection.fetchrow(_SQL["now"])
    assert row is not None  # noqa: S101 - a SELECT without FROM
    now: datetime = row["now"]
    return now


async def stored_certificate(connection: Connection, namespace_id: UUID) -> bytes:
    """Return the erasure certificate of a namespace.

    Raises:
        NotFound: There is no certificate.
    """
    row = await connection.fetchrow(_SQL["certificate"], namespace_id)
    if row is None:
        msg = (
            f"namespace {namespace_id} has no erasure certificate; it is not shredded, or its shredding is not finished"
        )
        raise NotFound(msg)
    certificate: bytes = row["certificate"]
    return certificate


def request_digest(request: ShredRequest | None, keks: Iterable[KekDisposal]) -> bytes:
    """Return what the head of a namespace has of its shredding. The counts of deleted rows and documents are not part of it."""
    if request is None:
        return NOT_SCHEDULED
    ordered = sorted(keks, key=lambda each: (each.kek.provider, each.kek.key_id))
    return shredding_digest(
        times=(request.requested_at, request.due_at, request.confirmed_at),
        flags=(request.keep_kek, request.automatic),
        keks=[
            (
                each.kek.provider,
                each.kek.key_id,
                each.disposal,
                each.state,
                each.deletion_at,
                each.request_id,
                each.error,
            )
            for each in ordered
        ],
    )


def _request(namespace_id: UUID, row: Row) -> ShredRequest:
    return ShredRequest(
        namespace_id=namespace_id,
        requested_at=row["requested_at"],
        due_at=row["due_at"],
        keep_kek=row["keep_kek"],
        confirmed_at=row["confirmed_at"],
        rows_deleted=MappingProxyType(orjson.loads(row["rows_deleted"])),
        documents=row["documents"],
        completed_at=row["completed_at"],
        automatic=row["automatic"],
    )
