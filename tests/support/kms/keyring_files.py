"""Checks and changes of keyring files, for the tests of the local provider."""

from __future__ import annotations

import json

import pytest

from strongroom.kms import KeyringFileError, LocalProvider, Secret

CONTEXT = {"strongroom:cell": "c", "strongroom:namespace": "n", "strongroom:class": "data", "strongroom:version": "1"}
ROOT = Secret(bytes(range(32)))
PASSPHRASE = "correct horse"  # noqa: S105 - of files that a test makes
OTHER_PASSPHRASE = "battery staple"  # noqa: S105 - as above


async def refused(path, match, passphrase=None):
    """Assert that a check refuses the keyring, with an error that matches and has the path."""
    with pytest.raises(KeyringFileError, match=match) as refusal:
        await LocalProvider("local", path, passphrase=passphrase).check()
    assert str(path) in str(refusal.value)


def change_document(path, change):
    """Apply a function to the JSON document of a keyring file."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def without_kek(path, kek):
    """Remove a KEK from a keyring file, as if it were revoked."""
    change_document(path, lambda document: document["keks"].pop(kek.key_id))
