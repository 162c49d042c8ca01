"""Record key events in an audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import of_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.kms import KeyEvent

    from .events import Fields
    from .log import AuditLog


class KeyRecords:
    """Records key events in an audit log; see `strongroom.kms.KeyEventSink`.

    Args:
        log: The audit log.
        caller: Returns the fields of the caller whose operation caused the event.
    """

    def __init__(self, log: AuditLog, caller: Callable[[], Fields]) -> None:
        self._log, self._caller = log, caller

    async def record(self, event: KeyEvent) -> None:
        """Record an event.

        Raises:
            AuditUnavailable: The record was not on disk in time. The operation on the key must then not run.
        """
        await self._log.record(of_key(event, self._caller()))
