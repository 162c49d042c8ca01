from __future__ import annotations

import asyncio
from contextlib import nullcontext
from uuid import uuid4

import asyncpg
import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import (
    EVERY_NAMESPACE,
    CellMismatch,
    Database,
    DataBlob,
    SchemaMismatch,
    ShardOwnershipLost,
    StorageError,
    Task,
    TaskQueue,
    TaskQueueKey,
    apply_schema,
    check_schema,
    schema_status,
)
from strongroom.storage.engine.functions import Function, load_functions
from strongroom.storage.executions.tasks import TIMER
from strongroom.storage.fences import ShardFences
from strongroom.storage.schema.citus import distribute_schema, distribution_statements
from tests.support.fixtures.citus import install_stand_ins
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import RUNNING, Workflow, accumulated, comparable, tasks

pytestmark = pytest.mark.integration

CALLERS = 64
SHARDS = 8


async def functions_of(database):
    """Return the names of the functions in the schema."""
    async with database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT proname::text AS name FROM pg_proc WHERE pronamespace = 'strongroom'::regnamespace"
        )
    return {row["name"] for row in rows}


def names(*, distributed):
    """Return the names of the functions for a cluster or for one server."""
    return {function.name for function in load_functions(distributed=distributed).values()}


async def test_the_statements_are_accepted_and_run_once(stand_ins):
    """The statements fit the names, types and signatures of the schema, and a second run has nothing to do."""
    ran = await distribute_schema(stand_ins.database)
    assert ran == distribution_statements()
    assert await distribute_schema(stand_ins.database) == []
    status = await schema_status(stand_ins.database)
    assert status.distributed
    assert status.is_current
    assert await functions_of(stand_ins.database) == names(distributed=True)


async def test_two_at_once_do_it_once(stand_ins):
    """Of two concurrent runs one distributes everything, because the schema's lock is held to the end."""
    other = Database(stand_ins.config.dsn, insecure=True)
    ran = await asyncio.gather(distribute_schema(stand_ins.database), distribute_schema(other))
    await other.aclose()
    assert sorted(ran, key=len) == [[], distribution_statements()]


async def test_an_interrupted_distribution_goes_on(stand_ins):
    """An interrupted run leaves the cell and its functions unchanged, and the next run continues."""
    async with stand_ins.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("INSERT INTO public.broken VALUES ('tasks')")
    with pytest.raises(StorageError):
        await distribute_schema(stand_ins.database)
    status = await schema_status(stand_ins.database)
    assert not status.distributed
    assert status.is_current
    assert await functions_of(stand_ins.database) == names(distributed=False)
    async with stand_ins.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("DELETE FROM public.broken")
    ran = await distribute_schema(stand_ins.database)
    whole = distribution_statements()
    assert ran == whole[whole.index("DROP POLICY IF EXISTS namespaces ON strongroom.tasks") :]
    assert (await schema_status(stand_ins.database)).distributed


async def test_a_function_that_citus_only_copied_is_distributed(stand_ins):
    """Citus copies each new function by itself, but sends its calls to a node only after it is distributed."""
    await distribute_schema(stand_ins.database)
    function = load_functions(distributed=True)["get_tasks"]
    async with stand_ins.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(f"DROP FUNCTION {function.name}")
    assert not (await schema_status(stand_ins.database)).is_current
    await apply_schema(stand_ins.database)
    (ran,) = await distribute_schema(stand_ins.database)
    assert f"create_distributed_function('strongroom.{function.name}(" in ran


async def test_a_server_without_citus_is_refused_and_left_alone(owners_cell):
    """The message names the statement to run, and nothing is changed."""
    with pytest.raises(SchemaMismatch, match="CREATE EXTENSION citus"):
        await distribute_schema(owners_cell.database)
    assert not (await schema_status(owners_cell.database)).distributed
    assert await functions_of(owners_cell.database) == names(distributed=False)
    await check_schema(owners_cell.database)


@pytest.mark.parametrize("with_schema", [False, True])
async def test_a_schema_that_is_not_ready_is_refused(contract_databases, with_schema):
    """A schema without all migrations or without a cell is refused with the command to run."""
    dsn = await contract_databases.create()
    await install_stand_ins(dsn)
    database = Database(dsn, insecure=True)
    if with_schema:
        await apply_schema(database)
    with pytest.raises(SchemaMismatch, match="strongroom init" if with_schema else "strongroom schema apply"):
        await distribute_schema(database)
    await database.aclose()


@pytest.fixture
async def distributed_cell(stand_ins, tmp_path):
    """Open a distributed cell. The stand-ins leave all rows on one server."""
    await distribute_schema(stand_ins.database)
    path = tmp_path / "strongroom.toml"
    with pytest.raises(CellMismatch, match="distributed = true"):
        async with Strongroom.open(load_config(path)):
            pass
    path.write_text(path.read_text().replace("# distributed = true", "distributed = true"))
    async with Strongroom.open(load_config(path)) as strongroom:
        yield strongroom


@pytest.fixture
def calls(monkeypatch):
    """Record the calls of functions: name, first argument, and the shard of each row or request."""
    seen = []
    of_shards = {
        "write_executions": "r_shard",
        "get_executions": "k_shard",
        "get_current_executions": "k_shard",
        "append_history_nodes": "n_shard",
        "get_history_nodes": "q_shard",
        "get_history_tasks": "q_shard",
        "create_tasks": "q_hash",
        "get_tasks": "q_hash",
    }
    real = Function.call

    async def call(self, connection, *arguments, **options):
        name = self.name[:-9]
        if name in of_shards:
            shards = arguments[self.names.index(of_shards[name])]
            seen.append((name, arguments[0], list(shards)))
        return await real(self, connection, *arguments, **options)

    monkeypatch.setattr(Function, "call", call)
    return seen


