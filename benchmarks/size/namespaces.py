"""A cell of many namespaces: start, memory, KMS calls, and when keys are refreshed. `make bench-namespaces`.

The namespaces are made once. A new process then opens the cell and lists all of them, as a Temporal server does when it starts.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.persistence.opened import create_database
from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.kms.keyring.ageing import least_jitter

KEK = KekRef.parse("local:bench")
_AT_ONCE = 4
_WINDOW = 10
"""Seconds in which refreshes of keys are counted."""


async def made(path: Path, count: int) -> float:
    """Create a cell and its namespaces; return the seconds for a namespace."""
    config = load_config(path)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        await strongroom.create_kek(KEK)
        left, began = iter(range(count)), time.perf_counter()

        async def create() -> None:
            for number in left:
                await strongroom.namespaces.create(f"tenant-{number}", kek=KEK)
                if not number % 100:
                    print(f"\r{number:,} of {count:,} namespaces", end="", file=sys.stderr)

        await asyncio.gather(*(create() for _ in range(_AT_ONCE)))
        print(file=sys.stderr)
        return (time.perf_counter() - began) / count


async def looked_at(path: Path) -> dict[str, float]:
    """Open the cell and list its namespaces twice; return the figures of this process."""
    began = time.perf_counter()
    async with Strongroom.open(load_config(path)) as strongroom:
        opened_at = time.perf_counter()
        provider, calls = strongroom.keyring.provider("local"), 0
        unwrap_many = provider.unwrap_many

        async def counted(items: Any) -> Any:
            nonlocal calls
            calls += 1
            return await unwrap_many(items)

        provider.unwrap_many = counted  # type: ignore[method-assign]
        before = _memory()
        first = time.perf_counter()
        found = await strongroom.namespaces.list_namespaces()
        listed_at, of_first, memory = time.perf_counter(), calls, _memory()
        assert all(each.unreadable is None for each in found)
        await strongroom.namespaces.list_namespaces()
        second = time.perf_counter() - listed_at
        cached = list(strongroom.keyring._cache.values())  # noqa: SLF001 - their times are measured
    due = Counter(int(each.age.due_at // _WINDOW) for each in cached)
    spread = strongroom.keyring.policy.soft_ttl * (1 - least_jitter(len(cached), is_first=True))
    return {
        "seconds to open": opened_at - began,
        "seconds of the first list": listed_at - first,
        "seconds of the second list": second,
        "KMS calls of the first list": of_first,
        "KMS calls of the second list": calls - of_first,
        "KiB a namespace": (memory - before) / len(found),
        "peak MiB": int(_status("VmHWM")) / 1024,
        f"most refreshes in {_WINDOW} s": max(due.values()),
        f"refreshes in {_WINDOW} s on average": len(cached) * _WINDOW / spread,
    }


def _memory() -> int:
    return int(_status("VmRSS"))


def _status(name: str) -> str:
    return Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]


async def run(counts: list[int], journal: Journal) -> None:
    """Measure cells of several numbers of namespaces."""
    for count in counts:
        if journal.has(namespaces=count):
            continue
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(bench_server())
            await create_database(server, "many")
            path = folder / "many.toml"
            write_config(path, dsn=f"{server}/many", keyring="many.json")
            each = await made(path, count)
            command = [sys.executable, "-m", "benchmarks.size.namespaces", "--look-at", str(path)]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
            figures = {"ms to create": 1e3 * each} | json.loads(done.stdout)
            journal.add(figures, namespaces=count)
            print(f"{count:,} namespaces: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))


@click.command()
@click.option("--namespaces", "counts", default="100,1000,10000", show_default=True, help="Numbers of namespaces.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures. An interrupted run is continued.")
@click.option("--look-at", type=click.Path(path_type=Path), hidden=True)
def main(counts: str, out: Path | None, look_at: Path | None) -> None:
    """Measure cells of many namespaces with a local keyring."""
    if look_at is not None:
        print(json.dumps(asyncio.run(looked_at(look_at))))
        return
    asyncio.run(run([int(count) for count in counts.split(",")], Journal(out)))


if __name__ == "__main__":
    main()
