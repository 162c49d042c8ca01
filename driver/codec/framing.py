"""Strict framing of HTTP requests, checked before h11 parses them.

h11 accepts some forms that other programs on the way may read differently: bare line feeds, folded headers, a Content-Length next to
chunks, chunk extensions. A request that two programs split at different places can hide a second request. So only the form that every
program reads the same way is passed on, and everything else is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES = 32 * 1024
"""Maximum size of the head of a request, in bytes. It is large because tokens are long."""
HEADERS = 100
CHUNKS = 65_536
"""Maximum number of chunks of a body. Each chunk costs time, however small it is."""
_SIZE_LINE_BYTES = 18
_LINE_END = b"\r\n"
_NO_REQUEST_LINE = "the request line is not METHOD /PATH HTTP/1.1"
_REQUEST_LINE = re.compile(rb"[A-Z]{1,16} (/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*) (HTTP/1\.[01])")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_HOST = re.compile(rb"[A-Za-z0-9.\-_:\[\]]*")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}\r\n")
_ENCODED_DELIMITER = re.compile(rb"%(?:2f|5c|00)", re.IGNORECASE)


class Malformed(Exception):  # noqa: N818 - it says what the request is
    """A request that is refused. The connection is closed after the answer.

    Attributes:
        status: The status of the answer.
        error: The sentence in the answer. It holds nothing of the request.
    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


class Framing:
    """Follows one request byte by byte.

    Attributes:
        has_head: Whether the head of the request is complete.
        is_done: Whether the request is complete.
    """

    def __init__(self) -> None:
        self.has_head = False
        self.is_done = False
        self._follow: Callable[[bytes, int], int] = self._head
        self._line = bytearray()
        self._left = 0
        self._chunks = 0

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the request has arrived."""
        return self.has_head or bool(self._line)

    def feed(self, data: bytes) -> int:
        """Follow the next bytes.

        Returns:
            The number of bytes that belong to this request. The others come after its end.

        Raises:
            Malformed: The request is not in the one form that is accepted.
        """
        position = 0
        while position < len(data) and not self.is_done:
            position = self._follow(data, position)
        return position

    def _head(self, data: bytes, position: int) -> int:
        known = len(self._line)
        self._line += data[position : position + HEAD_BYTES + 1 - known]
        end = self._line.find(b"\r\n\r\n", max(0, known - 3))
        head = bytes(self._line[: end + 4] if end >= 0 else self._line)
        _check_line_ends(head, known)
        if len(head) > HEAD_BYTES:
            raise Malformed(431, f"the head of the request is longer than {HEAD_BYTES} bytes")
        first = head.find(b"\r\n")
        if first >= 0 and not _REQUEST_LINE.fullmatch(head[:first]):
            raise Malformed(400, _NO_REQUEST_LINE)
        if end < 0:
            return len(data)
        self._line.clear()
        length, is_chunked = _length_of(head[:end].split(b"\r\n"))
        self.has_head = True
        if is_chunked:
            self._follow = self._chunk_size
        elif length:
            self._left, self._follow = length, self._body
        else:
            self.is_done = True
        return position + len(head) - known

    def _body(self, data: bytes, position: int) -> int:
        """Follow a body of a known length."""
        taken = min(self._left, len(data) - position)
        self._left -= taken
        self.is_done = not self._left
        return position + taken

    def _chunk_size(self, data: bytes, position: int) -> int:
        taken = self._take_line(data, position, _SIZE_LINE_BYTES)
        if not self._line.endswith(b"\n"):
            return taken
        if not _CHUNK_SIZE.fullmatch(self._line):
            raise Malformed(400, "the size of a chunk is not a hexadecimal number alone on its line")
        self._left = int(self._line, 16)
        self._line.clear()
        self._chunks += 1
        if self._chunks > CHUNKS:
            raise Malformed(400, f"the body has more than {CHUNKS} chunks")
        self._follow = self._chunk if self._left else self._after_chunks
        return taken

    def _chunk(self, data: bytes, position: int) -> int:
        taken = min(self._left, len(data) - position)
        self._left -= taken
        if not self._left:
            self._follow = self._after_chunk
        return position + taken

    def _after_chunk(self, data: bytes, position: int) -> int:
        taken = self._line_end(data, position)
        if not self._line:
            self._follow = self._chunk_size
        return taken

    def _after_chunks(self, data: bytes, position: int) -> int:
        taken = self._line_end(data, position)
        self.is_done = not self._line
        return taken

    def _line_end(self, data: bytes, position: int) -> int:
        """Follow a line end. It has passed when the line is empty again."""
        taken = self._take_line(data, position, len(_LINE_END))
        if not _LINE_END.startswith(self._line):
            raise Malformed(400, "a chunk is not followed by a line end, or the body has trailers")
        if self._line == _LINE_END:
            self._line.clear()
        return taken

    def _take_line(self, data: bytes, position: int, most: int) -> int:
        """Add bytes up to the end of a line. A line that is longer than `most` bytes is refused."""
        stop = min(len(data), position + most + 1 - len(self._line))
        end = data.find(b"\n", position, stop)
        stop = stop if end < 0 else end + 1
        self._line += data[position:stop]
        if len(self._line) > most:
            raise Malformed(400, "the body is not in chunks of a size and a line end each")
        return stop


def _check_line_ends(head: bytes, known: int) -> None:
    """Refuse line ends that are not CR LF. A CR at the very end may still be followed by its LF.

    Args:
        head: The head, as far as it has arrived.
        known: The number of its bytes that were checked before.
    """
    new = head[known - 1 if head[:known].endswith(b"\r") else known :].replace(_LINE_END, b"").removesuffix(b"\r")
    if b"\n" in new or b"\r" in new:
        raise Malformed(400, "a line of the head does not end with CR LF")
    if b"\0" in new:
        raise Malformed(400, "the head holds a NUL byte")


def _length_of(lines: list[bytes]) -> tuple[int, bool]:
    """Return the length of the body, and whether it is in chunks instead.

    Args:
        lines: The lines of the head.
    """
    request = _REQUEST_LINE.fullmatch(lines[0])
    if request is None or _ENCODED_DELIMITER.search(request[1]):
        raise Malformed(400, _NO_REQUEST_LINE)
    headers = _headers(lines[1:])
    is_old = request[2] == b"HTTP/1.0"
    hosts, lengths, encodings = (headers.get(name, []) for name in (b"host", b"content-length", b"transfer-encoding"))
    if len(hosts) > 1 or (not hosts and not is_old) or not all(_HOST.fullmatch(host) for host in hosts):
        raise Malformed(400, "the request needs one Host header with a name and a port")
    if any(value.lower() != b"100-continue" for value in headers.get(b"expect", [])):
        raise Malformed(417, "the only expectation that is met is 100-continue")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        raise Malformed(400, "Content-Length must be given once, as a decimal number")
    if encodings and (lengths or len(encodings) > 1 or is_old):
        raise Malformed(400, "the length of the body is given twice, or in chunks with HTTP/1.0")
    if encodings and encodings[0].lower() != b"chunked":
        raise Malformed(501, "the only Transfer-Encoding that is known is chunked")
    return int(lengths[0]) if lengths else 0, bool(encodings)


def _headers(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    """Return the values of each header, by its name in lower case."""
    if len(lines) > HEADERS:
        raise Malformed(431, f"the request has more than {HEADERS} headers")
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise Malformed(400, "a header is not NAME: VALUE on one line")
        headers.setdefault(header[1].lower(), []).append(header[2].strip(b" \t"))
    return headers
