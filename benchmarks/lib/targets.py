"""Targets, measured figures, and a verdict for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.lib.figures import cell, factor, size_name, times
from benchmarks.lib.measuring import Ratio
from benchmarks.lib.part import SIZES
from benchmarks.sealing.contenders import bare_loop, hand_written
from benchmarks.sealing.contenders.names import ASHERAH, LIMIT, NATIVE, PYTHON, TINK
from benchmarks.sealing.end_to_end import PLAINTEXT
from benchmarks.sealing.latency import AS_STORE, CHUNKS

if TYPE_CHECKING:
    from collections.abc import Iterator

HAND, BARE = hand_written.NAME, bare_loop.NAME
MET, MISSED, UNKNOWN = "met", "**missed**", "not measured"


@dataclass(frozen=True, slots=True)
class Target:
    """A target for one figure.

    Attributes:
        what: The figure, in words.
        where: The size, or another coordinate; may be empty.
        wanted: The target value.
        at_least: Whether more is better.
        measured: The measured figure; None if a contender or a part was not measured.
        unit: The unit of both figures.
    """

    what: str
    where: str
    wanted: float
    at_least: bool
    measured: Ratio | float | None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """The verdict, by the median."""
        if self.measured is None:
            return UNKNOWN
        found = self.measured.median if isinstance(self.measured, Ratio) else self.measured
        return MET if (found >= self.wanted if self.at_least else found <= self.wanted) else MISSED

    @property
    def shown(self) -> str:
        """The measured figure, with its range over the rounds."""
        if isinstance(self.measured, Ratio):
            return f"{factor(self.measured)} ({factor(self.measured.low)}-{factor(self.measured.high)})"
        return factor(self.measured)


BY_SIZE = (
    # what, operation, slower side, faster side, wanted for each size
    ("kernel, seal: times as fast as the hand-written loop", "seal", HAND, NATIVE, (9, 8.5, 6, 4, 2.2, 1.3)),
    ("kernel, open: times as fast as the hand-written loop", "open", HAND, NATIVE, (5, 4.5, 3.8, 3, 1.9, 1.4)),
    ("kernel, seal: share of AWS-LC's own speed", "seal", LIMIT, NATIVE, (0.7, 0.7, 0.7, 0.8, 0.9, 0.8)),
    ("kernel, open: share of AWS-LC's own speed", "open", LIMIT, NATIVE, (0.7, 0.7, 0.7, 0.8, 0.9, 0.8)),
    ("kernel, seal: times as fast as Asherah", "seal", ASHERAH, NATIVE, (10, 12, 11, 15, 18, 14)),
    ("kernel, seal: times as fast as Tink's AEAD", "seal", TINK, NATIVE, (10, 10, 6.5, 4.5, 2.6, 1.6)),
    ("pure Python, seal: times as fast as the hand-written loop", "seal", HAND, PYTHON, (1.5, 1.5, 1.4, 1.3, 1.1, 1.0)),
)
END_TO_END = (
    ("kernel, COPY of 1,000 rows: times as long as plaintext", "COPY", NATIVE, 1.06),
    ("kernel, SELECT of 1,000 rows and open: times as long as plaintext", "SELECT", NATIVE, 1.35),
    ("pure Python, SELECT of 1,000 rows and open: times as long as plaintext", "SELECT", PYTHON, 2.2),
)
END_TO_END_SIZES = (256, 1024)
LOOP_P99_MS = 5.0
PEAK_SLACK = 1.1
"""Maximum memory relative to the bare loop, which keeps only its results. Up to this factor the memory is called bounded."""


def targets(report: dict[str, Any]) -> list[Target]:
    """Return every target with its measured figure."""
    return [*_by_size(report), *_end_to_end(report), *_one_row(report), *_large(report), *_event_loop(report)]


def _by_size(report: dict[str, Any]) -> Iterator[Target]:
    for what, operation, over, under, wanted in BY_SIZE:
        for size, least in zip(SIZES, wanted, strict=True):
            found = cell(report, "batches", operation=operation, size=size, batch=100)
            yield Target(f"{what}, batch 100", size_name(size), least, True, times(found, over, under))


def _end_to_end(report: dict[str, Any]) -> Iterator[Target]:
    for what, operation, name, most in END_TO_END:
        for size in END_TO_END_SIZES:
            found = cell(report, "end_to_end", operation=operation, size=size)
            yield Target(what, size_name(size), most, False, times(found, name, PLAINTEXT))


def _one_row(report: dict[str, Any]) -> Iterator[Target]:
    for operation in ("seal", "open"):
        for size in SIZES:
            found = cell(report, "batches", operation=operation, size=size, batch=1)
            what = f"kernel, {operation} of one row alone: times as long as the hand-written loop"
            yield Target(what, size_name(size), 1.0, False, times(found, NATIVE, HAND))


def _large(report: dict[str, Any]) -> Iterator[Target]:
    part = report["parts"].get("memory", {})
    for found in part.get("large_batches", ()):
        where = f"{found['piece']} rows a call, heap {found['heap']}"
        what = f"kernel, seal of 64 KiB x {part['rows']}"
        yield Target(f"{what}: times as long as the bare loop", where, 1.0, False, times(found, NATIVE, BARE))
        peaks = found["peak_bytes"]
        more = peaks[NATIVE] / peaks[BARE] if NATIVE in peaks else None
        yield Target(f"{what}: peak memory over the bare loop's", where, PEAK_SLACK, False, more)


def _event_loop(report: dict[str, Any]) -> Iterator[Target]:
    for name, short in ((NATIVE, "kernel"), (PYTHON, "pure Python")):
        for chunk in CHUNKS:
            found = cell(report, "latency", contender=name, chunk=chunk, where=AS_STORE)
            what = f"{short}, event loop's delay while 100,000 rows are sealed as the store does it, p99"
            measured = found["p99_ms"] if found else None
            yield Target(what, f"{chunk:,} rows a call", LOOP_P99_MS, False, measured, " ms")
