"""Memory and time of large batches: 1,000 rows of 64 KiB in one call, and in pieces that are freed one by one.

Each measurement runs in its own process: once with glibc's defaults, and once with a heap that keeps freed memory. Fresh
pages for 64 MB of results cost several times as much as the cipher. Peak RSS is counted above the size before the first
call (interpreter, libraries, plaintexts). The memory of a namespace's keys is measured too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lib.measuring import median, rotated
from benchmarks.lib.part import KEPT_HEAP, Effort, run
from benchmarks.sealing.batches import rows_of
from benchmarks.sealing.contenders import bare_loop, hand_written, ours

if TYPE_CHECKING:
    from benchmarks.sealing.contenders.protocol import Contender

SIZE = 65536
ROWS = {Effort.FULL: 1000, Effort.QUICK: 1000, Effort.SMOKE: 64}
PIECE = 64
"""Rows per call besides all of them: 4 MiB, whose results are freed before the next call."""
CALLS = 3
ROUNDS = {Effort.FULL: 5, Effort.QUICK: 1, Effort.SMOKE: 1}
KEYS = 1000


def contenders() -> dict[str, Contender]:
    """Return the contenders that are measured."""
    found = (bare_loop.contenders()[0], hand_written.contenders()[0], *ours.contenders())
    return {each.name: each for each in found}


def peak() -> int:
    """Return this process's peak resident size since the last `reset_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def reset_peak() -> bool:
    """Reset the kernel's peak for this process; return False if the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def child(name: str, count: int, piece: int) -> None:
    """Seal all rows in pieces, and print the time and memory. This runs in its own process."""
    seal, rows = contenders()[name].seal, rows_of(SIZE, count)
    pieces = [rows[start : start + piece] for start in range(0, count, piece)]
    reset = reset_peak()
    before = peak() if reset else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = []
    for _ in range(CALLS):
        spent = 0
        for part in pieces:
            started = time.process_time_ns()
            sealed = seal(part)
            spent += time.process_time_ns() - started
            del sealed
        times.append(spent / count)
    print(json.dumps({"ns_a_row": sorted(times)[CALLS // 2], "peak_bytes": peak() - before}))


def large_batches(count: int, rounds: int) -> list[dict[str, Any]]:
    """Return a cell for each heap, piece and contender: the rounds' times, and the peak's median."""
    stock = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    heaps = {"stock glibc": stock, "kept": stock | KEPT_HEAP}
    names, cells = list(contenders()), []
    for heap, environment in heaps.items():
        for piece in dict.fromkeys((count, PIECE)):
            taken: dict[str, list[float | None]] = {name: [] for name in names}
            peaks: dict[str, list[float | None]] = {name: [] for name in names}
            for number in range(rounds):
                for name in rotated(names, number):
                    command = [
                        sys.executable,
                        "-m",
                        "benchmarks.sealing.memory",
                        "--child",
                        name,
                        str(count),
                        str(piece),
                    ]
                    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                    answer = json.loads(done.stdout)
                    taken[name].append(answer["ns_a_row"])
                    peaks[name].append(answer["peak_bytes"])
            cells.append(
                {
                    "heap": heap,
                    "piece": piece,
                    "rounds": taken,
                    "peak_bytes": {name: median(series) for name, series in peaks.items()},
                }
            )
            print(f"  {heap}, {piece} rows a call", file=sys.stderr)
    return cells


def key_bytes(cipher: str) -> float:
    """Return the memory in bytes that a namespace's keys use in Python, after they have sealed and opened a row."""
    ours.contender(cipher).seal_one((1, 1, 0), b"")
    tracemalloc.start()
    held = []
    for _ in range(KEYS):
        keys = ours.namespace_keys(cipher)
        sealed = keys.seal_many(ours.PLAIN, [((1, 1, 0), b"row")], scope=ours.SCOPE)
        keys.open_many(ours.PLAIN, [((1, 1, 0), sealed[0])], scope=ours.SCOPE)
        held.append(keys)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(held)


def measure(effort: Effort) -> dict[str, Any]:
    """Measure large batches and the memory of keys."""
    return {
        "size": SIZE,
        "rows": ROWS[effort],
        "large_batches": large_batches(ROWS[effort], ROUNDS[effort]),
        "python_bytes_of_a_namespace": {ours.NAMES[cipher]: key_bytes(cipher) for cipher in ours.available()},
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        run(measure)
