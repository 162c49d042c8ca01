from __future__ import annotations

import socket
import ssl

import pytest
from aiohttp import web
from azure.identity import aio as identity

from strongroom.kms import (
    InvalidRequest,
    KekRef,
    KmsAuthenticationError,
    KmsUnavailable,
    Wrapped,
)
from strongroom.kms.providers.azure import AzureKeyVaultProvider
from strongroom.kms.providers.azure import client as azure_vault
from strongroom.kms.transport.tls import client_context
from tests.support.kms.azure_server import AzureServer, served
from tests.support.kms.azure_vaults import authority, opened, refusal
from tests.support.kms.fix_azure import TOKEN, StaticCredential
from tests.support.kms.own_ca import make_ca

TENANT = "11111111-2222-3333-4444-555555555555"


# --- trusted servers


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.azure.net",
        "http://localhost:1",
        "vault.azure.net",
        "https://",
        "https://v.vault.azure.net/keys/k",
        "https://v.vault.azure.net/?x=1",
        "https://user@v.vault.azure.net",
        "",
    ],
)
def test_vault_is_named_by_a_bare_https_url(url):
    """Only a plain HTTPS URL of a vault is accepted: no HTTP, and no URL of a key."""
    with pytest.raises(InvalidRequest):
        AzureKeyVaultProvider("vault", url, credential=StaticCredential())


def test_algorithm_is_one_of_two():
    """RSA 1.5 and RSA-OAEP with SHA-1 are refused."""
    for algorithm in ("RSA1_5", "RSA-OAEP", "A128KW", ""):
        with pytest.raises(InvalidRequest):
            AzureKeyVaultProvider(
                "vault", "https://v.vault.azure.net", credential=StaticCredential(), algorithm=algorithm
            )


async def test_key_of_another_vault_is_no_kek_of_this_one(vault):
    """A KEK is a key name, so that a registry row can't send the token to another vault."""
    for key_id in ("https://other.vault.azure.net/keys/k", "k/0123", "k%2F", "ä", "k" * 128):
        error = await refusal(vault.provider.unwrap(Wrapped(KekRef("vault", key_id), "0", b""), context={}))
        assert type(error) is InvalidRequest
    assert vault.server.requests == []


async def test_only_tls_1_3_from_the_right_authority_and_host(tmp_path):
    """Nothing is sent to a server with an older TLS version, another authority or a certificate of another host."""
    ca = authority()
    elsewhere = make_ca(tmp_path, "elsewhere.test")
    for context, trusted in (
        (ca.server_context(newest=ssl.TLSVersion.TLSv1_2), ca.authority),
        (ca.server_context(), elsewhere.authority),
        (elsewhere.server_context(), elsewhere.authority),
    ):
        server = AzureServer(token=TOKEN)
        async with served(server, context):
            tls = client_context(ca_certs=trusted)
            provider = AzureKeyVaultProvider("vault", server.url, credential=StaticCredential(), tls=tls)
            assert type(await refusal(provider.check())) is KmsUnavailable
            await provider.aclose()
            assert server.requests == []


async def test_a_closed_provider_connects_no_more(vault):
    """A late request fails. It would open connections that nothing closes."""
    for used in (True, False):
        provider = AzureKeyVaultProvider(
            "vault", vault.server.url, credential=StaticCredential(), tls=client_context(ca_certs=authority().authority)
        )
        if used:
            await provider.check()
        await provider.aclose()
        sent = len(vault.server.requests)
        assert type(await refusal(provider.check())) is KmsUnavailable
        assert len(vault.server.requests) == sent


@pytest.mark.parametrize(("resource", "asked"), [("https://strongroom.test", True), ("https://vault.azure.net", False)])
async def test_no_token_for_a_service_that_the_vault_is_not_part_of(monkeypatch, resource, asked):
    """A server that requests a token for another service gets none, and no token is fetched."""
    ca, resolve = authority(), socket.getaddrinfo
    host = "vault.strongroom.test"
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *rest, **more: resolve("127.0.0.1" if name == host else name, *rest, **more)
    )
    server = AzureServer(token=TOKEN, resource=resource)
    async with served(server, ca.server_context(), host=host):
        credential, tls = StaticCredential(), client_context(ca_certs=ca.authority)
        server.url = server.url.replace("localhost", host)
        # the SDK's comparison omits the service's port, 443
        provider = AzureKeyVaultProvider("vault", server.url, credential=credential, tls=tls)
        if asked:
            server.challenge = server.challenge.replace(resource, f"{resource}:{server.url.rpartition(':')[2]}")
            await provider.check()
        else:
            assert type(await refusal(provider.check())) is KmsAuthenticationError
        await provider.aclose()
        assert bool(credential.asked) is asked
        assert any(each["authorized"] for each in server.requests) is asked


# --- azure-identity itself


async def test_real_credential_asks_for_the_tenant_and_resource_of_the_challenge():
    """A service principal of azure-identity gets its token. A wrong secret raises KmsAuthenticationError."""
    ca, seen = authority(), []

    async def token(request):
        form = await request.post()
        seen.append((request.path, form["scope"]))
        if "right" not in form.values():
            text = "AADSTS7000215: Invalid client secret provided. Trace ID: 0"
            return web.json_response({"error": "invalid_client", "error_description": text}, status=401)
        return web.json_response({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})

    entra = AzureServer(token="")
    entra.handle = token
    async with served(entra, ca.server_context()):
        for secret, error in (("right", None), ("quite-wrong-secret", KmsAuthenticationError)):
            credential = identity.ClientSecretCredential(
                TENANT,
                "client",
                secret,
                authority=entra.url,
                disable_instance_discovery=True,
                connection_verify=str(ca.authority),
                retry_total=0,
            )
            async with opened(credential=credential) as vault:
                if error is None:
                    await vault.provider.check()
                    continue
                raised = await refusal(vault.provider.check())
                assert (type(raised), raised.provider_code) == (error, "AADSTS7000215")
                assert secret not in str(raised)
    assert seen == [(f"/{TENANT}/oauth2/v2.0/token", "https://vault.azure.net/.default")] * 2


async def test_default_credential_has_no_retries(monkeypatch):
    """The default credential tries each source once, with the vault's timeout."""
    given = {}
    monkeypatch.setattr(azure_vault, "DefaultAzureCredential", lambda **options: given.update(options))
    azure_vault.default_credential()
    assert given == {"retry_total": 0, "connection_timeout": 1.0, "read_timeout": 2.0}
