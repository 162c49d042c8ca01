"""What is said in the audit log: an event is names and values, of which none is anything that a tenant wrote.

audit_log.md has the table of all fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from strongroom.driver.codec.audit import CodecEvent
    from strongroom.kms import KeyEvent

Fields: TypeAlias = Mapping[str, object]
Event: TypeAlias = Fields | bytes
"""Fields, or the same already encoded by `encoding.members`."""

OPENED = "opened"
"""A process began to write."""
INTENT = "intent"
"""A call is allowed, and about to act."""
READ = "read"
"""A call is allowed that only reads; its answer is handed out once this is on disk."""
OUTCOME = "outcome"
"""How it ended; of a call that only reads, if it failed."""
DENIED = "denied"
"""A call was refused."""
KEY = "key"
"""Something was done with a key, or a KMS was called."""
CODEC = "codec"
"""Payloads were opened or sealed for a caller of the codec server, or were not."""
POLICY = "policy"
"""The access policy became another one: its version and hash."""
CHECK = "check"
"""Somebody looked whether the log can be written."""
CHECKPOINT = "checkpoint"
"""A signature over all records before."""
BASE = "base"
"""A signed statement that all records up to a certain one were pruned; it stands before what is left, outside the chain."""


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def of_key(event: KeyEvent, caller: Fields) -> Event:
    """Return the record of something that was done with a key.

    Args:
        event: as the kms package tells it.
        caller: whose call it was, where it was in one: `principal`, `request_id` and the like.
    """
    told = {name: value for name, value in asdict(event).items() if value is not None}
    return {"event": KEY, "at": now(), **_within(caller), **told}


def of_policy(said: Fields, caller: Fields) -> Event:
    """Return the record of a change of the access policy."""
    return {"event": POLICY, "at": now(), **_within(caller), **said}


def of_codec(event: CodecEvent) -> Event:
    """Return the record of payloads that were opened or sealed for a caller of the codec server, or were not."""
    told = {name: value for name, value in asdict(event).items() if value is not None}
    return {"event": CODEC, "principal": told.pop("caller"), **told}


def _within(caller: Fields) -> dict[str, object]:
    """Return who it was, and in which call: that has a record of its own, with its arguments."""
    who = {name: caller[name] for name in ("principal", "credential") if name in caller}
    return {**who, "within": caller["request_id"]} if "request_id" in caller else who
