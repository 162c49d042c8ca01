from __future__ import annotations

import json
from pathlib import Path

import pytest

from strongroom.kms import Suite
from strongroom.kms.sealing import python_cipher
from strongroom.kms.sealing.ciphers import implementation
from strongroom.kms.sealing.header import encode_header

DOCUMENT = json.loads((Path(__file__).parent / "wycheproof_aes_gcm.json").read_text())
TESTS = [
    {name: bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")}
    | {name: test[name] for name in ("tcId", "result")}
    for group in DOCUMENT["testGroups"]
    for test in group["tests"]
]
HEADER = encode_header(Suite.AES_256_GCM, 0, 1)

pytestmark = pytest.mark.usefixtures("cipher")


def cipher_of(key):
    """Return a cipher of suite 1 with the vector's own key, because a data key would derive another one."""
    return implementation().Cipher(key, Suite.AES_256_GCM)


def open_sealed(cipher, sealed, aad):
    return implementation().open_rows(lambda _sealed: (cipher.subkey(b""), aad, len(HEADER)), b"", (), [((), sealed)])


@pytest.mark.parametrize("test", TESTS, ids=[f"{test['result']}-{test['tcId']}" for test in TESTS])
def test_wycheproof(test):
    """Suite 1 opens each valid vector, and refuses each invalid one."""
    sealed = HEADER + test["iv"] + test["ct"] + test["tag"]
    if test["result"] == "valid":
        assert open_sealed(cipher_of(test["key"]), sealed, test["aad"]) == [test["msg"]]
    else:
        with pytest.raises(implementation().NotOpened):
            open_sealed(cipher_of(test["key"]), sealed, test["aad"])


@pytest.mark.usefixtures("only_python")
@pytest.mark.parametrize("test", [test for test in TESTS if test["result"] == "valid"], ids=lambda test: test["tcId"])
def test_wycheproof_sealed(monkeypatch, test):
    """Suite 1 seals each valid vector to the published bytes."""
    monkeypatch.setattr(python_cipher, "random_nonces", lambda _count: [test["iv"]])
    batch = cipher_of(test["key"]).batch(1)
    assert batch.seal(b"", test["aad"], b"", (), [((), test["msg"])]) == [test["iv"] + test["ct"] + test["tag"]]


def test_vectors_are_all_there():
    """The file holds the 39 valid and 27 invalid published vectors of this size, and no others."""
    assert [(g["keySize"], g["ivSize"], g["tagSize"]) for g in DOCUMENT["testGroups"]] == [(256, 96, 128)]
    results = [test["result"] for test in TESTS]
    assert (results.count("valid"), results.count("invalid"), len(results)) == (39, 27, 66)
