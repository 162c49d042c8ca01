from __future__ import annotations

import asyncio
import itertools
from uuid import uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KeyDestroyed
from strongroom.storage import DataBlob, InvalidPersistenceRequest, NotFound, ShardInfo, ShardOwnershipLost
from strongroom.storage.data_blob import Encoding
from strongroom.storage.errors import ConditionFailed, NamespaceNotFound
from strongroom.storage.executions.errors import WorkflowConditionFailed
from strongroom.storage.executions.modes import UpdateMode, WorkflowState, WorkflowStatus
from strongroom.storage.executions.requests import ChasmNode
from tests.support.execution_rules import CLOSED_STATUSES
from tests.support.fixtures.executions import COMPLETED, CREATED, RUNNING, ZOMBIE, accumulated, blob, state
from tests.support.shredding import shred

pytestmark = pytest.mark.integration


async def delete(workflow, run_id):
    await workflow.cell.executions.delete_workflow_execution(
        workflow.namespace_id, workflow.workflow_id, run_id, shard_id=workflow.shard_id
    )


async def delete_current(workflow, run_id, archetype_id=0):
    await workflow.cell.executions.delete_current_workflow_execution(
        workflow.namespace_id, workflow.workflow_id, run_id, shard_id=workflow.shard_id, archetype_id=archetype_id
    )


async def test_what_nobody_wrote_is_not_found(workflow):
    """A run or current run that does not exist is not found, also if another run, workflow, shard or namespace has one."""
    first = await workflow.create()
    for other in (workflow.like(workflow_id="order 2"), workflow.like(shard_id=workflow.shard_id + 1)):
        for read in (other.get(first.run_id), other.current()):
            with pytest.raises(NotFound):
                await read
    with pytest.raises(NotFound):
        await workflow.get(uuid4())
    for read in (workflow.like(namespace_id=uuid4()).get(first.run_id), workflow.like(namespace_id=uuid4()).current()):
        with pytest.raises(NamespaceNotFound):
            await read


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("data", [b"", b"\x00", b"x" * 9000], ids=["nothing", "zero", "much"])
async def test_every_blob_comes_back_as_it_was(workflow, encoding, data):
    """Every blob of a run is read with the bytes and encoding that were written."""
    value = DataBlob(data, encoding)
    snapshot = workflow.snapshot(
        execution_info=value,
        execution_state=state(CREATED, blob=value),
        activity_infos={0: value},
        timer_infos={"t": value},
        child_execution_infos={1: value},
        request_cancel_infos={2: value},
        signal_infos={3: value},
        chasm_nodes={"metadata": ChasmNode(value, blob()), "data": ChasmNode(blob(), value)},
    )
    await workflow.create(snapshot)
    mutation = workflow.mutation(snapshot.run_id, execution_info=value, new_buffered_events=value)
    await workflow.update(mutation)
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot, mutation)


async def test_names_of_every_kind_come_back(workflow):
    """Names that a tenant chose are read back: long ones, foreign ones, names that differ by a blank or a zero, and 500 of them."""
    names = ["a", "a ", "a\x00", "A", "ä", "a\u0308", "x" * 65_535, "支払い", *(str(number) for number in range(500))]
    snapshot = workflow.snapshot(
        timer_infos={name: blob() for name in names},
        chasm_nodes={name: ChasmNode(blob(), blob()) for name in ["", *names]},
        signal_requested_ids=names,
    )
    await workflow.create(snapshot)
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot)


@pytest.mark.parametrize("version", [-(2**63), -1, 0, 2**63 - 1])
async def test_versions_of_every_size_come_back(workflow, version):
    """A write version may be negative, as Temporal's `EmptyVersion` is."""
    await workflow.create(snapshot := workflow.full(last_write_version=version, next_event_id=2**63 - 1))
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot)
    assert (await workflow.current()).last_write_version == version


@pytest.mark.parametrize("start_time", [None, 0, 2**63 - 1])
@pytest.mark.parametrize("request_id", ["", "request", "ключ"])
async def test_the_current_run_tells_all_that_was_said_of_it(workflow, start_time, request_id):
    """An absent start time and an empty request id are read back as such."""
    given = state(RUNNING, start_time=start_time, create_request_id=request_id)
    await workflow.create(workflow.snapshot(execution_state=given))
    assert (await workflow.current()).execution_state == given


@pytest.mark.parametrize("status", CLOSED_STATUSES)
async def test_every_status_comes_back(workflow, status):
    """Every state and status is read back, also of the current run."""
    await workflow.create(workflow.snapshot(execution_state=state(COMPLETED, status)))
    assert (await workflow.current()).execution_state.status is status


