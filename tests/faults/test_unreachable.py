"""The error of a connection that can't be made has the server's address and the reason, and never the password."""

from __future__ import annotations

import asyncio
import errno
import secrets
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from strongroom.storage import NO_NAMESPACE, Database, DatabaseUnavailable
from strongroom.storage.engine.connecting import failure_of
from strongroom.storage.errors import DatabaseAuthenticationError, DatabaseTimeout
from tests.support.faults.server_bench import PLANTED, check

pytestmark = pytest.mark.integration


async def refusal(dsn, *, insecure=True, connect_timeout=10.0):
    """Try both ways to use a database; return the error, after checking that they agree and keep the secret."""
    database = Database(dsn, insecure=insecure, connect_timeout=connect_timeout)
    errors = []
    for use in (database.connection, database.transaction):
        with pytest.raises((DatabaseUnavailable, DatabaseAuthenticationError)) as refused:
            async with use(NO_NAMESPACE):
                pytest.fail("there is no connection")
        errors.append(refused.value)
    check(errors[0], type(errors[1]), committed=False, says="the database at ")
    assert str(errors[0]) == str(errors[1])
    return errors[0]


@pytest.mark.parametrize(
    ("dsn", "address", "reason"),
    [
        (f"postgresql://clerk:{PLANTED}@127.0.0.1:1/x", "127.0.0.1:1", "Connection refused"),
        (f"postgresql://clerk:{PLANTED}@localhost:1/x", "localhost:1", "Connection refused"),
        (f"postgresql://clerk:{PLANTED}@[::1]:1/x", "[::1]:1", ""),
        (f"postgresql://clerk@127.0.0.1:1/x?password={PLANTED}", "127.0.0.1:1", "Connection refused"),
        (f"postgresql://clerk:{PLANTED}@/x?host=/nonexistent", "/nonexistent/.s.PGSQL.5432", "there is no such socket"),
        (f"postgresql://clerk:{PLANTED}@/x?host=/nonexistent&port=6", "/nonexistent/.s.PGSQL.6", "no such socket"),
    ],
)
async def test_nobody_listens(dsn, address, reason):
    """A refused connection and a missing socket."""
    text = str(await refusal(dsn))
    assert f"the database at {address} can't be reached: " in text
    assert reason in text


@pytest.mark.parametrize(
    ("host", "reason"),
    [("nowhere.invalid", "its name was not resolved ("), ("x" * 70 + ".invalid", "its name is not valid")],
)
async def test_a_name_that_leads_nowhere(host, reason):
    """The resolver's own reason."""
    text = str(await refusal(f"postgresql://clerk:{PLANTED}@{host}/x", insecure=False))
    assert f"the database at {host}:5432 can't be reached: {reason}" in text


@asynccontextmanager
async def server_that(answer):
    """Serve a TCP port that is no PostgreSQL; yield its number."""

    async def serve(reader, writer):
        accepted.append(writer)
        await reader.read(8)
        writer.write(answer)
        if not answer:
            await reader.read()
        writer.close()

    accepted = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in accepted:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("insecure", [True, False])
async def test_a_server_that_says_nothing(insecure):
    """A server that accepts the connection and is silent, as one behind a firewall."""
    async with server_that(b"") as port:
        error = await refusal(f"postgresql://u:{PLANTED}@127.0.0.1:{port}/x", insecure=insecure, connect_timeout=0.3)
    assert type(error) is DatabaseTimeout
    assert f"the database at 127.0.0.1:{port} can't be reached: it did not answer in time (0.3 s)" in str(error)


@pytest.mark.parametrize(
    ("answer", "insecure", "reason"),
    [
        (b"N", False, "the server has no TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "the server has no TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "it closed the connection before it was established"),
        (b"\n", True, "it closed the connection before it was established"),
    ],
)
async def test_a_server_that_is_another_one(answer, insecure, reason):
    """A server without TLS, and one of another protocol."""
    async with server_that(answer) as port:
        text = str(await refusal(f"postgresql://u:{PLANTED}@127.0.0.1:{port}/x", insecure=insecure))
    assert reason in text


