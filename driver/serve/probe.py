"""Connect to a running server as a Temporal server does, and return how it answers. The doctor uses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from strongroom.driver.config import ConfigError

from .frames import HEADER, FrameReader, FrameType, ProtocolError
from .handshake import PROTOCOL, Refused, Welcome
from .values import decoder_of, encode

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 10.0
"""Timeout of a handshake, in seconds."""
_WELCOME, _REFUSED = decoder_of(Welcome), decoder_of(Refused)


async def probe(path: Path, history_shards: int, *, patience: float = PATIENCE) -> Welcome | Refused:
    """Shake hands with a worker, and disconnect.

    Args:
        path: The worker's socket.
        history_shards: The number of shards that the client claims to have.
        patience: Timeout, in seconds.

    Raises:
        ConfigError: Nothing listens on the path, or it does not answer as a server of this protocol.
    """
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                hello = {"protocol": PROTOCOL, "client": "strongroom doctor", "history_shards": history_shards}
                message = encode(hello)
                writer.write(HEADER.pack(len(message) + 6, FrameType.HELLO, 1, 0) + message)
                return await _answer(reader)
            finally:
                writer.close()
    except (FileNotFoundError, ConnectionRefusedError):
        raise ConfigError(f"no server listens on {path}") from None
    except TimeoutError:
        raise ConfigError(f"the server on {path} did not answer within {patience:g} s") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be used: {error.strerror}") from None
    except (ProtocolError, ValueError):
        raise ConfigError(f"the program that listens on {path} is not strongroom serve of this version") from None


async def _answer(reader: asyncio.StreamReader) -> Welcome | Refused:
    frames = FrameReader()
    while part := await reader.read(65536):
        for message in frames.feed(part):
            if message.type is FrameType.WELCOME:
                found: Welcome = _WELCOME.decode(message.content)
                return found
            if message.type is FrameType.REFUSED:
                refused: Refused = _REFUSED.decode(message.content)
                return refused
    raise ProtocolError("no answer to HELLO")
