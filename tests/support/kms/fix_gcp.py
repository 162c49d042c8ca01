"""The Cloud KMS provider on a test server that uses the real service's protocol."""

from __future__ import annotations

from contextlib import asynccontextmanager

from .missing_server import MissingServer


@asynccontextmanager
async def gcp_bench():
    """Yield the bench."""
    try:
        from . import gcp_kit  # noqa: PLC0415 - Google's libraries are optional, and take seconds to load
    except ModuleNotFoundError as missing:
        msg = f"{missing.name} is not installed; pip install 'strongroom[gcp]'"
        raise MissingServer(msg) from None
    async with gcp_kit.gcp_bench() as bench:
        yield bench
