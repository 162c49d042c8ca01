from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import google_crc32c
import grpc
import pytest
from google.cloud.kms_v1 import KeyManagementServiceAsyncClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcAsyncIOTransport
from google.cloud.kms_v1.types import resources, service

from strongroom.kms import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyClass,
    KeyConflict,
    KeyContext,
    KeyDisabled,
    KeyNotFound,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    Secret,
    StrongroomError,
    Throttled,
    UnsupportedOperation,
    Wrapped,
)
from strongroom.kms.providers.gcp import GcpKmsProvider
from strongroom.kms.providers.gcp import keys as gcp_keys
from tests.support.kms.gcp_kit import KEY_RING, TOKEN, flipped, gcp_faults, gcp_provider
from tests.support.kms.gcp_server import Purpose, Refused, State, permission_denied, throttled

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
ROOT = Secret(bytes(range(32)))


def flipping(name, **to):
    """Something that changes a field of what it gets: a flipped bit, or what is given."""

    def change(message):
        setattr(message, name, to["to"] if to else flipped(getattr(message, name)))

    return change


@pytest.fixture
async def provider(gcp_double):
    """A provider on it."""
    provider = gcp_provider(gcp_double)
    yield provider
    await provider.aclose()


@pytest.fixture
async def gcp_kek(provider):
    """A KEK on it."""
    return await provider.create_kek("tenant-a")


# --- what goes over the wire


async def test_requests_say_all_that_the_service_can_check(gcp_double, provider, gcp_kek):
    """Key, root, context in its one form, and a checksum of each; with a route and who asks. A use of a key is one call."""
    made = await provider.wrap(gcp_kek, ROOT, context={"b": "2", "a": "1"})
    await provider.unwrap(made, context={"a": "1", "b": "2"})
    bound = b'{"a":"1","b":"2"}'
    assert [name for name, _, _ in gcp_double.calls] == ["CreateCryptoKey", "Encrypt", "Decrypt"]
    ((encrypt, metadata),) = gcp_double.sent("Encrypt")
    assert (encrypt.name, encrypt.plaintext, encrypt.additional_authenticated_data) == (
        gcp_kek.key_id,
        ROOT.reveal(),
        bound,
    )
    assert encrypt.plaintext_crc32c == google_crc32c.value(ROOT.reveal())
    assert encrypt.additional_authenticated_data_crc32c == google_crc32c.value(bound)
    assert metadata["authorization"] == f"Bearer {TOKEN}"
    assert metadata["x-goog-request-params"] == f"name={gcp_kek.key_id}"
    ((decrypt, metadata),) = gcp_double.sent("Decrypt")
    assert (decrypt.name, decrypt.ciphertext, decrypt.additional_authenticated_data) == (
        gcp_kek.key_id,
        made.ciphertext,
        bound,
    )
    assert decrypt.ciphertext_crc32c == google_crc32c.value(made.ciphertext)
    assert decrypt.additional_authenticated_data_crc32c == google_crc32c.value(bound)
    assert metadata["x-goog-request-params"] == f"name={gcp_kek.key_id}"


