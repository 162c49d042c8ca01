"""Verification of a shard whose rows are on several nodes of a Citus cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .reading import ShardVerification

_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Pauses in seconds before a verification is repeated. Nodes commit a transaction within milliseconds of each other."""


async def agreed(verify: Callable[[], Awaitable[tuple[ShardVerification, bool]]]) -> ShardVerification:
    """Return the result of a verification.

    Each node has a snapshot of its own. So a difference that was not found in one snapshot counts only if it is found several times.

    Args:
        verify: Returns a result, and whether it is of one snapshot.
    """
    for pause in _PAUSES:
        found, is_one_snapshot = await verify()
        if is_one_snapshot or not found.tables:
            return found
        await asyncio.sleep(pause)
    return (await verify())[0]
