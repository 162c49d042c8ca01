from __future__ import annotations

import itertools
from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.storage import DataBlob, InvalidPersistenceRequest, StorageError
from strongroom.storage.errors import ConditionFailed, TransactionSizeLimit
from strongroom.storage.executions.modes import (
    ConflictResolveMode,
    CreateMode,
    UpdateMode,
    WorkflowState,
    WorkflowStatus,
)
from tests.support.execution_rules import (
    CREATED_STATUSES,
    UPDATED_STATUSES,
    create_is_allowed,
    resolve_is_allowed,
    update_is_allowed,
    updated_state,
)
from tests.support.fixtures.executions import (
    CATEGORIES,
    COMPLETED,
    RUNNING,
    accumulated,
    blob,
    state,
    task,
)

pytestmark = pytest.mark.integration

BRAND_NEW, UPDATE_CURRENT, BYPASS_CURRENT = CreateMode
NONE_OR_ANY = [None, *WorkflowState]


@pytest.mark.parametrize("mode", CreateMode)
async def test_states_that_temporal_refuses(workflow, mode):
    """Each pair of state and status, in each create mode, is written or is refused before it is sent."""
    previous = await workflow.create(workflow.snapshot(of=COMPLETED)) if mode is UPDATE_CURRENT else None
    for of in WorkflowState:
        for status in WorkflowStatus:
            snapshot = workflow.snapshot(execution_state=state(of, status))
            given = {}
            if mode is UPDATE_CURRENT:
                previous = await workflow.create(
                    workflow.snapshot(of=COMPLETED), BRAND_NEW, previous_run_id=previous.run_id
                )
                given = {"previous_run_id": previous.run_id, "previous_last_write_version": 10}
            elif mode is BRAND_NEW:
                given = {"previous_run_id": previous and previous.run_id}
            if create_is_allowed(mode, of) and status in CREATED_STATUSES.get(of, ()):
                made = await workflow.create(snapshot, mode, **given)
                previous = previous if mode is BYPASS_CURRENT else made
            else:
                await workflow.refused(InvalidPersistenceRequest, workflow.create(snapshot, mode, **given))


async def answer(call):
    """Return whether a call for a missing run is refused as malformed, or is sent."""
    with pytest.raises(StorageError) as raised:
        await call
    assert isinstance(raised.value, ConditionFailed | InvalidPersistenceRequest)
    return isinstance(raised.value, ConditionFailed)


@pytest.mark.parametrize("mode", UpdateMode)
async def test_updates_that_temporal_refuses(workflow, mode):
    """Each pair of states, with and without a new run, and each status of an updated run is accepted or refused as in Temporal."""
    for of, new in itertools.product(WorkflowState, NONE_OR_ANY):
        mutation = workflow.mutation(uuid4(), execution_state=updated_state(of))
        snapshot = None if new is None else workflow.snapshot(of=new)
        assert await answer(workflow.update(mutation, mode, snapshot)) is update_is_allowed(mode, of, new), (of, new)
    for of, status in itertools.product(WorkflowState, WorkflowStatus):
        mutation = workflow.mutation(uuid4(), execution_state=state(of, status))
        allowed = update_is_allowed(mode, of, None) and status in UPDATED_STATUSES.get(of, ())
        assert await answer(workflow.update(mutation, mode)) is allowed, (of, status)


@pytest.mark.parametrize("mode", ConflictResolveMode)
async def test_resets_that_temporal_refuses(workflow, mode):
    """Each combination of states of the reset, the new and the current run is accepted or refused as in Temporal."""
    for of, new, current in itertools.product(WorkflowState, NONE_OR_ANY, NONE_OR_ANY):
        call = workflow.resolve(
            workflow.snapshot(execution_state=updated_state(of)),
            mode,
            new=None if new is None else workflow.snapshot(of=new),
            current=None if current is None else workflow.mutation(uuid4(), execution_state=updated_state(current)),
        )
        assert await answer(call) is resolve_is_allowed(mode, of, new, current), (of, new, current)


async def test_one_request_is_of_one_workflow(workflow):
    """All runs of a request belong to one namespace and workflow, and a request names a run once."""
    run_id, elsewhere = uuid4(), {"namespace_id": uuid4()}
    closed, reset = workflow.mutation(run_id, COMPLETED), workflow.snapshot(run_id, COMPLETED)
    for wrong in (elsewhere, {"workflow_id": "another"}, {"run_id": run_id}):
        new, current = workflow.snapshot(**wrong), workflow.mutation(**({"run_id": uuid4(), "of": COMPLETED} | wrong))
        for call in (
            workflow.update(closed, new=new),
            workflow.resolve(reset, new=new),
            workflow.resolve(reset, current=current),
        ):
            assert not await answer(call)