def test_checksum_is_crc32c():
    """The checksum is the Castagnoli one: RFC 3720, appendix B.4, 32 bytes that count up."""
    assert google_crc32c.value(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("name", ["plaintext", "additional_authenticated_data"])
async def test_encrypt_request_damaged_on_its_way(gcp_double, provider, gcp_kek, name):
    """What was damaged before it was encrypted is refused as something to be tried again, and nothing was wrapped."""
    with gcp_double.having(receiving=flipping(name)), pytest.raises(KmsUnavailable) as caught:
        await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert caught.value.provider_code == "CRC32C"
    assert caught.value.retryable


@pytest.mark.parametrize("name", ["ciphertext", "additional_authenticated_data"])
async def test_decrypt_request_damaged_on_its_way(gcp_double, provider, gcp_kek, name):
    """A ciphertext that was damaged on its way to the service is not one that does not open."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    with gcp_double.having(receiving=flipping(name)), pytest.raises(KmsUnavailable) as caught:
        await provider.unwrap(made, context=CONTEXT)
    assert caught.value.provider_code == "CRC32C"


@pytest.mark.parametrize("name", ["plaintext_crc32c", "additional_authenticated_data_crc32c"])
async def test_checksum_that_did_not_arrive(gcp_double, provider, gcp_kek, name):
    """A root of which the service did not check that it came whole is not taken for wrapped."""
    with gcp_double.having(receiving=flipping(name, to=None)), pytest.raises(KmsUnavailable) as caught:
        await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert caught.value.provider_code == "CRC32C"


async def test_every_damaged_answer_is_refused(gcp_double, provider, gcp_kek):
    """Whichever bit of a root, of a ciphertext or of their checksums is flipped on the way back, no wrong key comes of it."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    for bit in range(8 * 32):

        def flip(answer, bit=bit):
            content = bytearray(answer.plaintext)
            content[bit // 8] ^= 1 << bit % 8
            answer.plaintext = bytes(content)

        with gcp_double.having(altering=flip), pytest.raises(KmsUnavailable):
            await provider.unwrap(made, context=CONTEXT)
    for bit in range(32):

        def flip_sum(answer, bit=bit):
            answer.plaintext_crc32c ^= 1 << bit

        with gcp_double.having(altering=flip_sum), pytest.raises(KmsUnavailable):
            await provider.unwrap(made, context=CONTEXT)
    assert (await provider.unwrap(made, context=CONTEXT)).reveal() == ROOT.reveal()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "projects/strongroom-test/locations/europe-west3/keyRings/cell-1/cryptoKeys/other/cryptoKeyVersions/1",
        f"{KEY_RING}/cryptoKeys/tenant-a",
        f"{KEY_RING}/cryptoKeys/tenant-a/cryptoKeyVersions/0",
        f"{KEY_RING}/cryptoKeys/tenant-a/cryptoKeyVersions/x",
    ],
)
async def test_encrypt_answer_of_another_key(gcp_double, provider, gcp_kek, name):
    """A root that was wrapped by another key than the one named, or by nobody knows which version, is refused."""
    with gcp_double.having(altering=lambda answer: setattr(answer, "name", name)), pytest.raises(KmsUnavailable):
        await provider.wrap(gcp_kek, ROOT, context=CONTEXT)


async def test_encrypt_answer_with_the_number_of_the_project(gcp_double, provider, gcp_kek):
    """A project may be called by its id and answer with its number."""
    name = f"{KEY_RING}/cryptoKeys/tenant-a/cryptoKeyVersions/7".replace("strongroom-test", "123456789")
    with gcp_double.having(altering=lambda answer: setattr(answer, "name", name)):
        made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert made.kek_version == "7"
    assert made.kek == gcp_kek


async def test_root_of_another_length_is_refused(gcp_double, provider, gcp_kek):
    """What opens and is no root of 32 bytes is refused."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)

    def shorten(answer):
        answer.plaintext = answer.plaintext[:16]
        answer.plaintext_crc32c = google_crc32c.value(answer.plaintext)

    with gcp_double.having(altering=shorten), pytest.raises(IntegrityError):
        await provider.unwrap(made, context=CONTEXT)


@pytest.mark.parametrize("version", ["", "0", "x", "1/../2", "-1", "1" * 20])
async def test_version_that_is_none_is_refused_unasked(gcp_double, provider, gcp_kek, version):
    """A wrapped key that names no version does not open, and nothing is asked of the service."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await provider.unwrap(dataclasses.replace(made, kek_version=version), context=CONTEXT)
    assert not gcp_double.sent("Decrypt")


