"""Write planned requests: the writes of several callers share statements (`storage/engine/group_commit.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.checks import check_id, open_keys
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.errors import ConditionFailed, ShardOwnershipLost, StorageError

from .binding import Refusal, WriteExecutions
from .errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from .packing import workflow_token
from .reading import open_current
from .rows import ExecutionWrite, sealed_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.group_commit_members import GroupCommitLimits

    from .planning import WritePlan


class ExecutionWriter:
    """Writes runs.

    Args:
        database: The connections.
        keyring: The unwrapped keys.
        distributed: Whether the tables are spread over a Citus cluster.
        outbox: Whether visibility records are added to the outbox.
        limits: The limits of the writes that wait and of the statements that they share.
    """

    def __init__(
        self, database: Database, keyring: Keyring, *, distributed: bool, outbox: bool, limits: GroupCommitLimits
    ) -> None:
        self._keyring = keyring
        self._outbox = outbox
        self._statement = WriteExecutions(distributed=distributed, timeout=database.answer_timeout)
        self._group: GroupCommit[ExecutionWrite, None] = GroupCommit(
            database,
            self._write_together,
            name="write_executions",
            key=lambda write: write.key,
            shard=(lambda write: write.plan.shard_id) if distributed else None,
            size=lambda write: write.plan.size,
            limits=limits,
        )

    async def write(self, plan: WritePlan, *, barrier: Barrier | None) -> None:
        """Write a planned request, in one statement with those of other callers.

        Raises:
            NamespaceNotFound: The namespace does not exist.
            KmsError: The namespace's keys are not available.
            StorageError: The request was refused, or the database failed.
        """
        run = plan.runs[0][1]
        workflow_id = check_id("workflow_id", run.workflow_id)
        keys = await open_keys(self._keyring, run.namespace_id)
        write = ExecutionWrite(plan, keys, workflow_token(keys, workflow_id))
        await self._group.submit(write, barrier=barrier)

    async def aclose(self) -> None:
        """Wait until no write is in flight or waiting."""
        await self._group.aclose()

    async def _write_together(
        self, connection: Connection, writes: Sequence[ExecutionWrite]
    ) -> Sequence[StorageError | None]:
        """Write several requests in one statement; return for each its error, or None."""
        # All statements lock workflows in the same order, so that they never wait for each other in a circle.
        order = sorted(range(len(writes)), key=lambda index: writes[index].workflow)
        columns = await sealed_columns([writes[index] for index in order], outbox=self._outbox)
        refused = await self._statement.call(connection, columns)
        answers: list[StorageError | None] = [None] * len(writes)
        for row in refused:
            index = order[row["request"] - 1]
            answers[index] = await self._error(writes[index], row)
        return answers

    async def _error(self, write: ExecutionWrite, row: Row) -> StorageError:
        """Return the error of a request that the statement refused."""
        reason = Refusal(row["reason"])
        if reason is Refusal.SHARD_OWNERSHIP_LOST:
            return ShardOwnershipLost(write.plan.shard_id)
        if reason is Refusal.CURRENT_RUN_MISMATCH:
            return await self._current_run_error(write, row)
        if reason is Refusal.RUN_VERSION_MISMATCH:
            return WorkflowConditionFailed(
                "the run is not at the version that the request expects, or exists already",
                next_event_id=row["next_event_id"],
                db_record_version=row["db_record_version"],
            )
        return ConditionFailed("the run does not exist")

    async def _current_run_error(self, write: ExecutionWrite, row: Row) -> StorageError:
        message = "the workflow's current run is not what the request's mode expects"
        current = write.plan.current
        if row["run_id"] is None or current is None:
            return CurrentWorkflowConditionFailed(message)
        key = (write.plan.shard_id, write.workflow, current.archetype_id)
        run_id, state = await open_current(self._keyring, write.keys, key, row)
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
