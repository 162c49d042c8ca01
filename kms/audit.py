"""What is told of keys to whoever keeps an audit log: a small protocol, and how a change is told before and after."""

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
    """Something that was done with a key, or is about to be. Ids only: nothing that a tenant wrote, and no key.

    Attributes:
        operation: `kms.` and the provider's method for a call of a KMS; `key.`, `kek.` or `namespace.` and a verb for a change.
        outcome: a change is `begun` before anything happens; then `done` or `failed`. A call of a KMS is told once.
        at: UTC.
        provider: id of the KMS provider.
        kek_id: the KEK within it.
        kek_version: of the KEK, where one is meant.
        namespace_id: whose key.
        key_class: of the data key.
        version: of the data key.
        items: how many keys one call was about.
        seconds: that it took.
        error: the kind of error, where it failed.
        request_id: by which the KMS's own log knows the call.
        note: what else is to be said.
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


class KeyAudit(Protocol):
    """Keeps what is told. Raising fails what was about to be done: nothing happens without a record."""

    async def record(self, event: KeyEvent) -> None:
        """Keep an event."""


class _NoAudit:
    async def record(self, event: KeyEvent) -> None:
        """Keep nothing."""


NO_AUDIT: KeyAudit = _NoAudit()
"""For who keeps no audit log."""


@asynccontextmanager
async def audited(audit: KeyAudit, event: KeyEvent) -> AsyncIterator[None]:
    """Tell that a change begins, and then how it ended.

    Raises:
        Exception: what the block raises, or what the audit log does.
    """
    await audit.record(replace(event, outcome="begun", at=datetime.now(UTC)))
    try:
        yield
    except BaseException as error:
        await audit.record(failed(event, error))
        raise
    await audit.record(replace(event, outcome="done", at=datetime.now(UTC)))


def failed(event: KeyEvent, error: BaseException) -> KeyEvent:
    """Return the event of a failure: the kind of error, and the KMS's own names for it; never its text."""
    known = error if isinstance(error, KmsError) else None
    return replace(
        event,
        outcome="failed",
        at=datetime.now(UTC),
        error=type(error).__name__,
        request_id=known.request_id if known else None,
        note=known.provider_code if known else event.note,
    )
