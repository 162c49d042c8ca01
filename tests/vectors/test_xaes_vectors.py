from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from unittest import mock

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.kms import XAES256GCM
from strongroom.kms.sealing import xaes

VECTORS = json.loads((Path(__file__).parent / "c2sp_xaes_256_gcm.json").read_text())
EXAMPLES = [{name: bytes.fromhex(value) for name, value in e.items() if name != "comment"} for e in VECTORS["examples"]]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["comment"] for example in VECTORS["examples"]])
def test_published_example(example):
    """Both published examples encrypt to the published bytes, and decrypt again."""
    cipher = XAES256GCM(example["K"])
    assert cipher.encrypt(example["N"], example["plaintext"], example["aad"]) == example["ciphertext"]
    assert cipher.decrypt(example["N"], example["ciphertext"], example["aad"]) == example["plaintext"]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["comment"] for example in VECTORS["examples"]])
def test_published_subkey(example):
    """GCM gets the published key Kx, and the rest of the nonce is the published Nx."""
    keys = []

    def noting(key):
        keys.append(key)
        return AESGCM(key)

    with mock.patch.object(xaes, "AESGCM", noting):
        XAES256GCM(example["K"]).derive(example["N"][:12])
    assert keys == [example["Kx"]]
    assert example["N"][12:] == example["Nx"]
    assert AESGCM(example["Kx"]).encrypt(example["Nx"], example["plaintext"], example["aad"]) == example["ciphertext"]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["comment"] for example in VECTORS["examples"]])
@pytest.mark.parametrize("changed", ["K", "N", "ciphertext", "aad"])
def test_altered_example_is_refused(example, changed):
    """A change to the last byte of any input of an example is refused."""
    altered = dict(example)
    altered[changed] = altered[changed][:-1] + bytes(((altered[changed] or b"\x00")[-1] ^ 1,))
    with pytest.raises(InvalidTag):
        XAES256GCM(altered["K"]).decrypt(altered["N"], altered["ciphertext"], altered["aad"])


def test_accumulated_vectors():
    """10,000 random inputs give the published hash, and all ciphertexts decrypt again."""
    accumulated = VECTORS["accumulated"]
    iterations = accumulated["iterations"]
    longest = iterations * (32 + 24 + 2 * 256)
    stream = io.BytesIO(hashlib.shake_128().digest(longest))
    assert stream.getvalue().startswith(bytes.fromhex(accumulated["stream_starts_with"]))
    ciphertexts = hashlib.shake_128()
    for _ in range(iterations):
        key, nonce = stream.read(32), stream.read(24)
        plaintext = stream.read(stream.read(1)[0])
        aad = stream.read(stream.read(1)[0])
        cipher = XAES256GCM(key)
        ciphertext = cipher.encrypt(nonce, plaintext, aad)
        assert cipher.decrypt(nonce, ciphertext, aad) == plaintext
        ciphertexts.update(ciphertext)
    assert ciphertexts.hexdigest(32) == accumulated["hash"]


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_key_of_another_length_is_refused(length):
    """A key that does not have 32 bytes is refused."""
    with pytest.raises(ValueError, match="32 bytes"):
        XAES256GCM(bytes(length))


@pytest.mark.parametrize("length", [0, 12, 23, 25])
def test_nonce_of_another_length_is_refused(length):
    """A nonce that does not have 24 bytes is refused by encrypt and decrypt."""
    cipher = XAES256GCM(XAES256GCM.generate_key())
    with pytest.raises(ValueError, match="24 bytes"):
        cipher.encrypt(bytes(length), b"", None)
    with pytest.raises(ValueError, match="24 bytes"):
        cipher.decrypt(bytes(length), bytes(16), None)
