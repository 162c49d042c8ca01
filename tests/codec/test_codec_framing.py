"""Requests that two programs could read differently are refused, and the connection ends."""

from __future__ import annotations

import asyncio

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.driver.codec.framing import CHUNKS, HEAD_BYTES, HEADERS, Framing, Malformed
from tests.support.codec.sockets import answered, connected, running, until_closed

POST = b"POST /decode HTTP/1.1\r\nHost: codec\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "two equal lengths": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "a list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "a signed length": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\nhello", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    "an empty length": (POST + b"Content-Length: \r\n\r\n", 400),
    "a length with a fraction": (POST + b"Content-Length: 5.0\r\n\r\nhello", 400),
    "a length in other digits": (POST + "Content-Length: \u0665\r\n\r\n".encode(), 400),
    "a length of 30 digits": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    "a folded header": (POST + b"X-A: b\r\n c\r\n\r\n", 400),
    "a folded header with a tab": (POST + b"X-A: b\r\n\tTransfer-Encoding: chunked\r\n\r\n", 400),
    "a folded first header": (b"POST /decode HTTP/1.1\r\n Host: codec\r\n\r\n", 400),
    "bare line feeds": (b"POST /decode HTTP/1.1\nHost: codec\n\n", 400),
    "one bare line feed": (POST + b"X-A: b\nX-B: c\r\n\r\n", 400),
    "an empty line of a bare line feed": (POST + b"\n", 400),
    "a bare carriage return": (POST + b"X-A: b\rX-B: c\r\n\r\n", 400),
    "a line end before the request": (b"\r\n" + POST + b"\r\n", 400),
    "space before the colon": (POST + b"Content-Length : 5\r\n\r\nhello", 400),
    "a tab before the colon": (POST + b"Transfer-Encoding\t: chunked\r\n\r\n", 400),
    "no colon": (POST + b"Nothing\r\n\r\n", 400),
    "no name": (POST + b": x\r\n\r\n", 400),
    "a name in quotes": (POST + b'"Content-Length": 5\r\n\r\n', 400),
    "a NUL in a value": (POST + b"X-A: b\0c\r\n\r\n", 400),
    "a NUL in the target": (b"POST /dec\0ode HTTP/1.1\r\nHost: c\r\n\r\n", 400),
    "a control character": (POST + b"X-A: b\x01c\r\n\r\n", 400),
    "a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    "a name with a letter that is not ASCII": (POST + b"X-\xc3\xa9: b\r\n\r\n", 400),
    "an absolute target": (b"POST http://codec/decode HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "an authority": (b"CONNECT codec:443 HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "a fragment": (b"POST /decode#x HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "a backslash": (b"POST \\decode HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "an encoded slash": (b"POST /x%2Fdecode HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "a half encoded byte": (b"POST /decode%4 HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "a target that is not ASCII": ("POST /d\u00e9code HTTP/1.1\r\nHost: codec\r\n\r\n".encode(), 400),
    "two spaces": (b"POST  /decode HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "a tab for a space": (b"POST\t/decode\tHTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "a method in lower case": (b"post /decode HTTP/1.1\r\nHost: codec\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /decode\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/1.2": (b"POST /decode HTTP/1.2\r\nHost: codec\r\n\r\n", 400),
    "http in lower case": (b"POST /decode http/1.1\r\nHost: codec\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
    "no host": (b"POST /decode HTTP/1.1\r\n\r\n", 400),
    "two hosts": (POST + b"Host: other\r\n\r\n", 400),
    "a host with a path": (b"POST /decode HTTP/1.1\r\nHost: codec/x\r\n\r\n", 400),
    "a host with a user": (b"POST /decode HTTP/1.1\r\nHost: me@codec\r\n\r\n", 400),
    "a head that is too long": (POST + b"X-A: " + b"b" * HEAD_BYTES + b"\r\n\r\n", 431),
    "a request line that is too long": (b"POST /" + b"b" * HEAD_BYTES, 431),
    "too many headers": (POST + b"X-A: b\r\n" * HEADERS + b"\r\n", 431),
    "an unknown coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "two codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST /decode HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "another expectation": (POST + b"Expect: tea\r\n\r\n", 417),
    "a chunk extension": (CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n", 400),
    "a space after a size": (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "a size with 0x": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "a signed size": (CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", 400),
    "a size of 17 digits": (CHUNKED + b"0" * 17 + b"\r\n\r\n", 400),
    "a size line with a bare line feed": (CHUNKED + b"5\nhello\r\n0\r\n\r\n", 400),
    "a size that never ends": (CHUNKED + b"0" * 64, 400),
    "an empty size": (CHUNKED + b"\r\n", 400),
    "content longer than its size": (CHUNKED + b"4\r\nhello\r\n0\r\n\r\n", 400),
    "no line end after a chunk": (CHUNKED + b"5\r\nhello0\r\n\r\n", 400),
    "a trailer": (CHUNKED + b"0\r\nX-A: b\r\n\r\n", 400),
    "too many chunks": (CHUNKED + b"1\r\na\r\n" * (CHUNKS + 1), 400),
}

ACCEPTED = {
    "no body": (POST + b"\r\n", b""),
    "a length": (POST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "a length of zero": (POST + b"content-LENGTH:0\r\n\r\n", b""),
    "zeros before a length": (POST + b"Content-Length: 005\r\n\r\nhello", b"hello"),
    "chunks": (CHUNKED + b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", b"hello world"),
    "chunks with line ends": (CHUNKED + b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    "an old request": (b"POST /decode HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "100-continue": (POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "an upgrade": (POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "text that is not ASCII": (POST + b"X-A: \xc3\xa9\xff\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "tabs around a value": (POST + b"Content-Length:\t5\t\r\n\r\nhello", b"hello"),
    "a query": (b"POST /a/decode?x=%20y HTTP/1.1\r\nHost: [::1]:8443\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "the longest head": (POST + b"X-A: " + b"b" * (HEAD_BYTES - len(POST) - 9) + b"\r\n\r\n", b""),
    "the most headers": (POST + b"X-A: b\r\n" * (HEADERS - 1) + b"\r\n", b""),
}


def status_of(parts):
    """Return the status with which the framing refuses parts of a request, or None."""
    framing = Framing()
    try:
        for part in parts:
            assert framing.feed(part) == len(part)
    except Malformed as refused:
        return refused.status
    assert framing.is_done
    return None


def single_bytes(request):
    """Return a request in single bytes, or in small pieces of a prime length if it is long."""
    step = 1 if len(request) < 1000 else 997
    return [request[position : position + step] for position in range(0, len(request), step)]


@pytest.mark.parametrize("name", REFUSED)
def test_an_ambiguous_request_is_refused(name):
    """Each form that programs read differently is refused, whether it comes in one piece or in single bytes."""
    request, status = REFUSED[name]
    assert status_of([request]) == status
    assert status_of(single_bytes(request)) == status


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_plain_request_is_accepted(name):
    """A request in the usual form passes, in one piece or in single bytes, and h11 reads the same body."""
    request, body = ACCEPTED[name]
    assert status_of([request]) is None
    assert status_of(single_bytes(request)) is None
    assert body_of(request) == body


def body_of(request):
    """Return the body that h11 reads, and check that the request ends where the framing says."""
    connection, body = h11.Connection(h11.SERVER, 4 * HEAD_BYTES), b""
    connection.receive_data(request)
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        body += event.data if isinstance(event, h11.Data) else b""
    assert connection.trailing_data[0] == b""
    return body


PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"5", b"hello", b"\0", b";", b",", b"0\r\n\r\n"),
        *(b"Content-Length", b"Transfer-Encoding", b"chunked", b"Host: codec", b"X-A"),
        *(b"HTTP/1.1", b"HTTP/1.0", b"POST /decode ", b"GET / "),
    ]
)
HEADER_LINES = st.sampled_from(
    [b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"X: y", b"X : y", b" x", b"Expect: x"]
)
REQUESTS = st.lists(PIECES, max_size=20).map(b"".join) | st.builds(
    lambda lines, pieces: POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + b"".join(pieces),
    st.lists(HEADER_LINES, max_size=3),
    st.lists(PIECES, max_size=10),
)


@given(request_bytes=REQUESTS, cut=st.integers(0, 400))
def test_framing_and_h11_agree(request_bytes, cut):
    """Whatever is sent, an accepted request ends for h11 at the same byte, and a cut between two reads changes nothing."""
    results = []
    for parts in ([request_bytes], [request_bytes[:cut], request_bytes[cut:]], single_bytes(request_bytes)):
        framing, taken = Framing(), 0
        try:
            for part in parts:
                taken += framing.feed(part)
        except Malformed as refused:
            results.append(refused.status)
        else:
            results.append((taken, framing.is_done))
    assert results[0] == results[1] == results[2]
    if isinstance(results[0], tuple) and results[0][1]:
        body_of(request_bytes[: results[0][0]])


# --- through real sockets


async def test_a_refused_request_ends_its_connection(server):
    """The answer has the status, and the connection ends with it, so that the rest of the bytes is no request."""
    for name, (request, status) in REFUSED.items():
        for is_second in (False, True):
            async with connected(server) as (reader, writer):
                if is_second:
                    writer.write(ACCEPTED["a length"][0])
                    assert await answered(reader) == (200, b"hello")
                writer.write(request + b"GET /health HTTP/1.1\r\nHost: codec\r\n\r\n")
                received = await until_closed(reader)
            assert received.startswith(f"HTTP/1.1 {status} ".encode()), (name, received)
            assert received.count(b"HTTP/1.1 ") == 1, name
            assert b"connection: close" in received, name


@pytest.fixture
async def server():
    """The port of a server that answers with the body."""
    async with running() as (port, _):
        yield port


async def test_a_plain_request_is_answered(server):
    """A request in the usual form is answered with its body, in one piece or in two."""
    for name, (request, body) in ACCEPTED.items():
        for cut in (0, len(request) // 2, len(request) - 1):
            async with connected(server) as (reader, writer):
                writer.write(request[:cut])
                await writer.drain()
                writer.write(request[cut:])
                if b"100-continue" in request:
                    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
                assert await answered(reader) == (200, body), name


async def test_requests_of_a_connection_are_answered_one_after_the_other(server):
    """A connection is used again after an answer, with a body of each kind."""
    async with connected(server) as (reader, writer):
        for _ in range(3):
            for request, body in (ACCEPTED["a length"], ACCEPTED["chunks"], ACCEPTED["no body"]):
                writer.write(request)
                assert await answered(reader) == (200, body)


@pytest.mark.parametrize("rest", [ACCEPTED["a length"][0], b"garbage", b"GET /health HTTP/1.1\r\nHost: c\r\n\r\n"])
async def test_what_follows_a_request_is_dropped(rest):
    """Bytes behind a request that is not answered yet are no request. The connection ends with the answer."""
    asked = 0

    async def counting(_scope, receive, send):
        nonlocal asked
        asked += 1
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with running(counting) as (port, _), connected(port) as (reader, writer):
        writer.write(ACCEPTED["a length"][0] + rest)
        received = await until_closed(reader)
    assert received.startswith(b"HTTP/1.1 204 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert asked == 1


async def test_a_request_after_an_early_answer_is_answered():
    """A request that is answered before its body was read may come in one piece with the next request. Both are answered."""

    async def refusing(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    request = ACCEPTED["a length"][0]
    head, body = request[:-5], request[-5:]
    async with running(refusing) as (port, _), connected(port) as (reader, writer):
        writer.write(head)
        for _ in range(3):
            assert (await answered(reader))[0] == 401
            writer.write(body + head)


async def test_a_broken_chunk_ends_a_request_that_is_read(server):
    """A body whose chunks turn out wrong while the server reads it is answered with 400, and the server goes on with others."""
    async with connected(server) as (reader, writer):
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"5;x\r\n")
        received = await until_closed(reader)
    assert received.startswith(b"HTTP/1.1 400 ")
    async with connected(server) as (reader, writer):
        writer.write(ACCEPTED["a length"][0])
        assert await answered(reader) == (200, b"hello")