async def test_buffered_events_keep_their_order(workflow):
    """Buffered events are read in the order of their writes, under either condition, and an update clears before it adds."""
    first = await workflow.create()
    writes = [first]
    for number in range(2, 14):
        writes.append(workflow.mutation(first.run_id, db_record_version=number, new_buffered_events=blob()))
        await workflow.update(writes[-1])
    assert await workflow.get(first.run_id) == accumulated(*writes)
    clearing = workflow.mutation(
        first.run_id, db_record_version=14, clear_buffered_events=True, new_buffered_events=blob()
    )
    await workflow.update(clearing)
    assert (await workflow.get(first.run_id)).buffered_events == (clearing.new_buffered_events,)
    await workflow.update(workflow.mutation(first.run_id, db_record_version=15, clear_buffered_events=True))
    assert (await workflow.get(first.run_id)).buffered_events == ()


async def test_buffered_events_keep_their_order_when_versions_do_not_rise(workflow):
    """Buffered events keep their order under the older condition, with which all versions are 0."""
    first = await workflow.create(workflow.snapshot(db_record_version=0, next_event_id=7))
    writes = [first]
    for version, condition in ((0, 7), (0, 7), (0, 7), (1, 0), (2, 0)):
        mutation = workflow.mutation(
            first.run_id, db_record_version=version, condition=condition, new_buffered_events=blob()
        )
        await workflow.update(mutation)
        writes.append(mutation)
    assert (await workflow.get(first.run_id)).buffered_events == accumulated(*writes).buffered_events


async def test_a_set_replaces_everything_of_the_run(workflow):
    """A set replaces all maps and buffered events. History, the current run and other runs do not change."""
    first = await workflow.create(
        full := workflow.full(of=RUNNING), new_workflow_new_events=workflow.events(full.run_id)
    )
    await workflow.update(workflow.mutation(first.run_id, new_buffered_events=blob()))
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    before = await workflow.footprint()
    snapshot = workflow.snapshot(
        first.run_id, RUNNING, db_record_version=3, activity_infos={1: blob()}, timer_infos={"timer a": blob()}
    )
    await workflow.set(snapshot)
    assert await workflow.get(first.run_id) == accumulated(snapshot)
    assert await workflow.get(zombie.run_id) == accumulated(zombie)
    after = await workflow.footprint()
    for table in ("current_executions", "history_node", "history_tree", "history_tasks"):
        assert after[table] == before[table]


async def test_a_set_is_of_one_version(workflow, cell):
    """A set is refused at another version, with a stale range id, and if the run does not exist."""
    first = await workflow.create(workflow.full(next_event_id=4))
    for wrong in ({"db_record_version": 1}, {"db_record_version": 3}, {"db_record_version": 0, "condition": 5}):
        error = await workflow.refused(
            WorkflowConditionFailed, workflow.set(workflow.snapshot(first.run_id, RUNNING, **wrong))
        )
        assert (error.next_event_id, error.db_record_version) == (4, 1)
    await workflow.refused(ConditionFailed, workflow.set(workflow.full(uuid4(), RUNNING, db_record_version=2)))
    await workflow.set(workflow.snapshot(first.run_id, RUNNING, db_record_version=0, condition=4))
    await cell.shards.update_shard(ShardInfo(workflow.shard_id, 2, DataBlob(b"")), previous_range_id=1)
    await workflow.refused(ShardOwnershipLost, workflow.set(workflow.snapshot(first.run_id, RUNNING)))


async def test_a_run_is_deleted_with_all_its_maps(workflow):
    """A delete keeps history, tasks, the current run and other runs. Deleting the run again is not an error."""
    first = await workflow.create(full := workflow.full(), new_workflow_new_events=workflow.events(full.run_id))
    await workflow.update(workflow.mutation(first.run_id, new_buffered_events=blob()))
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    before = await workflow.footprint()
    for _ in range(2):
        await delete(workflow, first.run_id)
        with pytest.raises(NotFound):
            await workflow.get(first.run_id)
        after = await workflow.footprint()
        assert len(after["executions"]) == 1
        assert len(after["execution_maps"]) == 14
        for table in ("current_executions", "history_node", "history_tree", "history_tasks"):
            assert after[table] == before[table]
    assert await workflow.get(zombie.run_id) == accumulated(zombie)
    assert (await workflow.current()).run_id == first.run_id


async def test_a_run_may_be_made_anew_after_its_deletion(workflow):
    """A run that is created again after a delete has no entry of the old run."""
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    await delete(workflow, zombie.run_id)
    again = await workflow.create(workflow.snapshot(zombie.run_id))
    assert await workflow.get(again.run_id) == accumulated(again)


async def test_the_current_run_is_forgotten_only_by_its_own_id(workflow):
    """The current run is deleted only by its own id and archetype. The run itself stays, and a new one can be created."""
    first = await workflow.create(workflow.full())
    other = await workflow.create(workflow.full(), archetype_id=3)
    before = await workflow.footprint()
    await delete_current(workflow, uuid4())
    await delete_current(workflow, other.run_id)
    await delete_current(workflow.like(workflow_id="order 2"), first.run_id)
    assert await workflow.footprint() == before
    for _ in range(2):
        await delete_current(workflow, first.run_id)
        with pytest.raises(NotFound):
            await workflow.current()
    assert (await workflow.current(3)).run_id == other.run_id
    assert await workflow.get(first.run_id) == accumulated(first)
    await workflow.create()


