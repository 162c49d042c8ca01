"""Connect to one of the servers of a dsn, and say why it can't be done: each server's address and its own or the resolver's reason."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

from strongroom.storage.errors import (
    DatabaseAuthenticationError,
    DatabaseTimeout,
    DatabaseUnavailable,
    PoolingNotSupported,
    ResourceExhausted,
    StorageError,
)

from .own_session import OwnSession
from .server_address import address_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""Options of a socket, so that the kernel closes a connection whose other end is gone after 30 seconds."""
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_LONGEST = 300
_LEADS_NOWHERE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
# SQLSTATE or its class -> error and advice. The reason of the server is written between the address and the advice.
_BY_STATE: Mapping[str, tuple[type[StorageError], str]] = {
    "28000": (
        DatabaseAuthenticationError,
        "Check the user in the dsn, and that pg_hba.conf lets it connect from this host",
    ),
    "28": (DatabaseAuthenticationError, "Check the user and the password in the dsn"),
    "3D": (DatabaseUnavailable, "Create the database, or correct its name in the dsn"),
    "42501": (DatabaseUnavailable, "Grant the user CONNECT on the database"),
    "53": (ResourceExhausted, "Raise the server's limit on connections, or lower database.connections"),
    "57P03": (
        DatabaseUnavailable,
        "The server is starting or stopping, or is a standby that takes no queries. Try again when it is ready",
    ),
    "08P01": (DatabaseUnavailable, "If this is a pooler, check its configuration; see docs/how-to/pgbouncer.md"),
}
_ANOTHER_HOST_HELPS_NOT = (DatabaseAuthenticationError, PoolingNotSupported)


async def connect_to_any(
    options: Mapping[str, Any],
    *,
    timeout: float,  # noqa: ASYNC109 - asyncpg's
    command_timeout: float,
) -> OwnSession:
    """Connect to the first server that lets the user in. As in libpq, a server that refuses the user ends the attempts.

    Args:
        options: The arguments of `asyncpg.connect`, as `connection_options` returns them.
        timeout: Seconds for all servers. Each gets an equal share, so that a silent one does not use up the time of the next.
        command_timeout: Seconds that a statement waits for its answer.

    Raises:
        DatabaseUnavailable, DatabaseAuthenticationError, ResourceExhausted: No server let the user in. The message has each
            server's address and reason.
    """
    places = list(zip(options["host"], options["port"], strict=True))
    failures: list[StorageError] = []
    for host, port in places:
        share = timeout / len(places)
        try:
            connection: OwnSession = await asyncpg.connect(
                **{**options, "host": [host], "port": [port]},
                timeout=share,
                command_timeout=command_timeout,
                connection_class=OwnSession,
                max_cacheable_statement_size=0,  # a longer statement would have no name, and so could be another client's
            )
        except (*_LEADS_NOWHERE, ValueError) as error:
            failures.append(failure_of(error, address_text(host, port), share, _secrets(options)))
        else:
            connection.address = address_text(host, port)
            _keep_alive(connection)
            return connection
        if isinstance(failures[-1], _ANOTHER_HOST_HELPS_NOT):
            break
    raise _together(failures)


def _together(failures: list[StorageError]) -> StorageError:
    if len(failures) == 1:
        return failures[0]
    kinds = {type(failure) for failure in failures}
    kind = kinds.pop() if len(kinds) == 1 else DatabaseUnavailable
    if isinstance(failures[-1], DatabaseAuthenticationError):
        kind = DatabaseAuthenticationError
    return kind("; ".join(map(str, failures)))


def failure_of(error: BaseException, address: str, seconds: float, secrets: list[str]) -> StorageError:
    """Return the error for one server. No tenant's value was sent yet, so the server's message can be repeated."""
    what = f"the database at {address} can't be reached"
    if isinstance(error, ValueError) and not isinstance(error, (UnicodeError, OSError)):  # its text may quote the dsn
        return DatabaseUnavailable("the dsn is not valid: write postgresql://user@host/database")
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate not in {None, "08003"}:
        return _refusal(error, address, secrets)
    reason, advice = _reason(error, seconds)
    kind = DatabaseTimeout if isinstance(error, TimeoutError) else DatabaseUnavailable
    return kind(f"{what}: {_clean(reason, secrets)}. {advice}")


