from __future__ import annotations

import dataclasses

import pytest

from strongroom.kms import IntegrityError, InvalidRequest, KekRef, KeyNotFound, KmsError, LocalProvider, Secret, Wrapped
from strongroom.kms.providers.local import local
from tests.support.kms.keyring_files import CONTEXT, ROOT


async def test_existing_kek_is_left_alone(local_provider, local_kek):
    """Creating a KEK that exists returns it unchanged, and its wrapped keys still unwrap."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    assert await local_provider.create_kek("a") == local_kek
    assert (await local_provider.describe(local_kek)).versions == ("1",)
    assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()


async def test_rotated_kek_still_unwraps(local_provider, local_kek):
    """After a rotation, new keys are wrapped under the new version, old keys unwrap, and a rewrap moves them."""
    old = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    assert await local_provider.rotate_kek(KekRef("local", "a")) == "2"
    new = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    assert (old.kek_version, new.kek_version) == ("1", "2")
    moved = await local_provider.rewrap(old, local_kek, context=CONTEXT)
    assert moved.kek_version == "2"
    for wrapped in (old, new, moved):
        assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()
    info = await local_provider.describe(local_kek)
    assert (info.primary_version, info.versions, info.state) == ("2", ("1", "2"), "enabled")


async def test_versions_are_ordered_as_numbers(local_provider, local_kek):
    """Versions are compared as numbers, so that version 11 follows version 10."""
    for _ in range(10):
        await local_provider.rotate_kek(KekRef("local", "a"))
    assert (await local_provider.wrap(local_kek, ROOT, context=CONTEXT)).kek_version == "11"
    assert (await local_provider.describe(local_kek)).versions[-2:] == ("10", "11")


async def test_generated_key_unwraps(local_provider, local_kek):
    """A generated root has 32 new bytes, and its wrapped form unwraps to it."""
    made = [await local_provider.generate_data_key(local_kek, context=CONTEXT) for _ in range(3)]
    assert len({key.root.reveal() for key in made}) == 3
    for key in made:
        assert len(key.root.reveal()) == 32
        assert key.root.reveal() not in key.wrapped.ciphertext
        assert (await local_provider.unwrap(key.wrapped, context=CONTEXT)).reveal() == key.root.reveal()


@pytest.mark.parametrize(
    "context",
    [
        {},
        CONTEXT | {"strongroom:version": "2"},
        CONTEXT | {"more": ""},
        {name: value for name, value in CONTEXT.items() if name != "strongroom:class"},
        CONTEXT | {"strongroom:cell": "n", "strongroom:namespace": "c"},
        CONTEXT | {"strongroom:cell": "", "strongroom:namespace": "cn"},
    ],
)
async def test_other_context_is_refused(local_provider, local_kek, context):
    """A wrapped key unwraps only under its own encryption context."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await local_provider.unwrap(wrapped, context=context)
    with pytest.raises(IntegrityError):
        await local_provider.rewrap(wrapped, local_kek, context=context)


async def test_order_of_the_context_does_not_matter(local_provider, local_kek):
    """The order of the entries of a context does not matter."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    turned = dict(reversed(CONTEXT.items()))
    assert (await local_provider.unwrap(wrapped, context=turned)).reveal() == ROOT.reveal()


async def test_other_kek_is_refused(local_provider, local_kek):
    """A wrapped key is unwrapped only with the KEK and version that it names, and no other is tried."""
    other = await local_provider.create_kek("b")
    await local_provider.rotate_kek(KekRef("local", "a"))
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    for change, error in (
        ({"kek": other, "kek_version": "1"}, IntegrityError),
        ({"kek_version": "1"}, IntegrityError),
        ({"kek_version": "3"}, KeyNotFound),
        ({"kek_version": "0"}, KeyNotFound),
        ({"kek_version": ""}, KeyNotFound),
        ({"kek_version": "-1"}, KeyNotFound),
        ({"kek_version": "two"}, KeyNotFound),
        ({"kek": KekRef("local", "absent")}, KeyNotFound),
    ):
        with pytest.raises(error):
            await local_provider.unwrap(dataclasses.replace(wrapped, **change), context=CONTEXT)


async def test_kek_with_the_same_name_in_another_keyring_is_refused(local_provider, local_kek, tmp_path):
    """A KEK of the same name in another keyring unwraps nothing of this one."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    stranger = LocalProvider("local", tmp_path / "other.json")
    await stranger.create_keyring()
    await stranger.create_kek("a")
    with pytest.raises(IntegrityError):
        await stranger.unwrap(wrapped, context=CONTEXT)


