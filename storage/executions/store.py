"""Mutable state of runs: Temporal's ExecutionStore.

A write goes down these modules: `store` -> `planning` (checks) -> `writing` (keys, group commit) -> `rows` (sealing) -> `binding` (the
statement). A read goes `store` -> `reading`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.engine.group_commit_members import DEFAULT_LIMITS
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.fences import MAC_BYTES, RunFences, altered
from strongroom.storage.journal.entry import Changes

from .checks import check_fence
from .journal import current_row, run_row
from .known_runs import KnownRuns
from .planning import plan_conflict_resolve, plan_create, plan_set, plan_update
from .reading import ExecutionReader, run_key
from .requests import (
    ConflictResolveWorkflowExecutionRequest,
    CreateWorkflowExecutionRequest,
    SetWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from .run_ends import StoredRunEnds
from .writing import ExecutionWriter

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.group_commit_members import GroupCommitLimits
    from strongroom.storage.journal.writer import Journal
    from strongroom.storage.visibility_rows.notification import OutboxNotifier

    from .planning import WritePlan
    from .requests import CurrentExecution, WorkflowMutableState

_SQL = load_queries("executions/store")


class ExecutionStore:
    """Reads and writes runs.

    Every write names the shard's range_id, and the shard can't change hands until the write is committed. A write that is
    refused has no effect. A write takes one statement, which it shares with the writes of other callers.

    In addition to the errors of each operation, all of them raise:
        InvalidPersistenceRequest: A field of the request is not valid. Nothing was sent.
        IntegrityError: A row that decides whether a write may happen was altered in the database.
        NamespaceNotFound: The namespace does not exist.
        KmsError: The namespace's keys are not available.
        DatabaseUnavailable: The database can't be reached. `may_have_been_committed` says whether a write may have taken effect.
        ResourceExhausted: Too many calls are waiting, or the database has no room.

    Args:
        database: The connections, for look-ups by key.
        keyring: The unwrapped keys.
        journal: The journal of this process.
        distributed: Whether the tables are spread over a Citus cluster.
        notifier: Notifies the indexer of visibility records; None if there is no search index outside the database.
        limits: The limits of the writes that wait and of the statements that they share.
        known: Keeps the runs that were used last, so that a write of one needs no read; None for one of the default size.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        *,
        distributed: bool = False,
        notifier: OutboxNotifier | None = None,
        limits: GroupCommitLimits = DEFAULT_LIMITS,
        known: KnownRuns | None = None,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._notifier = notifier
        self._journal = journal
        self._known = KnownRuns() if known is None else known
        self._reader = ExecutionReader(database, keyring, self._known, distributed=distributed)
        self._writer = ExecutionWriter(
            database,
            keyring,
            journal,
            self._reader,
            self._known,
            distributed=distributed,
            outbox=notifier is not None,
            limits=limits,
        )
        self.ends = StoredRunEnds(keyring, self._reader, self._known)
        """The ends of histories that the rows of runs name. A `HistoryManager` compares its reads with them."""

    async def create_workflow_execution(
        self, request: CreateWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Create a run, with its first history and tasks.

        Args:
            request: The run, and what its mode expects of the workflow's current run.
            barrier: The barrier that the write waits for before it is sent; None for no barrier.

        Raises:
            CurrentWorkflowConditionFailed: The current run is not what the mode expects.
            WorkflowConditionFailed: The run exists.
            ShardOwnershipLost: The shard has another range_id.
            ConditionFailed: A task with one of the request's task ids exists.
            TransactionSizeLimit: A blob is larger than 4 MiB.
        """
        await self._write(plan_create(request), barrier)

    async def update_workflow_execution(
        self, request: UpdateWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Update a run, and create the run that continues it if the request has one.

        Args:
            request: The changes, the new run, and what the mode expects of the workflow's current run.
            barrier: The barrier that the write waits for before it is sent; None for no barrier.

        Raises:
            CurrentWorkflowConditionFailed: The current run is not what the mode expects.
            WorkflowConditionFailed: The run is at another version, or the new run exists.
            ShardOwnershipLost: The shard has another range_id.
            ConditionFailed: The run does not exist, or a task with one of the request's task ids exists.
            TransactionSizeLimit: A blob is larger than 4 MiB.
        """
        await self._write(plan_update(request), barrier)

    async def conflict_resolve_workflow_execution(
        self, request: ConflictResolveWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Reset a run to a snapshot. Update the current run and create a new one if the request has them.

        Args:
            request: The snapshot, the other runs, and what the mode expects of the workflow's current run.
            barrier: The barrier that the write waits for before it is sent; None for no barrier.

        Raises:
            CurrentWorkflowConditionFailed: The current run is not what the mode expects.
            WorkflowConditionFailed: A run is at another version, or the new run exists.
            ShardOwnershipLost: The shard has another range_id.
            ConditionFailed: A run does not exist, or a task with one of the request's task ids exists.
            TransactionSizeLimit: A blob is larger than 4 MiB.
        """
        await self._write(plan_conflict_resolve(request), barrier)

    async def set_workflow_execution(
        self, request: SetWorkflowExecutionRequest, *, barrier: Barrier | None = None
    ) -> None:
        """Replace a run's mutable state. The workflow's current run does not change.

        Args:
            request: The new state.
            barrier: The barrier that the write waits for before it is sent; None for no barrier.

        Raises:
            WorkflowConditionFailed: The run is at another version.
            ShardOwnershipLost: The shard has another range_id.
            ConditionFailed: The run does not exist, or a task with one of the request's task ids exists.
            TransactionSizeLimit: A blob is larger than 4 MiB.
        """
        await self._write(plan_set(request), barrier)

    async def get_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int
    ) -> WorkflowMutableState:
        """Return a run's mutable state, read from one snapshot of the database.

        Args:
            namespace_id: The namespace.
            workflow_id: The workflow's id, 1 to 65,535 bytes of UTF-8.
            run_id: The run.
            shard_id: The workflow's shard, from 1.

        Raises:
            NotFound: The run does not exist.
            IntegrityError: A row of the run does not open, or its rows are of different states: a row was deleted, put back, or
                replaced by an older one.
        """
        return await self._reader.run(namespace_id, workflow_id, run_id, shard_id=shard_id)

    async def get_current_execution(
        self, namespace_id: UUID, workflow_id: str, *, shard_id: int, archetype_id: int = 0
    ) -> CurrentExecution:
        """Return a workflow's current run.

        Args:
            namespace_id: The namespace.
            workflow_id: The workflow's id, 1 to 65,535 bytes of UTF-8.
            shard_id: The workflow's shard, from 1.
            archetype_id: The CHASM archetype; 0 for a workflow.

        Raises:
            NotFound: The workflow has no current run.
            IntegrityError: The row does not open.
        """
        return await self._reader.current(namespace_id, workflow_id, shard_id=shard_id, archetype_id=archetype_id)

    async def delete_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int
    ) -> None:
        """Delete a run's mutable state. Its history and the workflow's current run stay.

        Deleting a run that does not exist is not an error.

        Args:
            namespace_id: The namespace.
            workflow_id: The workflow's id, 1 to 65,535 bytes of UTF-8.
            run_id: The run.
            shard_id: The workflow's shard, from 1.

        Raises:
            InvalidPersistenceRequest: An id or the shard is not valid.
            KmsError: The namespace's keys are not available.
            StorageError: The database does not answer.
        """
        _, key = await run_key(self._keyring, namespace_id, workflow_id, run_id, shard_id)
        self._known.forget(key.name)
        changes = Changes(shard_id, rows=[run_row(namespace_id.bytes, key.workflow, run_id.bytes)])
        async with self._journal.entry(changes) as entry, self._database.connection(namespace_id) as connection:
            entry.answer(await connection.fetchrow(_SQL["delete"], *key, *entry.arguments))

    async def delete_current_workflow_execution(
        self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int, archetype_id: int = 0
    ) -> None:
        """Delete the row that makes a run its workflow's current run. Nothing changes if another run is the current one.

        Args:
            namespace_id: The namespace.
            workflow_id: The workflow's id, 1 to 65,535 bytes of UTF-8.
            run_id: The run.
            shard_id: The workflow's shard, from 1.
            archetype_id: The CHASM archetype; 0 for a workflow.

        Raises:
            IntegrityError: The row was altered, and was not deleted.
            InvalidPersistenceRequest: An id or the shard is not valid.
            KmsError: The namespace's keys are not available.
            StorageError: The database does not answer.
        """
        check_fence(shard_id, 0, archetype_id)
        keys, key = await run_key(self._keyring, namespace_id, workflow_id, run_id, shard_id)
        fences = RunFences(keys, shard_id, key.workflow)
        macs = fences.current(archetype_id, run_id.bytes)
        changes = Changes(shard_id, rows=[current_row(namespace_id.bytes, key.workflow, archetype_id)])
        row = (*key, archetype_id, [macs[:MAC_BYTES], macs[MAC_BYTES:]])
        found = None
        async with self._journal.entry(changes) as entry, self._database.connection(namespace_id) as connection:
            entry.answer(await connection.fetchrow(_SQL["delete_current"], *row, *entry.arguments))
            if entry.refused:
                found = await connection.fetchrow(_SQL["current"], *row)
        if found is not None and found["fits"] != found["authentic"]:
            raise altered(f"the current run {run_id} of a workflow")

    async def aclose(self) -> None:
        """Wait until no write or read is in flight."""
        await self._writer.aclose()
        await self._reader.aclose()

    async def _write(self, plan: WritePlan, barrier: Barrier | None) -> None:
        await self._writer.write(plan, barrier=barrier)
        if self._notifier is not None and plan.visibility:
            self._notifier.notify()
