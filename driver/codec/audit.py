"""The audit events of the codec server, and the protocol of an audit log that records them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from strongroom.driver.audit.events import CODEC

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.audit import AuditLog


@dataclass(frozen=True, slots=True)
class CodecEvent:
    """A request of a caller to open or seal payloads. The event holds no content of a payload, not even a hash.

    Attributes:
        operation: `codec.decode` or `codec.encode`.
        outcome: `done`, `failed`, or `refused` if the caller may not use the namespace.
        at: The time, in UTC.
        caller: The name of the caller, from its token or certificate.
        request_id: The id of the request. The answer has the same id.
        namespace_id: The namespace; None if the request was refused.
        payloads: The number of payloads.
        error: The kind of error, if the request failed.
    """

    operation: Literal["codec.decode", "codec.encode"]
    outcome: Literal["done", "failed", "refused"]
    at: datetime
    caller: str
    request_id: str
    namespace_id: UUID | None = None
    payloads: int | None = None
    error: str | None = None


class CodecAudit(Protocol):
    """Records events. If it raises, the request is refused, because no payload is returned without a record."""

    async def record(self, event: CodecEvent) -> None:
        """Record an event. It is on disk when this returns.

        Raises:
            StrongroomError: The event can't be recorded.
        """


class CodecRecords:
    """Records each use of the codec server in an audit log; see `CodecAudit`.

    Args:
        log: The audit log.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def record(self, event: CodecEvent) -> None:
        """Record an event.

        Raises:
            AuditUnavailable: It was not on disk in time. The caller then gets no payload.
        """
        fields = {name: value for name, value in asdict(event).items() if value is not None}
        await self._log.record({"event": CODEC, "principal": fields.pop("caller"), **fields})
