"""The kernel and `cryptography` write and accept the same bytes, and refuse the same values with the same errors."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import random
import sys
import threading
from contextlib import suppress
from types import SimpleNamespace
from uuid import UUID

import pytest

from strongroom.kms import (
    IntegrityError,
    InvalidRequest,
    KeyClass,
    NamespaceKeys,
    PartType,
    RecordKind,
    SealingLimitExceeded,
    Secret,
    Suite,
    UnsupportedFormat,
    UnsupportedOperation,
)
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.keys.leases import Lease
from strongroom.kms.sealing import ciphers, python_cipher

ROOT = bytes(range(32))
CHOSEN = ciphers.chosen
KINDS = {
    "number": (RecordKind("record", "data", (PartType.INT64,)), (), lambda row: (row - 50,)),
    "id and number": (
        RecordKind("record", "data", (PartType.ID, PartType.INT64, PartType.INT64)),
        (bytes(16),),
        lambda row: (row, -(2**63) + row),
    ),
    "texts": (
        RecordKind("record", "data", (PartType.TEXT, PartType.BYTES, PartType.ID)),
        ("zähler",),
        lambda row: (bytes([row]) * row, row.to_bytes(16, "big")),
    ),
    "nothing": (RecordKind("record", "data", (PartType.TEXT,)), ("all of it",), lambda _row: ()),
    "packed": (RecordKind("record", "data", (PartType.INT64,), compress=True, padded=True), (), lambda row: (row,)),
}


def make_keys(cipher, suite=Suite.XAES_256_GCM, **options):
    key = DataKey(Secret(ROOT), version=1, suite=suite, lease=Lease(2**20), cipher=cipher)
    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: key},
        index={},
        identity={},
        active={KeyClass.DATA: 1},
        **options,
    )


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("kind", KINDS)
def test_each_opens_what_the_other_sealed(native, kind, suite):
    """Each implementation opens the batches of the other, for lengths around every limit."""
    kind, scope, key_of = KINDS[kind]
    rows = [(key_of(row), os.urandom(row * row % 5000) + b"text" * row) for row in range(100)]
    ours, theirs = make_keys(native, suite), make_keys(ciphers.PYTHON, suite)
    for sealing, opening in ((ours, theirs), (theirs, ours), (ours, ours)):
        sealed = sealing.seal_many(kind, rows, scope=scope)
        moved = [(key, value) for (key, _), value in zip(rows, sealed, strict=True)]
        assert opening.open_many(kind, moved, scope=scope) == [plaintext for _, plaintext in rows]
        assert opening.open_many(kind, tuple(moved), scope=scope) == [plaintext for _, plaintext in rows]


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_nonces_give_the_same_bytes(native, monkeypatch, kind, suite):
    """Both implementations seal to the same bytes if they draw the same nonces."""
    kind, scope, key_of = KINDS[kind]
    rows = [(key_of(row), b"x" * (row * 37)) for row in range(100)]
    sealed = make_keys(native, suite).seal_many(kind, rows, scope=scope)
    end = 20 if suite is Suite.AES_256_GCM else 32
    drawn = sealed[0][8:end] if end > 20 else b"".join(value[8:end] for value in sealed)
    monkeypatch.setattr(python_cipher, "os", SimpleNamespace(urandom=lambda _count: drawn))
    assert make_keys(ciphers.PYTHON, suite).seal_many(kind, rows, scope=scope) == sealed


@pytest.mark.parametrize("suite", Suite)
def test_long_rows(cipher, suite):
    """Rows of 15 KiB to 3 MiB, mixed with short ones in either order, open again. An empty batch does too."""
    kind = KINDS["number"][0]
    keys = make_keys(cipher, suite)
    sizes = [0, 2**14 - 1, 2**14, 5, 2**20, 2**20 + 1, 3 * 2**20, 100]
    for order in (sizes, sizes[::-1]):
        rows = [((number,), os.urandom(size)) for number, size in enumerate(order)]
        sealed = [(key, value) for (key, _), value in zip(rows, keys.seal_many(kind, rows), strict=True)]
        assert keys.open_many(kind, sealed) == [plaintext for _, plaintext in rows]
    assert keys.seal_many(kind, []) == keys.open_many(kind, []) == []


WRONG_KEYS = [(), (1, 2), ("1",), (2**63,), (1.0,), (None,), (b"1",)]


@pytest.mark.parametrize("key", WRONG_KEYS, ids=repr)
def test_a_key_of_other_types_is_refused(cipher, key):
    """A key with wrong types is refused on sealing and opening, and the message contains no part of the key."""
    kind = KINDS["number"][0]
    keys = make_keys(cipher)
    sealed = keys.seal(kind, (1,), b"text")
    for call in (
        lambda: keys.seal_many(kind, [((1,), b"text"), (key, b"text")]),
        lambda: keys.seal_many(kind, [((), b"text")], scope=key or (1, 2)),
        lambda: keys.open_many(kind, [((1,), sealed), (key, sealed)]),
        lambda: keys.open_many(kind, [((), sealed)], scope=key or (1, 2)),
    ):
        with pytest.raises(InvalidRequest) as refused:
            call()
        assert not any(repr(part) in str(refused.value) for part in key)


@pytest.mark.parametrize("key", [(b"x" * 15,), ("x" * 16,), (bytearray(16),)], ids=repr)
def test_an_id_has_sixteen_bytes(cipher, key):
    """An id that is not `bytes` of length 16 is refused."""
    keys = make_keys(cipher)
    with pytest.raises(InvalidRequest):
        keys.seal(RecordKind("record", "data", (PartType.ID,)), key, b"")


@pytest.mark.parametrize("part_type", [PartType.TEXT, PartType.BYTES])
def test_a_part_has_at_most_65535_bytes(cipher, part_type):
    """A key part of more than 65,535 bytes, or a text that is not valid UTF-8, is refused."""
    kind, keys = RecordKind("record", "data", (part_type,)), make_keys(cipher)
    one = "x" if part_type is PartType.TEXT else b"x"
    assert keys.open(kind, (one * 65535,), keys.seal(kind, (one * 65535,), b"text")) == b"text"
    for part in (one * 65536, "\ud800"):
        with pytest.raises(InvalidRequest):
            keys.seal(kind, (part,), b"")


def test_every_cut_and_every_flipped_bit_is_refused(cipher):
    """Every truncated value and every flipped bit is refused, in a batch and outside of one."""
    kind = KINDS["number"][0]
    keys = make_keys(cipher)
    sealed = keys.seal(kind, (1,), b"text")
    changed = [sealed[:length] for length in range(len(sealed))] + [sealed + b"\x00"]
    for bit in range(8 * 8, 8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        changed.append(bytes(altered))
    for value in changed:
        expected = UnsupportedFormat if len(value) < 8 else IntegrityError
        for batch in ([((1,), value)], [((1,), sealed), ((1,), value), ((1,), sealed)]):
            with pytest.raises(expected) as refused:
                keys.open_many(kind, batch)
            assert refused.value.__cause__ is None
    with pytest.raises(IntegrityError):
        keys.open(kind, (2,), sealed)


def test_a_plaintext_beyond_64_mib_is_refused(cipher):
    """A plaintext of 64 MiB is sealed, and a longer one is refused."""
    kind, keys = KINDS["number"][0], make_keys(cipher)
    assert len(keys.seal(kind, (1,), bytes(64 * 2**20))) == 64 * 2**20 + 48
    with pytest.raises(SealingLimitExceeded):
        keys.seal(kind, (1,), bytes(64 * 2**20 + 1))


@pytest.mark.parametrize(
    "rows", [[((1,), "text")], [((1,), None)], [(1, b"")], [b""], [((1,), b"", b"")], None], ids=repr
)
def test_what_is_no_row_is_refused(cipher, rows):
    """A malformed row raises an error and never crashes the process."""
    with pytest.raises((TypeError, ValueError, LookupError, InvalidRequest)):
        make_keys(cipher).seal_many(KINDS["number"][0], rows)


def test_threads_share_keys(cipher):
    """Threads that seal and open with one key at the same time get their own rows back."""
    kind, keys, failures = KINDS["number"][0], make_keys(cipher), []

    def work(seed):
        chance = random.Random(seed)  # noqa: S311 - sizes, not secrets
        for _ in range(30):
            rows = [
                ((number,), os.urandom(chance.choice((10, 3000, 40000)))) for number in range(chance.randint(1, 40))
            ]
            sealed = [(key, value) for (key, _), value in zip(rows, keys.seal_many(kind, rows), strict=True)]
            if keys.open_many(kind, sealed) != [plaintext for _, plaintext in rows]:
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_rows_may_be_taken_away_meanwhile(native):
    """A list that another thread empties during sealing gives an error or all rows, and no crash."""
    kind, keys = KINDS["number"][0], make_keys(native)
    for _ in range(50):
        rows = [((number,), os.urandom(20000)) for number in range(50)]
        emptying = threading.Thread(target=rows.clear)
        emptying.start()
        try:
            sealed = keys.seal_many(kind, rows)
        except IndexError:
            sealed = []
        emptying.join()
        assert all(keys.open(kind, (number,), value) for number, value in enumerate(sealed))


async def test_other_tasks_run_while_a_thread_seals(native):
    """The event loop keeps running while a thread seals a long batch."""
    kind, keys = KINDS["number"][0], make_keys(native)
    rows = [((number,), bytes(2**20)) for number in range(200)]
    sealing = asyncio.create_task(asyncio.to_thread(keys.seal_many, kind, rows))
    ticks = 0
    while not sealing.done():
        await asyncio.sleep(0)
        ticks += 1
    assert len(await sealing) == 200
    assert ticks >= 10


def test_threads_may_read_while_derived_keys_are_dropped(cipher):
    """Every row opens if threads read more batches than the cache holds derived keys for."""
    kind, keys, failures = KINDS["number"][0], make_keys(cipher, cached_subkeys=4), []
    values = [keys.seal(kind, (number,), b"text") for number in range(1000)]

    def read(seed):
        chance = random.Random(seed)  # noqa: S311 - places, not secrets
        for number in chance.choices(range(1000), k=20_000):
            try:
                keys.open(kind, (number,), values[number])
            except RuntimeError as error:
                failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failures
    assert len(keys._subkeys.entries) <= 4 + 4


def test_results_are_not_seen_before_they_are_whole(native):
    """No list of results is visible to the garbage collector while it has empty places."""
    kind, keys = KINDS["number"][0], make_keys(native)
    rows = [((number,), bytes(2**18)) for number in range(61)]
    sealing = threading.Thread(target=lambda: [keys.seal_many(kind, rows) for _ in range(10)])
    sealing.start()
    while sealing.is_alive():
        lists = [each for each in gc.get_objects() if type(each) is list and len(each) == 61 and each is not rows]
        # `get_referents` omits empty places.
        assert not [each for each in lists if len(gc.get_referents(each)) < 61]
        del lists
    sealing.join()
    assert gc.is_tracked(keys.seal_many(kind, rows))


@pytest.mark.parametrize("start", [2**64 - 1, 2**64 - 12, 2**64 - 28, 2**63, 40, 10**30, -1])
def test_an_offset_beyond_a_value_opens_nothing(native, start):
    """A wrong nonce offset never makes the cipher read outside the value."""
    module = ciphers.implementation(native)
    subkey = module.Cipher(ROOT, Suite.XAES_256_GCM).subkey(bytes(12))
    with pytest.raises((module.NotOpened, OverflowError)):
        module.open_rows(lambda _value: (subkey, b"", start), b"", (), [((), bytes(60))])


def test_the_longest_padded_plaintext_is_taken(cipher):
    """The limit of 64 MiB applies to the plaintext, not to its padded length."""
    kind = RecordKind("record", "data", (PartType.INT64,), padded=True)
    keys, plaintext = make_keys(cipher), bytes(64 * 2**20)
    assert keys.open(kind, (1,), keys.seal(kind, (1,), plaintext)) == plaintext
    with pytest.raises(SealingLimitExceeded):
        keys.seal(kind, (1,), plaintext + b"x")


def test_a_batch_shared_by_threads_uses_no_nonce_twice(cipher):
    """Each nonce of a batch is used once. A thread that finds the batch in use, or used up, is refused."""
    for _ in range(50):
        batch, made = ciphers.implementation(cipher).Cipher(ROOT, Suite.XAES_256_GCM).batch(400), []

        def seal(batch=batch, made=made):
            for _ in range(40):
                with suppress(ValueError, RuntimeError):
                    made.extend(batch.seal(bytes(8), b"", b"", (), [((), b"")] * 5))

        threads = [threading.Thread(target=seal) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({value[8:32] for value in made}) == len(made) <= 400
        for copying in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError):
                copying(batch)


def test_a_text_that_is_no_utf8_is_not_in_the_error(cipher):
    """A text that is not valid UTF-8 is neither in the error nor in its cause or context."""
    with pytest.raises(InvalidRequest) as refused:
        make_keys(cipher).seal(RecordKind("record", "data", (PartType.TEXT,)), ("secret \ud800",), b"")
    error = refused.value
    while error is not None:
        assert "secret" not in repr(error.args)
        assert not isinstance(error, UnicodeError)
        error = error.__context__


def test_nothing_is_leaked(native):
    """Sealing and opening, with success or failure, keep no reference to the rows."""
    kind, keys = KINDS["number"][0], make_keys(native)
    plaintext = os.urandom(40000)
    sealed = keys.seal(kind, (1,), plaintext)
    before = sys.getrefcount(plaintext), sys.getrefcount(sealed)
    for _ in range(20):
        keys.seal_many(kind, [((1,), plaintext)] * 9)
        keys.open_many(kind, [((1,), sealed)] * 9)
        for call in (
            lambda: keys.seal_many(kind, [((1,), plaintext), ((), plaintext)]),
            lambda: keys.open_many(kind, [((1,), sealed), ((2,), sealed)]),
        ):
            with pytest.raises((InvalidRequest, IntegrityError)):
                call()
    gc.collect()
    assert (sys.getrefcount(plaintext), sys.getrefcount(sealed)) == before


def test_a_batch_has_only_its_own_nonces(cipher):
    """A batch refuses more rows than it was made for, so that no nonce repeats."""
    batch = ciphers.implementation(cipher).Cipher(ROOT, Suite.XAES_256_GCM).batch(2)
    batch.seal(bytes(8), b"", b"", (), [((), b"")])
    with pytest.raises(ValueError, match=r".*"):
        batch.seal(bytes(8), b"", b"", (), [((), b"")] * 2)


def test_the_environment_chooses(monkeypatch):
    """The kernel is used if it is installed, or the implementation that the environment names. An unknown name is refused."""
    monkeypatch.setattr(ciphers, "chosen", CHOSEN)
    assert ciphers.chosen() == ciphers.available()[-1]
    monkeypatch.setenv(ciphers.VARIABLE, ciphers.PYTHON)
    assert DataKey(Secret(ROOT), version=1, suite=Suite.XAES_256_GCM).implementation is python_cipher
    monkeypatch.setenv(ciphers.VARIABLE, "fast")
    with pytest.raises(UnsupportedOperation, match=ciphers.VARIABLE):
        DataKey(Secret(ROOT), version=1, suite=Suite.XAES_256_GCM)
