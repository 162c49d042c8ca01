"""Store orders as workflow runs: a service that owns its shards, and writes state, history and search attributes together."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from strongroom.driver import Strongroom, load_config
from strongroom.kms import StrongroomError
from strongroom.storage import (
    CreateMode,
    CreateWorkflowExecutionRequest,
    DataBlob,
    Encoding,
    ExecutionState,
    HistoryAppend,
    HistoryBranch,
    HistoryNode,
    ShardInfo,
    WorkflowSnapshot,
    WorkflowState,
    WorkflowStatus,
)
from strongroom.visibility import VisibilityRecord, attribute_types

if TYPE_CHECKING:
    from strongroom.storage import Namespace

ATTEMPTS = 5


def blob(value: object) -> DataBlob:
    """Encode a value of this service. Strongroom seals the bytes and does not read them."""
    return DataBlob(json.dumps(value).encode(), Encoding.JSON)


class Orders:
    """The orders of one namespace."""

    def __init__(self, strongroom: Strongroom, namespace: Namespace) -> None:
        self._stores = strongroom
        self._namespace_id = namespace.namespace_id
        self._types = attribute_types(namespace)
        self._range_ids: dict[int, int] = {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request. An error has its name, and whether the call may be repeated or may have taken effect."""
        try:
            if request["do"] == "start":
                return await retried(lambda: self.start(request["order"], request["customer"], request["amount"]))
            if request["do"] == "count":
                return await retried(lambda: self.count(request["query"]))
            return await retried(lambda: self.find(request["query"]))
        except StrongroomError as error:
            return {"error": type(error).__name__, "may_have_been_committed": error.may_have_been_committed}

    async def start(self, order: str, customer: str, amount: float) -> dict[str, Any]:
        """Store a new order."""
        shard_id, range_id = await self._own_shard(order)
        run_id, now = uuid4(), time.time_ns()
        branch = HistoryBranch(shard_id, run_id, uuid4())
        record = VisibilityRecord(
            workflow_id=order,
            run_id=str(run_id),
            workflow_type="Order",
            execution_status="Running",
            task_queue="orders",
            start_time=now,
            execution_time=now,
            search_attributes={"CustomerId": customer, "Amount": amount},
        )
        sealed = await self._stores.visibility.seal_workflow_executions(
            self._namespace_id, [(shard_id, 1, record)], self._types
        )
        await self._stores.executions.create_workflow_execution(
            CreateWorkflowExecutionRequest(
                shard_id=shard_id,
                range_id=range_id,
                mode=CreateMode.BRAND_NEW,
                new_workflow_snapshot=WorkflowSnapshot(
                    namespace_id=self._namespace_id,
                    workflow_id=order,
                    run_id=run_id,
                    execution_info=blob({"branch": str(branch.branch_id)}),
                    execution_state=ExecutionState(WorkflowState.RUNNING, WorkflowStatus.RUNNING, blob({})),
                    next_event_id=2,
                    db_record_version=1,
                ),
                new_workflow_new_events=[
                    HistoryAppend(branch, [HistoryNode(1, 1, 0, blob({"event": "ordered"}))], is_new_branch=True)
                ],
                visibility=sealed,
            )
        )
        return {"order": order, "run": str(run_id)}

    async def find(self, query: str) -> dict[str, Any]:
        """Return the orders that a filter matches."""
        page = await self._stores.visibility.list_workflow_executions(self._namespace_id, query, self._types)
        return {"orders": [each.workflow_id for each in page.executions]}

    async def count(self, query: str) -> dict[str, Any]:
        """Return the number of orders that a filter matches."""
        found = await self._stores.visibility.count_workflow_executions(self._namespace_id, query, self._types)
        return {"count": found.count}

    async def _own_shard(self, order: str) -> tuple[int, int]:
        """Return an order's shard, and the range id under which this process owns it."""
        shard_id = await self._stores.shards.shard_of(self._namespace_id, order)
        if shard_id not in self._range_ids:
            shard = await self._stores.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 0, blob({})))
            mine = ShardInfo(shard_id, shard.range_id + 1, blob({"owner": "orders"}))
            await self._stores.shards.update_shard(mine, previous_range_id=shard.range_id)
            self._range_ids[shard_id] = mine.range_id
        return shard_id, self._range_ids[shard_id]


async def retried(call: Any) -> dict[str, Any]:
    """Run a call. Repeat it only if it may succeed later and surely had no effect; docs/reference/errors.md lists both."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            result: dict[str, Any] = await call()
        except StrongroomError as error:
            if attempt == ATTEMPTS or not error.retryable or error.may_have_been_committed:
                raise
            await asyncio.sleep(0.1 * 2**attempt)
        else:
            return result
    raise AssertionError


async def main() -> None:
    """Answer each line of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("namespace")
    arguments = parser.parse_args()
    async with Strongroom.open(load_config(arguments.config)) as strongroom:
        orders = Orders(strongroom, await strongroom.namespaces.get(arguments.namespace))
        while line := await asyncio.to_thread(sys.stdin.readline):
            answer = await orders.answer(json.loads(line))
            print(json.dumps(answer), flush=True)  # noqa: T201 - the answers


if __name__ == "__main__":
    asyncio.run(main())
