"""A whole cell over TLS, with the command line and with its parts, and the findings of `doctor`."""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.doctor import examine
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import EVERY_NAMESPACE
from tests.codec.conftest import JWT
from tests.support.codec.issuer import Issuer
from tests.support.databases import Databases
from tests.support.fixtures.command_line import run_command
from tests.support.tls.cases import HOST, REFUSED, RIGHT, Case

pytestmark = pytest.mark.integration

CODEC = f"""
[codec_server]
listen = "127.0.0.1:8443"
certificate = "codec.pem"
[codec_server.client_certificates]
authority = "ca.pem"
revoked = "revoked.pem"
[[codec_server.client_certificates.callers]]
subject = {{ commonName = "worker" }}
namespaces = ["first"]
{JWT}
"""
REASONS = {
    "TLS 1.2 only": "TLSV1_ALERT_PROTOCOL_VERSION",
    "expired": "certificate has expired",
    "wrong CA": "unable to get local issuer certificate",
    "wrong host name": "IP address mismatch",
    "self-signed": "self-signed certificate",
    "without TLS": "the server has no TLS",
}


class TlsCell:
    """A cell in its own database."""

    def __init__(self, folder, peer, owner_dsn):
        self.folder = folder
        self.path = folder / "strongroom.toml"
        self.peer = peer
        self.dsn = owner_dsn.partition("?")[0] + f"?host={HOST}&port={peer.port}"

    def section(self, **files):
        """Replace `insecure` by a section `[database.tls]` at the end."""
        text = re.sub(r"insecure = true.*\n", "", self.path.read_text()).partition("\n[database.tls]\n")[0]
        settings = "".join(f'{name} = "{file}"\n' for name, file in files.items())
        self.path.write_text(f"{text}\n[database.tls]\n{settings}")

    async def doctor(self):
        """Return doctor's findings by check."""
        return {finding.check: finding for finding in await examine(self.path)}


@pytest.fixture
async def tls_cell(postgres_peer, tls_files, tmp_path):
    """Return a cell that the command line initialised over TLS."""
    databases = Databases(postgres_peer.socket_dsn)
    owner_dsn = await databases.create()
    cell = TlsCell(tmp_path, postgres_peer, owner_dsn)
    shutil.copy(tls_files.ours.certificate, tmp_path / "ca.pem")
    async with postgres_peer.serving(RIGHT):
        write_config(cell.path, dsn=cell.dsn)
        cell.section(ca_certs="ca.pem")
        done = await asyncio.to_thread(run_command, tmp_path, "init")
        assert done.returncode == 0, done.stderr
        yield cell
    await databases.drop(owner_dsn)


async def test_every_connection_of_a_cell_has_tls(tls_cell):
    """Connections of the stores, the registry and the listener use TLS 1.3, although the server would accept none.

    Only a superuser sees the TLS of all sessions.
    """
    admin = await asyncpg.connect(tls_cell.peer.socket_dsn)
    async with Strongroom.open(load_config(tls_cell.path)) as strongroom, asyncio.timeout(120):
        await strongroom.namespaces.list_namespaces()
        await strongroom.keyring.store.list_kek_usage()
        async with strongroom.by_key.connection(EVERY_NAMESPACE) as connection:
            await connection.fetch("SELECT 1")
        rows = []
        while not any("LISTEN" in row["query"] or "NOTIFY strongroom_echo" in row["query"] for row in rows):
            rows = await admin.fetch(
                "SELECT query, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'strongroom'"
            )
        assert len(rows) >= 4
        assert {row["version"] for row in rows} == {"TLSv1.3"}
    await admin.close()


async def test_init_trusts_the_authority_that_the_environment_names(postgres_peer, tls_files, tmp_path):
    """A cell is made on a server whose authority the system does not know, before a section names it (managed-postgresql.md).

    The control: without SSL_CERT_FILE the server is refused.
    """
    databases = Databases(postgres_peer.socket_dsn)
    owner_dsn = await databases.create()
    cell = TlsCell(tmp_path, postgres_peer, owner_dsn)
    write_config(cell.path, dsn=cell.dsn)
    cell.section()
    trusted = {"SSL_CERT_FILE": str(tls_files.ours.certificate)}
    async with postgres_peer.serving(RIGHT):
        refused = await asyncio.to_thread(run_command, tmp_path, "init")
        assert refused.returncode == 2
        assert "certificate is not accepted" in refused.stderr
        assert "SSL_CERT_FILE" in refused.stderr
        done = await asyncio.to_thread(run_command, tmp_path, "init", environment=trusted)
        assert done.returncode == 0, done.stderr
    await databases.drop(owner_dsn)


