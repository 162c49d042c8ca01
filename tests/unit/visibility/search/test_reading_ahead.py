"""The chunk that the reconciler reads ahead, when its reader ends early."""

from __future__ import annotations

import asyncio
from uuid import UUID

from strongroom.visibility.jobs.reconciler import Reconciler


async def test_the_chunk_that_is_read_ahead_has_ended_when_a_run_ends():
    """The connection is given back before the caller closes the database."""
    reading, ended = asyncio.Event(), asyncio.Event()

    class Truth:
        async def page(self, after, *, runs, size):
            assert after is not None
            assert runs * size > 0
            if not reading.is_set():
                reading.set()
                return [{"shard_id": 1, "namespace_id": UUID(int=1), "id": bytes(16)}]
            try:
                return await asyncio.Future()
            finally:
                await asyncio.sleep(0)
                ended.set()

    chunks = Reconciler(Truth(), None, None)._records(1)
    assert len(await anext(chunks)) == 1
    await asyncio.sleep(0)
    await chunks.aclose()
    assert ended.is_set()
