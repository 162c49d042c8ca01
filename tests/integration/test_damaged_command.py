"""What an operator sees of a row that did not open: `strongroom damaged` and `doctor`."""

from __future__ import annotations

import asyncio
import json

import pytest

from strongroom.driver.doctor import examine
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage import DataBlob, ShardInfo
from strongroom.storage.executions.tasks import TRANSFER, TaskKey
from tests.support.fixtures.cell import initialised
from tests.support.fixtures.command_line import run_command
from tests.support.fixtures.executions import task
from tests.support.fixtures.raw_rows import execute

pytestmark = pytest.mark.integration

SHARD = 3


async def test_an_operator_sees_a_damaged_row(config_path):
    """The list has the table, Temporal's number of the shard and the key. The doctor reports it until it is forgotten."""

    async def run(*arguments, code=0):
        done = await asyncio.to_thread(run_command, config_path.parent, *arguments)
        assert done.returncode == code, done
        return done.stdout

    config = await initialised(config_path)
    assert "no row is kept" in await run("damaged", "list")
    async with Strongroom.open(config) as strongroom:
        await strongroom.create_kek(KekRef.parse("local:tenant"))
        namespace = await strongroom.namespaces.create("tenant", kek=KekRef.parse("local:tenant"))
        stored = (await strongroom.shards.numbers.get()).stored[SHARD]
        await strongroom.shards.get_or_create_shard(stored, lambda: ShardInfo(stored, 1, DataBlob(b"")))
        await strongroom.history_tasks.add_history_tasks(
            namespace.namespace_id, {TRANSFER: [task(TRANSFER, task_id=77)]}, shard_id=stored, range_id=1
        )
        await execute(strongroom, "UPDATE history_tasks SET data = set_byte(data, 40, get_byte(data, 40) # 1)")
        page = await strongroom.history_tasks.get_history_tasks(
            TRANSFER, shard_id=stored, batch_size=10, min_key=TaskKey(0, 0), max_key=TaskKey(0, 2**62)
        )
        assert (page.tasks, len(page.unreadable)) == ([], 1)
    shown = json.loads(await run("damaged", "list", "--json"))
    assert shown["total"] == 1
    (row,) = shown["rows"]
    assert (row["table"], row["shard"], row["partition"]) == ("history_tasks", SHARD, stored)
    assert row["key"] == f"category_id={TRANSFER.category_id} fire_time=0 task_id=77"
    assert (row["namespace_id"], row["reason"]) == (str(namespace.namespace_id), "IntegrityError")
    assert "1 of 1 rows" in await run("damaged", "list")
    (found,) = [each for each in await examine(config_path) if each.check == "damaged rows"]
    assert (found.state, found.text) == ("wrong", "1 of history_tasks did not open, and are kept")
    assert "0 rows deleted" in await run("damaged", "forget", "--before", "2026-01-01")
    assert "1 rows deleted" in await run("damaged", "forget", "--before", "9999-01-01")
    (found,) = [each for each in await examine(config_path) if each.check == "damaged rows"]
    assert found.state == "ok"
