from __future__ import annotations

import ssl
import subprocess
import sys
import threading
import time
from unittest.mock import patch
from uuid import UUID

import pytest

from strongroom.kms import (
    InvalidRequest,
    KeyClass,
    KeyContext,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Throttled,
)
from strongroom.kms.providers.aws import AwsKmsProvider
from strongroom.kms.providers.aws import client as aws_client
from strongroom.kms.transport.tls import client_context
from tests.support.kms.aws_server import Fault
from tests.support.kms.fix_aws import REGION, provider_at, running_server, sent, session, tls_server

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
OTHER_REGION = "us-east-2"


async def test_each_request_names_its_key_and_the_context(moto_server, aws_provider, aws_kek):
    """Each request, including Decrypt, names the KEK and passes the encryption context."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    await aws_provider.unwrap(made.wrapped, context=CONTEXT)
    await aws_provider.wrap(aws_kek, made.root, context=CONTEXT)
    await aws_provider.rewrap(made.wrapped, aws_kek, context=CONTEXT)
    for operation in ("GenerateDataKey", "Decrypt", "Encrypt"):
        assert {body["KeyId"] for body in sent(moto_server, operation)} == {aws_kek.key_id}
        assert all(body["EncryptionContext"] == CONTEXT for body in sent(moto_server, operation))
    assert [body["KeySpec"] for body in sent(moto_server, "GenerateDataKey")] == ["AES_256"]
    (body,) = sent(moto_server, "ReEncrypt")
    assert (body["SourceKeyId"], body["DestinationKeyId"]) == (aws_kek.key_id, aws_kek.key_id)
    assert (body["SourceEncryptionContext"], body["DestinationEncryptionContext"]) == (CONTEXT, CONTEXT)
    assert "Plaintext" not in body


@pytest.mark.parametrize(
    "failure", [Fault("ThrottlingException", status=400), Fault("InternalFailure", status=500), Fault()]
)
async def test_the_sdk_does_not_retry(moto_server, aws_provider, aws_kek, failure, monkeypatch):
    """One call sends one request, whatever fails and whatever the environment configures for the SDK."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    other = provider_at(moto_server.address)
    moto_server.requests.clear()
    moto_server.fault = failure
    with pytest.raises((Throttled, KmsUnavailable)):
        await other.unwrap(made.wrapped, context=CONTEXT)
    assert len(moto_server.requests) == 1
    await other.aclose()


async def test_what_takes_longer_than_the_limit_is_a_timeout(moto_server, aws_provider, aws_kek):
    """A server that does not answer within the configured time raises KmsTimeout."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    with moto_server.silence(), patch.object(aws_client, "_READ_SECONDS", 0.2), pytest.raises(KmsTimeout):
        await aws_provider.unwrap(made.wrapped, context=CONTEXT)


def test_a_service_waits_one_second_for_a_connection_and_two_for_an_answer():
    """The timeouts are 1 s for a connection and 2 s for an answer. Only the tests use longer ones."""
    script = "from strongroom.kms.providers.aws import client as a; print(a._CONNECT_SECONDS, a._READ_SECONDS)"
    lines = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert lines.split() == ["1.0", "2.0"]


async def test_the_environment_redirects_nothing(moto_server, aws_kek, monkeypatch):
    """Endpoints and proxies of the environment are ignored, so that they never receive a root."""
    with running_server() as elsewhere:
        for name in (
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_KMS",
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
        ):
            monkeypatch.setenv(name, elsewhere.address)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        other = provider_at(moto_server.address)
        await other.generate_data_key(aws_kek, context=CONTEXT)
        plain = session().client("kms", region_name=REGION)
        plain.list_aliases(Limit=1)  # the control: the plain SDK uses the endpoint
        plain.close()
        assert [request.operation for request in elsewhere.requests] == ["ListAliases"]
        await other.aclose()
    assert sent(moto_server, "GenerateDataKey")


async def test_the_regions_own_endpoint_is_asked_whatever_the_environment_says(monkeypatch):
    """Without a configured endpoint, the SDK's endpoint for the region is used, and the environment's is not."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://elsewhere.test")
    provider = provider_at(None)
    assert provider._aws._client().meta.endpoint_url == f"https://kms.{REGION}.amazonaws.com"
    plain = session().client("kms", region_name=REGION)
    assert plain.meta.endpoint_url == "http://elsewhere.test"  # the control
    plain.close()
    await provider.aclose()