async def test_the_confined_functions_do_the_same_for_many_callers(distributed_cell, calls):
    """64 callers over eight shards get right answers, and each statement has requests of one shard only."""
    cell = distributed_cell
    namespace_id = await new_namespace(cell)
    shards = [await new_shard(cell) for _ in range(SHARDS)]

    async def work(number):
        workflow = Workflow(cell, namespace_id, shards[number % SHARDS], f"order {number}")
        first = await workflow.create(workflow.full(of=RUNNING))
        mutation = workflow.mutation(first.run_id, tasks=tasks(TIMER))
        await workflow.update(
            mutation, update_workflow_new_events=workflow.events(first.run_id), visibility=[workflow.record()]
        )
        assert await workflow.get(first.run_id) == comparable(accumulated(first, mutation))
        assert (await workflow.current()).run_id == first.run_id
        (node,) = workflow.events(uuid4(), node_id=3, txn_id=2, prev_txn_id=1)[0].nodes
        await cell.history.append_history_nodes(namespace_id, workflow.branch(first.run_id), [node])
        assert [each.node_id for each in await workflow.history(first.run_id)] == [1, 3]
        added = tasks(TIMER)
        await cell.history_tasks.add_history_tasks(
            namespace_id, added, shard_id=workflow.shard_id, range_id=workflow.range_id
        )
        with pytest.raises(ShardOwnershipLost):
            await cell.history_tasks.add_history_tasks(
                namespace_id, tasks(TIMER), shard_id=workflow.shard_id, range_id=9
            )
        stored = {task.key: task.blob for task in await workflow.stored_tasks(TIMER)}
        for task in (*first.tasks[TIMER], *mutation.tasks[TIMER], *added[TIMER]):
            assert stored[task.key] == task.blob

    async def match(number):
        queue = TaskQueueKey(namespace_id, f"queue {number}", 1)
        await cell.tasks.create_task_queue(TaskQueue(queue, 1, DataBlob(b"info")))
        given = [Task(task_id, DataBlob(b"task %d of %d" % (task_id, number))) for task_id in range(1, 4)]
        await asyncio.gather(*(cell.tasks.create_tasks(queue, [task], range_id=1) for task in given))
        pages = await asyncio.gather(*(cell.tasks.get_tasks(queue, page_size=10) for _ in range(3)))
        assert [list(page.tasks) for page in pages] == [given] * 3

    await asyncio.gather(*(work(number) for number in range(CALLERS)), *(match(number) for number in range(CALLERS)))
    for name, shard, rows in calls:
        assert set(rows) == {shard}, name
    assert {name for name, _, rows in calls if len(rows) > 1} == {
        *("write_executions", "get_executions", "get_current_executions"),
        *("append_history_nodes", "get_history_nodes", "get_history_tasks", "create_tasks", "get_tasks"),
    }, "callers of one shard did share statements"
    assert {shard for name, shard, _ in calls if name == "write_executions"} == set(shards)


async def test_a_function_leaves_rows_of_other_shards_alone(distributed_cell):
    """The conditions in a function leave out rows of other shards. A statement that does not write all its rows fails."""
    namespace_id, tree = uuid4(), uuid4()
    append = load_functions(distributed=True)["append_history_nodes"]
    node = ([2], [namespace_id], [tree], [tree], [1], [1], [0], [b"node"])
    async with distributed_cell.database.connection(EVERY_NAMESPACE) as connection:
        for p_shard in (1, 2):
            with nullcontext() if p_shard == 2 else pytest.raises(StorageError):
                await append.call(connection, p_shard, *node, [], [], [], [], [], uuid4(), [], [], [])
            rows = await connection.fetch("SELECT shard_id FROM history_node WHERE namespace_id = $1", namespace_id)
            assert [row["shard_id"] for row in rows] == [2] * (p_shard == 2)


async def test_a_function_runs_in_a_session_that_knows_nothing_of_ours(distributed_cell):
    """A function works without the session's search_path and with every plan_cache_mode."""
    function = load_functions(distributed=True)["add_history_tasks"]
    shard_id = await new_shard(distributed_cell)
    connection = await asyncpg.connect(distributed_cell.config.dsn)
    call = f"SELECT strongroom.{function.name}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    mac = await ShardFences(distributed_cell.keyring).mac(shard_id, 1)
    for plans in ("auto", "force_generic_plan", "force_custom_plan"):
        await connection.execute(f"SET plan_cache_mode = {plans}")
        assert (
            await connection.fetchval(
                call, shard_id, 1, mac, uuid4(), [1], [0], [len(plans)], [b"task"], uuid4(), 1, b"entry"
            )
            == 0
        )
    assert (
        await connection.fetchval(call, shard_id, 2, b"", uuid4(), [1], [0], [99], [b"task"], uuid4(), 1, b"entry") == 1
    )
    await connection.close()


async def test_statements_of_a_distributed_cell_are_planned_for_their_parameters(distributed_cell, owners_cell):
    """Citus finds the node of a statement only while it plans for certain parameters; one server uses a generic plan."""
    for cell, mode in ((distributed_cell, "auto"), (owners_cell, "force_generic_plan")):
        async with cell.executions._database.connection(EVERY_NAMESPACE) as connection:
            row = await connection.fetchrow(
                "SELECT current_setting('plan_cache_mode') AS mode, current_setting('jit') AS jit"
            )
        assert (row["mode"], row["jit"]) == (mode, "off")
