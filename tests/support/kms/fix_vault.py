"""The Transit provider on a real OpenBao. Its token has only the policies of its documentation page."""

from __future__ import annotations

import signal
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

import httpx
import pytest

from strongroom.kms import (
    AccessDenied,
    InvalidRequest,
    KekRef,
    KeyDisabled,
    KeyNotFound,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Throttled,
)
from strongroom.kms.providers.transit import TransitProvider
from strongroom.kms.providers.transit import client as transit_client
from strongroom.kms.transport.tls import client_context
from tests.support.elasticsearch_node.node import free_ports

from .bao_server import bao_server
from .kms_bench import Fault, KmsBench
from .own_ca import make_ca

if TYPE_CHECKING:
    from .bao_server import BaoServer

BLOCKED_SECONDS = 30
SHORT_SECONDS = 0.5
"""Timeout of a server that is stopped."""
MADE_UP = "s.madeUpByTheTestOfFaults"


@dataclass(frozen=True, slots=True)
class VaultAdministrator:
    """The administrator with the root token.

    Attributes:
        server: The bench's server.
    """

    server: BaoServer

    async def disable(self, kek: KekRef) -> None:
        """Soft-delete a key."""
        self.server.request("DELETE", f"transit/keys/{kek.key_id}/soft-delete")

    async def enable(self, kek: KekRef) -> None:
        """Restore a soft-deleted key."""
        self.server.request("POST", f"transit/keys/{kek.key_id}/soft-delete-restore")

    def provider(self, token=None, *, token_source=None, address=None, authority=None, **settings):
        """Return another provider on the same server. Without a token, it gets one with all policies of the page."""
        token = token or self.server.token("strongroom-use", "strongroom-manage")
        return TransitProvider(
            "vault",
            address or self.server.address,
            token=token_source or (lambda: token),
            tls=client_context(ca_certs=authority or self.server.authority),
            **settings,
        )


@asynccontextmanager
async def vault_bench():
    """Yield the bench."""
    with bao_server() as server:
        administrator = VaultAdministrator(server)
        token = server.token("strongroom-use", "strongroom-manage")
        async with aclosing(administrator.provider(token)) as provider:
            yield KmsBench(
                name="vault",
                provider=provider,
                missing=KekRef("vault", "absent"),
                deleted=KeyNotFound,
                administrator=administrator,
                faults=_faults(administrator, provider, token),
                secrets=(token, server.root_token, MADE_UP),
            )


def _faults(administrator, provider, token):
    server = administrator.server

    def another(**settings):
        """Return a fault that yields another provider, which is made when the fault is provoked."""

        @asynccontextmanager
        async def asked(_kek):
            async with aclosing(administrator.provider(**{name: value() for name, value in settings.items()})) as made:
                yield made

        return asked

    @asynccontextmanager
    async def soft_deleted(kek):
        await administrator.disable(kek)
        try:
            yield provider
        finally:
            await administrator.enable(kek)

    @asynccontextmanager
    async def sealed(_kek):
        server.seal()
        try:
            yield provider
        finally:
            server.unseal()

    @asynccontextmanager
    async def stopped(kek):
        async with aclosing(administrator.provider(token)) as made:
            await made.describe(kek)  # opens the connection, for which a busy machine may need long
            made._client._pool.client.timeout = httpx.Timeout(SHORT_SECONDS)
            server.program.send(signal.SIGSTOP)
            try:
                with patch.multiple(transit_client, CONNECT_SECONDS=SHORT_SECONDS, READ_SECONDS=SHORT_SECONDS):
                    yield made
            finally:
                server.program.send(signal.SIGCONT)

    @asynccontextmanager
    async def foreign_authority(_kek):
        with TemporaryDirectory() as folder:
            made = administrator.provider(authority=make_ca(Path(folder), "127.0.0.1").authority)
        async with aclosing(made):
            yield made

    def limited(*, told):
        @asynccontextmanager
        async def blocked(kek):
            server.request("POST", "sys/quotas/config", {"enable_rate_limit_response_headers": told})
            limit = {"path": "transit/", "rate": 1, "interval": 600, "block_interval": BLOCKED_SECONDS}
            server.request("POST", "sys/quotas/rate-limit/test", limit)
            server.raw("GET", f"transit/keys/{kek.key_id}")  # the one request that is allowed
            try:
                yield provider
            finally:
                server.request("DELETE", "sys/quotas/rate-limit/test")

        return blocked

    def revoked():
        token = server.token("strongroom-use")
        server.request("POST", "auth/token/revoke", {"token": token})
        return token

    return {
        "soft-deleted": Fault(KeyDisabled, soft_deleted),
        "no rights": Fault(AccessDenied, another(token=lambda: server.token("default"))),
        "made up token": Fault(KmsAuthenticationError, another(token=lambda: MADE_UP)),
        "revoked token": Fault(KmsAuthenticationError, another(token=revoked)),
        "rate limit": Fault(Throttled, limited(told=False)),
        "rate limit that says when": Fault(
            Throttled, limited(told=True), retry_after=pytest.approx(BLOCKED_SECONDS, abs=5)
        ),
        "sealed": Fault(KmsUnavailable, sealed),
        "nobody there": Fault(KmsUnavailable, another(address=lambda: f"https://127.0.0.1:{free_ports(1)[0]}")),
        "not its authority": Fault(KmsUnavailable, foreign_authority),
        "no answer": Fault(KmsTimeout, stopped),
        "no such mount": Fault(InvalidRequest, another(token=lambda: server.root_token, mount=lambda: "nowhere")),
    }