async def test_the_region_is_the_argument_alone(moto_server, aws_provider, monkeypatch):
    """Requests are signed for the configured region, not for a region of the environment."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", OTHER_REGION)
    monkeypatch.setenv("AWS_REGION", OTHER_REGION)
    await aws_provider.check()
    assert f"/{REGION}/kms/aws4_request" in moto_server.requests[-1].headers["HTTP_AUTHORIZATION"]


async def test_credentials_that_come_late_are_found(moto_server, monkeypatch):
    """A process that starts before its credentials exist uses them as soon as the SDK's default chain finds them."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    provider = provider_at(moto_server.address, session=None)
    with pytest.raises(KmsAuthenticationError):
        await provider.check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALATE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "late")
    assert await provider.check()
    assert "AKIALATE" in moto_server.requests[-1].headers["HTTP_AUTHORIZATION"]
    await provider.aclose()


async def test_unwrapping_many_has_sixteen_calls_under_way(moto_server, aws_provider, aws_kek):
    """A hundred roots are unwrapped by a hundred calls, 16 of them at a time."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    lock, full, now, most = threading.Lock(), threading.Event(), [0], [0]

    def counted(request):
        if request.operation == "Decrypt":
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
                if now[0] == 16:
                    full.set()
            full.wait(120)
            time.sleep(0.2)  # time for a seventeenth call
            with lock:
                now[0] -= 1

    moto_server.before = counted
    answers = await aws_provider.unwrap_many([(made.wrapped, CONTEXT)] * 100)
    assert {answer.reveal() for answer in answers} == {made.root.reveal()}
    assert len(sent(moto_server, "Decrypt")) == 100
    assert most[0] == 16


async def test_checking_uses_no_key_and_needs_no_right(moto_server, aws_provider):
    """An authenticated caller passes the check, even without the right to list aliases. Other callers fail it."""
    assert REGION in await aws_provider.check()
    moto_server.fault = Fault("AccessDeniedException", "User: arn:aws:iam::1:user/a is not authorized", 400)
    assert "may not list" in await aws_provider.check()
    moto_server.fault = Fault("UnrecognizedClientException", "The security token is invalid", 400)
    with pytest.raises(KmsAuthenticationError):
        await aws_provider.check()
    assert {request.operation for request in moto_server.requests} == {"ListAliases"}


@pytest.mark.parametrize(
    "settings",
    [
        {"region": ""},
        {"region": "eu-west-1.elsewhere.test/"},
        {"endpoint": "http://kms.test"},
        {"endpoint": "http://kms.test", "insecure": True},
        {"endpoint": "http://127.0.0.1:1"},
        {"insecure": True},
        {"endpoint": "ftp://127.0.0.1"},
        {"deletion_days": 6},
        {"deletion_days": 31},
    ],
)
def test_settings_that_are_refused(settings):
    """Invalid regions, unencrypted endpoints and deletion periods that AWS does not allow are refused."""
    with pytest.raises(InvalidRequest):
        AwsKmsProvider("aws-kms", **{"region": REGION} | settings)


async def test_tls_verifies_the_server():
    """A connection needs a trusted certificate for the host, and TLS 1.3."""
    with tls_server() as (known, authority):
        provider = provider_at(known.address, tls=client_context(ca_certs=authority))
        assert await provider.check()
        stranger = provider_at(known.address)
        with pytest.raises(KmsUnavailable, match="SSLError"):
            await stranger.check()
        by_name = provider_at(known.address.replace("127.0.0.1", "localhost"), tls=client_context(ca_certs=authority))
        with pytest.raises(KmsUnavailable, match="SSLError"):  # the certificate is for 127.0.0.1
            await by_name.check()
        for each in (provider, stranger, by_name):
            await each.aclose()
    with tls_server(maximum=ssl.TLSVersion.TLSv1_2) as (old, authority):
        provider = provider_at(old.address, tls=client_context(ca_certs=authority))
        with pytest.raises(KmsUnavailable, match="SSLError"):
            await provider.check()
        await provider.aclose()
