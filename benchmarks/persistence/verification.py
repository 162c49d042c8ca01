"""Seconds and memory of `strongroom verify` for a shard of many rows, and for one with many entries; a part of `freshness.py`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmarks.lib.bench_server import bench_server
from benchmarks.persistence.opened import open_strongroom
from benchmarks.persistence.requests import blob, creation, new_run
from strongroom.storage import HistoryBranch, HistoryNode, ShardInfo

if TYPE_CHECKING:
    from benchmarks.lib.journal import Journal
    from benchmarks.persistence.cells import Fixtures

ROWS_SHARD, ENTRIES_SHARD, EMPTY_SHARD = 1, 2, 3
NODES = 500
"""Rows of one append."""
CALLERS = 64
VERIFY = """
import pathlib, sys
from strongroom.driver.cli.main import main
try:
    main()
finally:
    print(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
"""
"""The command line, which then writes its peak memory in KiB. The kernel's figure for a child has the memory of its parent in it."""


async def verifying(rows: int, entries: int, journal: Journal) -> None:
    """Measure and print `strongroom verify` of a shard of many rows and of one with many entries, and the folding of these."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        fixtures = await open_strongroom(stack, server, "verified", folder)
        config = folder / "verified.toml"
        empty = verified(config, EMPTY_SHARD)
        if rows and not journal.has(verified=rows):
            await write_rows(fixtures, rows)
            folding = await folded(fixtures, ROWS_SHARD)
            found = verified(config, ROWS_SHARD)
            assert found["rows"] == rows, found
            seconds = found["seconds"] - empty["seconds"]
            figures = {
                "seconds": seconds,
                "rows a second": rows / seconds,
                "client CPU seconds": found["cpu"] - empty["cpu"],
                "peak MiB": found["peak_mib"],
                "peak MiB of an empty shard": empty["peak_mib"],
                "folding seconds": folding,
            }
            journal.add(figures, verified=rows)
            print(f"{rows} rows: {told(figures)}")
        if entries and not journal.has(entries=entries):
            await write_entries(fixtures, entries)
            found = verified(config, ENTRIES_SHARD)
            figures = {
                "verification seconds": found["seconds"] - empty["seconds"],
                "peak MiB": found["peak_mib"],
                "folding seconds": await folded(fixtures, ENTRIES_SHARD),
            }
            journal.add(figures, entries=entries)
            print(f"{entries} entries of one shard: {told(figures)}")


def told(figures: dict[str, float]) -> str:
    """Return figures as text."""
    return ", ".join(f"{name} {value:.3g}" for name, value in figures.items())


async def write_rows(fixtures: Fixtures, rows: int) -> None:
    """Append history nodes to branches of one shard."""
    left = itertools.count(0, NODES)

    async def write() -> None:
        while (first := next(left)) < rows:
            branch = HistoryBranch(ROWS_SHARD, uuid4(), uuid4())
            count = min(NODES, rows - first)
            nodes = [HistoryNode(node, node, node - 1, blob(64)) for node in range(1, count + 1)]
            await fixtures.strongroom.history.append_history_nodes(fixtures.namespace_id, branch, nodes)

    await asyncio.gather(*(write() for _ in range(4)))


async def write_entries(fixtures: Fixtures, entries: int) -> None:
    """Create runs of one shard: each has an entry."""
    made = ShardInfo(ENTRIES_SHARD, 1, blob(150))
    await fixtures.strongroom.shards.get_or_create_shard(ENTRIES_SHARD, lambda: made)
    left = itertools.count()

    async def write() -> None:
        while next(left) < entries:
            request = creation(fixtures, new_run(str(uuid4()), ENTRIES_SHARD), is_fixture=False)
            await fixtures.strongroom.executions.create_workflow_execution(request)

    await asyncio.gather(*(write() for _ in range(CALLERS)))


async def folded(fixtures: Fixtures, shard_id: int) -> float:
    """Fold the entries of a shard, and return the seconds."""
    began = time.perf_counter()
    assert await fixtures.strongroom.journal.fold(shard_id) == []
    return time.perf_counter() - began


def verified(config: Path, shard_id: int) -> dict[str, Any]:
    """Run `strongroom verify` for a shard that was not changed; return its report, its seconds, its CPU time and its peak memory."""
    command = [sys.executable, "-c", VERIFY, "--config", config, "verify", "--shard", str(shard_id), "--json"]
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads(done.stdout) | {"seconds": seconds, "cpu": cpu, "peak_mib": int(done.stderr.split()[-1]) / 1024}
