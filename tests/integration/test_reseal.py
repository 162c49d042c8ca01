"""Resealing while other processes read and write."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import CachePolicy, KeyDestroyed, KeyState, SealingLimitExceeded, Suite, rotate_data_key
from strongroom.kms.keys.leases import SUITE_1_LIMIT
from strongroom.storage import (
    EVERY_NAMESPACE,
    Database,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    ShardInfo,
    Timeout,
    sealed_columns,
)
from strongroom.storage.keys.reseal_progress import Pace
from strongroom.storage.keys.reseal_rows import reseal_rows
from strongroom.storage.keys.sealed_pages import OLDER, SealedPages
from tests.support.deaf import opened_deaf
from tests.support.every_table import KEK, every_table
from tests.support.fixtures.command_line import STRONGROOM
from tests.support.fixtures.executions import RUNNING, accumulated, blob
from tests.support.fixtures.raw_rows import execute, fetch
from tests.support.registry import authenticate
from tests.support.sealed_versions import all_versions, versions_in_use
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

KEPT = 0.5
"""Seconds for which processes keep keys in these tests."""
WAIT = KEPT + 5.0
"""Seconds to wait until no process uses the old keys. The five are for a write that began with them."""
COLUMNS = {str(column): column for column in sealed_columns()}
TREE = COLUMNS["history_tree.data"]
JOURNAL = {"journal.data", "journal_sums.data"}
"""Columns of rows that come and go in the background."""


@asynccontextmanager
async def processes(config_path, number=2, *, kept=KEPT, **options):
    """Open the same cell several times, each with its own keys, which are kept for a short time, and its own connections.

    The second one is not notified of changes of keys.
    """
    config = replace(load_config(config_path), cache=CachePolicy(soft_ttl=kept, encrypt_ttl=kept, decrypt_ttl=kept))
    await Strongroom.init(config)
    async with Strongroom.open(config, **options) as first:
        if number == 1:
            yield first
            return
        async with opened_deaf(config) as second:
            yield first, second


async def rotate(cell, owner, *, times=1, suite=None):
    """Rotate the data key."""
    for _ in range(times):
        await rotate_data_key(cell.keyring, owner, suite=suite)


async def write_for_ever(made, numbers, done):
    """Write new runs, update old ones, and take over shards and queues, with the keys of this process. Write 21 times at least."""
    writes = 0
    while not done.is_set() or writes <= 20:
        number = next(numbers)
        await made.write_workflow(number)
        run_id, state = made.expected[f"run {number}"]
        workflow = made.workflow(number)
        mutation = workflow.mutation(
            run_id, RUNNING, next_event_id=state.next_event_id + 1, db_record_version=state.db_record_version + 1
        )
        await workflow.update(mutation)
        made.expected[f"run {number}"] = (run_id, replace(accumulated(mutation), **_maps(state)))
        await made.record(made.expected[f"record {number}"], 2)
        shard = await made.cell.shards.get_or_create_shard(made.shard_id)
        await made.cell.shards.update_shard(replace(shard, info=blob()), previous_range_id=shard.range_id)
        made.expected["shard"] = (await made.cell.shards.get_or_create_shard(made.shard_id)).info
        writes += 1
        await asyncio.sleep(0.01)


def _maps(state):
    """Return the run after a mutation that changes no map."""
    names = ("activity_infos", "timer_infos", "child_execution_infos", "request_cancel_infos", "signal_infos")
    return {name: getattr(state, name) for name in (*names, "chasm_nodes", "signal_requested_ids", "buffered_events")}


async def read_for_ever(made, done):
    """Read and compare everything, 11 times at least."""
    reads = 0
    while not done.is_set() or reads <= 10:
        written = [int(name.removeprefix("record ")) for name in made.expected if name.startswith("record ")]
        await made.read_workflow(random.choice(written[:3]))  # noqa: S311 - which, no secret
        await made._read_matching()
        reads += 1
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("suite", list(Suite))
async def test_no_read_and_no_write_fails_while_everything_is_sealed_anew(config_path, suite):
    """With two rotations, and writers and readers in another process, every read returns what was written."""
    async with processes(config_path) as (ours, theirs):
        made = await every_table(ours)
        await ours.shards.get_or_create_shard(500, lambda: ShardInfo(500, 1, blob()))  # a shard without writers
        cell_id = ours.keyring.cell_id
        used = {*await versions_in_use(ours, made.namespace_id), *await versions_in_use(ours, cell_id)}
        assert used | JOURNAL == set(COLUMNS)
        other, done, numbers = made.on(theirs), asyncio.Event(), iter(range(10, 10**6))
        async with asyncio.TaskGroup() as group:
            group.create_task(write_for_ever(other, numbers, done))
            for reader in (made, other):
                group.create_task(read_for_ever(reader, done))
            await asyncio.sleep(0.5)
            for owner in (made.namespace_id, cell_id):
                await rotate(ours, owner, times=2, suite=suite)
            results = [await ours.reseal(wait=WAIT).run(owner, rate=0) for owner in (made.namespace_id, cell_id)]
            for owner in (made.namespace_id, cell_id):
                assert await all_versions(ours, owner) == {3}, "while they go on writing"
            done.set()
        assert [result.version for result in results] == [3, 3]
        assert all(result.found and not result.unreadable for result in results)
        assert JOURNAL.union(*(result.resealed for result in results)) == set(COLUMNS)
        for cell in (ours, theirs):
            cell.keyring.evict(made.namespace_id)
            await other.on(cell).read()
        suites = await fetch(ours, "SELECT DISTINCT get_byte(data, 2) AS suite FROM executions")
        assert [row["suite"] for row in suites] == [suite]


async def test_a_run_without_waiting_leaves_what_others_write_with_old_keys(config_path):
    """The control of the wait: a process that has not read the registry since the rotation seals with the old key."""
    async with processes(config_path, kept=60) as (ours, theirs):
        made = await every_table(ours)
        await theirs.keyring.open(made.namespace_id)
        await rotate(ours, made.namespace_id)
        await ours.reseal(wait=0).run(made.namespace_id, rate=0)
        await made.on(theirs).write_workflow(50)
        assert await all_versions(ours, made.namespace_id) == {1, 2}
        now, waits, goes_on = 0.0, asyncio.Event(), asyncio.Event()

        async def sleep(seconds):
            nonlocal now
            waits.set()
            await goes_on.wait()
            now += seconds

        work = ours.reseal(wait=2)
        work.wait = replace(work.wait, monotonic=lambda: now, sleep=sleep)
        running = asyncio.create_task(work.run(made.namespace_id, rate=0))
        await asyncio.wait_for(waits.wait(), 60)
        await made.on(theirs).write_workflow(51)
        goes_on.set()
        await running
        assert await all_versions(ours, made.namespace_id) == {2}, "it looks again when it has waited"
        await made.read()


@pytest.mark.parametrize("distributed", [False, True])
async def test_both_forms_of_the_statements_reach_every_table(own_cell, distributed):
    """The statements for one server and those for a cluster reseal every row on PostgreSQL 15 and 18."""
    made = await every_table(own_cell)
    for owner in (made.namespace_id, own_cell.keyring.cell_id):
        await rotate(own_cell, owner)
        work = own_cell.reseal(wait=0)
        work.distributed = distributed
        done = await work.run(owner, rate=0)
        assert done.found == sum(done.resealed.values())
        assert await all_versions(own_cell, owner) == {2}
        again = await work.run(owner, rate=0)
        assert (again.found, again.resealed) == (0, {})
    await made.read()


async def put_raw(cell, owner, rows, *, first=1, lead="number", version=1):
    """Insert rows that begin like sealed ones, in many shards."""
    header = f"'\\x07010200'::bytea || int4send({version})"
    statement = f"""
        INSERT INTO history_tree (shard_id, namespace_id, tree_id, branch_id, data)
        SELECT {lead}, $1, gen_random_uuid(), gen_random_uuid(), {header} || decode(md5(number::text), 'hex')
        FROM generate_series({first}, {first + rows - 1}) AS number
    """  # noqa: S608
    assert await execute(cell, statement, owner) == f"INSERT 0 {rows}"


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 30, 1000])
@pytest.mark.parametrize("distributed", [False, True])
async def test_pages_of_any_size_find_all_rows_once(cell, namespace_id, counted, limit, distributed):
    """With many rows in one partition, few in many, and other versions and namespaces between them, each row is found once."""
    first = namespace_id.int % 10**6 * 1000  # the cell is shared by the session
    await put_raw(cell, namespace_id, 40, first=first, lead=str(first + 5))
    await put_raw(cell, namespace_id, 25, first=first)
    await put_raw(cell, namespace_id, 20, first=first, version=3)
    await put_raw(cell, uuid4(), 20, first=first)
    pages = SealedPages(
        cell.by_key, TREE, namespace_id, 3, wanted=OLDER, limit=limit, counted=counted, distributed=distributed
    )
    found = [page async for page in pages]
    assert sum(page.wanted for page in found) == 65
    assert sum(page.seen for page in found) == 85
    assert max(page.seen for page in found) <= limit
    trees = [row["tree_id"] for page in found for row in page.rows]
    assert len(set(trees)) == len(trees) == (0 if counted else 65)


async def test_a_small_namespace_in_a_large_table_is_found_by_the_key(own_cell):
    """No statement reads the whole table, so each keeps a short time limit."""
    mine = uuid4()
    await put_raw(own_cell, uuid4(), 100_000)
    await put_raw(own_cell, mine, 30, first=50_000)
    limited = Database(own_cell.config.dsn, statement_timeout=10.0, by_key=True, insecure=True)
    try:
        pages = SealedPages(limited, TREE, mine, 2, wanted=OLDER, limit=1000)
        assert sum([page.wanted async for page in pages]) == 30
    finally:
        await limited.aclose()


async def test_large_rows_are_read_few_at_a_time(config_path):
    """A page has 4 MiB at most, except for its last row. Values that are stored outside their rows are resealed too."""
    async with processes(config_path, 1) as cell:
        made = await every_table(cell)
        for number in range(20, 26):
            workflow = made.workflow(number)
            snapshot = workflow.snapshot(execution_info=blob(3 * 2**20), db_record_version=1)
            await workflow.create(snapshot)
        await rotate(cell, made.namespace_id)
        pages = SealedPages(cell.by_key, COLUMNS["executions.data"], made.namespace_id, 2, wanted=OLDER, limit=1000)
        assert max([sum(row["size"] for row in page.rows) async for page in pages]) < 8 * 2**20
        await cell.reseal(wait=0).run(made.namespace_id, rate=0)
        assert await all_versions(cell, made.namespace_id) == {2}
        await made.read()


async def older_rows(cell, made, name):
    """Return the only page of rows of a column that use an older version."""
    pages = SealedPages(cell.by_key, COLUMNS[name], made.namespace_id, 2, wanted=OLDER, limit=1000)
    return [row async for page in pages for row in page.rows]


async def test_a_row_that_changed_since_it_was_read_is_left_to_who_changed_it(strongroom):
    """A concurrent writer wins, and its row stays as it wrote it."""
    made = await every_table(strongroom)
    queue, _ = made.expected["queue 0"]
    await rotate(strongroom, made.namespace_id)
    rows = await older_rows(strongroom, made, "task_queues.data")
    newer = replace(queue, info=blob())
    await strongroom.tasks.update_task_queue(newer, previous_range_id=queue.range_id)
    keys = await strongroom.keyring.open(made.namespace_id)
    done = await reseal_rows(
        strongroom.by_key,
        strongroom.journal.journal,
        keys,
        COLUMNS["task_queues.data"],
        rows,
        outbox=False,
        distributed=False,
    )
    assert (done.written, done.missed, list(done.unreadable)) == (len(rows) - 1, 1, [])
    assert await strongroom.tasks.get_task_queue(queue.queue) == newer


async def test_a_locked_row_is_waited_for_alone(config_path):
    """All other rows of the chunk are resealed meanwhile, and the locked one after its lock is released."""
    async with processes(config_path) as (ours, theirs):
        made = await every_table(ours)
        await rotate(ours, made.namespace_id)
        async with theirs.database.transaction(EVERY_NAMESPACE) as connection:
            await connection.execute(
                "SELECT FROM executions WHERE namespace_id = $1 LIMIT 1 FOR UPDATE", made.namespace_id
            )
            running = asyncio.create_task(ours.reseal(wait=0).run(made.namespace_id, rate=0))
            async with asyncio.timeout(60):
                while len((await versions_in_use(theirs, made.namespace_id))["executions.data"]) < 2:  # noqa: ASYNC110 - rows, no event
                    await asyncio.sleep(0.05)
            assert (await versions_in_use(theirs, made.namespace_id))["executions.data"] == {1: 1, 2: 2}
            assert not running.done()
        await running
        assert await all_versions(ours, made.namespace_id) == {2}


async def test_rows_that_stay_locked_end_the_run(config_path):
    """A run fails after some passes that move nothing, and all other rows are resealed."""
    async with processes(config_path, lock_timeout=0.3) as (ours, theirs):
        made = await every_table(ours)
        await rotate(ours, made.namespace_id)
        async with theirs.database.transaction(EVERY_NAMESPACE) as connection:
            await connection.execute("SELECT FROM history_tree WHERE namespace_id = $1 FOR UPDATE", made.namespace_id)
            work = ours.reseal(wait=0)
            work.attempts = 2
            with pytest.raises(Timeout, match="3 rows stay locked"):
                await work.run(made.namespace_id, rate=0)
        left = await versions_in_use(ours, made.namespace_id)
        assert {name for name, versions in left.items() if 1 in versions} == {"history_tree.data"}
        assert (await ours.reseal(wait=0).run(made.namespace_id, rate=0)).resealed == {"history_tree.data": 3}


async def test_two_at_once_do_it_once(config_path):
    """Two concurrent runs reseal each row once, and both succeed."""
    async with processes(config_path) as (ours, theirs):
        made = await every_table(ours, workflows=30)
        await rotate(ours, made.namespace_id)
        total = sum(versions[1] for versions in (await versions_in_use(ours, made.namespace_id)).values())
        both = await asyncio.gather(*(cell.reseal(wait=0).run(made.namespace_id, rate=0) for cell in (ours, theirs)))
        assert sum(sum(done.resealed.values()) for done in both) == total
        assert await all_versions(ours, made.namespace_id) == {2}
        await made.read()


async def test_a_command_that_is_killed_goes_on(config_path):
    """After repeated SIGKILLs every row still opens, and the last run reseals the rest."""
    async with processes(config_path, 1) as cell:
        made = await every_table(cell, workflows=30)
        await rotate(cell, made.namespace_id)
        command = [STRONGROOM, "--config", config_path, "keys", "reseal", made.name, "--wait", "0", "--rate"]
        progress = []
        for _ in range(3):
            process = await asyncio.create_subprocess_exec(
                *command, "60", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            before = await left(cell, made)
            async with asyncio.timeout(120):
                while await left(cell, made) > before - 60 and process.returncode is None:  # noqa: ASYNC110 - rows, no event
                    await asyncio.sleep(0.05)
            process.kill()
            await process.wait()
            assert process.returncode == -signal.SIGKILL, await process.stderr.read()
            progress.append(await left(cell, made))
            await made.read()
        assert progress == sorted(progress, reverse=True)
        assert progress[-1] > 0, "it was in the middle"
        process = await asyncio.create_subprocess_exec(*command, "0", stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0
        assert f"{progress[-1]} of {progress[-1]} rows resealed with version 2" in output.decode()
        assert await all_versions(cell, made.namespace_id) == {2}
        await made.read()


async def left(cell, made):
    """Return the number of values that use the first version."""
    return sum(versions[1] for versions in (await versions_in_use(cell, made.namespace_id)).values())


async def test_damaged_rows_are_named_and_left_and_all_others_are_done(strongroom):
    """Damaged values are counted, named by table and key, and left unchanged."""
    made = await every_table(strongroom, workflows=12)
    owner = made.namespace_id
    await rotate(strongroom, owner)
    damage = {
        "execution_maps.data": "set_byte(data, 40, get_byte(data, 40) # 1)",
        "executions.data": "substring(data from 1 for 20)",
        "history_tasks.data": "'\\x00'::bytea || data",
        "visibility_records.s": "''::bytea",
        "tasks.data": "set_byte(data, 7, 9)",
    }
    damaged = {}
    for name, change in damage.items():
        table, column = name.split(".")
        chosen = f"ctid = (SELECT ctid FROM {table} WHERE namespace_id = $1 ORDER BY ctid LIMIT 1)"  # noqa: S608
        update = (
            f"UPDATE {table} SET {column} = {change.replace('data', column)} WHERE {chosen} RETURNING {column} AS value"  # noqa: S608
        )
        ((damaged[name],),) = [row.values() for row in await fetch(strongroom, update, owner)]
    done = await strongroom.reseal(wait=0).run(owner, rate=0)
    expected = dict.fromkeys(damage, 1)
    del expected["tasks.data"]  # its header has a newer version than any, so it is no old row
    assert done.unreadable == expected
    assert {row.column for row in done.named} == set(expected)
    names = "\n".join(map(str, done.named))
    assert str(owner) in names
    assert "order" not in names
    for name, value in damaged.items():
        table, column = name.split(".")
        query = f"SELECT count(*) AS rows FROM {table} WHERE {column} = $1"  # noqa: S608
        assert (await fetch(strongroom, query, value))[0]["rows"] == 1
    again = await strongroom.reseal(wait=0).run(owner, rate=0)
    assert (again.resealed, again.unreadable) == ({}, expected)


async def test_an_empty_namespace_is_done_at_once(strongroom):
    """Only the namespace's own row is resealed."""
    await strongroom.create_kek(KEK)
    found = await strongroom.namespaces.create("empty", kek=KEK)
    assert (await strongroom.reseal(wait=60).run(found.namespace_id)).found == 0
    await rotate(strongroom, found.namespace_id)
    assert (await strongroom.reseal(wait=0).run(found.namespace_id)).resealed == {
        "namespaces.details": 1,
        "namespaces.data": 1,
    }


