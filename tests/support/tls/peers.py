"""The three servers that Strongroom connects to, each with the TLS settings of a case, and Strongroom's client for each."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager

import asyncpg

from strongroom.kms import KmsUnavailable, client_context
from strongroom.kms.providers.transit import TransitProvider
from strongroom.storage import EVERY_NAMESPACE, Database, Unavailable, postgres_context
from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex
from tests.support.elasticsearch_node.node import free_ports

from .cases import ALL, HOST
from .relay import relay


class PostgresPeer:
    """A PostgreSQL 15 on loopback. A reload changes its certificate. It accepts connections without TLS too."""

    refusal = Unavailable
    postgres = True

    def __init__(self, server, files):
        folder = server.folder
        self._files = files
        self._server = server
        (self.port,) = free_ports(1)
        self.socket_dsn = f"postgresql://postgres@/postgres?host={folder}&port={self.port}"
        self._configure(ALL["right"])
        self._server.start(HOST)

    def dsn(self, port, *, host=HOST, query=""):
        """Return a dsn over TCP."""
        return f"postgresql://postgres@{host}:{port}/postgres{query}"

    async def present(self, case):
        """Reload the server with the TLS settings of a case."""
        before = await self._loaded()
        self._configure(case)
        self._server.run("pg_ctl", "reload")
        async with asyncio.timeout(120):
            while await self._loaded() == before:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def serving(self, case):
        """Yield the port of a server with the TLS settings of a case."""
        await self.present(case)
        yield self.port

    @asynccontextmanager
    async def client(self, port, tls):
        """Yield a call that asks the server. All calls use the same client."""
        files = postgres_context(ca_certs=tls.ca_certs, certificate=tls.certificate, key=tls.key)
        database = Database(self.dsn(port), tls=files)

        async def ask():
            async with database.connection(EVERY_NAMESPACE) as connection:
                rows = await connection.fetch("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                assert [row["version"] for row in rows] == ["TLSv1.3"]

        yield ask
        await database.aclose()

    async def _loaded(self):
        connection = await asyncpg.connect(self.socket_dsn)
        loaded = await connection.fetchval("SELECT pg_conf_load_time()")
        await connection.close()
        return loaded

    def _configure(self, case):
        data = self._server.data
        for name, source in (("server.pem", self._files.path(case)), ("ca.pem", self._files.ours.certificate)):
            shutil.copy(source, data / name)
            (data / name).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(data / name, "postgres")
        newest = {} if case.newest is None else {"ssl_max_protocol_version": case.newest.name.replace("_", ".")}
        settings = {
            "port": self.port,
            "ssl": "off" if case.newest is None else "on",
            "ssl_cert_file": "server.pem",
            "ssl_key_file": "server.pem",
            "ssl_ca_file": "ca.pem",
            **newest,
        }
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        (data / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")
        asked = " clientcert=verify-ca" if case.asks else ""
        tcp = f"hostssl all all {HOST}/32 trust{asked}" if case.asks else f"host all all {HOST}/32 trust"
        (data / "pg_hba.conf").write_text(f"local all all trust\n{tcp}\n")


class ElasticsearchPeer:
    """The session's Elasticsearch behind a relay that terminates TLS."""

    refusal = Unavailable
    postgres = False

    def __init__(self, node, files):
        self._node = node
        self._files = files

    @asynccontextmanager
    async def serving(self, case):
        """Yield the port of a relay with the TLS settings of a case."""
        port = int(self._node.url.rpartition(":")[2])
        async with relay(HOST, port, tls=self._files.server_context(case)) as before:
            yield before.port

    @asynccontextmanager
    async def client(self, port, tls):
        """Yield a call that asks the server. All calls use the same client."""
        async with ElasticsearchIndex(f"https://{HOST}:{port}", name="nobodys", tls=tls, deadline=0.0) as index:
            yield index.drop


class OpenBaoPeer:
    """An OpenBao that has one listener per case."""

    refusal = KmsUnavailable
    postgres = False

    @staticmethod
    def listeners(files, ports):
        """Return the listeners for the configuration."""
        return "\n".join(_listener(files, case, ports[name]) for name, case in ALL.items())

    def __init__(self, server, ports):
        self._server = server
        self._ports = {ALL[name]: port for name, port in ports.items()}

    @asynccontextmanager
    async def serving(self, case):
        """Yield the port of a case's listener."""
        yield self._ports[case]

    @asynccontextmanager
    async def client(self, port, tls):
        """Yield a call that asks the server. All calls use the same client."""
        files = client_context(ca_certs=tls.ca_certs, certificate=tls.certificate, key=tls.key)
        token = self._server.token("strongroom-use")
        provider = TransitProvider("vault", f"https://{HOST}:{port}", token=lambda: token, tls=files)
        yield provider.check
        await provider.aclose()


def _listener(files, case, port):
    lines = [f'address = "{HOST}:{port}"']
    if case.newest is None:
        lines.append("tls_disable = true")
    else:
        newest = case.newest.name.lower().replace("v", "").replace("_", "")  # tls12, tls13
        lines += [
            f'tls_cert_file = "{files.path(case)}"',
            f'tls_key_file = "{files.path(case)}"',
            f'tls_max_version = "{newest}"',
        ]
    if case.asks:
        lines += ["tls_require_and_verify_client_cert = true", f'tls_client_ca_file = "{files.ours.certificate}"']
    return 'listener "tcp" {\n  ' + "\n  ".join(lines) + "\n}"
