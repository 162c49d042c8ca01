"""The events of the audit log. An event is a set of names and values. A tenant wrote none of them.

docs/how-to/audit-log.md has the table of all fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from strongroom.kms import KeyEvent

Fields: TypeAlias = Mapping[str, object]
Event: TypeAlias = Fields | bytes
"""Fields, or fields already encoded by `encoding.members`."""

OPENED = "opened"
"""A process began to write."""
INTENT = "intent"
"""A call that writes is allowed, and about to act."""
READ = "read"
"""A call that only reads is allowed. The caller gets the answer once this record is on disk."""
OUTCOME = "outcome"
"""The outcome of a call. A read has one only if it failed."""
DENIED = "denied"
"""A call was refused."""
KEY = "key"
"""A key was used or changed, or a KMS was called."""
CODEC = "codec"
"""A caller of the codec server asked for payloads to be opened or sealed."""
POLICY = "policy"
"""The access policy changed: its version and hash."""
CHECK = "check"
"""A test of whether the log can be written."""
BREAK = "break"
"""A stream was cut or altered, and the records continue in a new stream, which begins with this record; or the database lost the
checkpoint that the process added last."""
ACCEPTED = "accepted"
"""A person accepted differences between the log and the database, for example after a restore from a backup."""
ANCHOR = "anchor"
"""Signed positions of parts of the cell: numbers that only rise. They show whether the database is older than it was."""
CHECKPOINT = "checkpoint"
"""A signature over all earlier records."""
BASE = "base"
"""A signed statement that all records up to a certain one were pruned. It precedes the remaining records, and is not in the chain."""


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def of_key(event: KeyEvent, caller: Fields) -> Event:
    """Return the record of a key event.

    Args:
        event: The event.
        caller: The caller whose operation caused it: `principal`, `request_id` and so on; empty if there is none.
    """
    event_fields = {name: value for name, value in asdict(event).items() if value is not None}
    return {"event": KEY, "at": now(), **_within(caller), **event_fields}


def of_policy(fields: Fields, caller: Fields) -> Event:
    """Return the record of a change of the access policy."""
    return {"event": POLICY, "at": now(), **_within(caller), **fields}


def of_acceptance(at: datetime, fields: Fields, caller: Fields) -> Event:
    """Return the record of accepted differences."""
    return {"event": ACCEPTED, "at": at, **_within(caller), **fields}


def _within(caller: Fields) -> dict[str, object]:
    """Return the principal that caused an event, and the id of its call. The call has its own record, with its arguments."""
    identity = {name: caller[name] for name in ("principal", "credential") if name in caller}
    return {**identity, "within": caller["request_id"]} if "request_id" in caller else identity
