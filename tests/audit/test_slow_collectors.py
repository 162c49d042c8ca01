"""A syslog collector that takes bytes slowly, or never ends TLS: an export fails within its time."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress

import pytest

from strongroom.driver.audit.sinks import SinkUnavailable, SyslogOverTls
from strongroom.kms import client_context
from tests.support.kms.own_ca import make_ca

GENEROUS = 60.0
LINES = [b"x" * 2**16] * 256
"""More than the sockets of both sides hold."""


async def read_slowly(reader, _writer):
    """Take a few bytes now and then."""
    while await reader.read(64):  # noqa: ASYNC110 - it is slow on purpose
        await asyncio.sleep(0.05)


async def never_end(_reader, _writer):
    """Read nothing, and do not end TLS."""
    await asyncio.Event().wait()


@asynccontextmanager
async def sink_to(serve, folder, **limits):
    """Yield a sink to a collector that serves connections so."""
    ca = make_ca(folder, "localhost")

    tasks = set()

    async def served(reader, writer):
        tasks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=ca.server_context(), limit=64)
    port = server.sockets[0].getsockname()[1]
    yield SyslogOverTls("localhost", port, lambda: client_context(ca_certs=ca.authority), **limits)
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("serve", [read_slowly, never_end])
async def test_an_export_ends_within_its_time(tmp_path, serve):
    """The time is for all bytes together. The timeout of one write begins again with each byte that the collector takes."""
    async with sink_to(serve, tmp_path, connect_seconds=GENEROUS, answer_seconds=1.0) as sink:
        began = time.monotonic()
        with pytest.raises(SinkUnavailable, match="no answer in time"):
            await sink.send(LINES)
        assert time.monotonic() - began < GENEROUS