async def test_the_servers_own_words(superuser_dsn):
    """The server's reason, its SQLSTATE, and what to do. Control characters of its message are not repeated."""
    folder = parse_qs(urlsplit(superuser_dsn).query)["host"][0]
    text = str(await refusal(f"postgresql://postgres:{PLANTED}@/missing%1B[31m?host={folder}"))
    assert text.startswith(f"the database at {folder}/.s.PGSQL.5432 refuses the connection: database ")
    assert "does not exist (SQLSTATE 3D000). Create the database" in text
    assert "\x1b" not in text
    text = str(await refusal(f"postgresql://nobody:{PLANTED}@/postgres?host={folder}"))
    assert 'role "nobody" does not exist (SQLSTATE 28000)' in text


async def test_a_password_in_the_servers_words_is_hidden(superuser_dsn):
    """A name that equals the password is hidden, because the server repeats names."""
    folder = parse_qs(urlsplit(superuser_dsn).query)["host"][0]
    assert "***" in str(await refusal(f"postgresql://postgres:{PLANTED}@/{PLANTED}?host={folder}"))


async def test_several_hosts_are_each_named(superuser_dsn):
    """Each host that failed is named with its reason. One that works is used, though the first one says nothing."""
    folder = parse_qs(urlsplit(superuser_dsn).query)["host"][0]
    text = str(await refusal("postgresql://u@127.0.0.1:1,nowhere.invalid:2/x", insecure=False))
    assert "127.0.0.1:1 can't be reached: Connection refused" in text
    assert "nowhere.invalid:2 can't be reached: its name was not resolved" in text
    async with server_that(b"") as port:
        dsn = f"postgresql://postgres@127.0.0.1:{port},{folder.replace('/', '%2F')}:5432/postgres"
        database = Database(dsn, insecure=True, connect_timeout=10)  # half of it for each host
        async with database.connection(NO_NAMESPACE) as connection:
            assert (await connection.fetchrow("SELECT 1 AS one"))["one"] == 1
        await database.aclose()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ECONNREFUSED, "Check that the server is up"),
        (errno.EACCES, "Let this user open the socket"),
        (errno.EMFILE, "Raise the limit of open files"),
    ],
)
def test_advice_about_an_error_of_the_system_fits_it(number, advice):
    """A server that can be up is not suspected: this user may lack a right, and this process a file."""
    text = str(failure_of(OSError(number, "as the system says"), "127.0.0.1:1", 1.0, []))
    assert f"can't be reached: as the system says. {advice}" in text


async def test_a_user_that_may_not_connect_to_the_database(dsn, superuser_dsn):
    """The server refuses a user without CONNECT, and the advice is about this right. Only a superuser can make the user."""
    parts, name = urlsplit(dsn), f"stranger_{secrets.token_hex(8)}"
    admin = await asyncpg.connect(superuser_dsn)
    try:
        await admin.execute(f"REVOKE CONNECT ON DATABASE {parts.path[1:]} FROM PUBLIC")
        await admin.execute(f"CREATE ROLE {name} LOGIN")
        stranger = parts._replace(netloc=f"{name}:{PLANTED}@{parts.netloc.rpartition('@')[2]}").geturl()
        assert "(SQLSTATE 42501). Grant the user CONNECT on the database" in str(await refusal(stranger))
    finally:
        await admin.execute(f"DROP ROLE IF EXISTS {name}")
        await admin.close()


async def test_a_server_of_the_wrong_kind(dsn):
    """A dsn that asks for a standby, and a primary: the reason names the parameter. The other way round is a failover."""
    text = str(await refusal(f"{dsn}{'&' if '?' in dsn else '?'}target_session_attrs=standby"))
    assert "target_session_attrs" in text
    assert "closed the connection" not in text
