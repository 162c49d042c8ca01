"""Asherah's session, in Rust. Like Strongroom, it has keys by partition under a KMS and caches them."""

from __future__ import annotations

import os

from asherah import SessionFactory

from benchmarks.sealing.contenders.names import ASHERAH
from benchmarks.sealing.contenders.protocol import Contender, one_by_one

_factories: list[SessionFactory] = []
"""A session must not outlive its factory."""


def contenders() -> list[Contender]:
    """Return the contender: one session of one partition, with a static KMS and an in-memory metastore."""
    factory = SessionFactory(
        {
            "ServiceName": "bench",
            "ProductID": "bench",
            "Metastore": "memory",
            "KMS": "static",
            "StaticMasterKeyHex": os.urandom(32).hex(),
            "EnableSessionCaching": True,
        }
    )
    _factories.append(factory)
    session = factory.get_session("namespace")
    encrypt, decrypt = session.encrypt_bytes, session.decrypt_bytes
    return [
        one_by_one(
            ASHERAH,
            "asherah",
            "seals a new data key for each record (stronger isolation of rows), about 250 B of JSON and base64 a row; "
            "no associated data of the caller's",
            lambda _, plaintext: encrypt(plaintext),
            lambda _, value: decrypt(value),
        )
    ]
