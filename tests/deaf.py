"""A process that hears of no change of keys: the times that keys are kept must hold without notifications."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from unittest.mock import patch

from strongroom.driver.strongroom import Strongroom


async def _hear_nothing(_database, _keyring):
    await asyncio.Event().wait()


@asynccontextmanager
async def opened_deaf(config):
    """Open a cell in such a process."""
    with patch("strongroom.driver.strongroom.follow_key_changes", _hear_nothing):
        async with Strongroom.open(config) as strongroom:
            yield strongroom
