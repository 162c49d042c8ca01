"""A cell with two namespaces, and codec servers in their own processes, as an operator starts them."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING

import httpx

from strongroom.driver.audit.reader import read_lines
from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from tests.support.codec.authority import Authority
from tests.support.codec.issuer import Issuer
from tests.support.fixtures.command_line import STRONGROOM
from tests.support.forked_command import WIDE

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60


@dataclass
class CodecBench:
    """A cell and its files, for a test of the codec server.

    Attributes:
        strongroom: The open cell, in the test's own process.
        ids: The ids of the namespaces `first` and `second`.
        folder: The folder with the configuration, keys and certificates.
        authority: The authority that signed the server's certificate.
        issuer: The issuer of tokens.
    """

    strongroom: object
    ids: dict
    folder: Path
    authority: object
    issuer: object

    @contextmanager
    def server(self, name, section):
        """Start a server with its own configuration section, and stop it at the end."""
        config = self.folder / f"{name}.toml"
        shared = (self.folder / "strongroom.toml").read_text().replace('folder = "audit"', f'folder = "{name}-audit"')
        config.write_text(f"{shared}\n[codec_server]\n{section}")
        config.chmod(0o600)
        output = self.folder / f"{name}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [STRONGROOM, "--config", config, "codec-server"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **WIDE},
            )
        try:
            yield RunningServer(_address(process, output), process, output, self.folder / f"{name}-audit")
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)

    def client(self, server, *, certificate=None, trusted=None, **options):
        """Return an HTTP client that trusts the authority, and has a certificate if one is given."""
        context = ssl.create_default_context(cafile=trusted or self.authority.certificate)
        if certificate is not None:
            context.load_cert_chain(certificate)
        context.maximum_version = options.pop("newest", ssl.TLSVersion.TLSv1_3)
        return httpx.Client(base_url=server.address, verify=context, timeout=SECONDS, trust_env=False, **options)

    def headers(self, *, namespace="first", **claims):
        """Return the headers of Temporal's web interface."""
        return {"Authorization": f"Bearer {self.issuer.token(**claims)}", "X-Namespace": namespace}


@asynccontextmanager
async def codec_bench(databases, folder):
    """Yield a bench on a new database, with its files in a folder."""
    dsn = await databases.create()
    write_config(folder / "strongroom.toml", dsn=dsn)
    config = load_config(folder / "strongroom.toml")
    authority, issuer = Authority(folder, "authority"), Issuer()
    authority.server("127.0.0.1", "localhost")
    (folder / "issuer.pem").write_bytes(issuer.pem)
    (folder / "issuer.pem").chmod(0o600)  # one test gives it as a private key
    (folder / "jwks.json").write_text(json.dumps({"keys": [Issuer().jwk("old"), issuer.jwk("new")]}))
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        ids = {}
        for each in ("first", "second"):
            kek = await strongroom.create_kek(KekRef("local", each))
            ids[each] = (await strongroom.namespaces.create(each, kek=kek)).namespace_id
        yield CodecBench(strongroom, ids, folder, authority, issuer)
    await databases.drop(dsn)


@dataclass
class RunningServer:
    """A server that accepts connections.

    Attributes:
        address: The server's URL.
        process: The server's process.
        output: The file with the server's output.
        audit: The folder of the server's audit log.
    """

    address: str
    process: subprocess.Popen
    output: Path
    audit: Path

    def events(self):
        """Return the audit records of payloads."""
        return [event for event in map(json.loads, read_lines(self.audit)) if event["event"] == "codec"]


def plain(text, **metadata):
    """Return a JSON payload as Temporal's converter makes it."""
    return as_json({"encoding": b"json/plain", **metadata}, json.dumps(text).encode())


def as_json(metadata, data):
    """Return a payload in protobuf's JSON."""
    return {
        "metadata": {name: base64.b64encode(value).decode() for name, value in metadata.items()},
        "data": base64.b64encode(data).decode(),
    }


def data_of(payload):
    """Return the data of a payload in JSON."""
    return base64.b64decode(payload["data"])


def _address(process, output):
    end = monotonic() + SECONDS
    while monotonic() < end and process.poll() is None:
        for line in output.read_text().splitlines():
            if line.startswith("listening on "):
                return line.removeprefix("listening on ").strip()
        sleep(0.05)
    raise AssertionError(output.read_text())