async def test_deletions_do_not_ask_who_owns_the_shard(workflow, cell):
    """A delete needs no range id, as in Temporal."""
    first = await workflow.create(workflow.full())
    await cell.shards.update_shard(ShardInfo(workflow.shard_id, 2, DataBlob(b"")), previous_range_id=1)
    await delete_current(workflow, first.run_id)
    await delete(workflow, first.run_id)
    found = await workflow.footprint()
    assert [found["executions"], found["execution_maps"], found["current_executions"]] == [[], [], []]


@pytest.mark.parametrize(
    "wrong", [{"namespace_id": "x"}, {"workflow_id": ""}, {"workflow_id": b"x"}, {"shard_id": 0}, {"run_id": "x"}]
)
async def test_a_wrong_address_is_refused(workflow, wrong):
    """Every read and delete refuses ids that are not valid."""
    run_id = wrong.get("run_id", uuid4())
    place = workflow.like(**{name: value for name, value in wrong.items() if name != "run_id"})
    calls = [place.get(run_id), delete(place, run_id), delete_current(place, run_id)]
    for call in [*calls, *([] if "run_id" in wrong else [place.current()])]:
        with pytest.raises(InvalidPersistenceRequest):
            await call


async def test_a_shredded_namespace_is_not_read(workflow, cell):
    """A read in a shredded namespace says that its keys are destroyed. Other namespaces of the shard are read as before."""
    first = await workflow.create(workflow.full())
    await shred(cell, workflow.namespace_id)
    for call in (workflow.get(first.run_id), workflow.current(), workflow.create()):
        with pytest.raises(KeyDestroyed):
            await call


async def test_many_readers_get_each_their_own(workflow):
    """Reads that share a statement get their own answers, also if a run does not exist or is read twice."""
    places = [workflow.like(workflow_id=f"order {number}") for number in range(20)]
    made = [await place.create(place.full()) for place in places]
    wanted = [(one.workflow_id, one.run_id, one) for one in made] * 2 + [("order 1", uuid4(), None)] * 10
    found = await asyncio.gather(
        *(workflow.like(workflow_id=name).get(run_id) for name, run_id, _ in wanted), return_exceptions=True
    )
    for (_, _, one), answer in zip(wanted, found, strict=True):
        assert isinstance(answer, NotFound) if one is None else answer == accumulated(one)


async def test_a_reader_sees_one_moment(workflow):
    """A read returns the parts of one update, while another host updates the run again and again."""

    def mark(number):
        return DataBlob(str(number).encode())

    first = await workflow.create(workflow.snapshot(execution_info=mark(1), activity_infos={1: mark(1)}))
    done, read_moments = asyncio.Event(), [[], [], []]

    async def write():
        """Update the run at least a hundred times, and until each reader has seen several moments."""
        for number in itertools.count(2):
            await workflow.update(
                workflow.mutation(
                    first.run_id,
                    db_record_version=number,
                    execution_info=mark(number),
                    upsert_activity_infos={1: mark(number)},
                    upsert_timer_infos={"t": mark(number)},
                    upsert_chasm_nodes={"c": ChasmNode(mark(number), mark(number))},
                    clear_buffered_events=True,
                    new_buffered_events=mark(number),
                ),
                UpdateMode.UPDATE_CURRENT,
            )
            if number > 100 and all(len(set(moments)) > 5 for moments in read_moments):
                break
        done.set()

    async def read(reader, moments):
        while not done.is_set():
            found = await reader.get(first.run_id)
            number = mark(found.db_record_version)
            assert found.execution_info == found.activity_infos[1] == number
            if found.db_record_version > 1:
                assert found.timer_infos["t"] == found.buffered_events[0] == number
                assert found.chasm_nodes["c"] == ChasmNode(number, number)
                assert len(found.buffered_events) == 1
            moments.append(found.db_record_version)

    async with Strongroom.open(workflow.cell.config) as other, asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(write())
        for moments in read_moments:
            group.create_task(read(workflow.like(cell=other), moments))
    for moments in read_moments:
        assert all(earlier <= later for earlier, later in itertools.pairwise(moments))


@pytest.mark.parametrize(
    ("of", "status"), [(WorkflowState.VOID, WorkflowStatus.RUNNING), (WorkflowState.UNSPECIFIED,) * 2]
)
async def test_a_set_writes_every_state_and_status(workflow, of, status):
    """Temporal does not look at the state and status of a set, so a value that it never creates is stored too."""
    first = await workflow.create()
    snapshot = workflow.snapshot(first.run_id, execution_state=state(of, WorkflowStatus(status)), db_record_version=2)
    await workflow.set(snapshot)
    assert await workflow.get(first.run_id) == accumulated(snapshot)
