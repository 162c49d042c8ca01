"""Temporal's web interface, and the codec server that opens sealed payloads for it."""

from __future__ import annotations

import base64
import json
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from .binaries import MODULE, build
from .certificate import Certificate, self_signed
from .processes import accepts, free_ports, start, stopped_at_the_end
from .sealed import STRONGROOM

if TYPE_CHECKING:
    from contextlib import ExitStack

    from .sealed import SealedCell

_ISSUER, _AUDIENCE, _GROUP = "https://login.example.com/", "strongroom-codec", "support"
_HOURS = 12 * 3600


@dataclass(frozen=True, slots=True)
class WebInterface:
    """A running web interface.

    Attributes:
        url: Its address.
        codec: The address of the codec server.
        token: The token that the codec server accepts.
        certificate: The certificate of the codec server.
    """

    url: str
    codec: str
    token: str
    certificate: Certificate


def web_interface(stack: ExitStack, cell: SealedCell, temporal: str, namespace: str) -> WebInterface:
    """Start the interface, and a codec server that opens the payloads of one namespace for it.

    The demonstration signs its own token. In production the company's login does that. The interface sends a token only to a codec
    server with TLS, so the codec server has a certificate.

    Args:
        stack: Stops both at its end.
        cell: The cell.
        temporal: The address of the Temporal frontend.
        namespace: The namespace.
    """
    program = build(".", "temporal-ui", MODULE / "ui")
    codec_port, port, inner_port = free_ports(3)
    certificate = self_signed(cell.folder / "codec.pem", "127.0.0.1")
    token = _token(cell, codec_port, f"http://127.0.0.1:{port}", namespace)
    codec = start("codec-server", [STRONGROOM, "--config", cell.config, "codec-server"], cell.folder)
    stopped_at_the_end(stack, codec).wait_until(lambda: accepts(codec_port), "its socket")
    file = cell.folder / "ui-token"
    file.write_text(token)
    address = f"https://127.0.0.1:{codec_port}"
    options = ["--temporal", temporal, "--port", str(port), "--inner-port", str(inner_port), "--codec", address]
    ui = start("temporal-ui", [program, *options, "--token", file], cell.folder)
    stopped_at_the_end(stack, ui).wait_until(lambda: accepts(port) and accepts(inner_port), "its sockets")
    return WebInterface(f"http://127.0.0.1:{port}", address, token, certificate)


def _token(cell: SealedCell, port: int, origin: str, namespace: str) -> str:
    """Add the codec server to the cell's configuration, and return a token that it accepts."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    keys = cell.folder / "issuer-jwks.json"
    keys.write_text(json.dumps({"keys": [{**public, "kid": "demo", "alg": "ES256", "use": "sig"}]}))
    with cell.config.open("a") as config:
        config.write(
            f'\n[codec_server]\nlisten = "127.0.0.1:{port}"\ncertificate = "codec.pem"\norigins = ["{origin}"]\n'
            f'\n[codec_server.jwt]\nkeys = "{keys.name}"\nissuer = "{_ISSUER}"\naudience = "{_AUDIENCE}"\n'
            f'algorithms = ["ES256"]\nclaim = "groups"\n\n[codec_server.jwt.namespaces]\n{_GROUP} = ["{namespace}"]\n'
        )
    now = int(time.time())
    claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": "demo", "groups": [_GROUP], "iat": now, "exp": now + _HOURS}
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "demo"})


def filter_of(secret: str) -> str:
    """Return the query string of a list of the runs of `TwoActivities` with the planted string."""
    return urlencode({"query": f"Customer = '{secret}' AND WorkflowType = 'TwoActivities'"})


def check_interface(web: WebInterface, namespace: str, secret: str) -> None:
    """Use the interface as its pages do: list runs with a filter, read a history, and open its payloads at the codec server.

    Args:
        web: The interface.
        namespace: The namespace.
        secret: The planted string, which is the search attribute `Customer` of the runs and part of their payloads.

    Raises:
        AssertionError: An answer is not what a person should see.
    """
    base = f"{web.url}/api/v1/namespaces/{namespace}/workflows"
    executions = _json(f"{base}?{filter_of(secret)}")["executions"]
    assert executions, "the interface lists no run"
    execution = executions[0]["execution"]
    history = _json(f"{base}/{quote(execution['workflowId'])}/history?execution.runId={execution['runId']}")
    payloads = history["history"]["events"][0]["workflowExecutionStartedEventAttributes"]["input"]
    assert secret not in json.dumps(payloads), "the server returns a payload in clear"
    opened = _json(
        f"{web.codec}/decode",
        body=payloads,
        headers={"X-Namespace": namespace, "Authorization": f"Bearer {web.token}"},
        tls=ssl.create_default_context(cafile=web.certificate.file),
    )
    text = base64.b64decode(opened["payloads"][0]["data"]).decode()
    assert secret in text, "the codec server did not open the payload"


def _json(
    url: str, *, body: object = None, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, headers={"Content-Type": "application/json", **(headers or {})})  # noqa: S310 - http
    with urlopen(request, timeout=60, context=tls) as answer:  # noqa: S310 - http
        return json.load(answer)
