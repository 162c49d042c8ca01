"""The caller of the operation in the current task, for the audit records of key events and policy changes.

DESIGN.md, "Access control and audit log", explains why this is a context variable and not an argument.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLER: ContextVar[Mapping[str, object]] = ContextVar("strongroom_caller", default={})  # noqa: B039 - never changed
"""The fields of the caller in an audit record: `principal`, `credential`, `source`, `request_id`. Empty outside an operation."""