async def test_every_flipped_bit_of_a_wrapped_key_is_refused(local_provider, local_kek):
    """A wrapped key that was altered or truncated anywhere is refused, always with the same message."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    content = wrapped.ciphertext
    spoilt = [content[:cut] for cut in range(len(content))] + [content + b"\x00"]
    for position in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        spoilt.append(bytes(flipped))
    items = [(Wrapped(local_kek, "1", ciphertext), CONTEXT) for ciphertext in spoilt]
    answers = await local_provider.unwrap_many(items)
    assert {type(answer) for answer in answers} == {IntegrityError}
    assert len({str(answer) for answer in answers}) == 1


async def test_unwrap_many_answers_in_order(local_provider, local_kek):
    """Results are in the order of the items, and an item that fails has its error and affects no other."""
    good = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    items = [
        (good, CONTEXT),
        (dataclasses.replace(good, kek=KekRef("local", "absent")), CONTEXT),
        (good, {}),
        (good, CONTEXT),
    ]
    answers = await local_provider.unwrap_many(items)
    assert [type(answer) for answer in answers] == [Secret, KeyNotFound, IntegrityError, Secret]
    assert await local_provider.unwrap_many([]) == []


async def test_version_of_many_digits_fails_in_its_place(local_provider, local_kek):
    """A registry row with an absurd KEK version fails alone, and the namespace's other keys unwrap."""
    good = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    absurd = dataclasses.replace(good, kek_version="9" * 5000)
    bad, fine = await local_provider.unwrap_many([(absurd, CONTEXT), (good, CONTEXT)])
    assert isinstance(bad, KmsError)
    assert isinstance(fine, Secret)


async def test_unknown_kek_is_not_found(local_provider):
    """An unknown KEK raises KeyNotFound in every operation, and no operation creates it."""
    absent = KekRef("local", "absent")
    for call in (
        local_provider.wrap(absent, ROOT, context=CONTEXT),
        local_provider.generate_data_key(absent, context=CONTEXT),
        local_provider.describe(absent),
        local_provider.rotate_kek(KekRef("local", "absent")),
    ):
        with pytest.raises(KeyNotFound, match="absent"):
            await call


def test_wrap_context_is_encoded_injectively():
    """Different KEKs, versions and contexts have different associated data, however their text is split."""
    places = [
        ("a", 1, {}),
        ("a1", 1, {}),
        ("a", 11, {}),
        ("", 1, {"a": "b"}),
        ("a", 1, {"b": "c"}),
        ("a", 1, {"bc": ""}),
        ("a", 1, {"": "bc"}),
        ("a", 1, {"b": "", "c": ""}),
        ("a", 1, {"b": "c", "d": "e"}),
        ("a", 1, {"b": "d", "c": "e"}),
    ]
    assert len({local.associated_data(local._WRAP_LABEL, *place) for place in places}) == len(places)


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        ("local:customer-a", KekRef("local", "customer-a")),
        ("aws-1:arn:aws:kms:eu:1:key/2", KekRef("aws-1", "arn:aws:kms:eu:1:key/2")),
    ],
)
def test_uri_of_a_kek(uri, parsed):
    """A KEK's URI is `provider:key`, and the key may contain colons."""
    assert KekRef.parse(uri) == parsed
    assert str(parsed) == uri


@pytest.mark.parametrize(
    "uri", ["", "local", "local:", ":a", "Local:a", "1l:a", "local:a b", "local:a\n", "local:\u00e9", "l" * 33 + ":a"]
)
def test_wrong_uri_is_refused(uri):
    """A malformed URI is refused."""
    with pytest.raises(InvalidRequest):
        KekRef.parse(uri)
