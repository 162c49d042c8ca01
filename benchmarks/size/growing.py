"""The cell of `make bench-size`, and how it grows."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

from benchmarks.persistence.cells import Fixtures
from benchmarks.persistence.opened import create_database
from benchmarks.persistence.requests import blob, change, creation, new_run
from benchmarks.visibility.documents import CUSTOM, documents
from benchmarks.visibility.sealed import Sealed, batched
from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage import HistoryBranch, ShardInfo
from strongroom.storage.engine.connection import SCHEMA
from strongroom.visibility import new_layout

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from benchmarks.persistence.requests import Run
    from strongroom.storage import UpdateWorkflowExecutionRequest

NODE_SHARD = 2
"""The shard of the run and the branch that are measured. `verification.ROWS_SHARD` has the rows that are verified."""
TIERS = 1000
_BATCH = 2000
_WRITERS = 2
_NAME = "bench"


@dataclass
class Grown:
    """A cell with one namespace whose tables grow.

    Attributes:
        config: The configuration file.
        fixtures: The cell, for the stores.
        sealed: The cell, for searches.
        database: A connection without a time limit.
        branch: A branch that is appended to.
        run: A run that is updated.
    """

    config: Path
    fixtures: Fixtures
    sealed: Sealed
    database: asyncpg.Connection
    branch: HistoryBranch | None = None
    run: Run | None = None

    def next_update(self) -> UpdateWorkflowExecutionRequest:
        """Return the next update of the run."""
        assert self.run is not None
        return change(self.fixtures, self.run)

    async def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return int(await self.database.fetchval(f"SELECT count(*) FROM {table}"))


async def opened(stack: AsyncExitStack, server: str, folder: Path) -> Grown:
    """Open the cell of a folder. A folder of an earlier run has its configuration, in which only the port of the server is new."""
    path = folder / "size.toml"
    if path.exists():
        path.write_text(path.read_text().replace(load_config(path).dsn, f"{server}/size"))
    else:
        with suppress(asyncpg.DuplicateDatabaseError):
            await create_database(server, "size")
        write_config(path, dsn=f"{server}/size", keyring="size.json")
    await Strongroom.init(load_config(path))
    strongroom = await stack.enter_async_context(Strongroom.open(load_config(path)))
    found = [each for each in await strongroom.namespaces.list_namespaces() if each.name == _NAME]
    if not found:
        kek = KekRef.parse("local:bench")
        await strongroom.create_kek(kek)
        layout = str(new_layout("compatible"))
        found = [await strongroom.namespaces.create(_NAME, kek=kek, search_attributes=CUSTOM, index_layout=layout)]
    task_ids = itertools.count(time.time_ns() // 1000)
    fixtures = Fixtures(strongroom, found[0].namespace_id, task_ids=task_ids)
    database = await asyncpg.connect(f"{server}/size", server_settings={"search_path": SCHEMA})
    stack.push_async_callback(database.close)
    return Grown(path, fixtures, Sealed(strongroom, found[0]), database)


async def run_of(grown: Grown) -> tuple[HistoryBranch, Run]:
    """Create a run to update, and return it with a new branch to append to."""
    strongroom = grown.fixtures.strongroom
    made = ShardInfo(NODE_SHARD, 1, blob(150))
    await strongroom.shards.get_or_create_shard(NODE_SHARD, lambda: made)
    run = new_run(str(uuid4()), NODE_SHARD)
    await strongroom.executions.create_workflow_execution(creation(grown.fixtures, run, is_fixture=True))
    return HistoryBranch(NODE_SHARD, uuid4(), uuid4()), run


async def fill(grown: Grown, rows: int) -> dict[str, float]:
    """Write visibility records until there are as many; return the seconds, and the records a second.

    Two writers take turns, so that one seals while PostgreSQL writes for the other. Of an interrupted run, the batches that each may
    have left out are written again, which changes no record.
    """
    held = await grown.count("visibility_records")
    if held >= rows:
        return {}
    began = time.perf_counter()
    left = batched(islice(documents(rows, tiers=TIERS), max(0, held - _WRITERS * _BATCH), None), _BATCH)
    written = itertools.count(held, _BATCH)

    async def write() -> None:
        for some in left:
            await grown.sealed.write(some)
            print(f"\r{next(written):,} of {rows:,} records", end="", file=sys.stderr)

    await asyncio.gather(*(write() for _ in range(_WRITERS)))
    print(file=sys.stderr)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "records a second": (rows - held) / seconds}


async def vacuumed(grown: Grown) -> None:
    """Vacuum and analyze the tables, so that each number of rows is measured in the same state."""
    for table in ("visibility_records", "history_node", "executions"):
        await grown.database.execute(f"VACUUM ANALYZE {table}")
    await grown.database.execute("CHECKPOINT")


async def bytes_of(grown: Grown, table: str) -> dict[str, float]:
    """Return the bytes of a table for each row: all, and its indexes alone."""
    rows = await grown.count(table)
    found = await grown.database.fetchrow(
        "SELECT pg_total_relation_size($1::text::regclass) AS whole, pg_indexes_size($1::text::regclass) AS indexes",
        table,
    )
    whole, indexes = found["whole"] / rows, found["indexes"] / rows
    return {"bytes a row": whole, "of them indexes": indexes}