async def test_what_has_no_keys_is_refused(strongroom):
    """A shredded namespace, an unknown one and a malformed id are refused, and no row changes."""
    made = await every_table(strongroom)
    await shred(strongroom, made.namespace_id)
    with pytest.raises(KeyDestroyed):
        await strongroom.reseal(wait=0).run(made.namespace_id)
    with pytest.raises(NamespaceNotFound):
        await strongroom.reseal(wait=0).run(uuid4())
    with pytest.raises(InvalidPersistenceRequest):
        await strongroom.reseal(wait=0).run(str(made.namespace_id))
    with pytest.raises(InvalidPersistenceRequest):
        await strongroom.reseal(wait=0).run(made.namespace_id, rate=-1)


@pytest.mark.parametrize("rate", [50, 150])
async def test_the_rate_is_kept(strongroom, monkeypatch, rate):
    """A run keeps its rate in every second, and without a limit it never waits. The clock advances only while a run sleeps."""
    made = await every_table(strongroom, workflows=8)
    await rotate(strongroom, made.namespace_id)
    slept, told = [], []

    def now():
        return sum(slept)

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("strongroom.storage.keys.reseal.Pace", partial(Pace, monotonic=now, sleep=sleep))
    done = await strongroom.reseal(wait=0).run(
        made.namespace_id, rate=rate, progress=lambda *seen: told.append((now(), *seen))
    )
    assert now() >= (done.found - rate) / rate, "only the last chunk is not waited for"
    steps = [(moment, rows) for moment, step, rows in told if step == "reseal"]
    for moment, rows in steps:
        window = [count for at, count in steps if moment <= at <= moment + 1]
        assert max(window) - rows <= 2 * rate
    slept.clear()
    await rotate(strongroom, made.namespace_id)
    assert (await strongroom.reseal(wait=0).run(made.namespace_id, rate=0)).found >= done.found
    assert slept == []


