from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.exceptions import ApplicationError

from strongroom.driver.codec.payload_codec import SealedPayloadCodec
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    IntegrityError,
    KeyDestroyed,
    KeyNotFound,
    UnsupportedFormat,
    destroy_data_keys,
    rotate_data_key,
)

pytestmark = pytest.mark.integration

PLANTED = "customer 4711 owes 12.50"


@dataclass
class Order:
    customer: str
    amounts: list[float]


def codec_of(bench, name="first", **options):
    return SealedPayloadCodec(bench.strongroom.keyring, bench.ids[name], **options)


def converter_of(bench, name="first"):
    return dataclasses.replace(
        DataConverter(payload_codec=codec_of(bench, name)),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, type(None)),
        (b"\x00\xff" * 40, bytes),
        (PLANTED, str),
        ({"k": [1, None, "ü"]}, dict),
        (Order(PLANTED, [1.5, 2.0]), Order),
        ([PLANTED] * 9000, Sequence[str]),
    ],
)
async def test_the_sdks_converter_gives_back_what_it_was_given(codec_bench, value, hint):
    """Everything that the SDK's converter encodes comes back equal, and its sealed form shows no plaintext."""
    converter = converter_of(codec_bench)
    [payload] = await converter.encode([value])
    assert dict(payload.metadata) == {"encoding": b"binary/encrypted"}
    assert PLANTED.encode() not in payload.SerializeToString()
    assert await converter.decode([payload], [hint]) == [value]


async def test_metadata_is_sealed_with_the_data(codec_bench):
    """A payload comes back with all its metadata, and its sealed form shows none of it."""
    given = Payload(metadata={"encoding": b"json/plain", "message-type": PLANTED.encode()}, data=b"1")
    [sealed] = await codec_of(codec_bench).encode([given])
    assert list(sealed.metadata) == ["encoding"]
    assert await codec_of(codec_bench).decode([sealed]) == [given]


async def test_a_failure_is_sealed(codec_bench):
    """With the SDK's encoding failure converter the message, stack trace and details of a failure are sealed."""
    converter, failure = converter_of(codec_bench), Failure()
    await converter.encode_failure(ApplicationError(PLANTED, PLANTED), failure)
    assert PLANTED.encode() not in failure.SerializeToString()
    error = await converter.decode_failure(failure)
    assert isinstance(error, ApplicationError)
    assert (error.message, list(error.details)) == (PLANTED, [PLANTED])


async def test_a_payload_opens_in_its_own_namespace_alone(codec_bench):
    """A payload of another namespace, or with a changed bit, does not open."""
    [sealed] = await codec_of(codec_bench).encode([Payload(data=b"1")])
    with pytest.raises(IntegrityError):
        await codec_of(codec_bench, "second").decode([sealed])
    for place in (9, len(sealed.data) // 2, len(sealed.data) - 1):
        altered = bytearray(sealed.data)
        altered[place] ^= 1
        with pytest.raises(IntegrityError):
            await codec_of(codec_bench).decode([Payload(metadata=sealed.metadata, data=bytes(altered))])
    assert await codec_of(codec_bench).decode([sealed]) == [Payload(data=b"1")]


async def test_the_length_of_short_payloads_is_rounded_up(codec_bench):
    """Payloads of slightly different lengths are sealed to the same length."""
    sealed = await codec_of(codec_bench).encode([Payload(data=b"x" * length) for length in range(1000, 1010)])
    assert len({len(each.data) for each in sealed}) == 1


async def test_what_nobody_sealed_is_refused_unless_asked_for(codec_bench):
    """One unsealed payload fails the whole list. With `pass_unsealed` it is returned as it is."""
    clear = Payload(metadata={"encoding": b"json/plain"}, data=b'"old"')
    mixed = [*await codec_of(codec_bench).encode([Payload(data=b"1")]), clear]
    with pytest.raises(UnsupportedFormat):
        await codec_of(codec_bench).decode(mixed)
    assert await codec_of(codec_bench, pass_unsealed=True).decode(mixed) == [Payload(data=b"1"), clear]
    liar = Payload(metadata={"encoding": b"binary/encrypted"}, data=b'"new"')
    with pytest.raises(UnsupportedFormat):
        await codec_of(codec_bench, pass_unsealed=True).decode([liar])


async def test_no_payloads_need_no_keys(codec_bench):
    """An empty list is answered without reading a key."""
    stranger = SealedPayloadCodec(codec_bench.strongroom.keyring, codec_bench.strongroom.config.cell.cell_id)
    assert await stranger.encode([]) == await stranger.decode([]) == []


async def test_rotated_keys_open_and_destroyed_keys_do_not(strongroom, namespace):
    """After a rotation old payloads open, and new ones have the new key. In a shredded namespace no payload opens."""
    codec = SealedPayloadCodec(strongroom.keyring, namespace.namespace_id)
    old = await codec.encode([Payload(data=b"old")])
    await rotate_data_key(strongroom.keyring, namespace.namespace_id)
    new = await codec.encode([Payload(data=b"new")])
    assert [each.data[4:8] for each in (*old, *new)] == [b"\0\0\0\1", b"\0\0\0\2"]
    async with Strongroom.open(strongroom.config) as elsewhere:
        other = SealedPayloadCodec(elsewhere.keyring, namespace.namespace_id)
        assert [each.data for each in await other.decode([*new, *old])] == [b"new", b"old"]
    await destroy_data_keys(strongroom.keyring, namespace.namespace_id)
    with pytest.raises(KeyDestroyed):
        await codec.decode(old)
    with pytest.raises((KeyDestroyed, KeyNotFound)):
        await codec.encode([Payload(data=b"1")])


# --- partners: the namespaces of the other side of Nexus operations


async def test_a_partners_payloads_open_next_to_own_ones(codec_bench):
    """One call opens payloads of this namespace and of a partner, in order. A codec without the partner opens neither."""
    [own] = await codec_of(codec_bench, "first").encode([plain_text("own")])
    [theirs] = await codec_of(codec_bench, "second").encode([plain_text("theirs")])
    both = codec_of(codec_bench, "first", partners=[codec_bench.ids["second"]])
    assert [payload.data for payload in await both.decode([theirs, own, theirs])] == [b"theirs", b"own", b"theirs"]
    with pytest.raises(IntegrityError):
        await codec_of(codec_bench, "first").decode([own, theirs])


async def test_a_partner_seals_with_its_own_keys(codec_bench):
    """`encode` seals for this namespace, so that a partner must list it to open the payload."""
    first, second = codec_bench.ids["first"], codec_bench.ids["second"]
    [sealed] = await codec_of(codec_bench, "first", partners=[second]).encode([plain_text("own")])
    with pytest.raises(IntegrityError):
        await codec_of(codec_bench, "second").decode([sealed])
    [opened] = await codec_of(codec_bench, "second", partners=[first]).decode([sealed])
    assert opened.data == b"own"


async def test_an_altered_payload_of_a_partner_does_not_open(codec_bench):
    """Neither namespace opens it."""
    codec = codec_of(codec_bench, "first", partners=[codec_bench.ids["second"]])
    [theirs] = await codec_of(codec_bench, "second").encode([plain_text("theirs")])
    altered = Payload(metadata=theirs.metadata, data=theirs.data[:-1] + bytes([theirs.data[-1] ^ 1]))
    with pytest.raises(IntegrityError):
        await codec.decode([altered])


def plain_text(text):
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())
