"""The Cloud KMS provider on a test server that uses the real service's protocol."""

from __future__ import annotations

from contextlib import asynccontextmanager


@asynccontextmanager
async def gcp_bench():
    """Yield the bench."""
    from . import gcp_kit  # noqa: PLC0415 - Google's libraries take seconds to load

    async with gcp_kit.gcp_bench() as bench:
        yield bench
