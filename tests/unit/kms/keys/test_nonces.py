from __future__ import annotations

import itertools
import random
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import UUID

import pytest

from strongroom.kms import KeyClass, NamespaceKeys, PartType, RecordKind, SealingLimitExceeded, Secret, Suite
from strongroom.kms.keys.data_key import MAX_BATCH, DataKey
from strongroom.kms.keys.leases import Lease
from strongroom.kms.sealing import ciphers, python_cipher

CELL = UUID(int=1)
NAMESPACE = UUID(int=2)
ROOT = bytes(range(32))
KIND = RecordKind("record", "data", (PartType.INT64,))
NONCE_BYTES = {Suite.AES_256_GCM: 12, Suite.XAES_256_GCM: 24}
ROW = ((0,), b"")

pytestmark = pytest.mark.usefixtures("cipher")


def make_keys(suite):
    key = DataKey(Secret(ROOT), version=1, suite=suite, lease=Lease(2**30))
    return NamespaceKeys(
        cell_id=CELL, namespace_id=NAMESPACE, data={1: key}, index={}, identity={}, active={KeyClass.DATA: 1}
    )


def sealed_nonces(keys, sizes):
    """Return the nonces of records that are sealed in batches of the given sizes."""
    end = 8 + NONCE_BYTES[keys.active_data_key().suite]
    return [sealed[8:end] for size in sizes for sealed in keys.seal_many(KIND, [ROW] * size)]


def batch_sizes(total, *, seed, most=4096):
    """Return random batch sizes, many of them small, whose sum is the given total."""
    chance = random.Random(seed)  # noqa: S311 - sizes, not secrets
    sizes = []
    while total:
        size = min(total, int(2 ** chance.uniform(0, most.bit_length() - 1)))
        sizes.append(size)
        total -= size
    return sizes


def repeated(nonces):
    """Return the number of nonces that occur more than once."""
    nonces = list(nonces)
    return len(nonces) - len(set(nonces))


@pytest.fixture
def seed(pytestconfig):
    return pytestconfig.getoption("randomly_seed")  # printed at the start of a run, so that the run can be repeated


@pytest.mark.parametrize("suite", Suite)
def test_a_million_nonces_of_one_process(suite, seed):
    """A million records, sealed in batches of random sizes under one key, have a million different nonces."""
    nonces = sealed_nonces(make_keys(suite), batch_sizes(1_000_000, seed=seed, most=MAX_BATCH))
    assert len(nonces) == 1_000_000
    assert {len(nonce) for nonce in nonces} == {NONCE_BYTES[suite]}
    assert repeated(nonces) == 0


@pytest.mark.parametrize("suite", Suite)
def test_nonces_of_threads(suite, seed):
    """Threads that seal with the same key object at the same time never draw the same nonce."""
    keys = make_keys(suite)
    sizes = [batch_sizes(50_000, seed=seed + thread, most=512) for thread in range(8)]
    with ThreadPoolExecutor(8) as pool:
        nonces = list(itertools.chain.from_iterable(pool.map(lambda own: sealed_nonces(keys, own), sizes)))
    assert len(nonces) == 400_000
    assert repeated(nonces) == 0


FORKING = textwrap.dedent(
    """
    import os, sys
    sys.path.insert(0, {folder!r})
    import test_nonces
    from strongroom.kms import Suite
    from strongroom.kms.sealing import ciphers, python_cipher

    ciphers.chosen = lambda: {cipher!r}
    keys = test_nonces.make_keys(Suite({suite}))
    if {broken}:
        python_cipher.os = test_nonces.counting_from_zero()
    warm = test_nonces.sealed_nonces(keys, [3])  # the key that a child inherits was used before
    children = []
    for child in range(4):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            with os.fdopen(writer, "wb") as out:
                out.write(b"".join(test_nonces.sealed_nonces(keys, [1, 7, 256] * 40)))
            os._exit(0)
        os.close(writer)
        children.append((pid, reader))
    out = sys.stdout.buffer
    out.write(b"".join(warm + test_nonces.sealed_nonces(keys, [1, 7, 256] * 40)))
    for pid, reader in children:
        with os.fdopen(reader, "rb") as inherited:
            out.write(inherited.read())
        if os.waitpid(pid, 0)[1] != 0:
            sys.exit(1)
    """
)


