"""pymongocrypt's explicit encryption, which is MongoDB's client-side encryption of one field."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import bson
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.synchronous.state_machine import MongoCryptCallback

from benchmarks.sealing.contenders.protocol import Contender, one_by_one

ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"


class Vault(MongoCryptCallback):  # type: ignore[misc]
    """An in-memory key vault with the callbacks of libmongocrypt."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []

    def insert_data_key(self, data_key: Any) -> bytes:
        """Keep a wrapped data key; return its id."""
        self._keys.append(bytes(data_key))
        return bytes(bson.decode(self._keys[-1])["_id"])

    def fetch_keys(self, _filter: object) -> list[bytes]:
        """Return all wrapped data keys. There is one."""
        return self._keys

    def bson_encode(self, doc: Any) -> bytes:
        """Encode a document."""
        return bson.encode(doc)

    def kms_request(self, _context: object) -> NoReturn:
        """Refuse: the local provider has no KMS."""
        raise NotImplementedError

    def collection_info(self, _database: object, _filter: object) -> NoReturn:
        """Refuse: explicit encryption asks no server."""
        raise NotImplementedError

    mark_command = collection_info

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def contenders() -> list[Contender]:
    """Return the contender, with the local KMS provider and one data key, which libmongocrypt caches."""
    encrypter = ExplicitEncrypter(Vault(), MongoCryptOptions({"local": {"key": os.urandom(96)}}))
    data_key = encrypter.create_data_key("local")

    def seal(_key: object, plaintext: bytes) -> bytes:
        return bytes(encrypter.encrypt(bson.encode({"v": plaintext}), ALGORITHM, key_id=data_key))

    def open_(_key: object, value: bytes) -> bytes:
        plaintext: bytes = bson.decode(bytes(encrypter.decrypt(value)))["v"]
        return plaintext

    differs = "AES-256-CBC with HMAC-SHA-512 instead of GCM; a BSON document a row; the field's place is not bound"
    return [one_by_one("pymongocrypt, explicit", "pymongocrypt", differs, seal, open_)]
