"""The AWS Encryption SDK with a raw AES key and cached materials. It calls no KMS, and uses one data key for many messages."""

from __future__ import annotations

import os

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.key_providers.raw import RawMasterKey, WrappingKey

from benchmarks.sealing.contenders.protocol import Contender, one_by_one


def contenders() -> list[Contender]:
    """Return the contender, with key commitment. It does not sign, because no other contender signs."""
    wrapping = WrappingKey(
        wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
        wrapping_key=os.urandom(32),
        wrapping_key_type=EncryptionKeyType.SYMMETRIC,
    )
    materials = aws_encryption_sdk.CachingCryptoMaterialsManager(
        master_key_provider=RawMasterKey(provider_id="bench", key_id=b"key", wrapping_key=wrapping),
        cache=aws_encryption_sdk.LocalCryptoMaterialsCache(100),
        max_age=3600.0,
    )
    client = aws_encryption_sdk.EncryptionSDKClient()
    algorithm, context = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY, {"namespace": "namespace"}

    def seal(_key: object, plaintext: bytes) -> bytes:
        sealed: bytes = client.encrypt(
            source=plaintext, materials_manager=materials, encryption_context=context, algorithm=algorithm
        )[0]
        return sealed

    def open_(_key: object, value: bytes) -> bytes:
        plaintext: bytes = client.decrypt(source=value, materials_manager=materials)[0]
        return plaintext

    differs = (
        "a message format of frames with its own header, which is derived, authenticated and committed to for each row; "
        "the context is of the namespace, so that its cache is hit: a context of the row would never hit it"
    )
    return [one_by_one("AWS Encryption SDK", "aws-encryption-sdk", differs, seal, open_)]