@pytest.mark.parametrize("send", ["update", "resolve"])
@pytest.mark.parametrize("mode", [0, 2, "UPDATE_CURRENT", None, CreateMode.BRAND_NEW])
async def test_a_mode_is_one_of_its_own_call(workflow, send, mode):
    """A number is refused as a mode, so that it can't select a mode that checks less."""
    first = await workflow.create(workflow.snapshot(of=RUNNING))
    change = (
        workflow.mutation(first.run_id) if send == "update" else workflow.snapshot(first.run_id, db_record_version=2)
    )
    await workflow.refused(InvalidPersistenceRequest, getattr(workflow, send)(change, mode))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("run_id", "not-a-uuid"),
        ("condition", -1),
        ("db_record_version", 1.0),
        ("execution_info", None),
        ("execution_state", None),
        ("upsert_activity_infos", {"5": blob()}),
        ("delete_activity_infos", ["5"]),
        ("upsert_timer_infos", {"": blob()}),
        ("delete_timer_infos", [7]),
        ("delete_child_execution_infos", [-1]),
        ("delete_request_cancel_infos", [2**63]),
        ("upsert_signal_infos", {5: b""}),
        ("upsert_signal_requested_ids", [""]),
        ("delete_signal_requested_ids", [None]),
        ("upsert_chasm_nodes", {"path": (blob(), blob(), blob())}),
        ("delete_chasm_nodes", [b"path"]),
        ("new_buffered_events", b"events"),
    ],
)
async def test_a_wrong_mutation_is_refused(workflow, field, wrong):
    """A mutation with a field that is not valid is refused before it is sent."""
    first = await workflow.create()
    mutation = replace(workflow.mutation(first.run_id), **{field: wrong})
    await workflow.refused(InvalidPersistenceRequest, workflow.update(mutation))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("namespace_id", "not-a-uuid"),
        ("workflow_id", ""),
        ("workflow_id", "x" * 65_536),
        ("workflow_id", "\ud800"),
        ("workflow_id", None),
        ("run_id", "not-a-uuid"),
        ("next_event_id", -1),
        ("next_event_id", 2**63),
        ("next_event_id", "3"),
        ("last_write_version", 2**63),
        ("db_record_version", -1),
        ("db_record_version", True),
        ("execution_info", b"bytes"),
        ("execution_info", DataBlob("text")),
        ("execution_state", None),
        ("activity_infos", {"5": blob()}),
        ("activity_infos", {-1: blob()}),
        ("timer_infos", {"": blob()}),
        ("timer_infos", {7: blob()}),
        ("child_execution_infos", {5: None}),
        ("signal_infos", {2**63: blob()}),
        ("signal_requested_ids", ["x" * 65_536]),
        ("chasm_nodes", {"path": blob()}),
        ("chasm_nodes", {"path": (blob(), None)}),
    ],
)
async def test_a_wrong_snapshot_is_refused(workflow, field, wrong):
    """A snapshot with a field that is not valid is refused before it is sent."""
    snapshot = replace(workflow.snapshot(), **{field: wrong})
    await workflow.refused(InvalidPersistenceRequest, workflow.create(snapshot))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("shard_id", 0),
        ("shard_id", "1"),
        ("range_id", -1),
        ("range_id", None),
        ("archetype_id", -1),
        ("previous_run_id", "not-a-uuid"),
        ("mode", 2),
        ("mode", "BRAND_NEW"),
        ("mode", UpdateMode.BYPASS_CURRENT),
    ],
)
async def test_a_wrong_request_is_refused(workflow, field, wrong):
    """A value of another type is refused, also a number as a mode."""
    await workflow.refused(InvalidPersistenceRequest, workflow.create(**{field: wrong}))


async def test_what_belongs_elsewhere_is_refused(workflow):
    """Events or records of another shard, duplicate nodes or records, and tasks that do not fit their category are refused."""
    snapshot = workflow.snapshot()
    elsewhere = workflow.like(shard_id=workflow.shard_id + 1)
    events, record, category = workflow.events(snapshot.run_id), workflow.record(), CATEGORIES[0]
    timed = task(category)._replace(key=task(CATEGORIES[1]).key)
    for wrong in (
        {"new_workflow_new_events": elsewhere.events(snapshot.run_id)},
        {"visibility": [elsewhere.record()]},
        {"visibility": [record, record._replace(version=2)]},
        {"new_workflow_new_events": [*events, *events]},
        {"new_workflow_new_events": [replace(events[0], nodes=[])]},
        {"snapshot": replace(snapshot, tasks={category: [timed]})},
    ):
        await workflow.refused(InvalidPersistenceRequest, workflow.create(**({"snapshot": snapshot} | wrong)))


@pytest.mark.parametrize("name", ["execution_info", "activity_infos"])
async def test_the_size_limit_is_four_mebibytes_a_blob(workflow, name):
    """A blob of the largest size is written and read. One more byte is refused."""

    def sized(size):
        value = DataBlob(bytes(size))
        return workflow.snapshot(**{name: {5: value} if name.endswith("s") else value})

    await workflow.refused(TransactionSizeLimit, workflow.create(sized(4 * 2**20 + 1)))
    snapshot = await workflow.create(sized(4 * 2**20))
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot)
