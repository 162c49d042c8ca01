"""Answers that are not a KMS's answer about a key, such as a proxy's page, never count as a refusal of the key."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing, asynccontextmanager

import grpc
import pytest

from strongroom.kms import (
    AccessDenied,
    KekRef,
    KeyDisabled,
    KeyNotFound,
    KeyringFileError,
    KmsAuthenticationError,
    KmsUnavailable,
    Secret,
    StrongroomError,
    Wrapped,
)
from strongroom.kms.providers.multi.errors import error_of_all
from strongroom.kms.providers.transit import TransitProvider
from tests.support.kms.azure_server import Failure, error_body
from tests.support.kms.gcp_server import Refused

CONTEXT = {"strongroom:version": "1"}
ROOT = Secret(bytes(range(32)))
PAGE = b"<html><body>Access to this site is blocked</body></html>"
STATUSES = [200, 302, 400, 401, 403, 404, 407, 500, 502, 503]
VAULT_KEK = KekRef("vault", "x")
VAULT_WRAPPED = Wrapped(VAULT_KEK, "1", b"vault:v1:" + base64.b64encode(bytes(60)))


@asynccontextmanager
async def answering(status, content):
    """Yield the address of a server that gives the same answer to each request."""

    async def serve(reader, writer):
        await reader.read(65536)
        writer.write(
            b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def calls_of(provider, kek, wrapped):
    """Return each call of a provider."""
    return {
        "unwrap": lambda: provider.unwrap(wrapped, context=CONTEXT),
        "wrap": lambda: provider.wrap(kek, ROOT, context=CONTEXT),
        "describe": lambda: provider.describe(kek),
        "rotate": lambda: provider.rotate_kek(kek),
        "delete": lambda: provider.delete_kek(kek),
        "create": lambda: provider.create_kek(kek.key_id),
        "check": provider.check,
    }


@pytest.mark.parametrize("content", [PAGE, b"", b'{"status": "ok"}'], ids=["html", "empty", "json"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_proxy_in_front_of_openbao(status, content):
    """No page says anything about the key, claims a deletion, or reports a healthy server."""
    async with (
        answering(status, content) as address,
        aclosing(TransitProvider("vault", address, token=lambda: "s.token", insecure=True)) as provider,
    ):
        for name, call in calls_of(provider, VAULT_KEK, VAULT_WRAPPED).items():
            with pytest.raises(StrongroomError) as caught:
                await call()
            assert not caught.value.is_refusal, name


@pytest.mark.parametrize("kms", ["vault"], indirect=True, scope="session")
@pytest.mark.parametrize("case", ["mount", "engine", "token", "namespace"])
async def test_openbao_that_is_not_asked_rightly(kms, kek, case):
    """A wrong mount, another engine under it, an expired token and a wrong namespace are no refusals. A missing key is one."""
    server = kms.administrator.server
    made = await kms.provider.generate_data_key(kek, context=CONTEXT)
    settings = {
        "mount": {"token": server.root_token, "mount": "nowhere"},
        "engine": {"token": server.root_token, "mount": "sys"},
        "token": {"token": "s.madeUpByThisTest"},
        "namespace": {"token": server.root_token, "namespace": "nobody"},
    }[case]
    async with aclosing(kms.administrator.provider(**settings)) as provider:
        for call in (provider.unwrap(made.wrapped, context=CONTEXT), provider.describe(kek)):
            with pytest.raises(StrongroomError) as caught:
                await call
            assert not caught.value.is_refusal
    with pytest.raises(KeyNotFound) as missing:
        await kms.provider.describe(kms.missing)
    assert missing.value.is_refusal


@pytest.mark.parametrize("content", [PAGE.decode(), "", '{"status": "ok"}'], ids=["html", "empty", "json"])
@pytest.mark.parametrize("status", [200, 400, 403, 404, 409, 502])
async def test_a_proxy_in_front_of_key_vault(vault, status, content):
    """Key Vault's errors are JSON with an error. Anything else is an outage."""
    kek = await vault.provider.create_kek("k")
    wrapped = (await vault.provider.generate_data_key(kek, context={})).wrapped
    vault.server.failure = Failure(status, content)
    for name, call in calls_of(vault.provider, kek, wrapped).items():
        with pytest.raises(StrongroomError) as caught:
            await call()
        assert not caught.value.is_refusal, name


@pytest.mark.parametrize(
    ("inner", "is_refusal"), [("ForbiddenByFirewall", False), ("ForbiddenByConnection", False), ("KeyDisabled", True)]
)
async def test_a_firewall_of_key_vault_says_nothing_about_the_key(vault, inner, is_refusal):
    """A vault that refuses this network is an outage; a vault that refuses the key is a refusal."""
    kek = await vault.provider.create_kek("k")
    wrapped = (await vault.provider.generate_data_key(kek, context={})).wrapped
    vault.server.failure = Failure(403, error_body("Forbidden", "Access denied", inner))
    with pytest.raises((AccessDenied, KeyDisabled)) as caught:
        await vault.provider.unwrap(wrapped, context={})
    assert caught.value.is_refusal is is_refusal


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED]
)
async def test_a_proxy_in_front_of_cloud_kms(gcp_double, cloud_kms, gcp_kek, code):
    """GRPC makes a status of a proxy's HTTP status. Its text shows that no KMS has answered."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    proxy = Refused(code, "Received http2 header with status: 403")
    with gcp_double.having(refusing=proxy), pytest.raises(KmsUnavailable) as caught:
        await cloud_kms.unwrap(made, context=CONTEXT)
    assert not caught.value.is_refusal
    refusal = Refused(grpc.StatusCode.PERMISSION_DENIED, "Permission denied on resource")
    with gcp_double.having(refusing=refusal), pytest.raises(AccessDenied) as denied:
        await cloud_kms.unwrap(made, context=CONTEXT)
    assert denied.value.is_refusal


@pytest.mark.parametrize(
    "other", [KmsUnavailable(), KmsAuthenticationError(), KeyringFileError(), KeyNotFound(is_refusal=False)]
)
def test_one_child_that_refuses_is_not_the_multi_kek(other):
    """A KEK of several KMSs is refused only if each child that answered refuses, whatever their order."""
    one, two = KekRef("one", "a"), KekRef("two", "a")
    for errors in ({one: KeyDisabled(), two: other}, {one: other, two: KeyDisabled()}):
        combined = error_of_all("multi", errors)
        assert type(combined) is type(other)
        assert not combined.is_refusal
    assert error_of_all("multi", {one: KeyDisabled(), two: KeyNotFound()}).is_refusal
