"""The caller of the operation that runs in this task, for the records of keys and policies that the operation causes.

This is a context variable and not an argument: DESIGN.md, "Access control and audit log".
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLER: ContextVar[Mapping[str, object]] = ContextVar("strongroom_caller", default={})  # noqa: B039 - never changed
"""The caller's fields of an audit record: `principal`, `credential`, `source`, `request_id`. Empty outside an operation."""
