"""Seal the rows of several writes: from plans to the columns of one call of `write_executions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.kms.sealing.record_kinds import CURRENT_EXECUTION, EXECUTION, EXECUTION_MAP, HISTORY_TASK
from strongroom.storage.column_sealer import ColumnSealer
from strongroom.storage.fences import NO_MAC, RunFences, current_mac

from .binding import CurrentRule, RunRule, WriteExecutionsColumns
from .known_runs import UNKNOWN_TAG, described_current, known_tag
from .maps import mutation_entries, snapshot_entries
from .packing import pack_current, pack_execution
from .requests import WorkflowMutation
from .run_digest import new_stamp, next_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.visibility_rows.records import VisibilityRow

    from .known_runs import KnownRuns, RunState
    from .maps import Entry
    from .planning import CurrentPlan, PlannedRun, WritePlan
    from .requests import WorkflowSnapshot
    from .run_digest import NextState


class ExecutionWrite(NamedTuple):
    """A planned write with what it needs from outside the request.

    Attributes:
        plan: The write.
        keys: The namespace's keys.
        workflow: The workflow's token.
        shard_mac: The MAC of the shard's range id.
        known: The state of each run that is known to this process, in the order of the plan's runs.
    """

    plan: WritePlan
    keys: NamespaceKeys
    workflow: bytes
    shard_mac: bytes
    known: Sequence[RunState | None]

    @property
    def key(self) -> tuple[UUID, bytes]:
        """The workflow. Two writes of one workflow are never in flight together."""
        return self.keys.namespace_id, self.workflow


RunWrite: TypeAlias = "tuple[int, bytes, NextState, bytes | None]"
"""A run that a statement writes: the index of its request, its workflow token and run id, its state after the commit, and what
`described_current` returns of the row of `current_executions` if the run is or becomes the current run; None if not."""


async def sealed_columns(
    writes: Sequence[ExecutionWrite], known: KnownRuns, *, outbox: bool
) -> tuple[WriteExecutionsColumns, Sequence[RunWrite]]:
    """Return the sealed columns of several writes, and the runs in the order of their columns.

    Args:
        writes: At least one, in ascending order of their workflows. On a Citus cluster all are of one shard.
        known: The states that runs have now. A write's own state of a run is used if it is not there.
        outbox: Whether visibility records are added to the outbox.

    Raises:
        KmsError: A namespace has no active key.
        SealingLimitExceeded: The values of a namespace are too large for one batch.
    """
    rows = _Rows(WriteExecutionsColumns(shard=writes[0].plan.shard_id, outbox=outbox), known)
    for number, write in enumerate(writes, 1):
        rows.add(number, write)
    await rows.sealer.seal()
    return rows.columns, rows.runs


class _Rows:
    """Fills columns, write by write. `sealer` then fills the places of the sealed values."""

    __slots__ = ("_known", "_stamp", "columns", "runs", "sealer")

    def __init__(self, columns: WriteExecutionsColumns, known: KnownRuns) -> None:
        self._known = known
        self._stamp = new_stamp()
        self.columns = columns
        self.runs: list[RunWrite] = []
        self.sealer = ColumnSealer()

    def add(self, number: int, write: ExecutionWrite) -> None:
        """Add a write; `number` counts from 1."""
        plan, requests = write.plan, self.columns.requests
        requests.shard.append(plan.shard_id)
        requests.range.append(plan.range_id)
        requests.macs += write.shard_mac
        requests.namespace.append(write.keys.namespace_id)
        requests.workflow.append(write.workflow)
        fences = RunFences(write.keys, plan.shard_id, write.workflow)
        current, known_current, packed, described = plan.current, None, b"", b""
        if current is not None and current.becomes is not None:
            packed = pack_current(current.becomes.state)
            described = described_current(current.archetype_id, current.becomes, packed)
        for run, before in zip(plan.runs, write.known, strict=True):
            known = self._add_run(number, write, run, before, fences, described)
            # The plan takes the expected id from the run, so it is the same object. If it is not, the row counts as unknown.
            if known is not None and current is not None and current.expected is run[1].run_id:
                known_current = known[3]
        if current is not None:
            is_same = known_current is not None and current.keeps_run and known_current.startswith(described)
            self._add_current(number, write, current, fences, known_current, None if is_same else packed)
        for append in plan.appends:
            self.columns.history.add(self.sealer, write.keys, number, append)
        for row in plan.visibility:
            self._add_visibility(number, row)

    def _add_current(
        self,
        number: int,
        write: ExecutionWrite,
        current: CurrentPlan,
        fences: RunFences,
        known: bytes | None,
        packed: bytes | None,
    ) -> None:
        """Add the current run. Without `packed` the row is compared with the known one, and not written, because it says the same."""
        columns, archetype_id, expected = self.columns.currents, current.archetype_id, current.expected
        expected_macs, version_mac = NO_MAC + NO_MAC, NO_MAC
        if expected is not None:
            expected_macs = fences.current(archetype_id, expected.bytes)
            if current.rule is CurrentRule.EXPECTED_AND_COMPLETED:
                version_mac = fences.write_version(expected.bytes, current.expected_version)
        columns.macs += expected_macs + version_mac
        columns.request.append(number)
        columns.rule.append(int(current.rule))
        columns.archetype.append(archetype_id)
        columns.expected.append(expected)
        columns.expected_version.append(current.expected_version)
        if current.becomes is None or packed is None:
            columns.run.append(None)
            columns.state.append(None)
            columns.version.append(None)
            columns.macs += (
                NO_MAC + NO_MAC + (UNKNOWN_TAG if current.becomes is None else known_tag(known, archetype_id))
            )
            columns.data.append(None)
            return
        run_id, state, version = current.becomes
        state_number = int(state.state)
        columns.run.append(run_id)
        columns.state.append(state_number)
        columns.version.append(version)
        macs = expected_macs if run_id == expected else fences.current(archetype_id, run_id.bytes)
        columns.macs += current_mac(macs, state_number) + fences.write_version(run_id.bytes, version)
        columns.macs += known_tag(known, archetype_id)
        key = (write.plan.shard_id, write.workflow, archetype_id, run_id.bytes, state_number, version)
        self.sealer.add(columns.data, write.keys, CURRENT_EXECUTION, key, packed)

    def _add_run(
        self,
        number: int,
        write: ExecutionWrite,
        planned: PlannedRun,
        known: RunState | None,
        fences: RunFences,
        described: bytes,
    ) -> RunState | None:
        """Add a run. Return its known state before the write. `described` describes the row of the current run after it."""
        rule, run, appends = planned
        columns, keys, shard_id, run_bytes = self.columns.runs, write.keys, write.plan.shard_id, run.run_id.bytes
        next_event_id, version, record_version = run.next_event_id, run.last_write_version, run.db_record_version
        columns.request.append(number)
        columns.rule.append(int(rule))
        columns.run.append(run.run_id)
        columns.condition.append(run.condition)
        columns.next_event.append(next_event_id)
        columns.version.append(version)
        columns.record_version.append(record_version)
        name = write.workflow + run_bytes
        if rule is RunRule.INSERT:
            macs = fences.stored(
                run_bytes, record_version=record_version, next_event_id=next_event_id, last_write_version=version
            )
            columns.macs += NO_MAC + macs + NO_MAC
        else:
            known = self._known.get(name) or known
            columns.macs += fences.replaced(
                run_bytes,
                condition=run.condition,
                record_version=record_version,
                next_event_id=next_event_id,
                last_write_version=version,
            )
            columns.macs += UNKNOWN_TAG if known is None else known[0]
        entries, replaced = _entries(write, run), rule is RunRule.REPLACE
        state = next_state(keys, run_bytes, entries, self._stamp, known=known, replaced=replaced, appends=appends)
        current = write.plan.current
        is_current = current is not None and current.becomes is not None and current.becomes.run_id is run.run_id
        self.runs.append((number - 1, name, state, described if is_current else None))
        key = (shard_id, write.workflow, run_bytes, next_event_id, version, record_version)
        packed = state[0] + pack_execution(run.execution_info, run.execution_state.blob)
        self.sealer.add(columns.data, keys, EXECUTION, key, packed)
        if entries:
            self._add_entries(len(columns.request), write, run_bytes, entries)
        tasks = self.columns.tasks
        for (category_id, _), several in run.tasks.items():
            for (fire_time, task_id), blob, _ in several:
                tasks.request.append(number)
                tasks.category.append(category_id)
                tasks.fire_time.append(fire_time)
                tasks.task.append(task_id)
                task_key = (shard_id, category_id, fire_time, task_id)
                self.sealer.add(tasks.data, keys, HISTORY_TASK, task_key, blob.pack())
        return known

    def _add_entries(
        self, number_of_run: int, write: ExecutionWrite, run_bytes: bytes, entries: Sequence[Entry]
    ) -> None:
        columns, keys, shard_id = self.columns.maps, write.keys, write.plan.shard_id
        for map_number, item, plaintext in entries:
            columns.run.append(number_of_run)
            columns.map.append(map_number)
            columns.item.append(item)
            if plaintext is None or item is None:
                columns.data.append(None)
            else:
                key = (shard_id, write.workflow, run_bytes, map_number, item.rjust(16, b"\x00"))
                self.sealer.add(columns.data, keys, EXECUTION_MAP, key, self._stamp + plaintext)

    def _add_visibility(self, number: int, row: VisibilityRow) -> None:
        columns = self.columns.visibility
        columns.request.append(number)
        columns.id.append(row.id)
        columns.version.append(row.version)
        columns.epoch.append(row.epoch)
        columns.close_bucket.append(row.close_bucket)
        columns.start_bucket.append(row.start_bucket)
        columns.tokens.append(row.token_array)
        columns.sealed.append(row.sealed)
        h_workflow, h_run, h_type, h_status, h_queue, h_division = row.hashes  # in the order of HASHED_COLUMNS
        columns.h_workflow.append(h_workflow)
        columns.h_run.append(h_run)
        columns.h_type.append(h_type)
        columns.h_status.append(h_status)
        columns.h_queue.append(h_queue)
        columns.h_division.append(h_division)


def _entries(write: ExecutionWrite, run: WorkflowMutation | WorkflowSnapshot) -> Sequence[Entry]:
    if isinstance(run, WorkflowMutation):
        return list(mutation_entries(write.keys, run, range_id=write.plan.range_id))
    return list(snapshot_entries(write.keys, run))
