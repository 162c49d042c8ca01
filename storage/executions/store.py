"""Mutable state of runs: Temporal's ExecutionStore. Each write is one statement, shared with other callers' (`group_commit.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from strongroom.storage.checks import check_id, check_uuid, open_keys
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.group_commit import DEFAULT_LIMITS, GroupCommit
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import (
    ConditionFailed,
    CurrentWorkflowConditionFailed,
    ShardOwnershipLost,
    StorageError,
    WorkflowConditionFailed,
)

from . import checks
from .packing import workflow_token
from .reading import ExecutionReader, open_current, run_key
from .requests import ConflictResolveMode, CreateMode, UpdateMode
from .rows import CurrentChange, CurrentRule, ExecutionColumns, ExecutionWrite, RunRule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.group_commit import GroupCommitLimits
    from strongroom.storage.histories.rows import HistoryAppend
    from strongroom.storage.visibility_rows.notification import OutboxBell
    from strongroom.storage.visibility_rows.records import VisibilityRow

    from .requests import (
        ConflictResolveWorkflowExecutionRequest,
        CreateWorkflowExecutionRequest,
        CurrentExecution,
        SetWorkflowExecutionRequest,
        UpdateWorkflowExecutionRequest,
        WorkflowMutableState,
        WorkflowMutation,
        WorkflowSnapshot,
    )

    Run: TypeAlias = tuple[RunRule, WorkflowMutation | WorkflowSnapshot]

_SQL = load_queries("executions/store")


class ExecutionStore:
    """Reads and writes runs.

    Every write names the shard's range_id; while it is committed the shard can't change hands. A refused write leaves nothing.
    All writes raise `ShardOwnershipLost`, `InvalidPersistenceRequest`, `TransactionSizeLimit` and `NamespaceNotFound`.

    Args:
        database: for look-ups by key.
        keyring: unwrapped keys.
        distributed: whether the tables are spread over a Citus cluster.
        bell: of the outbox, where a search index outside the database is to hear of visibility records.
        limits: The limits of the writes that wait and of the statements that they share.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        distributed: bool = False,
        bell: OutboxBell | None = None,
        limits: GroupCommitLimits = DEFAULT_LIMITS,
    ) -> None:
        self._database = database
        self._bell = bell
        self._keyring = keyring
        self._reader = ExecutionReader(database, keyring, distributed=distributed)
        self._write_executions = load_functions(distributed=distributed)["write_executions"]
        self._writes: GroupCommit[ExecutionWrite, None] = GroupCommit(
            database,
            self._run_writes,
            name="write_executions",
            key=lambda write: write.key,
            shard=(lambda write: write.shard_id) if distributed else None,
            size=lambda write: write.size,
            limits=limits,
        )

    async def create_workflow_execution(
        self, request: CreateWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Make a run, with its first history and tasks.

        Raises:
            CurrentWorkflowConditionFailed: the current run is not what the mode expects.
            WorkflowConditionFailed: the run exists.
        """
        new = request.new_workflow_snapshot
        size = checks.check_create(request.mode, new)
        if request.previous_run_id is not None:
            check_uuid("previous_run_id", request.previous_run_id)
        archetype_id = request.archetype_id
        becomes = (new.run_id, new.execution_state, new.last_write_version)
        if request.mode is CreateMode.BYPASS_CURRENT:
            current = CurrentChange(CurrentRule.NOT_EXPECTED, new.run_id, archetype_id)
        elif request.mode is CreateMode.UPDATE_CURRENT:
            previous, version = request.previous_run_id, request.previous_last_write_version
            current = CurrentChange(CurrentRule.EXPECTED_AND_COMPLETED, previous, archetype_id, version, becomes)
        else:
            current = CurrentChange(
                CurrentRule.ABSENT_OR_EXPECTED, request.previous_run_id, archetype_id, becomes=becomes
            )
        await self._write(
            request.shard_id,
            request.range_id,
            current,
            [(RunRule.INSERT, new)],
            request.new_workflow_new_events,
            request.visibility,
            size,
            barrier,
        )

    async def update_workflow_execution(
        self, request: UpdateWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Change a run, and start the one that continues it.

        Raises:
            CurrentWorkflowConditionFailed: the current run is not what the mode expects.
            WorkflowConditionFailed: the run is at another version; or the new one exists.
            ConditionFailed: there is no such run.
        """
        updated, new = request.update_workflow_mutation, request.new_workflow_snapshot
        size = checks.check_update(request.mode, updated, new)
        current = None
        if request.mode is UpdateMode.UPDATE_CURRENT:
            after = new or updated
            becomes = (after.run_id, after.execution_state, after.last_write_version)
            current = CurrentChange(CurrentRule.EXPECTED, updated.run_id, request.archetype_id, becomes=becomes)
        elif request.mode is UpdateMode.BYPASS_CURRENT:
            current = CurrentChange(CurrentRule.NOT_EXPECTED, updated.run_id, request.archetype_id)
        runs: list[Run] = [(RunRule.UPDATE, updated)]
        if new is not None:
            runs.append((RunRule.INSERT, new))
        events = (*request.update_workflow_new_events, *request.new_workflow_new_events)
        await self._write(request.shard_id, request.range_id, current, runs, events, request.visibility, size, barrier)

    async def conflict_resolve_workflow_execution(
        self, request: ConflictResolveWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Reset a run to a snapshot; change the current run and make a new one as the request says.

        Raises:
            CurrentWorkflowConditionFailed: the current run is not what the mode expects.
            WorkflowConditionFailed: a run is at another version; or the new one exists.
            ConditionFailed: there is no such run.
        """
        reset, new, changed = (
            request.reset_workflow_snapshot,
            request.new_workflow_snapshot,
            request.current_workflow_mutation,
        )
        size = checks.check_conflict_resolve(request.mode, reset, new, changed)
        if request.mode is ConflictResolveMode.UPDATE_CURRENT:
            after = new or reset
            becomes = (after.run_id, after.execution_state, after.last_write_version)
            expected = (changed or reset).run_id
            current = CurrentChange(CurrentRule.EXPECTED, expected, request.archetype_id, becomes=becomes)
        else:
            current = CurrentChange(CurrentRule.NOT_EXPECTED, reset.run_id, request.archetype_id)
        runs: list[Run] = [(RunRule.REPLACE, reset)]
        if changed is not None:
            runs.append((RunRule.UPDATE, changed))
        if new is not None:
            runs.append((RunRule.INSERT, new))
        events = (
            *request.current_workflow_events_new_events,
            *request.reset_workflow_events_new_events,
            *request.new_workflow_events_new_events,
        )
        await self._write(request.shard_id, request.range_id, current, runs, events, request.visibility, size, barrier)

    async def set_workflow_execution(
        self, request: SetWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Replace a run's mutable state.

        Raises:
            WorkflowConditionFailed: the run is at another version.
            ConditionFailed: there is no such run.
        """
        snapshot = request.set_workflow_snapshot
        size = checks.check_set(snapshot)
        await self._write(
            request.shard_id, request.range_id, None, [(RunRule.REPLACE, snapshot)], (), (), size, barrier
        )

    async def get_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int
    ) -> WorkflowMutableState:
        """Return a run's mutable state, all of it from one snapshot of the database.

        Raises:
            NotFound: there is no such run.
            IntegrityError: a row of it does not open.
        """
        return await self._reader.run(namespace_id, workflow_id, run_id, shard_id=shard_id)

    async def get_current_execution(
        self, namespace_id: UUID, workflow_id: str, *, shard_id: int, archetype_id: int = 0
    ) -> CurrentExecution:
        """Return a workflow's current run.

        Raises:
            NotFound: it has none.
            IntegrityError: the row does not open.
        """
        return await self._reader.current(namespace_id, workflow_id, shard_id=shard_id, archetype_id=archetype_id)

    async def delete_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int
    ) -> None:
        """Delete a run's mutable state; its history and the current run stay. One that is not there is as good."""
        _, key = await run_key(self._keyring, namespace_id, workflow_id, run_id, shard_id)
        async with self._database.connection(namespace_id) as connection:
            await connection.execute(_SQL["delete"], *key)

    async def delete_current_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int, archetype_id: int = 0
    ) -> None:
        """Forget that this run is the current one; where another one is, nothing changes."""
        checks.check_fence(shard_id, 0, archetype_id)
        _, key = await run_key(self._keyring, namespace_id, workflow_id, run_id, shard_id)
        async with self._database.connection(namespace_id) as connection:
            await connection.execute(_SQL["delete_current"], *key, archetype_id)

    async def aclose(self) -> None:
        """Wait for the writes and reads that are in flight."""
        await self._writes.aclose()
        await self._reader.aclose()

    async def _write(
        self,
        shard_id: int,
        range_id: int,
        current: CurrentChange | None,
        runs: Sequence[Run],
        appends: Sequence[HistoryAppend],
        visibility: Sequence[VisibilityRow],
        size: int,
        barrier: Barrier | None,
    ) -> None:
        checks.check_fence(shard_id, range_id, current.archetype_id if current is not None else 0)
        size += checks.check_appends(shard_id, appends) + checks.check_visibility(shard_id, visibility)
        first = runs[0][1]
        encoded = check_id("workflow_id", first.workflow_id)
        keys = await open_keys(self._keyring, first.namespace_id)
        workflow = workflow_token(keys, encoded)
        await self._writes.submit(
            ExecutionWrite(keys, shard_id, range_id, workflow, current, runs, appends, visibility, size),
            barrier=barrier,
        )
        if self._bell is not None and visibility:
            self._bell.ring()

    async def _run_writes(
        self, connection: Connection, writes: Sequence[ExecutionWrite]
    ) -> Sequence[StorageError | None]:
        # In the order of their workflows, so that two statements never wait for each other in a circle.
        order = sorted(range(len(writes)), key=lambda index: writes[index].workflow)
        columns = ExecutionColumns()
        for number, index in enumerate(order, 1):
            columns.add(number, writes[index])
        parameters = await columns.parameters(writes[0].shard_id, outbox=self._bell is not None)
        timeout = self._database.answer_timeout
        refusals = await self._write_executions.call(connection, *parameters, timeout=timeout)
        answers: list[StorageError | None] = [None] * len(writes)
        for row in refusals:
            index = order[row["request"] - 1]
            answers[index] = await self._refusal(writes[index], row)
        return answers

    async def _refusal(self, write: ExecutionWrite, row: Row) -> StorageError:
        """Return the error for a request that the function refused; its reasons are numbered there."""
        reason = row["reason"]
        if reason == 1:
            return ShardOwnershipLost(write.shard_id)
        if reason == 2:  # noqa: PLR2004
            return await self._current_refusal(write, row)
        if reason == 3:  # noqa: PLR2004
            return WorkflowConditionFailed(
                "the run is not at the version that the request expects, or exists already",
                next_event_id=row["next_event_id"],
                db_record_version=row["db_record_version"],
            )
        return ConditionFailed("there is no such run")

    async def _current_refusal(self, write: ExecutionWrite, row: Row) -> StorageError:
        message = "the workflow's current run is not what the request's mode expects"
        if row["run_id"] is None or write.current is None:
            return CurrentWorkflowConditionFailed(message)
        place = (write.shard_id, write.workflow, write.current.archetype_id)
        run_id, state = await open_current(self._keyring, write.keys, place, row)
        return CurrentWorkflowConditionFailed(
            message,
            run_id=run_id,
            create_request_id=state.create_request_id,
            state=state.state,
            status=state.status,
            last_write_version=row["run_version"],
            start_time=state.start_time,
            execution_state=state.blob,
        )
