"""A process without notifications of key changes. The expiry times of cached keys must hold without notifications."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from unittest.mock import patch

from strongroom.driver.strongroom import Strongroom
from strongroom.storage.journal.keeping import JournalKeeper


async def _rest(*_):
    await asyncio.Event().wait()


@asynccontextmanager
async def opened_deaf(config, *, folds=True, **options):
    """Open a cell in such a process.

    Args:
        config: The cell's configuration.
        folds: Whether the cell folds its journal in the background.
        options: Those of `Strongroom.open`.
    """
    async with AsyncExitStack() as stack:
        # Patched only while the cell opens, because fixtures keep such cells open for long and other cells do this work.
        with ExitStack() as patches:
            patches.enter_context(patch("strongroom.driver.strongroom.follow_key_changes", _rest))
            if not folds:
                patches.enter_context(patch.object(JournalKeeper, "keep_folding", _rest))
            strongroom = await stack.enter_async_context(Strongroom.open(config, **options))
        yield strongroom
