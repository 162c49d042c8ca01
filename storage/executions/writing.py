"""Write planned requests: the writes of several callers share statements (`storage/engine/group_commit.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError, StrongroomError
from strongroom.storage.checks import check_id, open_keys
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.errors import ConditionFailed, DatabaseUnavailable
from strongroom.storage.fences import MAC_BYTES, RunFences, ShardFences, altered, current_mac, refused_shard
from strongroom.storage.journal.images import TAG_BYTES, tag
from strongroom.storage.journal.outcomes import Settled

from .binding import CURRENT_MACS_BYTES, Refusal, RunRule, WriteExecutions
from .errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from .journal import changes_of
from .packing import workflow_token
from .reading import RunKey, open_current
from .rows import ExecutionWrite, sealed_columns
from .run_digest import committed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.group_commit_members import GroupCommitLimits
    from strongroom.storage.journal.entry import Changes
    from strongroom.storage.journal.writer import Journal

    from .binding import CurrentColumns, WriteExecutionsColumns
    from .known_runs import KnownRuns, RunState
    from .planning import WritePlan
    from .reading import ExecutionReader
    from .rows import RunWrite

_ATTEMPTS = 5
"""Number of attempts of a write. Each further one needs a row that another process sealed again meanwhile."""


class ExecutionWriter:
    """Writes runs.

    Args:
        database: The connections.
        keyring: The unwrapped keys.
        journal: The journal of this process.
        reader: Reads the runs that are not known.
        known: The runs that this process knows.
        distributed: Whether the tables are spread over a Citus cluster.
        outbox: Whether visibility records are added to the outbox.
        limits: The limits of the writes that wait and of the statements that they share.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        reader: ExecutionReader,
        known: KnownRuns,
        *,
        distributed: bool,
        outbox: bool,
        limits: GroupCommitLimits,
    ) -> None:
        self._keyring = keyring
        self._journal = journal
        self._reader = reader
        self._known = known
        self._outbox = outbox
        self._fences = ShardFences(keyring)
        self._statement = WriteExecutions(distributed=distributed, timeout=database.answer_timeout)
        self._group: GroupCommit[ExecutionWrite, bool] = GroupCommit(
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
            IntegrityError: A row that decides whether the write may happen was altered.
            DataLoss: An older row of the run was put back.
        """
        run = plan.runs[0][1]
        workflow_id = check_id("workflow_id", run.workflow_id)
        keys = await open_keys(self._keyring, run.namespace_id)
        shard_mac = await self._fences.mac(plan.shard_id, plan.range_id)
        workflow = workflow_token(keys, workflow_id)
        for attempt in range(_ATTEMPTS):
            known: list[RunState | None] = []
            for rule, planned, _ in plan.runs:
                state = None
                if rule is not RunRule.INSERT:
                    state = self._known.get(workflow + planned.run_id.bytes)
                    if state is None or attempt:  # the stored run is not the known one
                        key = RunKey(plan.shard_id, keys.namespace_id, workflow, planned.run_id)
                        state = await self._reader.state(key, keys)
                known.append(state)
            if await self._group.submit(ExecutionWrite(plan, keys, workflow, shard_mac, known), barrier=barrier):
                return
        msg = "other processes kept changing the rows of the run; nothing was written, so try again"
        raise DatabaseUnavailable(msg)

    async def aclose(self) -> None:
        """Wait until no write is in flight or waiting."""
        await self._group.aclose()

    async def _write_together(
        self, connection: Connection, writes: Sequence[ExecutionWrite]
    ) -> Sequence[StrongroomError | bool]:
        """Write several requests in one statement.

        Returns:
            For each request its error; True if it was written, and False if a run was not the known one, and nothing was written.
        """
        # All statements lock workflows in the same order, so that they never wait for each other in a circle.
        order = sorted(range(len(writes)), key=lambda index: writes[index].workflow)
        in_order = [writes[index] for index in order]
        columns, runs = await sealed_columns(in_order, self._known, outbox=self._outbox)
        try:
            refused = await self._call(
                connection, columns, changes_of(in_order, columns, [name for _, name, *_ in runs])
            )
        except BaseException:  # the outcome may be unknown, also after a cancellation
            for _, name, *_ in runs:
                self._known.forget(name)
            raise
        self._remember(columns, runs, refused)
        answers: list[StrongroomError | bool] = [True] * len(writes)
        for row in refused:
            index = order[row["request"] - 1]
            answers[index] = False if row["reason"] == Refusal.STALE else await self._answer(writes[index], row)
        return answers

    async def _answer(self, write: ExecutionWrite, row: Row) -> StrongroomError | bool:
        """Return the answer of a request for which the statement returned a row.

        The statement is committed. So a current run that does not open is the error of this request, and not of the statement.
        """
        try:
            return await self._error(write, row) or True
        except StrongroomError as error:
            return error

    def _remember(self, columns: WriteExecutionsColumns, runs: Sequence[RunWrite], refused: Sequence[Row]) -> None:
        """Keep the states of the runs that were written. What is known of refused ones shows whether the next read is older."""
        missed = {row["request"] - 1 for row in refused if row["reason"] != Refusal.NONE} if refused else ()
        tags = dict(zip(columns.currents.request, _current_tags(columns.currents), strict=True))
        written = zip(runs, columns.runs.data, columns.runs.record_version, strict=True)
        for (request, name, state, described), sealed, version in written:
            if request in missed:
                self._known.refused(name)
            elif sealed is not None:
                current = None if described is None else described + tags[request + 1]
                self._known.put(name, committed(state, tag(sealed), current, version))

    async def _call(
        self, connection: Connection, columns: WriteExecutionsColumns, changes: list[Changes]
    ) -> Sequence[Row]:
        """Call the function with an entry of the journal for each request, and settle the entries."""
        tickets = await self._journal.record(changes)
        columns.writer, entries = self._journal.writer, columns.journal
        entries.request = list(range(1, len(tickets) + 1))
        entries.number = [number for _, number, _ in tickets]
        entries.entry = [entry for *_, entry in tickets]
        try:
            refused, digests = await self._statement.call(connection, columns)
        except BaseException as error:
            self._journal.failed(tickets, error)
            raise
        if not refused:
            self._journal.settle(
                tickets, Settled.COMMITTED, [digests.get(number) for number in entries.request] if digests else ()
            )
            return refused
        numbers = {row["request"] for row in refused if row["reason"] != Refusal.NONE}
        written = [(each, digests.get(number)) for number, each in enumerate(tickets, 1) if number not in numbers]
        self._journal.settle([each for each, _ in written], Settled.COMMITTED, [digest for _, digest in written])
        self._journal.settle([tickets[number - 1] for number in numbers], Settled.REFUSED)
        return refused

    async def _error(self, write: ExecutionWrite, row: Row) -> StrongroomError | None:
        """Return the error of a request that the statement refused."""
        reason = Refusal(row["reason"])
        if reason is Refusal.NONE:
            return _passed_error(write, row)
        if reason is Refusal.ALTERED:
            return _altered_error(write, row)
        if reason is Refusal.SHARD_OWNERSHIP_LOST:
            return refused_shard(write.plan.shard_id, reason)
        if reason is Refusal.CURRENT_RUN_MISMATCH:
            return await self._current_run_error(write, row)
        if reason is Refusal.RUN_VERSION_MISMATCH:
            return WorkflowConditionFailed(
                "the run is not at the version that the request expects, or exists already",
                next_event_id=row["next_event_id"],
                db_record_version=row["db_record_version"],
            )
        return ConditionFailed("the run does not exist")

    async def _current_run_error(self, write: ExecutionWrite, row: Row) -> StrongroomError:
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


def _current_tags(currents: CurrentColumns) -> list[bytes]:
    """Return the tag of each row of `current_executions` after the commit. A row that was not written has the known tag."""
    known = range(CURRENT_MACS_BYTES - TAG_BYTES, len(currents.macs), CURRENT_MACS_BYTES)
    return [
        bytes(currents.macs[at : at + TAG_BYTES]) if sealed is None else tag(sealed)
        for at, sealed in zip(known, currents.data, strict=True)
    ]


def _altered_error(write: ExecutionWrite, row: Row) -> StrongroomError:
    """Return the error of a request whose row has a clear column that does not fit its MAC."""
    if row["next_event_id"] is not None:
        return altered(f"the version of run {row['run_id']}")
    if row["run_id"] is not None:
        return altered(f"the current run {row['run_id']} of a workflow")
    return refused_shard(write.plan.shard_id, Refusal.ALTERED)


def _passed_error(write: ExecutionWrite, row: Row) -> StrongroomError | None:
    """Return an error if the current run that `CurrentRule.NOT_EXPECTED` passed was altered.

    The statement compared the row with the run that must not be the current one, and it can't check the row's own MAC. The write is
    committed.
    """
    current = write.plan.current
    assert current is not None  # noqa: S101 - the statement returns the row for a rule
    fences = RunFences(write.keys, write.plan.shard_id, write.workflow)
    run_id = row["run_id"].bytes
    if row["data"][:MAC_BYTES] == current_mac(fences.current(current.archetype_id, run_id), row["state"]):
        return None
    return IntegrityError(
        f"the current run {row['run_id']} of a workflow was altered in the database, and a write of another run was committed; "
        "restore the row from a backup"
    )
