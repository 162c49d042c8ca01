"""A part of the report: a program that measures one thing and writes the figures and the conditions of the run as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.sealing.contenders.ours import chosen

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
"""The work tree."""
SIZES = (64, 256, 1024, 4096, 16384, 65536)
"""Sizes of a row's plaintext, in bytes."""
KEPT_HEAP = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 26),
}
"""Settings with which glibc keeps freed memory. Otherwise the cost of fresh pages would dominate the time of sealing."""


class Effort(StrEnum):
    """How much a part measures."""

    FULL = "full"
    """What the report has."""
    QUICK = "quick"
    """Rough figures: fewer rounds and smaller tables."""
    SMOKE = "smoke"
    """Each step once, with the smallest tables. The figures mean nothing; the tests run it."""


def run(measure: Callable[[Effort], dict[str, Any]]) -> None:
    """Run a part as a program. `--quick` and `--smoke` choose the effort, and `--out` names the JSON file."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.set_defaults(effort=Effort.FULL)
    for effort, text in (
        (Effort.QUICK, "fewer rounds and smaller tables"),
        (Effort.SMOKE, "each step once, for tests"),
    ):
        parser.add_argument(f"--{effort}", dest="effort", action="store_const", const=effort, help=text)
    parser.add_argument("--out", type=Path, help="a file for the figures; without it they are printed")
    options = parser.parse_args()
    before, started = conditions(), time.monotonic()
    found = measure(options.effort) | {"conditions": before}
    found["conditions"] |= {"load_after": os.getloadavg()[0], "seconds": round(time.monotonic() - started, 1)}
    text = json.dumps(rounded(found), separators=(",", ":"))
    if options.out:
        options.out.write_text(text + "\n")
    else:
        print(text)


def rounded(value: Any) -> Any:
    """Return the value with each float rounded to five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


def conditions() -> dict[str, Any]:
    """Return the conditions of a run: machine, versions, load, and whether the allocator keeps freed memory."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "cryptography": version("cryptography"),
        "sealed_with": chosen(),
        "load_before": os.getloadavg()[0],
        "heap": "kept" if all(os.environ.get(name) == value for name, value in KEPT_HEAP.items()) else "stock glibc",
    }


def commit() -> str:
    """Return the commit of this work tree; "unknown" outside a work tree."""
    return git("rev-parse", "--short=10", "HEAD") or "unknown"


def git(*arguments: str) -> str:
    """Return the output of git for this work tree; empty outside a work tree."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