async def test_a_key_of_counted_uses_keeps_enough_for_the_service(strongroom):
    """With AES-256-GCM resealed rows count as uses, and a run that would leave too few uses is refused at its start."""
    made = await every_table(strongroom)
    await rotate(strongroom, made.namespace_id, suite=Suite.AES_256_GCM)
    lease = "UPDATE data_keys SET record_lease = $2 WHERE namespace_id = $1 AND class = 'data' AND version = 2"
    await execute(strongroom, lease, made.namespace_id, SUITE_1_LIMIT * 3 // 4)
    await authenticate(strongroom)
    with pytest.raises(SealingLimitExceeded, match="xaes-256-gcm"):
        await strongroom.reseal(wait=0).run(made.namespace_id)
    assert await all_versions(strongroom, made.namespace_id) == {1}
    await rotate(strongroom, made.namespace_id, suite=Suite.XAES_256_GCM)
    await strongroom.reseal(wait=0).run(made.namespace_id, rate=0)
    assert await all_versions(strongroom, made.namespace_id) == {3}


async def test_a_rotation_meanwhile_is_no_step_back(strongroom):
    """A rotation during a run never moves a row to an older version, and the next run moves all rows to the newest."""
    made = await every_table(strongroom, workflows=10)
    await rotate(strongroom, made.namespace_id)
    begun = asyncio.Event()
    running = asyncio.create_task(
        strongroom.reseal(wait=0).run(
            made.namespace_id, rate=200, progress=lambda step, *_: begun.set() if step == "reseal" else None
        )
    )
    await asyncio.wait_for(begun.wait(), 60)
    await rotate(strongroom, made.namespace_id)
    await made.write_workflow(90)
    assert (await running).version == 2
    assert await all_versions(strongroom, made.namespace_id) <= {2, 3}
    await strongroom.reseal(wait=0).run(made.namespace_id, rate=0)
    assert await all_versions(strongroom, made.namespace_id) == {3}
    states = {
        record.version: record.state
        for record in await strongroom.keyring.store.list_data_keys(made.namespace_id)
        if record.key_class.value == "data"
    }
    assert states == {1: KeyState.DECRYPT_ONLY, 2: KeyState.DECRYPT_ONLY, 3: KeyState.ACTIVE}
    await made.read()
