"""Batch seal and open as a ratio to a bare `AESGCM` loop, in one run: `make bench`.

Both sides seal the same plaintexts with the same associated data and keep their results; the bare loop has nonces and associated
data made beforehand, and frames nothing. CPU time, rounds interleaved, medians of the ratios of each round.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.kms import KeyClass, NamespaceKeys, RecordKind, Secret, Suite
from strongroom.kms.data_key import DataKey
from strongroom.storage import HISTORY_NODE

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (256, 1024, 4096)
BATCH = 256
ROUNDS = 60
TARGETS = {256: 1.6, 4096: 1.25}

# A history node's key without its compression: random bytes do not compress, and trying costs what it costs (last table).
PLAIN = RecordKind(HISTORY_NODE.name, HISTORY_NODE.column, HISTORY_NODE.key)
SCOPE = (7, os.urandom(16), os.urandom(16))


def main() -> None:
    """Print the tables."""
    keys = namespace_keys()
    print(f"batches of {BATCH}, medians of {ROUNDS} interleaved rounds; ratio = time / time of a bare AESGCM loop\n")
    print(
        f"{'bytes':>6} {'bare seal':>10} {'seal':>8} {'ratio':>6} {'bare open':>10} {'open':>8} {'ratio':>6}   target"
    )
    for size in SIZES:
        rows = [((number, number, number - 1), os.urandom(size)) for number in range(1, BATCH + 1)]
        seal, opened = measure(keys, PLAIN, rows)
        target = TARGETS.get(size)
        print(line(size, seal, opened) + (f"   at most {target}" if target else ""))
    print("\nwith zstd, on text that compresses (history nodes over 512 bytes)")
    for size in SIZES:
        text = os.urandom(size // 8).hex().encode() * 4
        rows = [((number, number, number - 1), text) for number in range(1, BATCH + 1)]
        seal, opened = measure(keys, HISTORY_NODE, rows)
        print(line(size, seal, opened))


def line(size: int, seal: tuple[float, ...], opened: tuple[float, ...]) -> str:
    """Return a line of a table."""
    return f"{size:>6}" + "".join(
        f" {bare:>9.2f}us {ours:>6.2f}us {ratio:>6.2f}" for bare, ours, ratio in (seal, opened)
    )


def measure(
    keys: NamespaceKeys, kind: RecordKind, rows: list[tuple[tuple[int, ...], bytes]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (bare, ours, ratio) for sealing and for opening, in microseconds a row."""
    cipher = AESGCM(os.urandom(32))
    associated = bytes(8) + kind.context(bytes(16), bytes(16)) + kind.key_encoder(SCOPE)[0]
    encode = kind.key_encoder(SCOPE)[1]
    bare = [(os.urandom(12), plaintext, associated + encode(*key)) for key, plaintext in rows]
    bare_sealed = [(nonce, cipher.encrypt(nonce, data, extra), extra) for nonce, data, extra in bare]
    sealed = [(key, blob) for (key, _), blob in zip(rows, keys.seal_many(kind, rows, scope=SCOPE), strict=True)]
    encrypt, decrypt = cipher.encrypt, cipher.decrypt
    contenders = (
        lambda: [encrypt(nonce, data, extra) for nonce, data, extra in bare],
        lambda: keys.seal_many(kind, rows, scope=SCOPE),
        lambda: [decrypt(nonce, data, extra) for nonce, data, extra in bare_sealed],
        lambda: keys.open_many(kind, sealed, scope=SCOPE),
    )
    times = [[timed(contender) / len(rows) for contender in contenders] for _ in range(ROUNDS)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    seal_ratio = statistics.median(row[1] / row[0] for row in times)
    open_ratio = statistics.median(row[3] / row[2] for row in times)
    return (medians[0], medians[1], seal_ratio), (medians[2], medians[3], open_ratio)


def timed(contender: Callable[[], object]) -> float:
    """Return the CPU time of the faster of two calls, in microseconds; what it made is kept until the clock has stopped."""
    best = float("inf")
    for _ in range(2):
        started = time.process_time_ns()
        kept = contender()
        best = min(best, (time.process_time_ns() - started) / 1000)
        del kept
    return best


def namespace_keys() -> NamespaceKeys:
    """Return keys of a namespace, without a registry."""
    data = {1: DataKey(Secret(os.urandom(32)), version=1, suite=Suite.XAES_256_GCM)}
    return NamespaceKeys(
        cell_id=uuid4(), namespace_id=uuid4(), data=data, index={}, identity={}, active={KeyClass.DATA: 1}
    )


if __name__ == "__main__":
    main()
