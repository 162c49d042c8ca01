from __future__ import annotations

import asyncio
import json
import stat
from contextlib import asynccontextmanager, suppress

import pytest

from strongroom.driver.config import ConfigError, Listen
from strongroom.driver.serve.health import CONNECTIONS, HEAD_BYTES, Health, health_endpoint
from tests.support.serve.bench import SECONDS, until


@asynccontextmanager
async def served(path, state, **options):
    """Serve an endpoint on a socket, and yield it. The options are those of `Health`."""
    health = Health(lambda: state, **options)
    async with health_endpoint(Listen(socket=path), health) as address:
        assert address == f"unix:{path}"
        yield health
    assert not path.exists()


@pytest.fixture
async def health_socket(tmp_path_factory):
    """The state that an endpoint shows, and the path of its socket."""
    state = {"status": "ok", "workers": []}
    path = tmp_path_factory.mktemp("h") / "h"
    async with served(path, state, head_seconds=600.0):
        yield state, path


async def answer(path, sent):
    """Send bytes, and return everything that comes back until the connection is closed or reset."""
    reader, writer = await asyncio.open_unix_connection(path)
    received = b""
    try:
        async with asyncio.timeout(SECONDS):
            with suppress(ConnectionError):
                writer.write(sent)
                while part := await reader.read(4096):
                    received += part
    finally:
        writer.close()
    return received


async def test_the_state_is_the_status_code(health_socket):
    """200 if all is well, else 503; the body is the state. HEAD has no body."""
    state, path = health_socket
    head, _, body = (await answer(path, b"GET /health?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == state
    state["status"] = "degraded"
    assert (await answer(path, b"GET /health HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
    assert (await answer(path, b"HEAD /health HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\n")


async def test_other_requests_are_refused(health_socket):
    """Another path, another method, and what is not HTTP."""
    _, path = health_socket
    assert (await answer(path, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert (await answer(path, b"POST /health HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    assert (await answer(path, b"\x00\x01\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_slow_and_large_requests_are_closed(health_socket, tmp_path_factory):
    """A head that does not end, in time or in size, gets no answer."""
    state, path = health_socket
    assert await answer(path, b"GET /health HTTP/1.1\r\nX: " + b"x" * 2 * HEAD_BYTES) == b""
    hasty = tmp_path_factory.mktemp("h") / "h"
    async with served(hasty, state, head_seconds=0.5):
        assert await answer(hasty, b"GET /health HTTP/1.1\r\n") == b""


async def test_too_many_connections_at_once_are_closed(tmp_path_factory):
    """The connections up to the limit stay open. When they are closed, the endpoint answers again."""
    path = tmp_path_factory.mktemp("h") / "h"
    async with served(path, {"status": "ok"}, head_seconds=600.0) as health:
        silent = [await asyncio.open_unix_connection(path) for _ in range(CONNECTIONS)]
        await until(lambda: health._open == CONNECTIONS)
        assert await answer(path, b"GET /health HTTP/1.1\r\n\r\n") == b""
        assert not any(reader.at_eof() for reader, _ in silent)
        for _, writer in silent:
            writer.close()
        await until(lambda: health._open == 0)
        assert (await answer(path, b"GET /health HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_an_address_in_use_is_refused(health_socket):
    """A second endpoint on one socket is refused with the setting's name. The socket has mode 0660."""
    _, path = health_socket
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with pytest.raises(ConfigError, match=r"another program listens on .*; stop it, or choose another serve\.health"):
        async with health_endpoint(Listen(socket=path), Health(dict)):
            pass
