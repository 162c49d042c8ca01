"""No connection lives for ever, and slow ones keep nobody out. Real sockets; deadlines are either tiny or never reached."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from strongroom.driver.codec.connections import CONNECTIONS, PER_PEER, Connections, peer_of
from tests.support.codec.authority import Authority
from tests.support.codec.sockets import LONG, PATIENT, answered, condition, connected, dribble, running, until_closed

REQUEST = b"POST /decode HTTP/1.1\r\nHost: codec\r\nContent-Length: 5\r\n\r\nhello"
HEAD = b"POST /decode HTTP/1.1\r\nHost: codec\r\nX-A: "
SOON = 0.3
"""A deadline that a test waits for."""


async def ended(port, *, first=b"", again=None, requests=0):
    """Connect, send bytes, and dribble until the server ends the connection. Return what it sent last, and the number of bytes."""
    async with connected(port) as (reader, writer):
        for _ in range(requests):
            writer.write(REQUEST)
            assert await answered(reader) == (200, b"hello")
        writer.write(first)
        dribbling = asyncio.create_task(dribble(writer, again)) if again else None
        received = await until_closed(reader)
        writer.close()
        return received, await dribbling if dribbling else 0


@pytest.mark.parametrize("requests", [0, 1, 3])
@pytest.mark.parametrize("first", [b"", HEAD])
async def test_a_head_that_dribbles_is_cut(requests, first):
    """Each head has one deadline, the second one as much as the first. A byte does not prolong it."""
    async with running(deadlines=replace(PATIENT, head=SOON)) as (port, connections):
        received, count = await ended(port, first=first or b"P", again=b"a" if first else b"O", requests=requests)
        assert received == b""
        assert count > 0
        await condition(lambda: connections.admitted and not len(connections))


@pytest.mark.parametrize("requests", [0, 1])
async def test_a_connection_that_waits_is_closed(requests):
    """A new connection that sends nothing has the deadline of a head. After an answer it has that of idle connections."""
    short = replace(PATIENT, idle=SOON) if requests else replace(PATIENT, head=SOON)
    async with running(deadlines=short) as (port, connections):
        assert await ended(port, requests=requests) == (b"", 0)
        await condition(lambda: connections.admitted and not len(connections))


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"POST /decode HTTP/1.1\r\nHost: codec\r\nContent-Length: 1000000\r\n\r\n", b"a"),
        (b"POST /decode HTTP/1.1\r\nHost: codec\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST /decode HTTP/1.1\r\nHost: codec\r\nContent-Length: 1000000\r\n\r\n", None),
    ],
)
async def test_a_body_that_dribbles_is_cut(first, again):
    """A body has a deadline, whatever its form. A byte does not prolong it."""
    async with running(deadlines=replace(PATIENT, answer=SOON)) as (port, connections):
        received, _ = await ended(port, first=first, again=again, requests=1)
        assert received == b""
        await condition(lambda: connections.admitted and not len(connections))


async def test_the_rest_of_a_body_after_its_answer_has_a_deadline():
    """A refused caller may finish its body, so that it reads the answer, but not for ever."""

    async def refusing(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async with running(refusing, deadlines=replace(PATIENT, body=SOON)) as (port, connections):
        head = b"POST /decode HTTP/1.1\r\nHost: codec\r\nContent-Length: 1000000\r\n\r\n"
        received, _ = await ended(port, first=head, again=b"a")
        assert received.startswith(b"HTTP/1.1 401 ")
        await condition(lambda: connections.admitted and not len(connections))
        async with connected(port) as (reader, writer):  # the control: a body that arrives is read over
            for _ in range(2):
                writer.write(REQUEST)
                assert (await answered(reader))[0] == 401


async def test_an_answer_that_nobody_reads_is_cut():
    """A peer that sends requests and reads no answers loses its connection, with the bytes that wait for it."""

    async def long_answer(_scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 2**16, "more_body": True})
        await send({"type": "http.response.body"})

    short = replace(PATIENT, answer=SOON)
    async with running(long_answer, deadlines=short) as (port, connections), connected(port) as (reader, writer):
        reader._limit = 1  # so that nothing is read from the socket
        writer.write(REQUEST)
        await condition(lambda: connections.admitted and not len(connections))
        writer.transport.abort()


async def test_a_closed_connection_whose_bytes_nobody_reads_is_cut():
    """After an answer that does not fit into the buffers, closing has a deadline too."""

    async def one_long_answer(_scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 2**25})

    short = replace(PATIENT, idle=SOON, closing=SOON)
    async with running(one_long_answer, deadlines=short) as (port, connections), connected(port) as (reader, writer):
        reader._limit = 1
        writer.write(REQUEST)
        await condition(lambda: connections.admitted and not len(connections))
        writer.transport.abort()


async def test_a_connection_ends_after_its_time():
    """A connection that is used all the time ends with an answer, after its whole time."""
    async with running(deadlines=replace(PATIENT, total=SOON)) as (port, connections):
        async with connected(port) as (reader, writer):
            ends, answers = asyncio.get_running_loop().time() + LONG, 0
            try:
                while asyncio.get_running_loop().time() < ends:
                    writer.write(REQUEST)
                    assert await answered(reader) == (200, b"hello")
                    answers += 1
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            else:
                pytest.fail("the connection did not end")
        assert answers > 0
        await condition(lambda: connections.admitted and not len(connections))


# --- room for new connections


async def test_slow_connections_keep_nobody_out():
    """Where every place is taken by a connection that dribbles its second head, a new caller is answered: the oldest makes room."""
    most = 20
    async with (
        running(connections=Connections(most=most, per_peer=most)) as (port, connections),
        AsyncExitStack() as stack,
    ):
        slow = []
        for _ in range(most):
            reader, writer = await stack.enter_async_context(connected(port))
            writer.write(REQUEST)
            assert await answered(reader) == (200, b"hello")
            writer.write(HEAD)
            await writer.drain()
            slow.append(reader)
        assert (len(connections), connections.dropped) == (most, 0)
        for number in range(3):
            reader, writer = await stack.enter_async_context(connected(port))
            writer.write(REQUEST)
            assert await answered(reader) == (200, b"hello")
            assert await until_closed(slow[number]) == b""
        assert (len(connections), connections.dropped) == (most, 3)
        assert not slow[-1].at_eof()


async def test_a_request_at_work_is_never_dropped():
    """Where all connections wait for answers, a new one is refused, and each of the others gets its answer."""
    go = asyncio.Event()

    async def waiting(_scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async with running(waiting, connections=Connections(most=3)) as (port, connections), AsyncExitStack() as stack:
        working = [await stack.enter_async_context(connected(port)) for _ in range(3)]
        for _, writer in working:
            writer.write(REQUEST)
        await condition(lambda: len(connections) == 3 and not any(each.is_waiting for each in connections))
        async with connected(port) as (reader, writer):
            assert await until_closed(reader) == b""
        assert connections.dropped == 1
        go.set()
        for reader, _ in working:
            assert (await answered(reader))[0] == 200


class Place:
    """A connection of a unit test."""

    def __init__(self, name, dropped, *, is_waiting=True):
        self.name, self.dropped, self.is_waiting = name, dropped, is_waiting

    def drop(self):
        """Note that the connection was cut."""
        self.dropped.append(self.name)


def test_a_flood_displaces_itself():
    """Room is made by the address with the most connections, and by its oldest waiting one."""
    dropped, register = [], Connections(most=6, per_peer=5)
    quiet = Place("quiet", dropped)
    assert register.admit("10.0.0.1", quiet)
    for number in range(10):
        assert register.admit("10.0.0.2", Place(number, dropped, is_waiting=number != 0))
    assert dropped == [1, 2, 3, 4, 5]  # 0 is at work
    assert register.admit("10.0.0.3", Place("new", dropped))
    assert dropped[-1] == 6
    assert len(register) == 6


def test_an_answered_connection_is_not_the_oldest():
    """A connection moves to the end of its line with each answer."""
    dropped, register = [], Connections(most=2)
    first, second = Place(1, dropped), Place(2, dropped)
    register.admit("a", first)
    register.admit("a", second)
    register.touched("a", first)
    register.admit("a", Place(3, dropped))
    assert dropped == [2]


def test_a_unix_socket_has_no_limit_for_an_address():
    """All callers of a Unix socket have one address, so that only the limit of all connections counts."""
    register = Connections(most=10, per_peer=2)
    assert all(register.admit(peer_of(""), Place(number, [], is_waiting=False)) for number in range(10))
    assert not register.admit(peer_of(""), Place(10, [], is_waiting=False))
    assert PER_PEER < CONNECTIONS


def test_an_address_is_that_of_a_network():
    """IPv6 addresses of one network of 64 bits count as one, and an IPv4 address in IPv6 counts as itself."""
    assert (
        peer_of(("2001:db8::1", 1, 0, 0))
        == peer_of(("2001:db8::ffff:1", 2, 0, 0))
        != peer_of(("2001:db8:0:1::1", 1, 0, 0))
    )
    assert peer_of(("::ffff:10.0.0.1", 1, 0, 0)) == peer_of(("10.0.0.1", 2)) == "10.0.0.1"
    assert peer_of(("fe80::1%eth0", 1, 0, 2)) == peer_of(("fe80::2", 1, 0, 0))


# --- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server's TLS context, and that of a client that trusts it."""
    authority = Authority(tmp_path_factory.mktemp("tls"), "authority")
    certificate = authority.server("127.0.0.1", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context, ssl.create_default_context(cafile=authority.certificate)


@pytest.mark.parametrize(
    ("first", "again"), [(b"", None), (b"\x16\x03\x01\x02\x00", b"\x01"), (b"\x16\x03\x01\x3f\xff\x01", None)]
)
async def test_a_handshake_that_dribbles_is_cut(tls, first, again):
    """The deadline of the first head includes the TLS handshake, and a connection in a handshake has a place in the register."""
    async with running(deadlines=replace(PATIENT, head=SOON), context=tls[0]) as (port, connections):
        assert (await ended(port, first=first, again=again))[0] == b""
        await condition(lambda: connections.admitted and not len(connections))


async def test_handshakes_keep_nobody_out(tls):
    """Connections that never finish their handshake make room for a caller."""
    async with (
        running(connections=Connections(most=5), context=tls[0]) as (port, connections),
        AsyncExitStack() as stack,
    ):
        silent = [await stack.enter_async_context(connected(port)) for _ in range(5)]
        await condition(lambda: len(connections) == 5)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls[1])
        for _ in range(2):
            writer.write(REQUEST)
            assert await answered(reader) == (200, b"hello")
        writer.write(b"POST /decode\n")
        assert (await until_closed(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert await until_closed(silent[0][0]) == b""
        assert connections.dropped == 1


async def test_clear_text_to_a_tls_server_ends(tls):
    """A request without TLS ends its connection, and leaves no place taken."""
    async with running(context=tls[0]) as (port, connections):
        await ended(port, first=REQUEST)
        await condition(lambda: connections.admitted and not len(connections))