async def test_the_command_line_refuses_what_the_library_refuses(tls_cell):
    """A server without TLS, or of another authority, gives a one-line error and exit code 2."""
    done = await asyncio.to_thread(run_command, tls_cell.folder, "schema", "status")
    assert done.returncode == 0, done.stderr
    for case, says in (("wrong CA", "certificate is not accepted"), ("without TLS", "has no TLS")):
        async with tls_cell.peer.serving(REFUSED[case]):
            for command in (("schema", "status"), ("namespace", "list"), ("init",)):
                refused = await asyncio.to_thread(run_command, tls_cell.folder, *command)
                assert refused.returncode == 2
                assert says in refused.stderr


def in_days(days):
    return datetime.now(UTC) + timedelta(days=days)


@pytest.mark.parametrize(
    ("theirs", "ours", "state"),
    [
        (60, None, "ok"),
        (60, 60, "ok"),
        (10, 60, "note"),
        (60, 10, "note"),
        (60, -1, "wrong"),
    ],
)
async def test_doctor_says_when_certificates_end(tls_cell, tls_files, theirs, ours, state):
    """Doctor reports the TLS version and expiry dates, and warns 30 days before the first one and after it."""
    their_end, our_end = in_days(theirs), None if ours is None else in_days(ours)
    tls_files.ours.server(HOST, file="lasting", until=their_end)
    files = {"ca_certs": "ca.pem"}
    if our_end is not None:
        files["certificate"] = tls_files.ours.client("mine", ("commonName", "postgres"), until=our_end)[0]
    tls_cell.section(**files)
    async with tls_cell.peer.serving(Case("lasting")):
        found = (await tls_cell.doctor())["TLS to the database"]
    assert found.state == state
    assert f"TLSv1.3 with {HOST}:{tls_cell.peer.port}; its certificate until {their_end:%Y-%m-%d}" in found.text
    assert our_end is None or f"ours until {our_end:%Y-%m-%d}" in found.text
    assert found.advice == {"ok": "", "note": "Renew it.", "wrong": "Replace it."}[state]


@pytest.mark.parametrize("case", REFUSED)
async def test_doctor_finds_the_wrong_server(tls_cell, case):
    """Each refused server is a finding of doctor, with the reason."""
    async with tls_cell.peer.serving(REFUSED[case]):
        found = (await tls_cell.doctor())["TLS to the database"]
    assert not found.ok
    assert REASONS[case] in found.text


async def test_doctor_says_where_there_is_no_tls(tls_cell):
    """A database connection without TLS is a finding of doctor."""
    text = tls_cell.path.read_text().partition("\n[database.tls]\n")[0]
    tls_cell.path.write_text(re.sub(r"(\ndsn = .*)", r"\1\ninsecure = true", text))
    found = (await tls_cell.doctor())["TLS to the database"]
    assert (found.state, found.text) == ("ok", "none: insecure = true, on this machine")


async def test_doctor_reads_the_codec_servers_files(tls_cell, tls_files):
    """Doctor reports the expiry of the codec server's certificate and revocation list, and files that are unusable."""
    folder, authority = tls_cell.folder, tls_files.ours
    (folder / "issuer.pem").write_bytes(Issuer().pem)
    tls_cell.path.write_text(tls_cell.path.read_text() + CODEC)
    certificate, listed = "certificate of the codec server", "revocation list of the codec server"

    async def found(until, list_until):
        shutil.copy(authority.server(HOST, file="codec", until=until), folder / "codec.pem")
        shutil.copy(authority.revoke(until=list_until), folder / "revoked.pem")
        told = await tls_cell.doctor()
        return [told[check].state for check in (certificate, listed)]

    assert await found(in_days(60), in_days(2)) == ["ok", "ok"]
    assert await found(in_days(10), in_days(0.1)) == ["note", "note"]
    assert await found(in_days(-0.1), in_days(-0.1)) == ["wrong", "wrong"]
    for name in ("codec.pem", "ca.pem", "revoked.pem", "issuer.pem"):
        whole = (folder / name).read_bytes()
        (folder / name).write_text("nothing")
        wrong = (await tls_cell.doctor())["files of the codec server"]
        assert not wrong.ok
        assert name in wrong.text
        assert wrong.advice
        (folder / name).write_bytes(whole)


async def test_doctor_prints_what_ends_soon(tls_cell):
    """The command line marks a certificate that expires soon, and still exits with success."""
    done = await asyncio.to_thread(run_command, tls_cell.folder, "doctor")
    assert done.returncode == 0, done.stdout
    assert re.search(r"note +TLS to the database", done.stdout)
    assert "do: Renew it" in done.stdout
