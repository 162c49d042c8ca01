from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.kms import (
    DataKeyRecord,
    ErasureCertificate,
    InvalidCertificate,
    InvalidRequest,
    KekDisposal,
    KekRef,
    KeyClass,
    KeyState,
    Secret,
    SigningKey,
    Suite,
    sign_certificate,
    verify_certificate,
    with_scope,
)
from strongroom.kms.keys import derivation
from tests.support.counts import examples
from tests.support.tree import VECTORS

ROOT = Secret(bytes(range(32)))
KEY = SigningKey(derivation.certificate_seed(ROOT))
OTHER = SigningKey(Secret(bytes(32)))
NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
OWN, PENDING, SHARED, KEPT, FAILED = (
    KekDisposal(KekRef("local", "own"), "delete", "destroyed"),
    KekDisposal(KekRef("aws", "arn:x"), "delete", "pending_deletion", NOW + timedelta(days=30), "request-1"),
    KekDisposal(KekRef("local", "shared"), "shared"),
    KekDisposal(KekRef("local", "kept"), "kept"),
    KekDisposal(KekRef("local", "failed"), "delete", error="AccessDenied: Ünzulässig"),
)


def make(**changes):
    """Return a certificate that has every kind of entry."""
    certificate = ErasureCertificate(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        requested_at=NOW,
        confirmed_at=NOW + timedelta(days=7),
        completed_at=NOW + timedelta(days=7, seconds=3),
        eviction_seconds=930,
        keys=tuple(
            DataKeyRecord(
                namespace_id=UUID(int=2),
                key_class=key_class,
                version=version,
                suite=Suite.XAES_256_GCM,
                state=KeyState.DESTROYED,
                provider="local",
                kek_id="own",
                kek_version="1",
                wrapped=None,
                commitment=bytes([version]) * 32,
                created_at=NOW,
                destroyed_at=NOW,
            )
            for version, key_class in enumerate(KeyClass, 1)
        ),
        keks=(OWN, PENDING, SHARED, KEPT, FAILED),
        rows_deleted={"history_node": 12, "visibility_records": 3},
        documents_deleted=3,
        public_key=KEY.public_key,
    )
    return with_scope(replace(certificate, **changes))


SIGNED = sign_certificate(make(), KEY)


def test_a_certificate_says_what_was_signed():
    """A certificate that is read back equals the issued one, with and without a pinned key."""
    assert verify_certificate(SIGNED, public_key=KEY.public_key) == make()
    assert verify_certificate(SIGNED) == make()
    assert verify_certificate(sign_certificate(make(documents_deleted=None), KEY)).documents_deleted is None


def test_an_outsider_can_verify_it_from_the_specification():
    """A certificate verifies by FORMAT.md section 11: Ed25519 over the JSON without its member `signature`."""
    document = json.loads(SIGNED)
    signature = bytes.fromhex(document.pop("signature"))
    message = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(document["public_key"])).verify(signature, message)
    seed = derivation._derive(ROOT, b"strongroom certificate v1", b"")
    assert Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex() == document["public_key"]


VECTOR = VECTORS / "erasure_certificate.json"


def test_the_frozen_certificate_verifies_for_ever():
    """A stored certificate of version 1 verifies, and signing its content with the same root gives the same bytes."""
    frozen = VECTOR.read_bytes()
    said = verify_certificate(frozen, public_key=KEY.public_key)
    assert sign_certificate(said, KEY) == frozen
    assert said.keys == make().keys
    assert KEY.public_key.hex() == "007b82294500a7eb88bfad8f0beefcbecc6d46184345fba24e8a36f643185d2a"


@settings(deadline=None, max_examples=examples(300))
@given(data=st.data())
def test_every_altered_byte_is_refused(data):
    """A certificate is not valid if any byte was changed, removed or added, with or without a pinned key."""
    place = data.draw(st.integers(0, len(SIGNED) - 1))
    byte = bytes([data.draw(st.integers(0, 255).filter(lambda value: value != SIGNED[place]))])
    rest = SIGNED[place + 1 :]
    for altered in (SIGNED[:place] + byte + rest, SIGNED[:place] + rest, SIGNED[:place] + byte + SIGNED[place:]):
        assert altered != SIGNED
        for public_key in (None, KEY.public_key):
            with pytest.raises(InvalidCertificate):
                verify_certificate(altered, public_key=public_key)


