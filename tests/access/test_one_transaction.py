"""A service that has only public names writes a run, its history and its visibility record in one transaction."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from strongroom.driver.access import PermissionDenied
from strongroom.storage import (
    CreateMode,
    CreateWorkflowExecutionRequest,
    CurrentWorkflowConditionFailed,
    DataBlob,
    ExecutionState,
    HistoryAppend,
    HistoryBranch,
    HistoryNode,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
    ShardInfo,
    WorkflowSnapshot,
    WorkflowState,
    WorkflowStatus,
)
from strongroom.visibility import InvalidRecord, VisibilityRecord, attribute_types

pytestmark = pytest.mark.integration

WORKFLOW = "order 7"


@pytest.fixture(params=["cell", "session"])
async def stores(request, access_cell, one, session_with):
    """The stores as the cell has them, and as a session of a service has them."""
    await access_cell.namespaces.add_search_attributes(one, {"CustomerId": "Keyword"})
    shard_id = await access_cell.shards.shard_of(one, WORKFLOW)
    await access_cell.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 1, DataBlob(b"a host")))
    return access_cell if request.param == "cell" else await session_with(("write", one))


async def start(stores, namespace_id, **attributes):
    """Create a run of the workflow as a service does; return its record."""
    now, run_id = time.time_ns(), uuid4()
    shard_id = await stores.shards.shard_of(namespace_id, WORKFLOW)
    types = attribute_types(await stores.namespaces.get("one"))
    record = VisibilityRecord(
        WORKFLOW, str(run_id), "OrderWorkflow", "Running", "orders", now, now, search_attributes=attributes
    )
    rows = await stores.visibility.seal_workflow_executions(namespace_id, [(shard_id, 1, record)], types)
    branch = HistoryBranch(shard_id, run_id, uuid4())
    state = ExecutionState(WorkflowState.CREATED, WorkflowStatus.RUNNING, DataBlob(b"state"))
    await stores.executions.create_workflow_execution(
        CreateWorkflowExecutionRequest(
            shard_id=shard_id,
            range_id=1,
            mode=CreateMode.BRAND_NEW,
            new_workflow_snapshot=WorkflowSnapshot(
                namespace_id=namespace_id,
                workflow_id=WORKFLOW,
                run_id=run_id,
                execution_info=DataBlob(b"info"),
                execution_state=state,
                next_event_id=2,
                db_record_version=1,
            ),
            new_workflow_new_events=[
                HistoryAppend(branch, [HistoryNode(1, 1, 0, DataBlob(b"started"))], is_new_branch=True)
            ],
            visibility=rows,
        )
    )
    return record


async def test_a_run_is_listed_as_soon_as_it_is_written(stores, one):
    """The record comes with the run, and a write that is refused leaves no record."""
    record = await start(stores, one, CustomerId="cust-1")
    types = attribute_types(await stores.namespaces.get("one"))
    with pytest.raises(CurrentWorkflowConditionFailed):
        await start(stores, one, CustomerId="cust-2")
    page = await stores.visibility.list_workflow_executions(one, "CustomerId IN ('cust-1', 'cust-2')", types)
    assert page.executions == (record,)


async def test_sealing_alone_writes_nothing(stores, one):
    """A sealed record that no write takes is not there, and a record that contradicts its types is not sealed."""
    shard_id = await stores.shards.shard_of(one, WORKFLOW)
    record = VisibilityRecord(WORKFLOW, str(uuid4()), "OrderWorkflow", "Running", "orders", 1, 1)
    (row,) = await stores.visibility.seal_workflow_executions(one, [(shard_id, 1, record)], {})
    assert WORKFLOW.encode() not in row.sealed
    with pytest.raises(NotFound):
        await stores.visibility.get_workflow_execution(
            one, shard_id=shard_id, workflow_id=WORKFLOW, run_id=record.run_id
        )
    with pytest.raises(InvalidRecord):
        await stores.visibility.seal_workflow_executions(
            one, [(shard_id, 1, record._replace(search_attributes={"NotRegistered": "a"}))], {}
        )


async def test_the_shard_of_a_workflow_is_fixed_and_checked(stores, one):
    """Equal ids have equal shards in the cell's range; an id that no workflow can have is refused."""
    count = 4
    shards = {await stores.shards.shard_of(one, WORKFLOW) for _ in range(count)}
    assert len(shards) == 1
    assert shards.pop() >= 1
    for wrong in ("", "a" * 65_536, 7, "\ud800"):
        with pytest.raises(InvalidPersistenceRequest):
            await stores.shards.shard_of(one, wrong)


async def test_a_reader_can_place_a_workflow_and_seal_nothing(session_with, one, two):
    """The shard needs the right to read the namespace, sealing the right to write; another namespace looks missing."""
    reader = await session_with(("read", one))
    assert await reader.shards.shard_of(one, WORKFLOW) >= 1
    with pytest.raises(PermissionDenied):
        await reader.visibility.seal_workflow_executions(one, [], {})
    with pytest.raises(NamespaceNotFound):
        await reader.shards.shard_of(two, WORKFLOW)
