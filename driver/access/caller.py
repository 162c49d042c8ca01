"""Whose call is being done: for records that are made beneath it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLER: ContextVar[Mapping[str, object]] = ContextVar("strongroom_caller", default={})  # noqa: B039 - never changed
