"""What is told of each use of the codec server to whoever keeps an audit log."""

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
    """Payloads that were opened or sealed for a caller, or that were not. Nothing of what stands in them, not even hashed.

    Attributes:
        operation: `codec.decode` or `codec.encode`.
        outcome: `done`, `failed` or, where the caller may not use the namespace that it named, `refused`.
        at: UTC.
        caller: as its token or certificate names it.
        request_id: that the caller was told too.
        namespace_id: whose payloads; `strongroom namespace list` has the name. None where it was refused.
        payloads: how many.
        error: the kind of error, where it failed.
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
    """Keeps what is told. Raising refuses the request: nobody is shown a payload without a record."""

    async def record(self, event: CodecEvent) -> None:
        """Keep an event."""


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
