"""A process without notifications of key changes. The expiry times of cached keys must hold without notifications."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from unittest.mock import patch

from strongroom.driver.strongroom import Strongroom


async def _hear_nothing(_database, _keyring, _background):
    await asyncio.Event().wait()


@asynccontextmanager
async def opened_deaf(config, **options):
    """Open a cell in such a process. The options are those of `Strongroom.open`."""
    async with AsyncExitStack() as stack:
        # Patched only while the cell opens, because fixtures keep such cells open for long and other cells need notifications.
        with patch("strongroom.driver.strongroom.follow_key_changes", _hear_nothing):
            strongroom = await stack.enter_async_context(Strongroom.open(config, **options))
        yield strongroom