async def test_unwrap_many_asks_for_so_many_at_once(gcp_double, provider, gcp_kek):
    """A batch is no flood: at most 16 requests are under way, and as many as that."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    under_way, most = 0, 0

    def begin(_request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)

    def end(_answer):
        nonlocal under_way
        under_way -= 1

    with gcp_double.having(receiving=begin, altering=end, delay=0.2):  # time enough for all that may come to come
        answers = await provider.unwrap_many([(made, CONTEXT)] * 40)
    assert {answer.reveal() for answer in answers} == {ROOT.reveal()}
    assert most == 16


# --- errors


async def test_no_call_is_tried_again(gcp_double, provider, gcp_kek):
    """Retries are made in one place, above the providers."""
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL):
        before = len(gcp_double.calls)
        with gcp_double.having(refusing=Refused(code, "")), pytest.raises(KmsError):
            await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
        assert len(gcp_double.calls) == before + 1


async def test_errors_hang_on_nothing(gcp_double, provider, gcp_kek):
    """No error has another one behind it, in which a request or a token could be found."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    for name, fault in gcp_faults(gcp_double, provider).items():
        async with fault.provoke(gcp_kek) as faulty:
            with pytest.raises(StrongroomError) as caught:
                await faulty.unwrap(made, context=CONTEXT)
        assert caught.value.__cause__ is None, name
        assert caught.value.__context__ is None, name


async def test_error_tells_reason_and_request(gcp_double, provider, gcp_kek):
    """An error has the service's own name for it, when to come back, and the id by which its log knows the request."""
    with gcp_double.having(refusing=throttled(2.25)), pytest.raises(Throttled) as caught:
        await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    error = caught.value
    assert (error.retry_after, error.provider_code, error.request_id) == (2.25, "RATE_LIMIT_EXCEEDED", "request-17")
    assert "Cryptographic requests per minute" in str(error)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED)
    with pytest.raises(KeyDisabled) as disabled:
        await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert disabled.value.provider_code == "KEY_DISABLED"
    assert str(disabled.value).startswith(f"{gcp_kek}: ")


async def test_text_of_a_malformed_request_is_not_repeated(gcp_double, provider, gcp_kek):
    """A text that may repeat what was sent is not shown; those that name a resource are."""
    sent = base64.b64encode(ROOT.reveal()).decode()
    for code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
        refused = Refused(code, f"Invalid value at 'plaintext': {sent}")
        with gcp_double.having(refusing=refused), pytest.raises(KmsError) as caught:
            await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
        assert sent not in str(caught.value)
        assert str(caught.value).endswith(f"({code.name})")


async def test_details_that_are_none(gcp_double, provider, gcp_kek):
    """Details that can't be read change nothing about the error."""
    broken = Refused(grpc.StatusCode.PERMISSION_DENIED, "no")
    broken.trailer = lambda: (("grpc-status-details-bin", b"\xff\xff\xff"),)
    with gcp_double.having(refusing=broken), pytest.raises(AccessDenied) as caught:
        await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert caught.value.provider_code == "PERMISSION_DENIED"


