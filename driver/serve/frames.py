"""Frames: the parts of messages on a connection. temporal/PROTOCOL.md, "Frames"."""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = Struct(">IBBI")
PART = 65_536
"""Maximum size of a part of a message, in bytes."""
MESSAGE = 64 * 2**20
"""Maximum size of a message, in bytes."""
INCOMPLETE = 256 * 2**20
"""Maximum size of all incomplete messages of a connection, in bytes."""
IN_PROGRESS = 128 * 2**20
"""Maximum size of the large messages that are written in turn, in bytes, so that they stay below the receiver's limit. One larger
message is written alone."""
LEAST = 4_096
"""The size that an incomplete message counts for at least, in bytes, so that messages without bytes are limited too."""
_LAST = 1
_AFTER_LENGTH = 6  # the length counts the bytes that follow it: type, flags, id and the part
_HEADER_SIZE = HEADER.size
_LENGTH_SIZE = 4


class FrameType(IntEnum):
    """The type of a frame."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    CALL = 4
    ANSWER = 5
    ERROR = 6
    CANCEL = 7
    GOAWAY = 8
    PING = 9
    PONG = 10


_WITH_MESSAGE = frozenset(
    {FrameType.HELLO, FrameType.WELCOME, FrameType.REFUSED, FrameType.CALL, FrameType.ANSWER, FrameType.ERROR}
)
_TYPES = {int(each): each for each in FrameType}


class Message(NamedTuple):
    """A complete message.

    Attributes:
        type: The type of its frames.
        id: The id of the call; 0 for none.
        content: The message.
    """

    type: FrameType
    id: int
    content: bytes | bytearray


class ProtocolError(Exception):
    """The peer does not keep to the protocol. The connection must be closed."""


class FrameReader:
    """Puts messages together from the bytes of a connection.

    Args:
        message: Maximum size of a message, in bytes.
        incomplete: Maximum size of all incomplete messages, in bytes.
    """

    def __init__(self, *, message: int = MESSAGE, incomplete: int = INCOMPLETE) -> None:
        self._message, self._most = message, incomplete
        self._rest = b""
        self._incomplete: dict[tuple[int, int], bytearray] = {}
        self._counted = 0

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete, in the order of their last parts.

        Raises:
            ProtocolError: A frame is malformed, or a message is too large.
        """
        if self._rest:
            data = self._rest + data
        messages: list[Message] = []
        position, size = 0, len(data)
        while size - position >= _HEADER_SIZE:
            length, kind, flags, call_id = HEADER.unpack_from(data, position)
            end = position + _LENGTH_SIZE + length
            if not _AFTER_LENGTH <= length <= _AFTER_LENGTH + PART:
                msg = f"a frame of {length} bytes"
                raise ProtocolError(msg)
            frame_type = _TYPES.get(kind)
            if frame_type is None or flags > _LAST:
                msg = f"a frame of type {kind} with flags {flags}"
                raise ProtocolError(msg)
            if end > size:
                break
            part = data[position + _HEADER_SIZE : end]
            position = end
            if frame_type not in _WITH_MESSAGE and (part or not flags):
                msg = f"a frame of type {kind} with a message"
                raise ProtocolError(msg)
            if flags and (frame_type, call_id) not in self._incomplete:
                messages.append(Message(frame_type, call_id, part))
            elif (whole := self._joined(frame_type, call_id, part, is_last=bool(flags))) is not None:
                messages.append(whole)
        self._rest = data[position:] if position < size else b""
        if len(self._rest) >= _LENGTH_SIZE:
            _check_length(self._rest)
        return messages

    def discard(self, frame_type: FrameType, call_id: int) -> bool:
        """Forget an incomplete message, and return whether there was one."""
        parts = self._incomplete.pop((frame_type, call_id), None)
        if parts is None:
            return False
        self._counted -= max(len(parts), LEAST)
        return True

    def _joined(self, frame_type: FrameType, call_id: int, part: bytes, *, is_last: bool) -> Message | None:
        """Add a part to a message, and return the message if it is complete."""
        key = (frame_type, call_id)
        parts = self._incomplete.get(key)
        if parts is None:
            parts = self._incomplete[key] = bytearray()
            self._counted += LEAST
        self._counted -= max(len(parts), LEAST)
        parts += part
        self._counted += max(len(parts), LEAST)
        if len(parts) > self._message or self._counted > self._most:
            msg = f"a message of more than {self._message} bytes, or incomplete messages of more than {self._most} bytes together"
            raise ProtocolError(msg)
        if not is_last:
            return None
        self.discard(frame_type, call_id)
        return Message(frame_type, call_id, parts)


class FrameWriter:
    """Writes the parts of messages in turn: every message of one part at once, then one part of the next larger message, and so on.

    Attributes:
        queued: The number of bytes that wait, without the headers of large messages.
        is_paused: Whether the connection takes no bytes now.

    Args:
        write: Writes bytes to the connection.
        in_progress: Maximum size of the large messages that are written in turn, in bytes.
    """

    def __init__(self, write: Callable[[bytes], None], *, in_progress: int = IN_PROGRESS) -> None:
        self._write, self._most = write, in_progress
        self._small: list[bytes] = []
        self._waiting: deque[tuple[FrameType, int, bytes]] = deque()
        self._large: deque[tuple[FrameType, int, bytes, int]] = deque()
        self._in_progress = 0
        self.queued = 0
        self.is_paused = False

    def add(self, frame_type: FrameType, call_id: int, content: bytes = b"") -> None:
        """Queue a message, which `flush` writes."""
        size = len(content)
        if size <= PART:
            self.queued += size + _HEADER_SIZE
            self._small += (HEADER.pack(size + _AFTER_LENGTH, frame_type, _LAST, call_id), content)
        else:
            self.queued += size
            self._waiting.append((frame_type, call_id, content))

    def flush(self) -> None:
        """Write until nothing is queued, or until the connection takes no more."""
        while not self.is_paused and (self._small or self._large or self._waiting):
            pieces, self._small = self._small, []
            self.queued -= sum(map(len, pieces))
            self._add_large_part(pieces)
            self._write(b"".join(pieces))

    def _add_large_part(self, pieces: list[bytes]) -> None:
        """Add one part of the next large message."""
        while self._waiting and self._in_progress + len(self._waiting[0][2]) <= (
            self._most if self._large else MESSAGE
        ):
            message = self._waiting.popleft()
            self._in_progress += len(message[2])
            self._large.append((*message, 0))
        if not self._large:
            return
        frame_type, call_id, content, start = self._large.popleft()
        part, end = content[start : start + PART], start + PART
        is_last = end >= len(content)
        pieces += (HEADER.pack(len(part) + _AFTER_LENGTH, frame_type, _LAST if is_last else 0, call_id), part)
        self.queued -= len(part)
        if is_last:
            self._in_progress -= len(content)
        else:
            self._large.append((frame_type, call_id, content, end))


def _check_length(data: bytes) -> None:
    length = int.from_bytes(data[:_LENGTH_SIZE], "big")
    if not _AFTER_LENGTH <= length <= _AFTER_LENGTH + PART:
        msg = f"a frame of {length} bytes"
        raise ProtocolError(msg)