def nonces_of_forks(suite, *, broken):
    """Return the nonces of a process and of four forked children. They run in an interpreter without threads."""
    folder = __file__.rpartition("/")[0]
    program = FORKING.format(folder=folder, suite=int(suite), broken=broken, cipher=ciphers.chosen())
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, timeout=120)
    length = NONCE_BYTES[suite]
    return [done.stdout[start : start + length] for start in range(0, len(done.stdout), length)]


@pytest.mark.parametrize("suite", Suite)
def test_nonces_of_forks(suite):
    """Children that inherit the unwrapped key by fork draw no nonce of their parent or of each other."""
    nonces = nonces_of_forks(suite, broken=False)
    assert len(nonces) == 3 + 5 * 40 * 264
    assert repeated(nonces) == 0


def test_nonces_of_separate_processes():
    """Processes that each unwrapped the same key draw no nonce of each other."""
    nonces = [nonce for _ in range(2) for nonce in nonces_of_forks(Suite.XAES_256_GCM, broken=False)]
    assert repeated(nonces) == 0


def test_nonces_of_retries():
    """A batch that is sealed again, for example in a retried transaction, has new nonces."""
    keys = make_keys(Suite.XAES_256_GCM)
    rows = [((number,), b"text") for number in range(10)]
    attempts = [keys.seal_many(KIND, rows) for _ in range(1000)]
    assert repeated(sealed[8:32] for attempt in attempts for sealed in attempt) == 0


def test_failed_batch_reuses_nothing():
    """The nonces of a batch that failed half-way are not used by the next batch."""
    keys = make_keys(Suite.XAES_256_GCM)
    drawn = []
    for _ in range(100):
        with pytest.raises(Exception, match="key"):
            keys.seal_many(KIND, [ROW, ROW, (("not a number",), b"")])
        drawn += sealed_nonces(keys, [3])
    assert repeated(drawn) == 0


@pytest.mark.usefixtures("only_python")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 1000])
@pytest.mark.parametrize("before_the_end", [1, 2, 3])
def test_counter_wraps_within_its_twelve_bytes(monkeypatch, count, before_the_end):
    """A counter that reaches 2^96 continues at zero. The prefix stays, and no nonce of the batch repeats."""
    start = b"\x07" * 12 + (2**96 - before_the_end).to_bytes(12, "big")
    monkeypatch.setattr(python_cipher, "os", SimpleNamespace(urandom=lambda _count: start))
    nonces = sealed_nonces(make_keys(Suite.XAES_256_GCM), [count])
    assert repeated(nonces) == 0
    counters = [int.from_bytes(nonce[12:], "big") for nonce in nonces]
    assert counters == [(2**96 - before_the_end + row) % 2**96 for row in range(count)]
    assert {nonce[:12] for nonce in nonces} == {b"\x07" * 12}


@pytest.mark.parametrize("suite", Suite)
def test_batch_is_bounded(suite):
    """A batch holds at most 2^16 records, which bounds the counter."""
    keys = make_keys(suite)
    assert len(keys.seal_many(KIND, [ROW] * MAX_BATCH)) == 2**16
    with pytest.raises(SealingLimitExceeded):
        keys.seal_many(KIND, [ROW] * (MAX_BATCH + 1))


# --- control: the checks find a source that counts from zero


def counting_from_zero():
    """Return a source of "random" bytes that counts from zero in each process."""
    count = itertools.count()
    return SimpleNamespace(urandom=lambda length: next(count).to_bytes(length, "big"))


@pytest.mark.usefixtures("only_python")
def test_detector_catches_a_counter_within_a_process(monkeypatch):
    """The control: the check finds the overlap of batches whose start is counted instead of drawn."""
    monkeypatch.setattr(python_cipher, "os", counting_from_zero())
    assert repeated(sealed_nonces(make_keys(Suite.XAES_256_GCM), [5, 5])) == 4


@pytest.mark.usefixtures("only_python")
@pytest.mark.parametrize("suite", Suite)
def test_detector_catches_a_counter_across_forks(suite):
    """The control: the check finds the repeated nonces of children that inherit a counter by fork."""
    nonces = nonces_of_forks(suite, broken=True)
    assert repeated(nonces) >= len(nonces) // 2
