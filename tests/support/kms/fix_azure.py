"""Azure Key Vault, or a Managed HSM, on the server of azure_server.py."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from strongroom.kms import (
    AccessDenied,
    KekRef,
    KeyDisabled,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Throttled,
)
from strongroom.kms.transport.tls import client_context

from .kms_bench import Fault, KmsBench

TOKEN = "eyJ0-a-token-that-nobody-may-see"  # noqa: S105 - a token for a server in this process
PATIENT = {"connect_seconds": 30.0, "read_seconds": 30.0}  # server and client share a process on a busy machine
HOSTS = ("localhost", "vault.strongroom.test")

DISABLED = "Operation unwrapKey is not allowed on a disabled key."
BY_RBAC = (
    "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role "
    "definitions were changed recently, please observe propagation time.\r\nCaller: appid=0;oid=0;iss=https://sts/\r\n"
    "Action: 'Microsoft.KeyVault/vaults/keys/unwrap/action'\r\nAssignment: (not found)\r\n"
)
BY_POLICY = (
    "The user, group or application 'appid=0;oid=0;iss=https://sts/' does not have keys unwrapKey permission on key "
    "vault 'vault;location=westeurope'."
)
BY_FIREWALL = "Client address is not authorized and caller is not a trusted service.\r\nClient address: 192.0.2.1\r\n"


class StaticCredential:
    """A credential whose token does not change. It records the scopes that it is asked for."""

    def __init__(self, token=TOKEN):
        self.token = token
        self.asked = []
        self.closed = False

    async def get_token(self, *scopes, **options):
        """Return the token."""
        access_token = import_module("azure.core.credentials").AccessToken
        self.asked.append((scopes, options.get("tenant_id")))
        return access_token(self.token, int(time.time()) + 3600)

    async def close(self):
        """Do nothing: there is nothing to close."""
        self.closed = True


def modules():
    """Return the server's and the provider's modules."""
    provider = import_module("strongroom.kms.providers.azure.key_vault").AzureKeyVaultProvider
    return import_module("tests.support.kms.azure_server"), provider


@asynccontextmanager
async def azure_bench(name="azure", algorithm="RSA-OAEP-256"):  # noqa: C901 - a function for each fault
    """Yield the bench."""
    azure_server, provider_class = modules()
    make_ca = import_module("tests.support.kms.own_ca").make_ca
    error_body = azure_server.error_body
    await azure_server.prepare(algorithm)
    with TemporaryDirectory() as folder:
        ca = make_ca(Path(folder), *HOSTS)
        server = azure_server.AzureServer(token=TOKEN)
        async with azure_server.served(server, ca.server_context()):
            tls = client_context(ca_certs=ca.authority)

            def asking(url=server.url, **options):
                options = PATIENT | options
                return provider_class(
                    "azure-keyvault", url, credential=StaticCredential(), algorithm=algorithm, tls=tls, **options
                )

            provider = asking()

            def fails(status, content, **headers):
                headers = {key.replace("_", "-"): value for key, value in headers.items()}

                @asynccontextmanager
                async def provoke(_kek):
                    server.failure = azure_server.Failure(status, content, headers)
                    yield provider
                    server.failure = None

                return provoke

            @asynccontextmanager
            async def deleted(kek):
                server.delete(kek.key_id)
                versions = server.gone.pop(kek.key_id)
                yield provider
                del server.deleted[kek.key_id]
                server.keys[kek.key_id] = versions

            @asynccontextmanager
            async def dropped(_kek):
                server.drop = True
                yield provider
                server.drop = False

            @asynccontextmanager
            async def refused(_kek):
                nobody = asking("https://localhost:1")
                yield nobody
                await nobody.aclose()

            @asynccontextmanager
            async def hanging(_kek):
                hurried = asking(read_seconds=0.2)
                server.hang = asyncio.Event()
                yield hurried
                await hurried.aclose()
                server.hang.set()
                server.hang = None

            forbidden = {
                "KeyDisabled": (KeyDisabled, DISABLED),
                "ForbiddenByRbac": (AccessDenied, BY_RBAC),
                "ForbiddenByPolicy": (AccessDenied, BY_POLICY),
                "ForbiddenByFirewall": (AccessDenied, BY_FIREWALL),
                "KeyOperationForbidden": (AccessDenied, "Operation unwrapKey is not permitted on this key."),
            }
            faults = {
                inner: Fault(error, fails(403, error_body("Forbidden", text, inner)))
                for inner, (error, text) in forbidden.items()
            }
            unauthorized = error_body("Unauthorized", "AKV10022: Invalid audience.")
            throttled = error_body("Throttled", "Request was not processed because too many requests were received.")
            faults |= {
                "deleted": Fault(KeyPendingDeletion, deleted),
                "unauthorized": Fault(
                    KmsAuthenticationError, fails(401, unauthorized, WWW_Authenticate=server.challenge)
                ),
                "throttled": Fault(Throttled, fails(429, throttled, Retry_After="7"), retry_after=7.0),
                "throttled, silent": Fault(Throttled, fails(429, throttled)),
                "internal error": Fault(KmsUnavailable, fails(500, error_body("InternalServerError", "Oops."))),
                "gateway": Fault(KmsUnavailable, fails(502, "<html>Bad Gateway</html>")),
                "busy": Fault(KmsUnavailable, fails(503, error_body("ServiceUnavailable", ""), Retry_After="3"), 3.0),
                "moved": Fault(KmsUnavailable, fails(307, None, Location=f"{server.url}/keys")),
                "connection dropped": Fault(KmsUnavailable, dropped),
                "connection refused": Fault(KmsUnavailable, refused),
                "no answer": Fault(KmsTimeout, hanging),
            }

            class Hands:
                """The administrator of the vault."""

                async def disable(self, kek):
                    """Disable every version."""
                    for version in server.keys[kek.key_id]:
                        version.enabled = False

                async def enable(self, kek):
                    """Enable every version again."""
                    for version in server.keys[kek.key_id]:
                        version.enabled = True

            yield KmsBench(
                name=name,
                provider=provider,
                missing=KekRef("azure-keyvault", "absent"),
                deleted=KeyPendingDeletion,
                administrator=Hands(),
                faults=faults,
                secrets=(TOKEN,),
            )
            await provider.aclose()
