"""Mutable state of runs: Temporal's ExecutionStore. Each write is one statement, shared with other callers' (`group_commit.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import UUID

from . import execution_checks as checks
from .checks import check_id, check_uuid, open_keys
from .errors import (
    ConditionFailed,
    CurrentWorkflowConditionFailed,
    NotFound,
    ShardOwnershipLost,
    StorageError,
    WorkflowConditionFailed,
)
from .execution_maps import read_entries
from .execution_packing import unpack_current, unpack_execution, workflow_token
from .execution_requests import (
    ConflictResolveMode,
    CreateMode,
    CurrentExecution,
    UpdateMode,
    WorkflowMutableState,
)
from .execution_rows import CurrentChange, CurrentRule, ExecutionColumns, ExecutionWrite, RunRule
from .functions import load_functions
from .group_commit import GroupCommit
from .queries import load_queries
from .record_kinds import CURRENT_EXECUTION, EXECUTION, EXECUTION_MAP
from .sealing import open_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys

    from .database import Connection, Database, Row
    from .execution_requests import (
        ConflictResolveWorkflowExecutionRequest,
        CreateWorkflowExecutionRequest,
        SetWorkflowExecutionRequest,
        UpdateWorkflowExecutionRequest,
        WorkflowMutation,
        WorkflowSnapshot,
    )
    from .history_rows import HistoryAppend
    from .visibility_records import VisibilityRow

    Run: TypeAlias = tuple[RunRule, WorkflowMutation | WorkflowSnapshot]

_SQL = load_queries("executions")


class _RunKey(NamedTuple):
    shard_id: int
    namespace_id: UUID
    workflow: bytes
    run_id: UUID


class ExecutionStore:
    """Reads and writes runs.

    Every write names the shard's range_id; while it is committed the shard can't change hands. A refused write leaves nothing.
    All writes raise `ShardOwnershipLost`, `InvalidPersistenceRequest`, `TransactionSizeLimit` and `NamespaceNotFound`.

    Args:
        database: for look-ups by key.
        keyring: unwrapped keys.
        distributed: whether the tables are spread over a Citus cluster.
    """

    def __init__(self, database: Database, keyring: Keyring, *, distributed: bool = False) -> None:
        self._database = database
        self._keyring = keyring
        functions = load_functions(distributed=distributed)
        self._write_executions = functions["write_executions"]
        self._get_executions = functions["get_executions"]
        place = (lambda request: request.shard_id) if distributed else None
        self._writes: GroupCommit[ExecutionWrite, None] = GroupCommit(
            database,
            self._run_writes,
            key=lambda write: write.key,
            place=place,
            size=lambda write: write.size,
        )
        self._reads: GroupCommit[_RunKey, Row | None] = GroupCommit(
            database, self._run_reads, place=place, idempotent=True
        )

    async def create_workflow_execution(self, request: CreateWorkflowExecutionRequest) -> None:
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
        )

    async def update_workflow_execution(self, request: UpdateWorkflowExecutionRequest) -> None:
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
        await self._write(request.shard_id, request.range_id, current, runs, events, request.visibility, size)

    async def conflict_resolve_workflow_execution(self, request: ConflictResolveWorkflowExecutionRequest) -> None:
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
        await self._write(request.shard_id, request.range_id, current, runs, events, request.visibility, size)

    async def set_workflow_execution(self, request: SetWorkflowExecutionRequest) -> None:
        """Replace a run's mutable state.

        Raises:
            WorkflowConditionFailed: the run is at another version.
            ConditionFailed: there is no such run.
        """
        snapshot = request.set_workflow_snapshot
        size = checks.check_set(snapshot)
        await self._write(request.shard_id, request.range_id, None, [(RunRule.REPLACE, snapshot)], (), (), size)

    async def get_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int
    ) -> WorkflowMutableState:
        """Return a run's mutable state, all of it from one snapshot of the database.

        Raises:
            NotFound: there is no such run.
            IntegrityError: a row of it does not open.
        """
        keys, key = await self._run_key(namespace_id, workflow_id, run_id, shard_id)
        row = await self._reads.submit(key)
        if row is None:
            raise NotFound
        versions = (row["next_event_id"], row["last_write_version"], row["db_record_version"])
        place = (shard_id, key.workflow, run_id.bytes)
        execution = [(versions, row["data"])]
        maps, items = row["maps"] or (), row["items"] or ()
        values = row["blobs"] or ()
        entries = [
            ((kind, item.rjust(16, b"\x00")), value) for kind, item, value in zip(maps, items, values, strict=True)
        ]

        def use(keys: NamespaceKeys) -> tuple[list[bytes], list[bytes]]:
            return (
                keys.open_many(EXECUTION, execution, scope=place),
                keys.open_many(EXECUTION_MAP, entries, scope=place),
            )

        size = len(row["data"]) + sum(map(len, values))
        (packed,), opened = await open_rows(self._keyring, namespace_id, size, use, keys=keys)
        info, state = unpack_execution(packed)
        return WorkflowMutableState(
            execution_info=info,
            execution_state=state,
            next_event_id=versions[0],
            last_write_version=versions[1],
            db_record_version=versions[2],
            **read_entries(maps, items, opened),
        )

    async def get_current_execution(
        self, namespace_id: UUID, workflow_id: str, *, shard_id: int, archetype_id: int = 0
    ) -> CurrentExecution:
        """Return a workflow's current run.

        Raises:
            NotFound: it has none.
            IntegrityError: the row does not open.
        """
        checks.check_fence(shard_id, 0, archetype_id)
        encoded = check_id("workflow_id", workflow_id)
        keys = await open_keys(self._keyring, namespace_id)
        workflow = workflow_token(keys, encoded)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["get_current"], shard_id, namespace_id, workflow, archetype_id)
        if row is None:
            raise NotFound
        run_id = UUID(bytes=row["run_id"].bytes)
        key = (shard_id, workflow, archetype_id, run_id.bytes, row["state"], row["last_write_version"])
        packed = await self._keyring.with_keys(
            namespace_id, lambda keys: keys.open(CURRENT_EXECUTION, key, row["data"]), keys=keys
        )
        return CurrentExecution(run_id, unpack_current(packed), row["last_write_version"])

    async def delete_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int
    ) -> None:
        """Delete a run's mutable state; its history and the current run stay. One that is not there is as good."""
        _, key = await self._run_key(namespace_id, workflow_id, run_id, shard_id)
        async with self._database.connection() as connection:
            await connection.execute(_SQL["delete"], *key)

    async def delete_current_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int, archetype_id: int = 0
    ) -> None:
        """Forget that this run is the current one; where another one is, nothing changes."""
        checks.check_fence(shard_id, 0, archetype_id)
        _, key = await self._run_key(namespace_id, workflow_id, run_id, shard_id)
        async with self._database.connection() as connection:
            await connection.execute(_SQL["delete_current"], *key, archetype_id)

    async def aclose(self) -> None:
        """Wait for the writes and reads that are in flight."""
        await self._writes.aclose()
        await self._reads.aclose()

    async def _run_key(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, shard_id: int
    ) -> tuple[NamespaceKeys, _RunKey]:
        checks.check_fence(shard_id, 0)
        check_uuid("run_id", run_id)
        encoded = check_id("workflow_id", workflow_id)
        keys = await open_keys(self._keyring, namespace_id)
        return keys, _RunKey(shard_id, namespace_id, workflow_token(keys, encoded), run_id)

    async def _write(
        self,
        shard_id: int,
        range_id: int,
        current: CurrentChange | None,
        runs: Sequence[Run],
        appends: Sequence[HistoryAppend],
        visibility: Sequence[VisibilityRow],
        size: int,
    ) -> None:
        checks.check_fence(shard_id, range_id, current.archetype_id if current is not None else 0)
        size += checks.check_appends(shard_id, appends) + checks.check_visibility(shard_id, visibility)
        first = runs[0][1]
        encoded = check_id("workflow_id", first.workflow_id)
        keys = await open_keys(self._keyring, first.namespace_id)
        workflow = workflow_token(keys, encoded)
        await self._writes.submit(
            ExecutionWrite(keys, shard_id, range_id, workflow, current, runs, appends, visibility, size)
        )

    async def _run_writes(
        self, connection: Connection, writes: Sequence[ExecutionWrite]
    ) -> Sequence[StorageError | None]:
        # In the order of their workflows, so that two statements never wait for each other in a circle.
        order = sorted(range(len(writes)), key=lambda index: writes[index].workflow)
        columns = ExecutionColumns()
        for number, index in enumerate(order, 1):
            columns.add(number, writes[index])
        parameters = await columns.parameters(writes[0].shard_id)
        timeout = self._database.answer_timeout
        refusals = await self._write_executions.call(connection, *parameters, timeout=timeout)
        answers: list[StorageError | None] = [None] * len(writes)
        for row in refusals:
            index = order[row["request"] - 1]
            answers[index] = _refusal(writes[index], row)
        return answers

    async def _run_reads(self, connection: Connection, keys: Sequence[_RunKey]) -> Sequence[Row | None]:
        columns = zip(*keys, strict=True)
        timeout = self._database.answer_timeout
        rows = await self._get_executions.call(connection, keys[0].shard_id, *columns, timeout=timeout)
        answers: list[Row | None] = [None] * len(keys)
        for row in rows:
            answers[row["number"] - 1] = row
        return answers


def _refusal(write: ExecutionWrite, row: Row) -> StorageError:
    """Return the error for a request that the function refused; its reasons are numbered there."""
    reason = row["reason"]
    if reason == 1:
        return ShardOwnershipLost(write.shard_id)
    if reason == 2:  # noqa: PLR2004
        return _current_refusal(write, row)
    if reason == 3:  # noqa: PLR2004
        return WorkflowConditionFailed(
            "the run is not at the version that the request expects, or exists already",
            next_event_id=row["next_event_id"],
            db_record_version=row["db_record_version"],
        )
    return ConditionFailed("there is no such run")


def _current_refusal(write: ExecutionWrite, row: Row) -> StorageError:
    message = "the workflow's current run is not what the request's mode expects"
    if row["run_id"] is None or write.current is None:
        return CurrentWorkflowConditionFailed(message)
    run_id = UUID(bytes=row["run_id"].bytes)
    key = (
        write.shard_id,
        write.workflow,
        write.current.archetype_id,
        run_id.bytes,
        row["state"],
        row["last_write_version"],
    )
    state = unpack_current(write.keys.open(CURRENT_EXECUTION, key, row["data"]))
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
