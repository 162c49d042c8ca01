"""Key events, and the sink that records them, for example an audit log."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol

from .errors import KmsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """An operation on a key, before or after it happened. An event has no key bytes and nothing that a tenant wrote.

    Attributes:
        operation: `kms.` and the provider's method for a KMS call; `key.`, `kek.` or `namespace.` and a verb for a change.
        outcome: `begun` before a change happens, then `done` or `failed`. A KMS call is recorded once, after it ended.
        at: time of the event, UTC.
        provider: id of the KMS provider.
        kek_id: id of the KEK within the provider.
        kek_version: version of the KEK, if the operation concerns one version.
        namespace_id: namespace of the key.
        key_class: class of the data key.
        version: version of the data key.
        items: number of keys in the call.
        seconds: duration of the call, in seconds.
        error: class name of the error, if the operation failed.
        request_id: id of the call in the KMS's own log.
        note: further details.
    """

    operation: str
    outcome: Literal["begun", "done", "failed"] = "begun"
    at: datetime | None = None
    provider: str | None = None
    kek_id: str | None = None
    kek_version: str | None = None
    namespace_id: UUID | None = None
    key_class: str | None = None
    version: int | None = None
    items: int = 1
    seconds: float | None = None
    error: str | None = None
    request_id: str | None = None
    note: str | None = None


class KeyEventSink(Protocol):
    """A recorder of key events.

    If it raises before a change, the change does not happen. If it raises after a KMS call, the call's answer is not
    returned.
    """

    async def record(self, event: KeyEvent) -> None:
        """Record an event."""


class _NoKeyEvents:
    async def record(self, event: KeyEvent) -> None:
        """Record nothing."""


NO_KEY_EVENTS: KeyEventSink = _NoKeyEvents()
"""A sink that discards every event."""


@asynccontextmanager
async def recording_change(sink: KeyEventSink, event: KeyEvent) -> AsyncIterator[None]:
    """Record that a change begins, run the block, and record how it ended.

    Raises:
        Exception: an error of the block or of the sink.
    """
    await sink.record(replace(event, outcome="begun", at=datetime.now(UTC)))
    try:
        yield
    except BaseException as error:
        await sink.record(failed(event, error))
        raise
    await sink.record(replace(event, outcome="done", at=datetime.now(UTC)))


def failed(event: KeyEvent, error: BaseException) -> KeyEvent:
    """Return the event of a failure. It has the error's class and the KMS's codes, and never the error's text."""
    kms_error = error if isinstance(error, KmsError) else None
    return replace(
        event,
        outcome="failed",
        at=datetime.now(UTC),
        error=type(error).__name__,
        request_id=kms_error.request_id if kms_error else None,
        note=kms_error.provider_code if kms_error else event.note,
    )
