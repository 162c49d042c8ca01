"""A worker that is killed, and shards that are moved, under writers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from strongroom.driver.doctor.citus import cluster
from strongroom.storage import DataBlob, ShardInfo, StorageError
from tests.support.citus import ask, place_of
from tests.support.faults.killed_node import stopped
from tests.support.faults.killed_server import Writer, raises_no_alarm
from tests.support.fixtures.contract import KEK, new_namespace
from tests.support.fixtures.executions import RUNNING, Workflow

pytestmark = pytest.mark.integration

SHARDS = range(1, 13)
"""Shards of the history service. They are on all workers."""
WRITES = 20
"""Acknowledged writes after which something happens to a node."""
_PLACES = """
SELECT s.shardid AS shard, n.nodename AS host, n.nodeport AS port
FROM pg_dist_shard AS s JOIN pg_dist_placement AS p USING (shardid) JOIN pg_dist_node AS n USING (groupid)
WHERE s.logicalrelid = 'strongroom.shards'::regclass ORDER BY s.shardid
"""
_PLACE = """
SELECT n.nodeport AS port FROM pg_dist_placement AS p JOIN pg_dist_node AS n USING (groupid)
WHERE p.shardid = get_shard_id_for_distribution_column('strongroom.shards', $1::integer)
"""


async def new_writers(cell):
    """Return a writer for each shard, and a shard's worker by its port."""
    namespace_id = await new_namespace(cell)
    writers, ports = [], {}
    for shard_id in SHARDS:
        await cell.shards.get_or_create_shard(
            shard_id, lambda number=shard_id: ShardInfo(number, 1, DataBlob(b"shard"))
        )
        workflow = Workflow(cell, namespace_id, shard_id, f"order {shard_id}")
        first = await workflow.create(workflow.snapshot(of=RUNNING))
        writers.append(Writer(workflow, first.run_id))
        (row,) = await ask(cell.config.dsn, _PLACE, shard_id)
        ports[shard_id] = row["port"]
    return writers, ports


async def enough(writers, tasks, more=WRITES):
    """Wait until the writers have acknowledged some more appends, or a task has failed."""
    wanted = sum(len(writer.written) for writer in writers) + more
    while sum(len(writer.written) for writer in writers) < wanted and not any(task.done() for task in tasks):  # noqa: ASYNC110 - a writer has no event
        await asyncio.sleep(0.01)


async def checked(writers):
    """Every acknowledged write is there, and verification of each shard raises no alarm."""
    for writer in writers:
        await writer.check()
        for fold in (False, True):
            await raises_no_alarm(writer.workflow, fold=fold)


async def restarted(writer):
    """Write again after each error, from what is there."""
    while True:
        with suppress(StorageError):
            await writer.check()
            await writer.write()
        await asyncio.sleep(0.1)


async def test_shards_are_moved_under_writers(citus_cell, workers):
    """All shards are moved to the other worker and back. No acknowledged write is lost, and none is written twice."""
    writers, _ = await new_writers(citus_cell)
    places = {node: place_of(node) for node in workers[:2]}
    hosts = list(places.values())
    tasks = [asyncio.ensure_future(restarted(writer)) for writer in writers]
    try:
        for _ in range(2):
            for row in await ask(citus_cell.config.dsn, _PLACES):
                await enough(writers, tasks, 5)
                here = (row["host"], row["port"])
                there = hosts[1] if here == hosts[0] else hosts[0]
                await ask(
                    citus_cell.config.dsn,
                    "SELECT citus_move_shard_placement($1, $2, $3, $4, $5)",
                    row["shard"],
                    *here,
                    *there,
                )
        await enough(writers, tasks)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    await checked(writers)


async def test_a_killed_worker_loses_nothing_and_stops_only_its_shards(citus_cell, workers):
    """While a worker is down, the other shards and the cell's own tables are written. Afterwards every acknowledged write is there."""
    writers, ports = await new_writers(citus_cell)
    tasks = [asyncio.ensure_future(writer.write()) for writer in writers]
    await enough(writers, tasks)
    start = await stopped(workers[0])
    try:
        await asyncio.wait(tasks, timeout=1)  # writers of the killed worker end
        _, port = place_of(workers[0])
        healthy = [(w, t) for w, t in zip(writers, tasks, strict=True) if ports[w.workflow.shard_id] != port]
        assert 0 < len(healthy) < len(writers)
        for writer, task in healthy:
            await enough([writer], [task], 3)
            assert not task.done(), task
        await citus_cell.namespaces.create("made-while-a-worker-is-down", kek=KEK)
        await citus_cell.cluster_metadata.save_cluster_metadata("west", data=DataBlob(b"settings"), version=0)
        found = {each.check: each for each in await cluster(citus_cell.database, distributed=True)}
        down = found[f"worker {':'.join(map(str, place_of(workers[0])))}"]
        assert (down.state, "does not answer" in down.text) == ("wrong", True)
    finally:
        for task in tasks:
            task.cancel()
        await start()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in ended if not isinstance(each, StorageError | asyncio.CancelledError)] == []
    await checked(writers)


async def test_the_doctor_knows_the_cluster(citus_cell, workers):
    """Each finding of a healthy cluster is ok, and a cell that is not distributed has no finding about Citus.

    The control of each fault is in tests/unit/driver/test_doctor_citus.py.
    """
    found = await cluster(citus_cell.database, distributed=True)
    assert [each.state for each in found] == ["ok"] * (2 + len(workers))
    assert await cluster(citus_cell.database, distributed=False) == []
