"""The hosts of a deployment that are up: the values of a row, and the checks of a request."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.errors import InvalidPersistenceRequest, PageTokenMismatch

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Row

_ID_BYTES = 16
_LONGEST = timedelta(days=36_500)


class ServiceRole(IntEnum):
    """The service that a host runs: Temporal's ServiceType."""

    FRONTEND = 1
    HISTORY = 2
    MATCHING = 3
    WORKER = 4
    INTERNAL_FRONTEND = 5


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """A host that is up.

    Attributes:
        host_id: The random id of the host's process.
        role: The service that the host runs.
        rpc_address: The IP address that the host listens on.
        rpc_port: The port that the host listens on.
        session_start: The start of the host's process, with a time zone.
        last_heartbeat: The time of the last heartbeat, by the database's clock.
        record_expiry: The time when the record expires, by the database's clock. Until then the host counts as up.
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
    """A page of the list of hosts.

    Attributes:
        members: The hosts in the order of their ids.
        next_page_token: The id of the last host, as Temporal has it; None at the end.
    """

    members: tuple[ClusterMember, ...]
    next_page_token: bytes | None


def member_of(row: Row) -> ClusterMember:
    """Return the host that a row holds."""
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
    """Refuse an invalid role, and return the number of a valid one."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in set(ServiceRole):
        msg = "role must be one of ServiceRole"
        raise InvalidPersistenceRequest(msg)
    return int(value)


def address_text(value: object) -> str:
    """Refuse anything but the text of an IP address without a zone, and return the address in its usual form."""
    with suppress(ValueError):  # whose message quotes the value
        return str(ip_address(value if isinstance(value, str) and "%" not in value else ""))
    msg = "rpc_address must be an IP address"
    raise InvalidPersistenceRequest(msg)


def check_time(field: str, value: object) -> None:
    """Refuse anything but a time with a time zone, from the year 1 to the year 9999 in UTC."""
    with suppress(OverflowError):
        if isinstance(value, datetime) and value.utcoffset() is not None and value.astimezone(UTC):
            return
    msg = f"{field} must be a datetime with a time zone, from the year 1 to the year 9999 in UTC"
    raise InvalidPersistenceRequest(msg)


def check_duration(field: str, value: object) -> None:
    """Refuse anything but a duration of more than 0 and at most 36,500 days."""
    if not isinstance(value, timedelta) or not timedelta() < value <= _LONGEST:
        msg = f"{field} must be a duration of more than 0 and at most {_LONGEST.days} days"
        raise InvalidPersistenceRequest(msg)


def host_of(token: bytes) -> bytes:
    """Refuse anything but a page token of `get_cluster_members`, and return the host id that it is."""
    if not isinstance(token, bytes) or len(token) != _ID_BYTES:
        msg = "this is not a page token of get_cluster_members; start again without one"
        raise PageTokenMismatch(msg)
    return token
