from __future__ import annotations

import dataclasses
from pathlib import Path
from uuid import UUID

import google_crc32c
import pytest

from strongroom.kms import IntegrityError, InvalidRequest, KekRef, KeyClass, KeyContext, KmsUnavailable, Secret, Wrapped
from strongroom.kms.providers.gcp import GcpKmsProvider
from tests.support.kms.gcp_kit import KEY_RING, TOKEN, flipped

CONTEXT = KeyContext(UUID(int=1), UUID(int=2), KeyClass.DATA, 1).encryption_context()
ROOT = Secret(bytes(range(32)))


def flipping(name, **to):
    """Return a function that flips a bit of a message's field, or that sets the field to a value."""

    def change(message):
        setattr(message, name, to["to"] if to else flipped(getattr(message, name)))

    return change


async def test_requests_say_all_that_the_service_can_check(gcp_double, cloud_kms, gcp_kek):
    """Each use of a key is one call, with key, content, canonical context, checksums, route and token."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context={"b": "2", "a": "1"})
    await cloud_kms.unwrap(made, context={"a": "1", "b": "2"})
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
    """The checksum is CRC32C, as in RFC 3720, appendix B.4."""
    assert google_crc32c.value(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("name", ["plaintext", "additional_authenticated_data"])
async def test_encrypt_request_damaged_on_its_way(gcp_double, cloud_kms, gcp_kek, name):
    """A request that was damaged before encryption raises a retryable error."""
    with gcp_double.having(receiving=flipping(name)), pytest.raises(KmsUnavailable) as caught:
        await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert caught.value.provider_code == "CRC32C"
    assert caught.value.retryable


@pytest.mark.parametrize("name", ["ciphertext", "additional_authenticated_data"])
async def test_decrypt_request_damaged_on_its_way(gcp_double, cloud_kms, gcp_kek, name):
    """A ciphertext that was damaged on its way raises a retryable error, not IntegrityError."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    with gcp_double.having(receiving=flipping(name)), pytest.raises(KmsUnavailable) as caught:
        await cloud_kms.unwrap(made, context=CONTEXT)
    assert caught.value.provider_code == "CRC32C"


@pytest.mark.parametrize("name", ["plaintext_crc32c", "additional_authenticated_data_crc32c"])
async def test_checksum_that_did_not_arrive(gcp_double, cloud_kms, gcp_kek, name):
    """An answer that does not confirm the request's checksum raises a retryable error."""
    with gcp_double.having(receiving=flipping(name, to=None)), pytest.raises(KmsUnavailable) as caught:
        await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert caught.value.provider_code == "CRC32C"


async def test_every_damaged_answer_is_refused(gcp_double, cloud_kms, gcp_kek):
    """An answer with any flipped bit in the root or its checksum is refused."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    for bit in range(8 * 32):

        def flip(answer, bit=bit):
            content = bytearray(answer.plaintext)
            content[bit // 8] ^= 1 << bit % 8
            answer.plaintext = bytes(content)

        with gcp_double.having(altering=flip), pytest.raises(KmsUnavailable):
            await cloud_kms.unwrap(made, context=CONTEXT)
    for bit in range(32):

        def flip_sum(answer, bit=bit):
            answer.plaintext_crc32c ^= 1 << bit

        with gcp_double.having(altering=flip_sum), pytest.raises(KmsUnavailable):
            await cloud_kms.unwrap(made, context=CONTEXT)
    assert (await cloud_kms.unwrap(made, context=CONTEXT)).reveal() == ROOT.reveal()


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
async def test_encrypt_answer_of_another_key(gcp_double, cloud_kms, gcp_kek, name):
    """An answer that names another key, or no valid version, is refused."""
    with gcp_double.having(altering=lambda answer: setattr(answer, "name", name)), pytest.raises(KmsUnavailable):
        await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)


async def test_encrypt_answer_with_the_number_of_the_project(gcp_double, cloud_kms, gcp_kek):
    """An answer may name the project by its number."""
    name = f"{KEY_RING}/cryptoKeys/tenant-a/cryptoKeyVersions/7".replace("strongroom-test", "123456789")
    with gcp_double.having(altering=lambda answer: setattr(answer, "name", name)):
        made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    assert made.kek_version == "7"
    assert made.kek == gcp_kek


async def test_root_of_another_length_is_refused(gcp_double, cloud_kms, gcp_kek):
    """An unwrapped value that does not have 32 bytes is refused."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)

    def shorten(answer):
        answer.plaintext = answer.plaintext[:16]
        answer.plaintext_crc32c = google_crc32c.value(answer.plaintext)

    with gcp_double.having(altering=shorten), pytest.raises(IntegrityError):
        await cloud_kms.unwrap(made, context=CONTEXT)


@pytest.mark.parametrize("version", ["", "0", "x", "1/../2", "-1", "1" * 20])
async def test_version_that_is_none_is_refused_unasked(gcp_double, cloud_kms, gcp_kek, version):
    """A wrapped key with a malformed version is refused without a request."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await cloud_kms.unwrap(dataclasses.replace(made, kek_version=version), context=CONTEXT)
    assert not gcp_double.sent("Decrypt")


async def test_unwrap_many_asks_for_so_many_at_once(gcp_double, cloud_kms, gcp_kek):
    """Unwrapping a batch sends 16 requests at a time."""
    made = await cloud_kms.wrap(gcp_kek, ROOT, context=CONTEXT)
    under_way, most = 0, 0

    def begin(_request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)

    def end(_answer):
        nonlocal under_way
        under_way -= 1

    with gcp_double.having(receiving=begin, altering=end, delay=0.2):  # time for every allowed request to arrive
        answers = await cloud_kms.unwrap_many([(made, CONTEXT)] * 40)
    assert {answer.reveal() for answer in answers} == {ROOT.reveal()}
    assert most == 16


async def test_malformed_names_reach_no_server(gcp_double, cloud_kms):
    """A malformed key name is refused without a request."""
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
            cloud_kms.wrap(bad, ROOT, context=CONTEXT),
            cloud_kms.unwrap(Wrapped(bad, "1", b"x"), context=CONTEXT),
            cloud_kms.describe(bad),
            cloud_kms.rotate_kek(bad),
            cloud_kms.delete_kek(bad),
        ):
            with pytest.raises(InvalidRequest):
                await call
    assert not gcp_double.calls


async def test_settings_that_are_none():
    """An invalid key ring, endpoint, protection level or file is refused when the provider is created."""
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
