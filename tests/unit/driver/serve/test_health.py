from __future__ import annotations

import asyncio
import json
import stat
from contextlib import suppress

import pytest

from strongroom.driver.config import ConfigError, Listen
from strongroom.driver.serve.health import CONNECTIONS, HEAD_BYTES, Health, health_endpoint
from tests.support.serve.bench import SECONDS


@pytest.fixture
async def health_socket(tmp_path_factory):
    """The state that an endpoint shows, and the path of its socket."""
    state = {"status": "ok", "workers": []}
    path = tmp_path_factory.mktemp("h") / "h"
    async with health_endpoint(Listen(socket=path), Health(lambda: state, head_seconds=0.5)) as address:
        assert address == f"unix:{path}"
        yield state, path
    assert not path.exists()


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


async def test_slow_and_large_requests_are_closed(health_socket):
    """A head that does not end, in time or in size, gets no answer. Too many connections at once are closed, and it goes on."""
    _, path = health_socket
    assert await answer(path, b"GET /health HTTP/1.1\r\n") == b""
    assert await answer(path, b"GET /health HTTP/1.1\r\nX: " + b"x" * 2 * HEAD_BYTES) == b""
    async with asyncio.TaskGroup() as group:
        silent = [group.create_task(answer(path, b"GET /health HTTP/1.1\r\n")) for _ in range(CONNECTIONS)]
        await asyncio.sleep(0.2)
        assert await answer(path, b"GET /health HTTP/1.1\r\n\r\n") == b""
    assert {task.result() for task in silent} == {b""}
    assert (await answer(path, b"GET /health HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_an_address_in_use_is_refused(health_socket):
    """A second endpoint on one socket is refused with the setting's name. The socket has mode 0660."""
    _, path = health_socket
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with pytest.raises(ConfigError, match=r"another program listens on .*; stop it, or choose another serve\.health"):
        async with health_endpoint(Listen(socket=path), Health(dict)):
            pass
