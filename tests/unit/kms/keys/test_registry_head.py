"""Heads and the summary of the key registry: frozen examples, and each field counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from strongroom.kms import DataKeyRecord, KeyClass, KeyState, RegistryAltered, Secret, Suite
from strongroom.kms.keys.registry_head import NOT_SCHEDULED, RegistryKey, encode_keys, shredding_digest

VECTOR = Path(__file__).parents[3] / "vectors" / "registry_heads.json"
CELL, NAMESPACE = UUID(int=1), UUID(int=2)
THEN = datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)
KEY = RegistryKey(Secret(bytes(range(32))), CELL)
DATA = DataKeyRecord(
    namespace_id=NAMESPACE,
    key_class=KeyClass.DATA,
    version=1,
    suite=Suite.AES_256_GCM,
    state=KeyState.DISABLED,
    provider="local",
    kek_id="own",
    kek_version="3",
    wrapped=b"w",
    commitment=b"\x5c" * 32,
    created_at=THEN,
    withdrawn=True,
    disabled_from=KeyState.ACTIVE,
    lease=2**17,
)
INDEX = replace(DATA, key_class=KeyClass.INDEX, layout="compatible 1", withdrawn=False, lease=0)
GONE = replace(DATA, version=2, state=KeyState.DESTROYED, disabled_from=None, wrapped=None, destroyed_at=THEN)
KEYS = (DATA, INDEX, GONE)
DIGEST = shredding_digest(
    times=(THEN, THEN, None),
    flags=(True, False),
    keks=[("local", "own", "delete", "destroyed", None, "request", None)],
)
CHANGES = {
    "key_class": KeyClass.IDENTITY,
    "version": 7,
    "suite": Suite.XAES_256_GCM,
    "state": KeyState.ACTIVE,
    "provider": "other",
    "kek_id": "other",
    "kek_version": "4",
    "commitment": bytes(32),
    "destroyed_at": THEN,
    "layout": "strict 1",
    "withdrawn": False,
    "disabled_from": KeyState.PENDING,
    "lease": 0,
}


def examples():
    """Return the frozen examples as this code makes them."""
    head = KEY.head(NAMESPACE, 5, KEYS, DIGEST)
    summary = KEY.summary(9, KEY.term(NAMESPACE, head), nonce=bytes(range(16)))
    return {
        "root": bytes(range(32)).hex(),
        "cell": str(CELL),
        "namespace": str(NAMESPACE),
        "keys": encode_keys(KEYS).hex(),
        "shredding": DIGEST.hex(),
        "head": {"version": 5, "code": head.mac.hex(), "term": f"{KEY.term(NAMESPACE, head):064x}"},
        "summary": {
            "version": 9,
            "nonce": summary.nonce.hex(),
            "total": summary.total.hex(),
            "code": summary.mac.hex(),
        },
    }


def test_the_frozen_examples():
    """The bytes that FORMAT.md section 6.6 specifies do not change."""
    assert examples() == json.loads(VECTOR.read_text())


@pytest.mark.parametrize("field", CHANGES)
def test_each_field_counts(field):
    """A head does not authenticate rows of which one field differs."""
    head = KEY.head(NAMESPACE, 5, KEYS, DIGEST)
    KEY.check(NAMESPACE, head, tuple(reversed(KEYS)))
    changed = replace(DATA, **{field: CHANGES[field]})
    with pytest.raises(RegistryAltered):
        KEY.check(NAMESPACE, head, (changed, INDEX, GONE))


def test_every_field_of_a_row_is_authenticated_or_named_here():
    """A new column of the registry needs a decision."""
    not_authenticated = {
        "namespace_id",
        "wrapped",
        "created_at",
    }  # the head's place, the commitment, and a reason in FORMAT.md
    assert set(CHANGES) | not_authenticated == set(DataKeyRecord.__dataclass_fields__)


@pytest.mark.parametrize(
    "other",
    [
        {"version": 6},
        {"shredding": NOT_SCHEDULED},
        {"mac": bytes(32)},
    ],
)
def test_version_and_shredding_count(other):
    """Nobody raises a version or exchanges a shredding without the key."""
    head = KEY.head(NAMESPACE, 5, KEYS, DIGEST)
    with pytest.raises(RegistryAltered):
        KEY.check(NAMESPACE, replace(head, **other), KEYS)
    with pytest.raises(RegistryAltered):
        KEY.check(UUID(int=3), head, KEYS)
    with pytest.raises(RegistryAltered):
        KEY.check(NAMESPACE, None, KEYS)


def test_the_summary_has_every_newest_head():
    """A missing, an older and an added head are noticed, and so is a changed summary."""
    heads = {UUID(int=number): KEY.head(UUID(int=number), 1, ()) for number in range(2, 6)}
    total = sum(KEY.term(*each) for each in heads.items()) % 2**256
    summary = KEY.summary(4, total)
    KEY.check_all(heads, summary)
    newer = {**heads, NAMESPACE: KEY.head(NAMESPACE, 2, ())}
    fewer = {each: head for each, head in heads.items() if each != NAMESPACE}
    added = {**heads, UUID(int=9): KEY.head(UUID(int=9), 1, ())}
    for wrong in (newer, fewer, added):
        with pytest.raises(RegistryAltered):
            KEY.check_all(wrong, summary)
    for changed in ({"version": 5}, {"nonce": bytes(16)}, {"total": bytes(32)}, {"mac": bytes(32)}):
        with pytest.raises(RegistryAltered):
            KEY.check_all(heads, replace(summary, **changed))
    with pytest.raises(RegistryAltered):
        KEY.check_all(heads, None)
    assert KEY.summary(4, total).total != summary.total, "each version has another mask"