def _refusal(error: asyncpg.PostgresError, address: str, secrets: list[str]) -> StorageError:
    """Return the error for a server that answered."""
    state = error.sqlstate or ""
    said = f"the database at {address} refuses the connection: {_clean(str(error), secrets)} (SQLSTATE {state})"
    if state == "08P01" and "authentication failed" in str(error):  # PgBouncer has no other code for a wrong password
        state = "28P01"
    for length in (5, 2):
        if state[:length] in _BY_STATE:
            kind, advice = _BY_STATE[state[:length]]
            return kind(f"{said}. {advice}")
    return DatabaseUnavailable(said)


def _reason(error: BaseException, seconds: float) -> tuple[str, str]:
    """Return why no server answered, and advice."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not accepted: {error.verify_message}",
                (
                    "Use the host name that the certificate is for, or name its authority in [database.tls] as ca_certs. "
                    "Before `init` has written a configuration, name it in SSL_CERT_FILE"
                ),
            )
        case ssl.SSLError():
            reason = f"the TLS 1.3 handshake failed ({error.reason})"
            return reason, "Check that the server has TLS 1.3, and accepts the client's certificate if there is one"
        case socket.gaierror():
            return f"its name was not resolved ({error.strerror})", "Check the host in the dsn, and the name server"
        case UnicodeError():
            return "its name is not valid", "Check the host in the dsn"
        case TimeoutError() if error.errno is None:
            return (
                f"it did not answer in time ({seconds:g} s)",
                "Check that the server is up, and that no firewall drops the connection",
            )
        case ConnectionError() if "rejected SSL upgrade" in str(error):  # asyncpg's text
            return (
                "the server has no TLS, and nothing is sent in clear",
                "Switch TLS on there (ssl = on in postgresql.conf, or client_tls_sslmode in pgbouncer.ini)",
            )
        case FileNotFoundError():
            return "there is no such socket", "Check that the server is up, and that this is the folder of its socket"
        case asyncpg.exceptions.TargetServerAttributeNotMatched():
            return (
                "it is not the kind of server that the dsn's target_session_attrs asks for",
                "Name the primary in the dsn; after a failover, try again when the standby is promoted",
            )
        case OSError():
            return _of_system(error), _advice_about_system(error)
    return (
        "it closed the connection before it was established",
        "Check that this is PostgreSQL's port, and the server's log",
    )


def _of_system(error: OSError) -> str:
    """Return the system's text. If asyncio tried several addresses of a name, its error has only a list of them."""
    if error.strerror and error.errno is not None and "Connect call failed" not in error.strerror:
        return error.strerror
    numbers = dict.fromkeys(map(int, _ERRNO.findall(str(error))))
    if not numbers and error.errno is not None:
        numbers = {error.errno: None}
    return ", ".join(map(os.strerror, numbers)) or type(error).__name__


def _advice_about_system(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Let this user open the socket, and check the rules of this host's firewall"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "Raise the limit of open files of this process or of this host"
    return "Check that the server is up, and listens on this address"


def _secrets(options: Mapping[str, Any]) -> list[str]:
    parts = urlsplit(options["dsn"])
    given = [parts.password, *(value for name, value in parse_qsl(parts.query) if "password" in name)]
    found = [text for each in given if each for text in (each, unquote(each))]
    return [*found, *filter(None, [os.environ.get("PGPASSWORD")])]


def _clean(text: str, secrets: list[str]) -> str:
    """Return a text of another program as one printable line, without the dsn's password."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(each if each.isprintable() else " " for each in text)[:_LONGEST]


def _keep_alive(connection: asyncpg.Connection[Any]) -> None:
    transport: Any = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001 - asyncpg shows it nowhere else
    found: socket.socket | None = transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with suppress(OSError):  # another system may lack an option; the probes of `notifications.py` remain
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