async def test_refusal_that_nobody_may_look_into(gcp_double, provider, gcp_kek):
    """Where neither the refusal nor the key has the reason, the refusal stays as it is."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED)
    with gcp_double.having(terse=True, blind=True):
        for call in (provider.wrap(gcp_kek, ROOT, context=CONTEXT), provider.unwrap(made, context=CONTEXT)):
            with pytest.raises(InvalidRequest) as caught:
                await call
            assert caught.value.provider_code == "FAILED_PRECONDITION"


async def test_an_old_version_is_disabled_alone(gcp_double, provider, gcp_kek):
    """The state that counts is that of the version which wrapped, named or looked up; the primary serves on."""
    old = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    await provider.rotate_kek(gcp_kek)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED, "1")
    for terse in (False, True):
        with gcp_double.having(terse=terse), pytest.raises(KeyDisabled):
            await provider.unwrap(old, context=CONTEXT)
    new = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert (await provider.unwrap(new, context=CONTEXT)).reveal() == ROOT.reveal()
    info = await provider.describe(gcp_kek)
    assert (info.state, info.primary_version, info.versions) == ("enabled", "2", ("2",))


async def test_malformed_names_reach_no_server(gcp_double, provider):
    """What is not the name of a key is refused before anything is sent."""
    name = f"{KEY_RING}/cryptoKeys/k"
    for key_id in (
        "k",
        name.replace("projects", "organizations"),
        name + "/cryptoKeyVersions/1",
        name + "/",
        name + ":encrypt",
        name + "%2F..",
        name.replace("cell-1", ".."),
        name + "\n",
        name + "k" * 64,
    ):
        bad = KekRef("gcp-kms", key_id)
        for call in (
            provider.wrap(bad, ROOT, context=CONTEXT),
            provider.unwrap(Wrapped(bad, "1", b"x"), context=CONTEXT),
            provider.describe(bad),
            provider.rotate_kek(bad),
            provider.delete_kek(bad),
        ):
            with pytest.raises(InvalidRequest):
                await call
    assert not gcp_double.calls


async def test_settings_that_are_none():
    """A key ring, an endpoint, a level or a file that is none is refused immediately."""
    for settings in (
        {"key_ring": "cell-1"},
        {"key_ring": KEY_RING + "/cryptoKeys/k"},
        {"endpoint": "http://cloudkms.googleapis.com"},
        {"endpoint": "http://cloudkms.googleapis.com", "insecure": True},
        {"endpoint": "http://127.0.0.1:1"},
        {"insecure": True},
        {"endpoint": "cloudkms.googleapis.com"},
        {"protection_level": "external"},
        {"ca_certs": Path("/absent.pem")},
    ):
        with pytest.raises(InvalidRequest):
            GcpKmsProvider("gcp-kms", **({"key_ring": KEY_RING} | settings))


# --- life of a key


@pytest.mark.parametrize(
    ("states", "primary", "expected", "usable"),
    [
        (["ENABLED", "ENABLED"], "2", "enabled", ("1", "2")),
        (["DISABLED", "ENABLED"], "2", "enabled", ("2",)),
        (["ENABLED", "DISABLED"], "2", "disabled", ("1",)),
        (["ENABLED", "DESTROYED"], "2", "disabled", ("1",)),
        (["DISABLED", "DESTROY_SCHEDULED"], "2", "disabled", ()),
        (["PENDING_GENERATION"], "1", "disabled", ()),
        (["DESTROY_SCHEDULED", "DESTROY_SCHEDULED"], "2", "pending_deletion", ()),
        (["DESTROYED", "DESTROY_SCHEDULED"], "1", "pending_deletion", ()),
        (["DESTROYED", "DESTROYED"], "2", "destroyed", ()),
        (["ENABLED"], "", "disabled", ("1",)),
        ([], "", "disabled", ()),
    ],
)
async def test_state_is_made_of_the_versions(gcp_double, provider, gcp_kek, states, primary, expected, usable):
    """A key without a state of its own has that of its primary while that wraps, and is gone when all of it goes."""
    key = gcp_double.keys[gcp_kek.key_id]
    key.versions.clear()
    for state in states:
        shown = gcp_double._add(key).shown
        shown.state = State[state]
        shown.destroy_time = datetime(2031, 1, len(key.versions), tzinfo=UTC)
    name = f"{gcp_kek.key_id}/cryptoKeyVersions/{primary}" if primary else ""
    key.shown.primary = resources.CryptoKeyVersion(name=name)
    info = await provider.describe(gcp_kek)
    assert (info.state, info.primary_version, info.versions) == (expected, primary, usable)
    last = datetime(2031, 1, len(states), tzinfo=UTC) if expected == "pending_deletion" else None
    assert info.deletion_at == last
    assert type(info.deletion_at) is type(last)


async def test_versions_of_all_pages_in_order(gcp_double, provider, gcp_kek):
    """A key with more versions than a page has shows them all, by number."""
    for _ in range(11):
        await provider.rotate_kek(gcp_kek)
    with gcp_double.having(page=5):
        info = await provider.describe(gcp_kek)
        assert info.versions == tuple(str(number) for number in range(1, 13))
        assert (await provider.delete_kek(gcp_kek)).state == "pending_deletion"
    assert len(gcp_double.sent("DestroyCryptoKeyVersion")) == 12


async def test_new_keys_are_symmetric_and_in_the_key_ring(gcp_double, provider):
    """A key is made with purpose, algorithm and level as they are to be, by its short name or its whole one."""
    kek = await provider.create_kek("tenant-b")
    assert kek == KekRef("gcp-kms", f"{KEY_RING}/cryptoKeys/tenant-b")
    assert KekRef.parse(str(kek)) == kek
    assert await provider.create_kek(kek.key_id) == kek
    request, metadata = gcp_double.sent("CreateCryptoKey")[0]
    template = request.crypto_key.version_template
    assert request.crypto_key.purpose == Purpose.ENCRYPT_DECRYPT
    assert template.algorithm.name == "GOOGLE_SYMMETRIC_ENCRYPTION"
    assert template.protection_level.name == "SOFTWARE"
    assert metadata["x-goog-request-params"] == f"parent={KEY_RING}"
    elsewhere = kek.key_id.replace("cell-1", "cell-2")
    for name in (elsewhere, "", "a/b", "a.b", "a" * 64, "a\n"):
        with pytest.raises(InvalidRequest):
            await provider.create_kek(name)
    assert len(gcp_double.sent("CreateCryptoKey")) == 2


async def test_key_of_another_purpose_is_refused(gcp_double, provider, gcp_kek):
    """A key that signs is not taken for a KEK, no matter how it was made."""
    gcp_double.keys[gcp_kek.key_id].shown.purpose = Purpose.ASYMMETRIC_SIGN
    for call in (provider.create_kek("tenant-a"), provider.describe(gcp_kek), provider.rotate_kek(gcp_kek)):
        with pytest.raises(UnsupportedOperation):
            await call
    assert len(gcp_double.keys[gcp_kek.key_id].versions) == 1


async def test_hsm_versions_are_waited_for(gcp_double, monkeypatch):
    """A version that an HSM is still making is waited for before it becomes primary, and not for ever."""
    monkeypatch.setattr(gcp_keys, "_GENERATION_POLL", 0.01)
    monkeypatch.setattr(gcp_keys, "_GENERATION_SECONDS", 0.1)
    provider = gcp_provider(gcp_double, protection_level="hsm")
    with gcp_double.having(slow_generation=3):
        kek = await provider.create_kek("in-hardware")
    assert gcp_double.sent("CreateCryptoKey")[0][0].crypto_key.version_template.protection_level.name == "HSM"
    assert (await provider.describe(kek)).state == "enabled"
    with gcp_double.having(slow_generation=3):
        assert await provider.rotate_kek(kek) == "2"
    with gcp_double.having(slow_generation=1000), pytest.raises(KmsTimeout):
        await provider.rotate_kek(kek)
    assert (await provider.describe(kek)).primary_version == "2"
    await provider.aclose()


async def test_a_primary_that_comes_late_is_told_as_it_is(gcp_double, provider, gcp_kek):
    """After a rotation the service may wrap with the old version for a while: the version named is the one that did."""
    await provider.rotate_kek(gcp_kek)
    with gcp_double.having(lagging_primary=True):
        made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert made.kek_version == "1"
    assert (await provider.unwrap(made, context=CONTEXT)).reveal() == ROOT.reveal()


async def test_deletion_leaves_nothing_that_comes_back(gcp_double, provider, gcp_kek):
    """Deleting takes the rotation schedule away first, schedules every version, returns the date, and may be repeated."""
    await provider.rotate_kek(gcp_kek)
    gcp_double.set_states(gcp_kek.key_id, State.DISABLED, "1")
    shown = gcp_double.keys[gcp_kek.key_id].shown
    shown.rotation_period = timedelta(days=90)
    shown.next_rotation_time = datetime(2031, 1, 1, tzinfo=UTC)
    info = await provider.delete_kek(gcp_kek)
    assert info.state == "pending_deletion"
    assert abs(info.deletion_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert "rotation_period" not in shown
    assert "next_rotation_time" not in shown
    names = [name for name, _, _ in gcp_double.calls]
    assert names.index("UpdateCryptoKey") < names.index("DestroyCryptoKeyVersion")
    assert await provider.delete_kek(gcp_kek) == info
    assert len(gcp_double.sent("DestroyCryptoKeyVersion")) == 2


async def test_deletion_that_somebody_undoes_is_told(gcp_double, provider, gcp_kek, monkeypatch):
    """A version that appears while the others are being deleted is not passed over."""
    destroy = gcp_double._DestroyCryptoKeyVersion

    async def destroyed_and_made(request):
        answer = await destroy(request)
        version = gcp_double._add(gcp_double.keys[gcp_kek.key_id]).shown
        gcp_double.keys[gcp_kek.key_id].shown.primary = resources.CryptoKeyVersion(name=version.name)
        return answer

    monkeypatch.setattr(gcp_double, "_DestroyCryptoKeyVersion", destroyed_and_made)
    with pytest.raises(KeyConflict):
        await provider.delete_kek(gcp_kek)


async def test_check_uses_no_key(gcp_double, provider):
    """The check asks for the key ring; it fails where that is missing or may not be seen."""
    assert KEY_RING in await provider.check()
    assert [name for name, _, _ in gcp_double.calls] == ["GetKeyRing"]
    with gcp_double.having(key_ring="another"), pytest.raises(KeyNotFound):
        await provider.check()


async def test_check_without_rights(gcp_double, provider, monkeypatch):
    """A caller that may not see the key ring gets that error."""

    async def refuse(request):
        raise permission_denied("cloudkms.keyRings.get", request.name)

    monkeypatch.setattr(gcp_double, "_GetKeyRing", refuse)
    with pytest.raises(AccessDenied) as caught:
        await provider.check()
    assert caught.value.provider_code == "IAM_PERMISSION_DENIED"


# --- the connection


async def test_server_that_comes_back_is_used_again(gcp_double, provider, gcp_kek):
    """After an outage the connection is made again within about a second, on the same provider."""
    made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
    await gcp_double.stop()
    for _ in range(3):
        with pytest.raises((KmsUnavailable, KmsTimeout)):
            await provider.unwrap(made, context=CONTEXT)
    await gcp_double.start(port=gcp_double.port)
    since = time.monotonic()
    while True:
        try:
            assert (await provider.unwrap(made, context=CONTEXT)).reveal() == ROOT.reveal()
            break
        except (KmsUnavailable, KmsTimeout):
            assert time.monotonic() - since < 5
            await asyncio.sleep(0.05)


async def test_silent_peer_is_given_up_by_the_system(gcp_double, provider):
    """A connection whose peer acknowledges nothing is dropped after 5 s, not kept for as long as TCP would try."""
    await provider.check()
    assert _user_timeouts(gcp_double.port) == [5000]


def _user_timeouts(port):
    """After how many ms the system gives up each connection that this process has to a port."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(link.name))) as copy:
                if copy.family != socket.AF_UNIX and copy.getpeername()[1] == port:
                    found.append(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        except OSError:
            continue  # not a socket, or not connected
    return found


async def test_plain_connection_goes_through_no_proxy(gcp_double, monkeypatch):
    """A proxy of the environment never sees what is not encrypted."""
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    provider = gcp_provider(gcp_double)
    assert await provider.check()
    await provider.aclose()


# --- secrecy


async def test_no_log_record_holds_a_root(gcp_double, provider, gcp_kek, caplog):
    """At level DEBUG no record, nor what hangs on it, holds a root or a token; with Google's own client it does."""
    for name in ("", "google", "grpc", "urllib3"):
        caplog.set_level(logging.DEBUG, name or None)
    loggers = [logging.getLogger(name) for name in ("google", "google.cloud.kms_v1", "grpc")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        made = await provider.wrap(gcp_kek, ROOT, context=CONTEXT)
        await provider.unwrap(made, context=CONTEXT)
        await provider.check()
        assert _held(caplog.records) == []
        caplog.clear()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{gcp_double.port}")
        client = KeyManagementServiceAsyncClient(transport=KeyManagementServiceGrpcAsyncIOTransport(channel=channel))
        request = service.EncryptRequest(name=gcp_kek.key_id, plaintext=ROOT.reveal())
        await client.encrypt(request, metadata=[("authorization", f"Bearer {TOKEN}")])
        await channel.close()
        assert set(_held(caplog.records)) == {"root", "token"}
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)


def _held(records):
    """What of a root or a token is to be found in records."""
    material = ROOT.reveal()
    looked_for = {
        "root": (material.hex(), base64.b64encode(material).decode(), repr(material)[2:-1]),
        "token": (TOKEN,),
    }
    texts = [repr(vars(record)) for record in records]
    return [what for what, forms in looked_for.items() for form in forms for text in texts if form in text]


def test_main_package_loads_none_of_it():
    """A cell without Cloud KMS does not load Google's libraries."""
    code = (
        "import sys, strongroom.kms; print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'google')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []
