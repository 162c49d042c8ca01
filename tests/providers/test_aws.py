from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import UUID

import pytest

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyClass,
    KeyConflict,
    KeyContext,
    KeyNotFound,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    QuotaExceeded,
    Secret,
    Throttled,
    UnsupportedOperation,
)

if os.environ.get("REQUIRE_SERVICES") != "1":
    pytest.importorskip("boto3", reason="no boto3: pip install 'strongroom[aws]'")
    pytest.importorskip("moto.server", reason="no moto: pip install 'moto[server]'")

from botocore.exceptions import ClientError, ParamValidationError
from moto.kms.models import kms_backends

from strongroom.kms.providers.aws import AwsKmsProvider
from strongroom.kms.providers.aws import client as aws_client
from strongroom.kms.providers.aws.errors import error_of
from strongroom.kms.providers.aws.key_id import AwsKeyId
from strongroom.kms.transport.tls import client_context
from tests.support.kms.aws_server import ROTATIONS, Fault
from tests.support.kms.fix_aws import (
    ACCOUNT,
    REGION,
    SECRETS,
    AwsAdministrator,
    key_of,
    moto_key,
    provider_at,
    running_server,
    session,
    tls_server,
)

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
OTHER_REGION = "us-east-2"


@pytest.fixture(scope="module")
def moto_server():
    with running_server() as running:
        yield running


@pytest.fixture
async def aws_provider(moto_server):
    moto_server.requests.clear()
    made = provider_at(moto_server.address, deletion_days=7)
    yield made
    moto_server.fault, moto_server.before = None, lambda _request: None
    await made.aclose()


@pytest.fixture
async def administrator(moto_server):
    made = AwsAdministrator(moto_server)
    yield made.client
    made.client.close()


@pytest.fixture
async def aws_kek(aws_provider):
    return await aws_provider.create_kek(f"own-{time.monotonic_ns()}")


def sent(server, operation):
    """The bodies of an operation's requests."""
    return [request.body for request in server.requests if request.operation == operation]


# --- what is sent


async def test_each_request_names_its_key_and_the_context(moto_server, aws_provider, aws_kek):
    """The KEK is named to AWS in each request, on unwrapping as well, and the encryption context is AWS's own."""
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
    """One call is one request, whatever goes wrong and whatever the environment configures for the SDK."""
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


async def test_what_takes_longer_than_two_seconds_is_a_timeout(moto_server, aws_provider, aws_kek):
    """A server that is silent is given up after the seconds that are set for it."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    moto_server.fault = Fault("KMSInternalException", status=500, pause=5)
    with patch.object(aws_client, "_READ_SECONDS", 2.0):
        started = time.monotonic()
        with pytest.raises(KmsTimeout):
            await aws_provider.unwrap(made.wrapped, context=CONTEXT)
    assert 1.9 < time.monotonic() - started < 4.5


def test_a_service_waits_one_second_for_a_connection_and_two_for_an_answer():
    """The constants that a service runs with are those of the design; the tests themselves are more patient."""
    script = "from strongroom.kms.providers.aws import client as a; print(a._CONNECT_SECONDS, a._READ_SECONDS)"
    lines = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert lines.split() == ["1.0", "2.0"]


async def test_the_environment_redirects_nothing(moto_server, aws_kek, monkeypatch):
    """Neither an endpoint nor a proxy from the environment sees a root."""
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
        plain.list_aliases(Limit=1)  # the control: the SDK as it comes goes there
        plain.close()
        assert [request.operation for request in elsewhere.requests] == ["ListAliases"]
        await other.aclose()
    assert sent(moto_server, "GenerateDataKey")


async def test_the_regions_own_endpoint_is_asked_whatever_the_environment_says(monkeypatch):
    """Without an address of ours the SDK's endpoint for the region is asked, not one from the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://elsewhere.test")
    provider = provider_at(None)
    assert provider._aws._client().meta.endpoint_url == f"https://kms.{REGION}.amazonaws.com"
    plain = session().client("kms", region_name=REGION)
    assert plain.meta.endpoint_url == "http://elsewhere.test"  # the control
    plain.close()
    await provider.aclose()


async def test_the_region_is_the_argument_alone(moto_server, aws_provider, monkeypatch):
    """The signature is made for the region that was configured, not for one from the environment."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", OTHER_REGION)
    monkeypatch.setenv("AWS_REGION", OTHER_REGION)
    await aws_provider.check()
    assert f"/{REGION}/kms/aws4_request" in moto_server.requests[-1].headers["HTTP_AUTHORIZATION"]


async def test_credentials_that_come_late_are_found(moto_server, monkeypatch):
    """A process that starts before its credentials are there works once they are; the SDK's usual chain finds them."""
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
    """AWS has no batch: a hundred roots are a hundred calls, 16 at a time and not one after another."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    lock, full, now, most = threading.Lock(), threading.Event(), [0], [0]

    def counted(request):
        if request.operation == "Decrypt":
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
                if now[0] == 16:
                    full.set()
            full.wait(20)
            time.sleep(0.2)  # in which a seventeenth could come
            with lock:
                now[0] -= 1

    moto_server.before = counted
    answers = await aws_provider.unwrap_many([(made.wrapped, CONTEXT)] * 100)
    assert {answer.reveal() for answer in answers} == {made.root.reveal()}
    assert len(sent(moto_server, "Decrypt")) == 100
    assert most[0] == 16


async def test_checking_uses_no_key_and_needs_no_right(moto_server, aws_provider):
    """A caller whom AWS knows passes the check even if it may not list aliases; one whom it does not know does not pass."""
    assert REGION in await aws_provider.check()
    moto_server.fault = Fault("AccessDeniedException", "User: arn:aws:iam::1:user/a is not authorized", 400)
    assert "may not list" in await aws_provider.check()
    moto_server.fault = Fault("UnrecognizedClientException", "The security token is invalid", 400)
    with pytest.raises(KmsAuthenticationError):
        await aws_provider.check()
    assert {request.operation for request in moto_server.requests} == {"ListAliases"}


# --- how a KEK is named


@pytest.mark.parametrize(
    "text",
    [
        "12345678-1234-1234-1234-123456789012",
        "mrk-0123456789abcdef0123456789abcdef",
        "alias/strongroom-a/b_c",
        "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012",
        "arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/a",
    ],
)
def test_names_that_aws_has_are_taken(text):
    """Each of AWS's four forms is a name, and may be part of a KEK's URI."""
    assert AwsKeyId.parse(KekRef.parse(f"aws-kms:{text}").key_id).text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alias/",
        "customer-a",
        "12345678-1234-1234-1234-12345678901",
        "12345678-1234-1234-1234-123456789012\n",
        "arn:aws:s3:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012",
        "arn:aws:kms:eu-west-1:123456789012:12345678-1234-1234-1234-123456789012",
        "arn:aws:kms:eu-west-1@elsewhere:123456789012:alias/a",
    ],
)
async def test_other_names_reach_nobody(moto_server, aws_provider, text):
    """What is no name of a key is refused here, and sent nowhere."""
    with pytest.raises(InvalidRequest):
        await aws_provider.generate_data_key(KekRef("aws-kms", text), context=CONTEXT)
    assert not moto_server.requests


async def test_each_form_of_a_name_is_the_same_key(aws_provider, administrator, aws_kek):
    """Key id, ARN, alias and alias ARN wrap with the same key, and what a wrapped key names unwraps it."""
    alias = f"alias/form-{time.monotonic_ns()}"
    administrator.create_alias(AliasName=alias, TargetKeyId=key_of(aws_kek))
    for name in (key_of(aws_kek), aws_kek.key_id, alias, f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"):
        made = await aws_provider.generate_data_key(KekRef("aws-kms", name), context=CONTEXT)
        assert made.wrapped.kek.key_id == (aws_kek.key_id if "alias" in name else name)
        assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
        assert (await aws_provider.describe(KekRef("aws-kms", name))).state == "enabled"


async def test_an_alias_may_be_moved(aws_provider, administrator, aws_kek):
    """What was wrapped under an alias opens after the alias means another key: it names the key that the alias meant."""
    name = KekRef("aws-kms", f"alias/moved-{time.monotonic_ns()}")
    administrator.create_alias(AliasName=name.key_id, TargetKeyId=key_of(aws_kek))
    old = await aws_provider.generate_data_key(name, context=CONTEXT)
    given = await aws_provider.wrap(name, old.root, context=CONTEXT)
    later = await aws_provider.create_kek(f"later-{time.monotonic_ns()}")
    administrator.update_alias(AliasName=name.key_id, TargetKeyId=key_of(later))
    assert old.wrapped.kek == given.kek == aws_kek
    for wrapped in (old.wrapped, given):
        assert (await aws_provider.unwrap(wrapped, context=CONTEXT)).reveal() == old.root.reveal()
        with pytest.raises(IntegrityError):  # the control: named by the alias it would be lost
            await aws_provider.unwrap(dataclasses.replace(wrapped, kek=name), context=CONTEXT)
    moved = await aws_provider.rewrap(old.wrapped, name, context=CONTEXT)
    assert moved.kek == later
    assert (await aws_provider.unwrap(moved, context=CONTEXT)).reveal() == old.root.reveal()


async def test_an_alias_is_rotated_described_and_deleted(aws_provider, administrator, aws_kek):
    """Operations for which AWS takes no alias are done to the key that it means."""
    name = KekRef("aws-kms", f"alias/life-{time.monotonic_ns()}")
    administrator.create_alias(AliasName=name.key_id, TargetKeyId=key_of(aws_kek))
    version = await aws_provider.rotate_kek(name)
    assert (
        (await aws_provider.describe(name)).primary_version
        == (await aws_provider.describe(aws_kek)).primary_version
        == version
    )
    assert (await aws_provider.delete_kek(name)).kek == name
    assert (await aws_provider.describe(aws_kek)).state == "pending_deletion"


async def test_a_multi_region_key_opens_in_its_other_region(moto_server, administrator):
    """A root wrapped in one region opens in another one that has a replica, though its KEK's ARN names the first."""
    here = provider_at(moto_server.address, multi_region=True)
    there = provider_at(moto_server.address, region=OTHER_REGION)
    kek = await here.create_kek(f"mrk-{time.monotonic_ns()}")
    assert key_of(kek).startswith("mrk-")
    made = await here.generate_data_key(kek, context=CONTEXT)
    with pytest.raises(KeyNotFound):
        await there.unwrap(made.wrapped, context=CONTEXT)
    administrator.replicate_key(KeyId=key_of(kek), ReplicaRegion=OTHER_REGION)
    assert (await there.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    moved = await there.rewrap(made.wrapped, kek, context=CONTEXT)
    assert moved.kek == kek
    assert (await here.unwrap(moved, context=CONTEXT)).reveal() == made.root.reveal()
    await here.aclose()
    await there.aclose()


async def test_a_key_of_another_region_is_not_asked_for_here(moto_server, aws_kek):
    """A key of one region only is not found in another one, without a request that would carry its name there."""
    other = provider_at(moto_server.address, region=OTHER_REGION)
    moto_server.requests.clear()
    with pytest.raises(KeyNotFound, match=REGION):
        await other.generate_data_key(aws_kek, context=CONTEXT)
    assert not moto_server.requests
    await other.aclose()


# --- life of a KEK


async def test_two_at_once_make_one_key(moto_server, aws_provider, administrator):
    """Of two who make a KEK of one name at once both get the same, and the key of the other one is deleted."""
    other, together = provider_at(moto_server.address), threading.Barrier(2, timeout=20)

    def meet(request):
        if request.operation == "CreateAlias":
            together.wait()

    moto_server.before = meet
    name = f"race-{time.monotonic_ns()}"
    first, second = await asyncio.gather(aws_provider.create_kek(name), other.create_kek(name))
    assert first == second
    assert len(sent(moto_server, "CreateKey")) == 2
    (spare,) = [body["KeyId"] for body in sent(moto_server, "ScheduleKeyDeletion")]
    assert spare != first.key_id
    assert (await aws_provider.describe(first)).state == "enabled"
    assert (await aws_provider.describe(KekRef("aws-kms", spare))).state == "pending_deletion"
    assert administrator.describe_key(KeyId=f"alias/strongroom-{name}")["KeyMetadata"]["Arn"] == first.key_id
    await other.aclose()


async def test_a_key_without_its_alias_is_not_left_behind(moto_server, aws_provider):
    """A principal that may make keys but not name them is refused, and leaves no key that costs money and is never found."""
    moto_server.before = lambda request: (
        Fault("AccessDeniedException", "not authorized to perform: kms:CreateAlias", 400)
        if request.operation == "CreateAlias"
        else None
    )
    with pytest.raises(AccessDenied):
        await aws_provider.create_kek(f"unnamed-{time.monotonic_ns()}")
    (body,) = sent(moto_server, "ScheduleKeyDeletion")
    assert body["PendingWindowInDays"] == 7


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ü", "a" * 201, "a\n"])
async def test_names_that_make_no_alias(moto_server, aws_provider, name):
    """A name that AWS would not take as an alias is refused before a key is made."""
    with pytest.raises(InvalidRequest):
        await aws_provider.create_kek(name)
    assert not moto_server.requests


async def test_versions_are_aws_key_materials(aws_provider, aws_kek):
    """Each rotation is a version; all are listed, the oldest first; a root names the version that wrapped it."""
    made = []
    for _ in range(4):
        made.append((await aws_provider.generate_data_key(aws_kek, context=CONTEXT)).wrapped)
        await aws_provider.rotate_kek(aws_kek)
    given = await aws_provider.wrap(aws_kek, Secret(bytes(32)), context=CONTEXT)
    info = await aws_provider.describe(aws_kek)
    assert [wrapped.kek_version for wrapped in (*made, given)] == list(info.versions)
    assert info.primary_version == given.kek_version == info.versions[-1]
    assert len(set(info.versions)) == 5


async def test_a_root_is_not_opened_by_another_version_than_it_names(aws_provider, aws_kek):
    """A registry in which versions were exchanged opens nothing, by unwrapping or re-wrapping."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    version = await aws_provider.rotate_kek(aws_kek)
    wrong = dataclasses.replace(made.wrapped, kek_version=version)
    with pytest.raises(IntegrityError):
        await aws_provider.unwrap(wrong, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await aws_provider.rewrap(wrong, aws_kek, context=CONTEXT)


async def test_a_rotation_is_waited_for_and_not_begun_twice(moto_server, aws_provider, aws_kek):
    """AWS rotates in the background. The new version is returned once it wraps, despite failed requests; a late one is a conflict."""
    asked = []

    def fails_once(request):
        if request.operation == "DescribeKey":
            asked.append(request)
            return Fault("ThrottlingException", "Rate exceeded", 400) if len(asked) == 2 else None
        return None

    moto_server.before = fails_once
    version = await aws_provider.rotate_kek(aws_kek)
    assert (await aws_provider.generate_data_key(aws_kek, context=CONTEXT)).wrapped.kek_version == version
    assert len(sent(moto_server, "RotateKeyOnDemand")) == 1
    hasty = provider_at(moto_server.address, rotation_seconds=0.05)
    with pytest.raises(KeyConflict, match="has begun"):
        await hasty.rotate_kek(aws_kek)
    await hasty.aclose()


async def test_rotations_run_out(aws_provider, aws_kek):
    """AWS rotates a key on demand 25 times; after that it says so, and that is not a request to slow down."""
    await aws_provider.rotate_kek(aws_kek)
    key = moto_key(aws_kek)
    key.materials += [dataclasses.replace(key.materials[-1], id=bytes([n]) * 32) for n in range(ROTATIONS)]
    with pytest.raises(QuotaExceeded):
        await aws_provider.rotate_kek(aws_kek)


async def test_a_key_that_does_not_rotate_has_one_version(aws_provider, aws_kek):
    """A key in a custom key store has no named material: its version is 1, and to rotate it is refused."""
    moto_key(aws_kek).custom_store = True
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    given = await aws_provider.wrap(aws_kek, made.root, context=CONTEXT)
    assert (made.wrapped.kek_version, given.kek_version) == ("1", "1")
    assert (await aws_provider.describe(aws_kek)).versions == ("1",)
    assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
    with pytest.raises(UnsupportedOperation):
        await aws_provider.rotate_kek(aws_kek)
    moto_key(aws_kek).custom_store = False  # should AWS come to name it, what was wrapped before still opens
    assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()


async def test_deletion_waits_as_configured_and_is_told(moto_server, aws_provider, aws_kek):
    """A deletion is scheduled with the days that were configured; its date is returned; a second deletion changes nothing."""
    info = await aws_provider.delete_kek(aws_kek)
    assert [body["PendingWindowInDays"] for body in sent(moto_server, "ScheduleKeyDeletion")] == [7]
    left = info.deletion_at - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert info.deletion_at.tzinfo is UTC
    assert info.versions == ()
    assert await aws_provider.delete_kek(aws_kek) == info
    assert len(sent(moto_server, "ScheduleKeyDeletion")) == 1


async def test_a_key_that_was_deleted_is_not_found(aws_provider, aws_kek):
    """After the waiting period AWS does not know the key, and no caller can find it."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    await aws_provider.delete_kek(aws_kek)
    del kms_backends[ACCOUNT][REGION].keys[key_of(aws_kek)]
    for call in (
        aws_provider.unwrap(made.wrapped, context=CONTEXT),
        aws_provider.describe(aws_kek),
        aws_provider.delete_kek(aws_kek),
    ):
        with pytest.raises(KeyNotFound):
            await call


@pytest.mark.parametrize("state", ["PendingImport", "Unavailable", "Creating"])
async def test_states_that_have_no_name_of_ours(aws_provider, aws_kek, state):
    """A key that can't be used and may come back is disabled, not lost."""
    moto_key(aws_kek).key_state = state
    assert (await aws_provider.describe(aws_kek)).state == "disabled"


# --- what is refused at once


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
    """A region that is no region, an address to which keys would go in clear, a deletion that AWS would not do."""
    with pytest.raises(InvalidRequest):
        AwsKmsProvider("aws-kms", **{"region": REGION} | settings)


async def test_tls_verifies_the_server():
    """A server is spoken to if its certificate is known, and by TLS 1.3."""
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


# --- secrecy


async def test_the_sdk_says_nothing_of_keys_at_debug(moto_server, aws_provider, aws_kek, caplog):
    """With every logger at DEBUG no root, session token or signature is written for us; the SDK as it comes does write them."""
    caplog.set_level(logging.DEBUG)
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    root = Secret(b"a root that a log may never hold")
    await aws_provider.wrap(aws_kek, root, context=CONTEXT)
    await aws_provider.unwrap(made.wrapped, context=CONTEXT)
    await aws_provider.rewrap(made.wrapped, aws_kek, context=CONTEXT)
    requests = [request.body for request in moto_server.requests]
    hidden = [*SECRETS, *(body["Plaintext"] for body in requests if "Plaintext" in body)]
    assert len(hidden) == 3
    assert not any(text in caplog.text for text in hidden)
    assert "AWS4-HMAC-SHA256" not in caplog.text
    plain = session().client("kms", region_name=REGION, endpoint_url=moto_server.address)
    plain.encrypt(KeyId=aws_kek.key_id, Plaintext=root.reveal(), EncryptionContext=CONTEXT)
    plain.close()
    assert all(text in caplog.text for text in hidden[1:])


async def test_errors_refer_to_nothing_of_the_sdk(moto_server, aws_provider, aws_kek):
    """An error carries no exception of the SDK, whose request would show the root and the token to a reader."""
    for fault in (Fault("ThrottlingException", status=400), Fault()):
        moto_server.fault = fault
        with pytest.raises((Throttled, KmsUnavailable)) as caught:
            await aws_provider.wrap(aws_kek, Secret(bytes(32)), context=CONTEXT)
        assert (caught.value.__context__, caught.value.__cause__) == (None, None)


async def test_errors_tell_the_code_and_the_request(moto_server, aws_provider, aws_kek):
    """AWS's own name of an error and the request's id are in the error, for a search in AWS's log."""
    moto_server.fault = Fault("AccessDeniedException", "User: arn:aws:iam::1:user/a is not authorized", 400)
    with pytest.raises(AccessDenied, match="arn:aws:iam::1:user/a") as caught:
        await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    assert (caught.value.provider_code, caught.value.request_id) == ("AccessDeniedException", "6f5c1a")


async def test_texts_that_repeat_the_request_are_not_repeated(moto_server, aws_provider, aws_kek):
    """Texts of AWS that hold values of the request, or the signed request itself, are left out of the error."""
    for code in ("ValidationException", "InvalidSignatureException", "SomethingNewException"):
        moto_server.fault = Fault(code, f"Value '{SECRETS[1]}' at 'encryptionContext'", 400)
        with pytest.raises((InvalidRequest, KmsAuthenticationError)) as caught:
            await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
        assert SECRETS[1] not in str(caught.value)
        assert code in str(caught.value)


def test_a_role_that_may_not_be_assumed_is_a_question_of_credentials():
    """AWS's refusal of the role that the SDK wanted to assume is not one of the key."""
    answer = {"Error": {"Code": "AccessDenied", "Message": "not authorized to perform: sts:AssumeRole"}}
    assert type(error_of(ClientError(answer, "AssumeRole"), "kek", "Decrypt")) is KmsAuthenticationError
    assert type(error_of(ClientError(answer, "Decrypt"), "kek", "Decrypt")) is AccessDenied


def test_what_the_sdk_refuses_is_not_repeated():
    """A parameter that the SDK itself refuses is an invalid request, without the parameter."""
    error = error_of(ParamValidationError(report="Plaintext: a secret"), "kek", "Encrypt")
    assert type(error) is InvalidRequest
    assert "a secret" not in str(error)


def test_the_main_import_loads_no_sdk():
    """A cell with another KMS needs no boto3, and does not wait for its import."""
    script = "import sys, strongroom.kms, strongroom.driver; print([m for m in sys.modules if m.startswith('boto')])"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "[]\n"


async def test_a_caller_who_gives_up_harms_nobody(moto_server, aws_provider, aws_kek):
    """A call that is cancelled leaves the provider as it was, and closing waits for no more than what is under way."""
    made = await aws_provider.generate_data_key(aws_kek, context=CONTEXT)
    moto_server.fault = Fault("KMSInternalException", status=500, pause=0.5)
    calls = asyncio.gather(*(aws_provider.unwrap(made.wrapped, context=CONTEXT) for _ in range(40)))
    await asyncio.sleep(0.1)
    calls.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls
    moto_server.fault = None
    assert (await aws_provider.unwrap(made.wrapped, context=CONTEXT)).reveal() == made.root.reveal()
