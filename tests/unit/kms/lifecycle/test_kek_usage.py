from __future__ import annotations

import pytest

from strongroom.kms import KekRef, KekUsage, MultiProvider, depending_on

A, B = KekRef("one", "a"), KekRef("two", "b")
BOTH = KekRef("both", "one:a,two:b")


def used(kek, version):
    return KekUsage(kek.provider, kek.key_id, version, keys=3, namespaces=1)


@pytest.fixture
def keyring(deployment):
    """Return a keyring with two providers, and a multi-provider of both."""
    local = deployment.local
    deployment.keyring.providers = {
        "one": local,
        "two": local,
        "both": MultiProvider("both", {"one": local, "two": local}),
    }
    return deployment.keyring


@pytest.mark.parametrize(
    ("in_use", "asked", "version", "depends"),
    [
        (used(A, "1"), A, None, True),
        (used(A, "1"), A, "1", True),
        (used(A, "1"), A, "2", False),
        (used(A, "1"), B, None, False),
        (used(BOTH, "3,7"), A, None, True),
        (used(BOTH, "3,7"), A, "3", True),
        (used(BOTH, "3,7"), A, "7", False),
        (used(BOTH, "3,7"), B, "7", True),
        (used(BOTH, "-,7"), A, None, False),
        (used(BOTH, "-,7"), B, None, True),
        (used(A, "1"), BOTH, None, True),
        (used(BOTH, "3,7"), BOTH, None, True),
        (used(KekRef("one", "c"), "1"), BOTH, None, False),
    ],
)
def test_what_depends_on_a_kek(keyring, in_use, asked, version, depends):
    """A KEK is in use if it wraps keys, if a multi-KEK with it as a child does, or if one of its own children does."""
    assert bool(depending_on(keyring, [in_use], [asked], version)) == depends