def test_every_flipped_bit_of_signature_and_key_is_refused():
    """Each flipped bit of the signature or the key is refused."""
    for name in (b'"signature":"', b'"public_key":"'):
        start = SIGNED.index(name) + len(name)
        for place in range(start, SIGNED.index(b'"', start)):
            for bit in range(8):
                altered = SIGNED[:place] + bytes([SIGNED[place] ^ (1 << bit)]) + SIGNED[place + 1 :]
                with pytest.raises(InvalidCertificate):
                    verify_certificate(altered)


def resigned(document, key=KEY):
    """Return a document with a valid signature, as a forger with a key or a broken issuer could make it."""
    document = {name: value for name, value in document.items() if name != "signature"}
    document["public_key"] = key.public_key.hex()
    message = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return json.dumps(
        document | {"signature": key.sign(message).hex()}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()


DOCUMENT = json.loads(SIGNED)
OTHER_FORMS = {
    "a duplicate key": SIGNED[:-1] + b',"version":1,"version":1}',
    "a duplicate of a known key": SIGNED.replace(b'{"cell_id"', b'{"cell_id":"x","cell_id"', 1),
    "a trailing newline": SIGNED + b"\n",
    "a trailing NUL": SIGNED + b"\x00",
    "a second document": SIGNED + SIGNED,
    "leading space": b" " + SIGNED,
    "a mark of byte order": b"\xef\xbb\xbf" + SIGNED,
    "UTF-16": SIGNED.decode().encode("utf-16"),
    "Latin-1": SIGNED.decode().encode("latin-1"),
    "escapes": json.dumps(DOCUMENT, sort_keys=True, separators=(",", ":")).encode(),
    "indentation": json.dumps(DOCUMENT, sort_keys=True, ensure_ascii=False, indent=1).encode(),
    "another order": json.dumps(
        dict(sorted(DOCUMENT.items(), reverse=True)), separators=(",", ":"), ensure_ascii=False
    ).encode(),
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "deep nesting": b"[" * 100_000,
    "a long number": b'{"format":' + b"1" * 10_000 + b"}",
    "too long": b" " * (16 * 2**20 + 1),
}
BAD_DOCUMENTS = {
    "another format": DOCUMENT | {"format": "strongroom-erasure-certificate/2"},
    "a member too many": DOCUMENT | {"remark": "x"},
    "a fraction": DOCUMENT | {"documents_deleted": 3.0},
    "not a number": DOCUMENT | {"documents_deleted": float("nan")},
    "a negative count": DOCUMENT | {"rows_deleted": {"tasks": -1}},
    "a count that others round": DOCUMENT | {"rows_deleted": {"tasks": 2**53}},
    "a flag for a number": DOCUMENT | {"documents_deleted": True},
    "a text for a list": DOCUMENT | {"covers": "everything"},
    "a control character": DOCUMENT | {"covers": ["\x1b]0;owned\x07"]},
    "half a character": DOCUMENT | {"covers": ["\ud800"]},
    "another zone": DOCUMENT | {"completed_at": "2026-11-30T13:00:03.123456+01:00"},
    "no fraction": DOCUMENT | {"completed_at": "2026-11-30T12:00:03Z"},
    "another spelling of an id": DOCUMENT | {"cell_id": "{00000000-0000-0000-0000-000000000001}"},
    "a short commitment": DOCUMENT | {"keys": [DOCUMENT["keys"][0] | {"commitment": "00"}]},
    "an unknown class": DOCUMENT | {"keys": [DOCUMENT["keys"][0] | {"class": "other"}]},
    "an unknown disposal": DOCUMENT | {"keks": [DOCUMENT["keks"][0] | {"disposal": "sold"}]},
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_another_form_of_the_same_certificate_is_refused(form):
    """A certificate has exactly one spelling, so that no two readers see different content."""
    with pytest.raises(InvalidCertificate):
        verify_certificate(OTHER_FORMS[form])


@pytest.mark.parametrize("what", BAD_DOCUMENTS)
def test_a_signature_does_not_make_a_certificate_of_anything(what):
    """A signed document with unknown content, or with control characters, is refused."""
    try:
        signed = resigned(BAD_DOCUMENTS[what])
    except UnicodeEncodeError:
        signed = json.dumps(BAD_DOCUMENTS[what], sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(InvalidCertificate):
        verify_certificate(signed)


def test_the_control_signs_what_is_right():
    """The control of the two tests above: their signing function makes a valid certificate of a correct document."""
    assert resigned(DOCUMENT) == SIGNED
    assert verify_certificate(resigned(DOCUMENT, OTHER), public_key=OTHER.public_key).namespace_id == UUID(int=2)


def test_another_signer_passes_only_where_no_key_is_pinned():
    """A certificate of another signer passes only if no key is pinned, so auditors pin the cell's key."""
    forged = resigned(DOCUMENT | {"rows_deleted": {}}, OTHER)
    assert verify_certificate(forged).rows_deleted == {}
    with pytest.raises(InvalidCertificate, match="another key"):
        verify_certificate(forged, public_key=KEY.public_key)


@pytest.mark.parametrize("public_key", [bytes(32), b"\x01" + bytes(31), b"", b"x", bytes(33), b"\xff" * 32])
def test_a_public_key_that_is_none_is_refused(public_key):
    """A public key of another length, or a point that would accept forged signatures, is refused."""
    document = DOCUMENT | {"public_key": public_key.hex()}
    for signature in (bytes(64), b"\x01" + bytes(63), bytes.fromhex(DOCUMENT["signature"])):
        forged = json.dumps(
            document | {"signature": signature.hex()}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
        with pytest.raises(InvalidCertificate):
            verify_certificate(forged, public_key=KEY.public_key)


@pytest.mark.parametrize(
    "changes",
    [
        {"public_key": bytes(32)},
        {"eviction_seconds": -1},
        {"rows_deleted": {"a\nb": 1}},
        {"covers": ("\x1b",)},
    ],
)
def test_what_nobody_could_verify_is_not_issued(changes):
    """A certificate that its own check refuses raises an error when it is issued."""
    with pytest.raises(InvalidRequest):
        sign_certificate(replace(make(), **changes), KEY)


def sentences(**changes):
    certificate = make(**changes)
    return "\n".join(certificate.covers), "\n".join(certificate.does_not_cover)


def test_backups_are_covered_only_where_the_kek_is_gone():
    """A certificate covers backups only if the KEK is destroyed. Otherwise it states that a backup still opens."""
    opens = "can open it"
    covers, limits = sentences(keks=(OWN,))
    assert "local:own is destroyed" in covers
    assert opens not in limits
    for kek in (PENDING, SHARED, KEPT, FAILED):
        covers, limits = sentences(keks=(kek,))
        assert "is destroyed" not in covers
        assert f"{kek.kek}" in limits
        assert opens in limits
    assert "2026-12-23 12:00 UTC" in sentences(keks=(PENDING,))[1]


def test_what_is_never_covered_is_always_said():
    """A certificate always lists what it does not cover, for example backups, logs, exports and memory."""
    _, limits = sentences()
    for words in (
        "write-ahead log",
        "VACUUM",
        "Copies of a KEK",
        "re-wrapped",
        "cell's keys",
        "Logs of",
        "exports",
        "core dumps",
    ):
        assert words in limits
    assert "segments" in limits
    assert "none is configured" in sentences(documents_deleted=None)[1]
    assert "purge" not in limits
    assert "a purge of the namespace" in sentences(completed_at=NOW + timedelta(seconds=900))[1]


def test_the_signing_key_is_shown_nowhere():
    """A signing key is not in its repr and can't be pickled, and its seed is not in what it signs."""
    seed = derivation.certificate_seed(ROOT).reveal()
    assert seed.hex() not in repr(KEY)
    assert seed.hex() not in SIGNED.decode()
    with pytest.raises(TypeError):
        KEY.__reduce__()
