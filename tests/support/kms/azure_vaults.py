"""A vault for one test, with a provider that uses it."""

from __future__ import annotations

import atexit
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from strongroom.kms import StrongroomError
from strongroom.kms.providers.azure import AzureKeyVaultProvider
from strongroom.kms.transport.tls import client_context

from .azure_server import AzureServer, prepare, served
from .fix_azure import HOSTS, PATIENT, TOKEN, StaticCredential
from .own_ca import make_ca


@cache
def authority():
    """Return an authority, and a certificate for the hosts of these tests."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    return make_ca(Path(folder.name), *HOSTS)


@asynccontextmanager
async def opened(*, algorithm="A256KW", credential=None, **timeouts):
    """Serve a vault, or an HSM, whose AES keys are faster to make."""
    await prepare(algorithm)
    server = AzureServer(token=TOKEN)
    ca = authority()
    async with served(server, ca.server_context()):
        credential = credential or StaticCredential()
        provider = AzureKeyVaultProvider(
            "vault",
            server.url,
            credential=credential,
            algorithm=algorithm,
            tls=client_context(ca_certs=ca.authority),
            **(PATIENT | timeouts),
        )
        try:
            yield SimpleNamespace(server=server, provider=provider, credential=credential)
        finally:
            await provider.aclose()


async def refusal(call):
    """Return the provider's error that a call raises."""
    with pytest.raises(StrongroomError) as caught:
        await call
    return caught.value
