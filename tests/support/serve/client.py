"""A client of the protocol of temporal/PROTOCOL.md, written from the page and not with the server's code."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HELLO, WELCOME, REFUSED, CALL, ANSWER, ERROR, CANCEL, GOAWAY, PING, PONG = range(1, 11)
_ENCODER = msgspec.msgpack.Encoder(uuid_format="bytes")
PATIENCE = 60.0


@dataclass
class CallError(Exception):
    """An ERROR message."""

    kinds: list[str]
    message: str
    may_have_been_committed: bool
    retryable: bool
    fields: dict[str, Any]

    def __str__(self) -> str:
        return self.message


def frame(kind: int, call_id: int, part: bytes, *, is_last: bool = True) -> bytes:
    """Return one frame."""
    return struct.pack(">IBBI", len(part) + 6, kind, int(is_last), call_id) + part


def frames(kind: int, call_id: int, message: bytes, *, part: int = 65_536) -> list[bytes]:
    """Return the frames of a message."""
    starts = range(0, len(message), part) or [0]
    return [
        frame(kind, call_id, message[start : start + part], is_last=start + part >= len(message)) for start in starts
    ]


def call_message(operation: str, arguments: Mapping[str, Any], *, milliseconds: int = 0, caller: str = "") -> bytes:
    """Return the message of a CALL."""
    return _ENCODER.encode([operation, milliseconds, caller, arguments])


class Client:
    """One connection. `open` makes it, and `call` calls an operation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.welcome: dict[str, Any] = {}
        self.goaway, self.ponged = asyncio.Event(), asyncio.Event()
        self.closed = asyncio.Event()
        self.order: list[int] = []
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._next = 0
        self._receiving: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path, *, history_shards: int = 0, protocol: int = 1) -> Client:
        """Connect and shake hands; raise `CallError` if the server refuses."""
        client = cls(*await asyncio.open_unix_connection(path))
        hello = {"protocol": protocol, "client": "test", "temporal": "1.31.2", "history_shards": history_shards}
        client.writer.write(frame(HELLO, 0, _ENCODER.encode(hello)))
        kind, _, message = await client.read()
        answer = msgspec.msgpack.decode(message)
        if kind == REFUSED:
            await client.aclose()
            raise CallError(
                [answer["kind"]], answer["message"], may_have_been_committed=False, retryable=False, fields={}
            )
        assert kind == WELCOME
        client.welcome = answer
        client._receiving = asyncio.create_task(client._receive())
        return client

    async def read(self) -> tuple[int, int, bytes]:
        """Read one message of one part."""
        async with asyncio.timeout(PATIENCE):
            length, kind, _, call_id = struct.unpack(">IBBI", await self.reader.readexactly(10))
            return kind, call_id, await self.reader.readexactly(length - 6)

    def start(
        self, operation: str, *, milliseconds: int = 0, caller: str = "", **arguments: Any
    ) -> tuple[int, asyncio.Future[bytes]]:
        """Send a CALL, and return its id and the future of its answer."""
        self._next += 1
        message = call_message(operation, arguments, milliseconds=milliseconds, caller=caller)
        self.writer.write(b"".join(frames(CALL, self._next, message)))
        return self._next, self.expect(self._next)

    def expect(self, call_id: int) -> asyncio.Future[bytes]:
        """Return the future of the answer of a call."""
        future = self._waiting[call_id] = asyncio.get_running_loop().create_future()
        return future

    async def call(
        self, operation: str, *, wanted: Any = Any, milliseconds: int = 0, caller: str = "", **arguments: Any
    ) -> Any:
        """Call an operation; return its answer as `wanted`, or raise its `CallError`."""
        _, future = self.start(operation, milliseconds=milliseconds, caller=caller, **arguments)
        async with asyncio.timeout(PATIENCE):
            return msgspec.msgpack.decode(await future, type=wanted)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def _receive(self) -> None:
        parts: dict[tuple[int, int], bytearray] = {}
        try:
            while True:
                length, kind, flags, call_id = struct.unpack(">IBBI", await self.reader.readexactly(10))
                message = parts.setdefault((kind, call_id), bytearray())
                message += await self.reader.readexactly(length - 6)
                if flags & 1:
                    del parts[kind, call_id]
                    self._deliver(kind, call_id, bytes(message))
        except (asyncio.IncompleteReadError, ConnectionError):
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionResetError())
            self.closed.set()

    def _deliver(self, kind: int, call_id: int, message: bytes) -> None:
        if kind == GOAWAY:
            self.goaway.set()
        if kind == PONG:
            self.ponged.set()
        if kind in (ANSWER, ERROR):
            self.order.append(call_id)
            future = self._waiting.pop(call_id)
            if kind == ANSWER:
                future.set_result(message)
            else:
                future.set_exception(CallError(**msgspec.msgpack.decode(message)))
