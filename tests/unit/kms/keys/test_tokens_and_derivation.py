from __future__ import annotations

import hmac
import random
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.kms import KeyClass, KeyContext, Secret, Suite, TokenKey
from strongroom.kms.keys import derivation

pytestmark = pytest.mark.usefixtures("cipher")

untimed = settings(deadline=None)  # a busy machine must not fail the test

ROOT = Secret(bytes(range(32)))
OTHER_ROOT = Secret(bytes(range(1, 33)))
CELL, OTHER_CELL = UUID(int=1), UUID(int=2)
NAMESPACE, OTHER_NAMESPACE = UUID(int=3), UUID(int=4)


@untimed
@given(key=st.binary(min_size=0, max_size=64), message=st.binary(max_size=400))
def test_token_is_hmac_sha256(key, message):
    """A token is HMAC-SHA-256 as RFC 2104 defines it, for keys of up to one block and for every message."""
    assert TokenKey(Secret(key)).token(message) == hmac.digest(key, message, "sha256")


@pytest.mark.parametrize("length", [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 100_000])
def test_token_of_messages_around_block_boundaries(length):
    """A token is HMAC-SHA-256 for messages around the block sizes of SHA-256, and for long messages."""
    chance = random.Random(length)  # noqa: S311 - a message, not a secret
    key, message = chance.randbytes(32), chance.randbytes(length)
    assert TokenKey(Secret(key)).token(message) == hmac.digest(key, message, "sha256")


def test_token_key_keeps_no_state():
    """A token does not depend on the tokens that were made before it."""
    key = TokenKey(ROOT)
    first = key.token(b"a")
    key.token(b"b" * 200)
    assert key.token(b"a") == first


def test_numbers_are_the_beginning_of_tokens():
    """A number is the first 8 bytes of a token as a signed integer, and numbers are in the order of the messages."""
    key = TokenKey(ROOT)
    messages = [bytes([length]) * length for length in range(200)]
    expected = [int.from_bytes(key.token(message)[:8], "big", signed=True) for message in messages]
    assert key.numbers(messages) == key.numbers(tuple(messages)) == expected
    assert min(expected) < 0 < max(expected)
    assert key.numbers([]) == []
    for wrong in (["text"], [b"", None], [1], None):
        with pytest.raises(TypeError):
            key.numbers(wrong)


def context(cell=CELL, namespace=NAMESPACE, key_class=KeyClass.DATA, version=1):
    return KeyContext(cell, namespace, key_class, version)


def test_derived_keys_are_pairwise_distinct():
    """No two uses of a root share a key: purposes, suites, attributes, key parts, versions and classes all differ.

    The names are chosen so that keys would collide if a label or a length were left out.
    """
    names = ["", "a", "b", "aa", "id", "workflow_id", "\x01", "\x02", "\x00", "data", "seal", "strongroom seal v1"]
    derived = {f"seal {suite}": derivation.seal_key(ROOT, suite).reveal() for suite in Suite}
    derived |= {f"token {name!r}": derivation.token_key(ROOT, name).reveal() for name in names}
    derived |= {f"identity {name!r}": derivation.identity_key(ROOT, name).reveal() for name in names}
    places = [context(key_class=key_class, version=version) for key_class in KeyClass for version in (1, 2, 256)]
    places += [context(cell=OTHER_CELL), context(namespace=OTHER_NAMESPACE), context(cell=NAMESPACE, namespace=CELL)]
    derived |= {f"copies check {name!r}": derivation.copies_check(ROOT, name) for name in names}
    derived |= {f"commitment {place} {s}": derivation.commitment(ROOT, place, s) for place in places for s in Suite}
    derived["certificate"] = derivation.certificate_seed(ROOT).reveal()
    derived["root"] = ROOT.reveal()
    for (one, first), (other, second) in combinations(derived.items(), 2):
        assert first != second, (one, other)
    assert {len(key) for key in derived.values()} == {32}


@pytest.mark.parametrize("suite", Suite)
def test_derived_keys_depend_on_the_root(suite):
    """Another root gives other keys and another commitment for the same use."""
    assert derivation.seal_key(ROOT, suite).reveal() != derivation.seal_key(OTHER_ROOT, suite).reveal()
    assert derivation.token_key(ROOT, "a").reveal() != derivation.token_key(OTHER_ROOT, "a").reveal()
    assert derivation.identity_key(ROOT, "a").reveal() != derivation.identity_key(OTHER_ROOT, "a").reveal()
    assert derivation.commitment(ROOT, context(), suite) != derivation.commitment(OTHER_ROOT, context(), suite)


@untimed
@given(first=st.text(max_size=8), second=st.text(max_size=8))
def test_names_give_one_key_each(first, second):
    """Equal names give equal keys, and different names give different keys."""
    for derive in (derivation.token_key, derivation.identity_key):
        assert (derive(ROOT, first).reveal() == derive(ROOT, second).reveal()) == (first == second)


def hkdf_sha256(root, info):
    """Return HKDF (RFC 5869) without a salt and with one block of output, computed from HMAC."""
    pseudorandom = hmac.digest(bytes(32), root, "sha256")
    return hmac.digest(pseudorandom, info + b"\x01", "sha256")


def test_derivation_is_hkdf_of_label_and_context():
    """A derived key is HKDF-SHA-256 over the label, a zero byte, the length of the context, and the context."""
    root = ROOT.reveal()
    assert derivation.seal_key(ROOT, Suite.XAES_256_GCM).reveal() == hkdf_sha256(
        root, b"strongroom seal v1\x00\x00\x01\x02"
    )
    assert derivation.token_key(ROOT, "é").reveal() == hkdf_sha256(root, b"strongroom token v1\x00\x00\x02\xc3\xa9")
    assert derivation.identity_key(ROOT, "id").reveal() == hkdf_sha256(root, b"strongroom identity v1\x00\x00\x02id")
    assert derivation.copies_check(ROOT, "a:b") == hkdf_sha256(root, b"strongroom multi check v1\x00\x00\x03a:b")
    assert derivation.certificate_seed(ROOT).reveal() == hkdf_sha256(root, b"strongroom certificate v1\x00\x00\x00")
    place = CELL.bytes + NAMESPACE.bytes + b"\x00\x05index" + b"\x00\x00\x00\x07" + b"\x02"
    info = b"strongroom commitment v1\x00" + len(place).to_bytes(2, "big") + place
    where = context(key_class=KeyClass.INDEX, version=7)
    assert derivation.commitment(ROOT, where, Suite.XAES_256_GCM) == hkdf_sha256(root, info)


async def test_namespace_keys_give_the_derived_keys(deployment):
    """Each purpose of the identity class and each attribute of the index class has its own key."""
    keys = await deployment.keyring.open(await deployment.namespace())
    tokens = [
        keys.identity("a").token(b"x"),
        keys.identity("b").token(b"x"),
        keys.index("a", epoch=1).token(b"x"),
        keys.index("b", epoch=1).token(b"x"),
    ]
    assert len(set(tokens)) == 4
    assert keys.identity("a") is keys.identity("a")


async def test_namespaces_have_different_tokens(deployment):
    """The same value has different tokens in different namespaces, so that tokens can't be joined."""
    first, second = [await deployment.keyring.open(await deployment.namespace()) for _ in range(2)]
    assert first.identity("a").token(b"x") != second.identity("a").token(b"x")
    assert first.index("a", epoch=1).token(b"x") != second.index("a", epoch=1).token(b"x")
