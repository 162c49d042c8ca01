"""Hosts of a deployment that are up: what is stored of one, and what a request for them must look like."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.errors import InvalidPersistenceRequest

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Row

_ID_BYTES = 16
_LONGEST = timedelta(days=36_500)


class ServiceRole(IntEnum):
    """What a host serves; Temporal's ServiceType."""

    FRONTEND = 1
    HISTORY = 2
    MATCHING = 3
    WORKER = 4


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """A host that is up.

    Attributes:
        host_id: drawn when its process started.
        role: what it serves.
        rpc_address: an IP address.
        rpc_port: where it listens.
        session_start: when its process started; aware.
        last_heartbeat: when it was last heard of, by the database's clock.
        record_expiry: until when it counts as up, by the database's clock.
    """

    host_id: UUID
    role: ServiceRole
    rpc_address: str
    rpc_port: int
    session_start: datetime
    last_heartbeat: datetime
    record_expiry: datetime


@dataclass(frozen=True, slots=True)
class ClusterMembersPage:
    """Some hosts, in the order of their ids; `next_page_token` is the last one's id, or None at the end."""

    members: tuple[ClusterMember, ...]
    next_page_token: bytes | None


def member_of(row: Row) -> ClusterMember:
    """Return the host of a row."""
    return ClusterMember(
        UUID(bytes=row["host_id"]),
        ServiceRole(row["role"]),
        row["rpc_address"],
        row["rpc_port"],
        row["session_start"],
        row["last_heartbeat"],
        row["record_expiry"],
    )


def role_number(value: object) -> int:
    """Refuse what is not a role; return its number."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in set(ServiceRole):
        msg = "role must be one of ServiceRole"
        raise InvalidPersistenceRequest(msg)
    return int(value)


def address_text(value: object) -> str:
    """Refuse what is not the text of an IP address, without a zone; return it in its usual form."""
    try:
        return str(ip_address(value if isinstance(value, str) and "%" not in value else ""))
    except ValueError:
        msg = "rpc_address must be an IP address"
        raise InvalidPersistenceRequest(msg) from None


def check_time(field: str, value: object) -> None:
    """Refuse what is not an aware time."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        msg = f"{field} must be a time with its zone"
        raise InvalidPersistenceRequest(msg)


def check_duration(field: str, value: object) -> None:
    """Refuse what is not a duration of more than nothing and at most a hundred years."""
    if not isinstance(value, timedelta) or not timedelta() < value <= _LONGEST:
        msg = f"{field} must be a duration of more than nothing, and at most {_LONGEST.days} days"
        raise InvalidPersistenceRequest(msg)


def host_of(token: bytes) -> bytes:
    """Refuse what is not a page token of `get_cluster_members`, which is a host's id; return the id."""
    if not isinstance(token, bytes) or len(token) != _ID_BYTES:
        msg = "this is not a page token of get_cluster_members; start again without one"
        raise InvalidPersistenceRequest(msg)
    return token
