"""A worker process of `compare.py`. It seals and opens cells with one version of Strongroom.

It writes the names of its ciphers, reads one cell per line, and answers with nanoseconds of CPU time per row.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import strongroom.kms
from benchmarks.lib.measuring import kept
from benchmarks.sealing.batches import rows_of
from benchmarks.sealing.contenders import ours

if TYPE_CHECKING:
    from benchmarks.lib.measuring import Sampler

SINGLE_ROWS = 50
SAMPLE_NS = 4_000_000


@cache
def sampler(cipher: str, operation: str, size: int, batch: int, text: bool) -> tuple[Sampler, int]:  # noqa: FBT001 - as JSON has it
    """Return the sampler of a cell, and the number of calls in a sample.

    Args:
        cipher: The name of the implementation.
        operation: "seal" or "open".
        size: The size of a row, in bytes.
        batch: The number of rows per call.
        text: Whether the rows are compressible text, sealed as history nodes with their compression.
    """
    keys = ours.namespace_keys(cipher)
    kind = ours.HISTORY_NODE if text else ours.PLAIN
    rows = rows_of(size, SINGLE_ROWS if batch == 1 else batch)
    if text:
        rows = [(key, plaintext[: size // 8].hex().encode() * 4) for key, plaintext in rows]
    pieces = [[row] for row in rows] if batch == 1 else [rows]
    if operation == "open":
        pieces = [
            [(key, value) for (key, _), value in zip(piece, keys.seal_many(kind, piece, scope=ours.SCOPE), strict=True)]
            for piece in pieces
        ]
    call = keys.seal_many if operation == "seal" else keys.open_many
    sample = kept(lambda: [call(kind, piece, scope=ours.SCOPE) for piece in pieces], len(rows))
    sample()
    return sample, max(2, min(20, int(SAMPLE_NS / (sample() * len(rows)))))


def main() -> None:
    """Answer until the input ends."""
    wanted = Path(os.environ["COMPARE_LIBRARY"]).resolve()
    loaded = Path(strongroom.kms.__file__).parent  # not resolved, because it is a link into the version's tree
    assert wanted in loaded.parents, "each worker measures the version that it was started for"
    print(json.dumps(ours.available()), flush=True)
    for line in sys.stdin:
        sample, calls = sampler(*json.loads(line))
        print(min(sample() for _ in range(calls)), flush=True)


if __name__ == "__main__":
    main()
