"""Let the cluster forget deletions at once, so that an older version of a document is accepted.

Elasticsearch remembers the version of a deletion for `index.gc_deletes`. A repair lowers this setting for a while. If the repair is
killed, the next one must restore the value of the operator. So the lowered value contains it: one millisecond, plus one
nanosecond for each second of the former value.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .administration import set_settings
from .changes import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .client import ElasticsearchClient

_GC_DELETES, _AT_ONCE = "index.gc_deletes", "1ms"
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "micros": 1e-6, "nanos": 1e-9}
_TIME = re.compile(r"([0-9]+)(d|h|m|s|ms|micros|nanos)", re.ASCII)
_LOWERED = re.compile(r"1([0-9]{6})nanos", re.ASCII)
_MOST = 999_999
"""Longest former value that a lowered one can contain, in seconds: 11 days."""


def lowered(value: str | None) -> str | None:
    """Return the lowered value of the setting. It contains the former one, in whole seconds.

    Args:
        value: The setting; None if it is not set.

    Returns:
        The lowered value. It is `value` itself if that is lowered already, or is 0 or -1.
    """
    if value is None:
        return _AT_ONCE
    match = _TIME.fullmatch(value)
    if match is None or value == _AT_ONCE or _LOWERED.fullmatch(value):
        return value
    seconds = int(match[1]) * _SECONDS[match[2]]
    # Rounded up, because a deletion that is remembered for too long brings no run back.
    return f"1{min(_MOST, -int(-seconds // 1)):06d}nanos" if seconds else value


def restored(value: str | None) -> str | None:
    """Return the value of the setting before `lowered`, and any other value unchanged."""
    if value == _AT_ONCE:
        return None
    match = None if value is None else _LOWERED.fullmatch(value)
    return value if match is None else f"{int(match[1])}s"


@asynccontextmanager
async def forgetting_deletions(client: ElasticsearchClient) -> AsyncIterator[None]:
    """Lower the setting in the index of a client, and restore it at the end, also when lowering it failed.

    Raises:
        SearchIndexMismatch: The API key lacks the right to change settings.
        SearchIndexUnavailable: The cluster does not answer.
    """
    found = await settings_of(client, client.name, (_GC_DELETES,), client.deadline)
    present = {index: settings[_GC_DELETES] for index, settings in found.items()}
    try:
        # Also inside `try`: the cluster may carry out a change whose answer was lost.
        for index, value in present.items():
            await set_settings(client, index, {_GC_DELETES: lowered(value)})
        yield
    finally:
        for index, value in present.items():
            await set_settings(client, index, {_GC_DELETES: restored(value)})
