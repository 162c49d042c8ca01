"""AWS KMS on moto's server with AWS's semantics (aws_server.py), with all of its faults."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import boto3
from moto.kms.models import kms_backends

from strongroom.kms import (
    AccessDenied,
    KekRef,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    QuotaExceeded,
    Throttled,
)
from strongroom.kms.providers.aws import AwsKmsProvider
from strongroom.kms.providers.aws import client as aws_client
from tests.support.moto_server import running

from . import aws_server
from .kms_bench import Fault, KmsBench
from .own_ca import make_ca

aws_client._CONNECT_SECONDS = aws_client._READ_SECONDS = 20.0  # the server shares its processor with the tests

REGION = "eu-west-1"
ACCOUNT = "123456789012"
SECRETS = ("wJalrXUtnFEMI-K7MDENG-bPxRfiCYSECRETKEY", "IQoJb3JpZ2luX2VjSESSIONTOKEN")


@cache
def session():
    """Credentials. Tests check that no output contains them."""
    return boto3.Session(
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key=SECRETS[0], aws_session_token=SECRETS[1]
    )


def provider_at(address, **settings):
    """A provider that uses a test server."""
    given = {"region": REGION, "endpoint": address, "session": session(), "insecure": str(address).startswith("http:")}
    return AwsKmsProvider("aws-kms", **given | settings)


def running_server(ssl_context=None):
    """Run a server with AWS's semantics."""
    return running(aws_server.AwsServer(ssl_context))


@contextmanager
def tls_server(*, maximum=ssl.TLSVersion.TLSv1_3):
    """Yield a server with a certificate for 127.0.0.1, and the file of its authority."""
    with TemporaryDirectory() as folder:
        ca = make_ca(Path(folder), "127.0.0.1")
        with running_server(ca.server_context(newest=maximum)) as server:
            yield server, ca.authority


class AwsAdministrator:
    """A principal with the rights to disable and enable keys."""

    def __init__(self, server):
        own = boto3.Session(aws_access_key_id="AKIAADMINISTRATOR", aws_secret_access_key="its own")  # noqa: S106 - no secret
        self.client = own.client("kms", region_name=REGION, endpoint_url=server.address)

    async def disable(self, kek):
        """Disable a KEK."""
        await asyncio.to_thread(self.client.disable_key, KeyId=key_of(kek))

    async def enable(self, kek):
        """Enable a KEK again."""
        await asyncio.to_thread(self.client.enable_key, KeyId=key_of(kek))


def key_of(kek):
    """Return the key id without the rest of the ARN."""
    return kek.key_id.rpartition("/")[2]


def sent(server, operation):
    """Return the bodies of the requests for an operation."""
    return [request.body for request in server.requests if request.operation == operation]


def moto_key(kek, region=REGION):
    """Return moto's object for a key."""
    return kms_backends[ACCOUNT][region].keys[key_of(kek)]


def faults_of(server, provider, administrator):  # noqa: C901 - a function for each fault
    """Return every fault of AWS KMS."""

    def answered(error, code="", text="", status=400, retry_after=None, **answer):
        @asynccontextmanager
        async def provoke(_kek):
            server.fault = aws_server.Fault(code, text, status, **answer)
            yield provider
            server.fault = None

        return Fault(error, provoke, retry_after)

    @asynccontextmanager
    async def silent(_kek):
        with server.silence(), patch.object(aws_client, "_READ_SECONDS", 0.1):
            yield provider

    @asynccontextmanager
    async def refused(_kek):
        other = provider_at("http://127.0.0.1:1")
        yield other
        await other.aclose()

    @asynccontextmanager
    async def unknown_authority(_kek):
        with tls_server() as (other_server, _):
            other = provider_at(other_server.address)
            yield other
            await other.aclose()

    @asynccontextmanager
    async def without_credentials(_kek):
        nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
        with patch.dict("os.environ", nowhere):
            other = provider_at(server.address, session=None)
            yield other
            await other.aclose()

    @asynccontextmanager
    async def disabled(kek):
        await administrator.disable(kek)
        yield provider
        await administrator.enable(kek)

    @asynccontextmanager
    async def pending_deletion(kek):
        await provider.delete_kek(kek)
        yield provider
        await asyncio.to_thread(administrator.client.cancel_key_deletion, KeyId=key_of(kek))
        await administrator.enable(kek)

    @asynccontextmanager
    async def without_material(kek):
        moto_key(kek).key_state = "PendingImport"
        yield provider
        moto_key(kek).key_state = "Enabled"

    @asynccontextmanager
    async def deleted(kek):
        keys = kms_backends[ACCOUNT][REGION].keys
        key = keys.pop(key_of(kek))
        yield provider
        keys[key.id] = key

    signed = f"The Canonical String for this request should have been 'x-amz-security-token:{SECRETS[1]}'"
    return {
        "throttled": answered(Throttled, "ThrottlingException", "Rate exceeded"),
        "throttled, with a time": answered(
            Throttled, "ThrottlingException", headers={"Retry-After": "7"}, retry_after=7.0
        ),
        "too many, by a gateway": answered(Throttled, status=429, body=b"slow down"),
        "quota": answered(QuotaExceeded, "LimitExceededException", "over the limit"),
        "access denied": answered(
            AccessDenied, "AccessDeniedException", "User: arn:aws:iam::1:user/a is not authorized"
        ),
        "unknown caller": answered(
            KmsAuthenticationError, "UnrecognizedClientException", "The security token is invalid"
        ),
        "expired token": answered(KmsAuthenticationError, "ExpiredTokenException", "The security token is expired"),
        "wrong signature": answered(KmsAuthenticationError, "InvalidSignatureException", signed, status=403),
        "no credentials": Fault(KmsAuthenticationError, without_credentials),
        "internal error": answered(KmsUnavailable, "KMSInternalException", status=500),
        "time-out inside": answered(KmsUnavailable, "DependencyTimeoutException", status=503),
        "key unavailable": answered(KmsUnavailable, "KeyUnavailableException", status=500),
        "a gateway's error": answered(KmsUnavailable, status=503, body=b"<html>Service KmsUnavailable</html>"),
        "not an answer": answered(KmsUnavailable, status=200, body=b"<html>Sign in to this network</html>"),
        "an empty answer": answered(KmsUnavailable, status=200, body=b"{}"),
        "a broken answer": answered(KmsUnavailable, status=200, body=b'{"Plaintext": "A", "CiphertextBlob": "A"}'),
        "another key's answer": answered(
            KmsUnavailable, status=200, body=b'{"KeyId": "12345678-1234-1234-1234-123456789012"}'
        ),
        "no answer": Fault(KmsTimeout, silent),
        "cut": answered(KmsUnavailable, status=0),
        "refused": Fault(KmsUnavailable, refused),
        "unknown authority": Fault(KmsUnavailable, unknown_authority),
        "disabled": Fault(KeyDisabled, disabled),
        "pending deletion": Fault(KeyPendingDeletion, pending_deletion),
        "without material": Fault(KeyDisabled, without_material),
        "deleted": Fault(KeyNotFound, deleted),
    }


@asynccontextmanager
async def aws_bench():
    """Yield the bench."""
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        provider, administrator = provider_at(server.address), AwsAdministrator(server)
        yield KmsBench(
            name="aws",
            provider=provider,
            missing=KekRef("aws-kms", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-1234-1234-1234-123456789012"),
            deleted=KeyPendingDeletion,
            administrator=administrator,
            faults=faults_of(server, provider, administrator),
            secrets=SECRETS,
        )
        await provider.aclose()
        administrator.client.close()
