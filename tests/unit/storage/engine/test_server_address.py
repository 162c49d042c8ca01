from __future__ import annotations

import ssl

import pytest

from strongroom.kms import InvalidRequest
from strongroom.storage import Database, check_dsn, is_local, postgres_context
from strongroom.storage.engine.server_address import connection_options

REMOTE = "postgresql://user:hunter%402@db.example.com/x"
SOCKET = "postgresql://user@/x?host=/run/postgresql"
LOCAL = [
    SOCKET,
    "postgresql://%2Frun%2Fpostgresql/x",
    "postgresql://localhost/x",
    "postgres://127.0.0.1:6432/x",
    "postgresql://127.8.8.8/x",
    "postgresql://[::1]:5432/x",
    "postgresql://localhost,127.0.0.1:1/x",
]


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        (REMOTE, [("db.example.com", None)]),
        ("postgresql://a:1,b,[2001:db8::1]:3/x", [("a", 1), ("b", None), ("2001:db8::1", 3)]),
        (SOCKET, [("/run/postgresql", None)]),
        ("postgresql://a/x?host=/tmp", [("a", None)]),
        ("postgresql:///x?host=b:7", [("b", 7)]),
        ("postgresql:///x?host=b,c&port=7", [("b", 7), ("c", 7)]),
        ("postgresql://b,c:9/x?port=7", [("b", 7), ("c", 9)]),
        ("postgresql://b,c/x?port=7,8", [("b", 7), ("c", 8)]),
        (f"{REMOTE}?sslmode=verify-full&ssl_min_protocol_version=TLSv1.3", [("db.example.com", None)]),
        (f"{REMOTE}?sslnegotiation=direct&target_session_attrs=primary", [("db.example.com", None)]),
    ],
)
def test_the_hosts_of_a_dsn(dsn, hosts):
    """The hosts that are checked are those that are connected to, because they are passed as arguments."""
    insecure = is_local(dsn)
    assert check_dsn(dsn, insecure=insecure) == hosts
    options = connection_options(dsn, tls=None, insecure=insecure)
    assert options["host"] == [host for host, _ in hosts]
    assert options["port"] == [port or 5432 for _, port in hosts]


@pytest.mark.parametrize("dsn", LOCAL)
def test_this_machine_may_be_insecure(dsn):
    """A Unix socket or a loopback address is local. It is reached without TLS only if `insecure` is set."""
    assert is_local(dsn)
    assert connection_options(dsn, tls=None, insecure=True)["ssl"] is False
    assert check_dsn(dsn + ("&" if "?" in dsn else "?") + "sslmode=disable", insecure=True)
    if "/run" in dsn or "%2F" in dsn:
        with pytest.raises(InvalidRequest, match=r"database\.insecure = true"):
            Database(dsn)
    else:
        assert connection_options(dsn, tls=None, insecure=False)["ssl"].minimum_version == ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    "dsn",
    [REMOTE, "postgresql://localhost,db.example.com/x", "postgresql://localhost.example.com/x", "postgresql://127.1/x"],
)
def test_no_other_host_is_insecure(dsn):
    """`insecure` for another host, or for one of several, is refused."""
    assert not is_local(dsn)
    with pytest.raises(InvalidRequest, match="every other host"):
        Database(dsn, insecure=True)


@pytest.mark.parametrize(
    "setting",
    [
        *(f"sslmode={mode}" for mode in ("disable", "allow", "prefer", "require", "verify-ca")),
        "sslmode=verify-full&sslmode=disable",
        "ssl%6Dode=disable",
        "SSLMODE=disable",
        "ssl_min_protocol_version=TLSv1.2",
        "ssl_max_protocol_version=TLSv1.2",
        *(f"{name}=x.pem" for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword")),
    ],
)
def test_a_dsn_says_nothing_else_of_tls(setting):
    """Weaker settings and files are refused, and the message says where files belong. It has no password."""
    with pytest.raises(InvalidRequest, match=r"\[database\.tls\]") as caught:
        Database(f"{REMOTE}?{setting}")
    assert "hunter" not in str(caught.value)
    if "disable" not in setting:
        with pytest.raises(InvalidRequest):
            Database(f"{SOCKET}&{setting}", insecure=True)


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "not a dsn",
        "mysql://host/x",
        "postgresql:///x",
        "postgresql://user@/x?host=",
        "postgresql://a:b@c@host/x",
        "postgresql://host:port/x",
        "postgresql://host/x?port=port",
        "postgresql://a,b,c/x?port=1,2",
        "postgresql://[::1/x",
        "postgresql://,host/x",
        "postgresql://host/x?sslmode",
        "postgresql://host/x?service=other",
        "postgresql://user:1/2@host/x",
        "postgresql://user:1#2@host/x",
        "postgresql://user:1?a=2@host/x",
        "postgresql://host:65536/x",
        "postgresql://host:0/x",
        f"postgresql://host:{'1' * 5000}/x",
        "postgresql://host/x?port=65536",
    ],
)
@pytest.mark.parametrize("insecure", [True, False])
def test_a_dsn_whose_host_is_not_clear_is_refused(dsn, insecure):
    """No host is guessed, and none is taken from the environment or another file."""
    with pytest.raises(InvalidRequest) as caught:
        check_dsn(dsn, insecure=insecure)
    assert caught.value.__cause__ is None


def test_insecure_and_tls_exclude_each_other():
    """`insecure` with a TLS context is refused, because the context would have no effect."""
    with pytest.raises(InvalidRequest, match="remove it"):
        Database(SOCKET, tls=postgres_context(), insecure=True)
