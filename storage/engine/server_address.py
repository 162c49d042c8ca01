"""The servers of a dsn, and their TLS: version 1.3 with certificate and host name verified, or none on this machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from strongroom.kms import InvalidRequest, client_context, is_loopback_host

if TYPE_CHECKING:
    import ssl

_IPV6 = re.compile(r"\[([0-9A-Fa-f:.%]+)\](?::([0-9]+))?")
_PORT = 5432
_LAST_PORT = 65535
_SAME = {"sslmode": "verify-full", "ssl_min_protocol_version": "TLSv1.3"}
"""The TLS parameters that a dsn may have. They repeat the settings that are always used."""
_NEGOTIATION = "sslnegotiation"  # how TLS starts, which does not weaken it


def is_local(dsn: str) -> bool:
    """Return whether all hosts of a dsn are Unix sockets or loopback addresses.

    Raises:
        InvalidRequest: The dsn is not valid, or names no host.
    """
    return all(host.startswith("/") or is_loopback_host(host) for host, _ in addresses(dsn))


def addresses(dsn: str) -> list[tuple[str, int | None]]:
    """Return the host and port of each server of a dsn. The host of a Unix socket is the path of its folder; port None is the default.

    Raises:
        InvalidRequest: The dsn is not valid, or names no host.
    """
    try:
        parts = urlsplit(dsn)
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        parts, query = urlsplit(""), {}
    # A slash, question mark or # in a password ends the host early, and the rest of the password would count as the database.
    without_user = bool(parts.netloc) and "@" not in parts.netloc
    misplaced = (
        parts.netloc.count("@") > 1 or "@" in parts.path or parts.fragment or (without_user and "@" in parts.query)
    )
    if parts.scheme not in {"postgresql", "postgres"} or misplaced:
        msg = "the dsn is not valid: write postgresql://user@host/database, with @ in a password as %40, / as %2F, # as %23, ? as %3F"
        raise InvalidRequest(msg)
    named = parts.netloc.rpartition("@")[2]
    hosts = [_host_and_port(each, of_url=True) for each in named.split(",")] if named else []
    if not named and query.get("host"):
        hosts = [_host_and_port(each, of_url=False) for each in query["host"].split(",")]
    if not hosts:
        msg = (
            "the dsn names no host; write postgresql://HOST/DATABASE, or ?host=/run/postgresql for a Unix socket there"
        )
        raise InvalidRequest(msg)
    ports = _ports(query.get("port", ""), len(hosts))
    return [(host, given or port) for (host, given), port in zip(hosts, ports, strict=True)]


def connection_options(dsn: str, *, tls: ssl.SSLContext | None, insecure: bool) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect`.

    Hosts and TLS are arguments, because arguments take precedence over the dsn, the environment (PGSSLMODE, PGHOST and so on) and
    files in the home directory.

    Args:
        dsn: The PostgreSQL connection string.
        tls: The TLS context; None for the system's authorities.
        insecure: Whether TLS is off, which is allowed for Unix sockets and loopback addresses.

    Raises:
        InvalidRequest: `check_dsn` refuses the dsn, or `tls` and `insecure` are both given.
    """
    servers = check_dsn(dsn, insecure=insecure)
    if insecure and tls is not None:
        msg = "database.insecure = true turns TLS off; remove it, or remove the section [database.tls]"
        raise InvalidRequest(msg)
    return {
        "dsn": dsn,
        "host": [host for host, _ in servers],
        "port": [port or _PORT for _, port in servers],
        "ssl": False if insecure else tls or postgres_context(),
    }


def address_text(host: str, port: int) -> str:
    """Return a server's address as people write it: HOST:PORT, [IPV6]:PORT, or the path of a Unix socket."""
    if host.startswith("/"):
        return f"{host}/.s.PGSQL.{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_dsn(dsn: str, *, insecure: bool) -> list[tuple[str, int | None]]:
    """Return the addresses of a dsn, as `addresses` does.

    Args:
        dsn: The PostgreSQL connection string.
        insecure: Whether TLS is off.

    Raises:
        InvalidRequest: The dsn is not valid, contradicts the TLS settings, or `insecure` does not fit its hosts.
    """
    servers = addresses(dsn)
    _refuse_settings(dsn, insecure=insecure)
    if insecure and not is_local(dsn):
        msg = "database.insecure is for a Unix socket or a loopback address; every other host of the dsn needs TLS"
        raise InvalidRequest(msg)
    if not insecure and any(host.startswith("/") for host, _ in servers):
        msg = "database.dsn: PostgreSQL has no TLS on a Unix socket; set database.insecure = true, or name a host"
        raise InvalidRequest(msg)
    return servers


def postgres_context(**files: Any) -> ssl.SSLContext:
    """Return `strongroom.kms.client_context` with PostgreSQL's protocol name. `sslnegotiation=direct` requires it."""
    return client_context(**files, protocols=["postgresql"])


def _refuse_settings(dsn: str, *, insecure: bool) -> None:
    allowed = {"sslmode": "disable"} if insecure else _SAME
    for name, value in parse_qsl(urlsplit(dsn).query):
        if name in {"service", "servicefile"}:
            msg = f"database.dsn: {name} takes the host from another file; name the host in the dsn"
            raise InvalidRequest(msg)
        if name.lower().startswith("ssl") and name != _NEGOTIATION and allowed.get(name) != value:
            how = "database.insecure = true means sslmode=disable" if insecure else "TLS is always 1.3 and verify-full"
            msg = (
                f"database.dsn: remove {name}; {how}, and files are set in [database.tls] as ca_certs, certificate, key"
            )
            raise InvalidRequest(msg)


def _ports(text: str, count: int) -> list[int | None]:
    """Return the ports of the dsn's parameter `port`, one for each host. A single port is for all hosts."""
    listed = text.split(",") if text else []
    if not all(map(_is_port, listed)) or len(listed) not in {0, 1, count}:
        msg = "the dsn's port must be a number from 1 to 65535, or one number for each host"
        raise InvalidRequest(msg)
    ports: list[int | None] = [int(each) for each in listed] or [None]
    return ports if len(ports) == count else ports * count


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_PORT)) and 0 < int(text) <= _LAST_PORT


def _host_and_port(text: str, *, of_url: bool) -> tuple[str, int | None]:
    ipv6 = _IPV6.fullmatch(text)
    if ipv6:
        host, port = ipv6[1], ipv6[2]
    elif text.startswith("/"):
        host, port = text, None
    else:
        host, _, port = text.partition(":")
    host = unquote(host) if of_url else host
    if not host or host.startswith("[") or (port and not _is_port(port)):
        msg = "the dsn has a host that is not valid; write HOST:PORT, [IPV6]:PORT, or the folder of a Unix socket"
        raise InvalidRequest(msg)
    return host, int(port) if port else None
