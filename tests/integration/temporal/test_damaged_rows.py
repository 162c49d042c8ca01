"""Temporal's queues go on over altered rows: lists have the rows around them, deletions go through, and the altered rows are kept."""

from __future__ import annotations

import asyncio

import asyncpg

from strongroom.driver.config import load_config
from tests.support.fixtures.command_line import run_command
from tests.support.serve.bench import serve_bench
from tests.support.temporal.go import built_tests, run_tests

TABLES = {
    "history_tasks": "task_id",
    "replication_dlq_tasks": "task_id",
    "tasks": "task_id",
    "queue_messages": "message_id",
    "queue_v2_messages": "message_id",
}
"""The tables of queues, and the column that numbers their rows."""
ALTERED = "SET data = set_byte(data, 40, get_byte(data, 40) # 1)"


async def test_queues_over_altered_rows(databases, tmp_path):
    """One row of each queue is altered between Temporal's write and its read."""
    program = built_tests("suites")
    async with serve_bench(databases, tmp_path, shards=1024) as bench:
        with bench.server("damaged", '[namespaces]\nkek = "local:{id}"\n') as served:

            async def step(name):
                environment = {"STRONGROOM_SOCKET": str(served.socket), "DAMAGED_ROWS": name}
                await run_tests(program, environment, "-test.run", "^TestDamagedRows$")

            await step("write")
            owner = await asyncpg.connect(load_config(tmp_path / "strongroom.toml").dsn)
            try:
                for table, column in TABLES.items():
                    altered = f"UPDATE strongroom.{table} {ALTERED} WHERE {column} = 2"
                    assert await owner.execute(altered) == "UPDATE 1", table
                await step("read")
                kept = await owner.fetch("SELECT table_name, count(*) FROM strongroom.damaged_rows GROUP BY table_name")
            finally:
                await owner.close()
            assert {row["table_name"]: row["count"] for row in kept} == dict.fromkeys(TABLES, 1)
        done = await asyncio.to_thread(run_command, tmp_path, "damaged", "list")
        assert done.returncode == 0
        for table in TABLES:
            assert table in done.stdout
