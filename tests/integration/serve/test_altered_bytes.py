from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress

import msgspec
import pytest

from strongroom.driver.stores import STORE_OPERATIONS
from tests.support.bad_values import Samples
from tests.support.serve.client import CALL, HELLO, CallError, call_message, frame

pytestmark = pytest.mark.integration

READS = sorted(name for name, operation in STORE_OPERATIONS.items() if operation.activity == "read")
CALLS = 3000
CONNECTIONS = 150


@pytest.fixture(scope="module")
def messages(served_cell):
    """A valid message of each operation that reads, with every optional part."""
    samples = Samples({"kek": "local:contract", "types": {"Customer": "Keyword"}, "page_token": b""})
    found = []
    for name in READS:
        store, _, method = name.partition(".")
        found.append(
            call_message(name, samples.arguments(getattr(getattr(served_cell, store), method)), milliseconds=9000)
        )
    return found


def altered(chance, message):
    """Return the bytes with a few of them changed, removed or added."""
    data = bytearray(message)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randrange(1, 4)]
            case _:
                data[place:place] = chance.randbytes(chance.randrange(1, 4))
        data = data or bytearray(1)
    return bytes(data)


async def test_altered_messages_are_answered(serve_client, messages, caplog):
    """Each call with altered content has an answer or an error, no error is a defect, and the connection goes on."""
    chance = random.Random(20261130)  # noqa: S311 - the same bytes in each run
    log = "strongroom.serve"
    with caplog.at_level(logging.ERROR, log):
        for first in range(0, CALLS, 100):
            answers = []
            for call_id in range(first + 1, first + 101):
                answers.append(serve_client.expect(call_id))
                serve_client.writer.write(frame(CALL, call_id, altered(chance, chance.choice(messages))))
            outcomes = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 120)
            defects = [each for each in outcomes if isinstance(each, CallError) and each.kinds[0] == "InternalError"]
            assert not defects
            assert not [each for each in outcomes if not isinstance(each, bytes | CallError)]
    assert not [record for record in caplog.records if record.name == log]


async def test_altered_streams_end_one_connection(running, serve_client, messages):
    """A connection whose frames are altered goes on or is closed. The server has no call and no connection of it left."""
    chance = random.Random(20261130)  # noqa: S311 - as above
    before = running.server.counts.connections
    hello = frame(HELLO, 0, msgspec.msgpack.encode({"protocol": 1}))
    for _ in range(CONNECTIONS):
        _, writer = await asyncio.open_unix_connection(running.path)
        stream = hello + b"".join(frame(CALL, number, chance.choice(messages)) for number in range(1, 4))
        writer.write(altered(chance, stream))
        await asyncio.sleep(0)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    async with asyncio.timeout(60):
        while running.server.counts.connections > before or running.server.counts.in_flight:  # noqa: ASYNC110 - no event for this
            await asyncio.sleep(0.01)
    with pytest.raises(CallError, match="does not exist yet"):
        await serve_client.call("shards.get_or_create_shard", shard_id=16384)
    assert running.server.counts.queued == 0
