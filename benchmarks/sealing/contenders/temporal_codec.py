"""Temporal's sample payload codec for encryption, reimplemented from its behaviour.

The sample (`encryption/codec.py` of temporalio/samples-python) serialises each payload, seals it with `AESGCM`, a random
nonce of 12 bytes before the ciphertext and no associated data, and puts it into a new payload whose metadata name the
encoding and the key. That payload is serialised and stored. The message is Temporal's `Payload` with its two fields.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks.sealing.contenders.protocol import Contender, one_by_one

KEY_ID = b"bench-key"
_FIELD = descriptor_pb2.FieldDescriptorProto


@cache
def payload_class() -> Any:
    """Return the class of `message Payload { map<string, bytes> metadata = 1; bytes data = 2; }`."""
    file = descriptor_pb2.FileDescriptorProto(name="bench_payload.proto", package="bench", syntax="proto3")
    message = file.message_type.add(name="Payload")
    entry = message.nested_type.add(name="MetadataEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=_FIELD.TYPE_BYTES, label=_FIELD.LABEL_OPTIONAL)
    message.field.add(
        name="metadata",
        number=1,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".bench.Payload.MetadataEntry",
        label=_FIELD.LABEL_REPEATED,
    )
    message.field.add(name="data", number=2, type=_FIELD.TYPE_BYTES, label=_FIELD.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Payload"))


def contenders() -> list[Contender]:
    """Return the codec as a contender. It converts a payload's data to the serialised payload and back."""
    payload, cipher = payload_class(), AESGCM(os.urandom(32))

    def encode(_key: object, plaintext: bytes) -> bytes:
        inner = payload(metadata={"encoding": b"binary/plain"}, data=plaintext).SerializeToString()
        nonce = os.urandom(12)
        outer = payload(
            metadata={"encoding": b"binary/encrypted", "encryption-key-id": KEY_ID},
            data=nonce + cipher.encrypt(nonce, inner, None),
        )
        sealed: bytes = outer.SerializeToString()
        return sealed

    def decode(_key: object, value: bytes) -> bytes:
        outer = payload.FromString(value)
        if outer.metadata["encryption-key-id"] != KEY_ID:
            msg = "another key's payload"
            raise ValueError(msg)
        inner = payload.FromString(cipher.decrypt(outer.data[:12], outer.data[12:], None))
        plaintext: bytes = inner.data
        return plaintext

    differs = "two protobuf messages a row; one key for ever; no associated data"
    return [one_by_one("Temporal's sample codec", "protobuf", differs, encode, decode)]
