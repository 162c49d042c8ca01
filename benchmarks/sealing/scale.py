"""Throughput by number of namespaces and by number of threads."""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.lib.measuring import interleaved
from benchmarks.lib.part import Effort, run
from benchmarks.sealing.batches import rows_of
from benchmarks.sealing.contenders import hand_written, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.lib.measuring import Sampler
    from benchmarks.sealing.contenders.protocol import Row

NAMESPACES = {Effort.FULL: (1, 100, 10_000), Effort.QUICK: (1, 100, 10_000), Effort.SMOKE: (1, 10)}
NAMESPACE_BATCH = 10
"""Number of rows that one request writes or reads. The next request is for another namespace."""
REQUESTS = {Effort.FULL: 1_000, Effort.QUICK: 1_000, Effort.SMOKE: 10}
THREADS = (1, 2, 4)
THREAD_SIZES = (256, 4096, 65536)
THREAD_BYTES = {Effort.FULL: 8 << 20, Effort.QUICK: 8 << 20, Effort.SMOKE: 1 << 20}
"""Maximum number of bytes that one sample of threads seals in total, `THREAD_BATCH` rows at a time."""
THREAD_BATCH = 64
ROUNDS = {Effort.FULL: 9, Effort.QUICK: 3, Effort.SMOKE: 1}


def namespaces(cipher: str, count: int, requests: int) -> dict[str, Sampler]:
    """Return samplers of requests to randomly chosen namespaces, in CPU nanoseconds per row."""
    keys = [ours.namespace_keys(cipher) for _ in range(count)]
    drawn = random.Random(count)
    order = [drawn.randrange(count) for _ in range(requests)]
    rows = rows_of(256, NAMESPACE_BATCH)
    sealed = {
        number: [
            (key, value)
            for (key, _), value in zip(rows, keys[number].seal_many(ours.PLAIN, rows, scope=ours.SCOPE), strict=True)
        ]
        for number in set(order)
    }

    def sample(work: Callable[[int], object]) -> Callable[[], float]:
        def timed() -> float:
            started = time.process_time_ns()
            for number in order:
                work(number)
            return (time.process_time_ns() - started) / (requests * NAMESPACE_BATCH)

        return timed

    return {
        "seal": sample(lambda number: keys[number].seal_many(ours.PLAIN, rows, scope=ours.SCOPE)),
        "open": sample(lambda number: keys[number].open_many(ours.PLAIN, sealed[number], scope=ours.SCOPE)),
    }


def threads(
    seal: Callable[[Sequence[Row]], object], total: int, size: int, pool: ThreadPoolExecutor | None, many: int
) -> Sampler:
    """Return a sampler of threads that seal batches at the same time, in elapsed nanoseconds per row."""
    rows = rows_of(size, THREAD_BATCH)
    batches = max(many, min(64, total // (size * THREAD_BATCH)) // many * many)

    def timed() -> float:
        started = time.perf_counter_ns()
        if pool is None:
            for _ in range(batches):
                seal(rows)
        else:
            for done in [pool.submit(_repeat, seal, rows, batches // many) for _ in range(many)]:
                done.result()
        return (time.perf_counter_ns() - started) / (batches * THREAD_BATCH)

    return timed


def _repeat(seal: Callable[[Sequence[Row]], object], rows: Sequence[Row], times: int) -> None:
    for _ in range(times):
        seal(rows)


def measure(effort: Effort) -> dict[str, Any]:
    """Measure namespaces and threads."""
    rounds = ROUNDS[effort]
    by_namespaces, by_threads = [], []
    for cipher in ours.available():
        sampled = {count: namespaces(cipher, count, REQUESTS[effort]) for count in NAMESPACES[effort]}
        for operation in ("seal", "open"):
            taken = interleaved({str(count): each[operation] for count, each in sampled.items()}, rounds=rounds)
            by_namespaces.append({"contender": ours.NAMES[cipher], "operation": operation, "rounds": taken})
        print(f"  namespaces, {cipher}", file=sys.stderr)
        del sampled
    seals = {each.name: each.seal for each in (hand_written.contenders()[0], *ours.contenders())}
    pools = {many: ThreadPoolExecutor(many) if many > 1 else None for many in THREADS}
    for size in THREAD_SIZES:
        for name, seal in seals.items():
            taken = interleaved(
                {str(many): threads(seal, THREAD_BYTES[effort], size, pool, many) for many, pool in pools.items()},
                rounds=rounds,
            )
            by_threads.append({"contender": name, "size": size, "rounds": taken})
        print(f"  threads, {size} B", file=sys.stderr)
    for pool in pools.values():
        if pool is not None:
            pool.shutdown()
    return {"namespaces": by_namespaces, "threads": by_threads}


if __name__ == "__main__":
    run(measure)
