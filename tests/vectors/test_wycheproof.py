from __future__ import annotations

import json
from pathlib import Path

import pytest

from strongroom.kms import IntegrityError, Secret, Suite, derivation
from strongroom.kms.data_key import DataKey
from strongroom.kms.header import encode_header, parse_header
from strongroom.kms.sealing import open_batch, seal_batch

DOCUMENT = json.loads((Path(__file__).parent / "wycheproof_aes_gcm.json").read_text())
TESTS = [
    {name: bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")}
    | {name: test[name] for name in ("tcId", "result")}
    for group in DOCUMENT["testGroups"]
    for test in group["tests"]
]
HEADER = encode_header(Suite.AES_256_GCM, 0, 1)
NO_KEY_PARTS = ()


def no_parts():
    return b""


@pytest.fixture
def data_key(monkeypatch):
    """Make a data key of suite 1 whose AES key is the vector's own: the derivation alone is left out."""

    def make(key):
        monkeypatch.setattr(derivation, "seal_key", lambda root, _suite: root)
        return DataKey(Secret(key), version=1, suite=Suite.AES_256_GCM)

    return make


def open_sealed(key, sealed, aad):
    def opener(value):
        decrypt, nonce_tail = key.decryptor(value, parse_header(HEADER))
        return decrypt, aad, nonce_tail

    return open_batch(opener, encode=no_parts, rows=[(NO_KEY_PARTS, sealed)])


@pytest.mark.parametrize("test", TESTS, ids=[f"{test['result']}-{test['tcId']}" for test in TESTS])
def test_wycheproof(data_key, test):
    """Suite 1 seals and opens each valid vector to the published bytes, and refuses each invalid one."""
    key = data_key(test["key"])
    sealed = HEADER + test["iv"] + test["ct"] + test["tag"]
    if test["result"] == "valid":
        assert open_sealed(key, sealed, test["aad"]) == [test["msg"]]
    else:
        with pytest.raises(IntegrityError):
            open_sealed(key, sealed, test["aad"])
        return
    made = seal_batch(
        key._gcm().encrypt,
        head=HEADER,
        tails=[test["iv"]],
        associated=test["aad"],
        encode=no_parts,
        rows=[(NO_KEY_PARTS, test["msg"])],
    )
    assert made == [sealed]


def test_vectors_are_all_there():
    """The kept group holds the 39 valid and 27 invalid vectors of the published file, and nothing of other sizes."""
    assert [(g["keySize"], g["ivSize"], g["tagSize"]) for g in DOCUMENT["testGroups"]] == [(256, 96, 128)]
    results = [test["result"] for test in TESTS]
    assert (results.count("valid"), results.count("invalid"), len(results)) == (39, 27, 66)
