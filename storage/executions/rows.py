"""Several requests of the execution store as the columns of one statement: the parameters of `write_executions`, in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import CURRENT_EXECUTION, EXECUTION, EXECUTION_MAP, HISTORY_TASK
from strongroom.storage.column_sealer import ColumnSealer
from strongroom.storage.histories.rows import HistoryColumns
from strongroom.storage.visibility_rows.records import HASHED_COLUMNS

from .maps import mutation_entries, snapshot_entries
from .packing import pack_current, pack_execution
from .requests import WorkflowMutation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.histories.rows import HistoryAppend
    from strongroom.storage.visibility_rows.records import VisibilityRow

    from .requests import ExecutionState, WorkflowSnapshot


class CurrentRule(IntEnum):
    """What a request wants of the current run; numbers as in `write_executions`."""

    ABSENT_OR_EXPECTED = 1
    EXPECTED_AND_COMPLETED = 2
    EXPECTED = 3
    NOT_EXPECTED = 4


class RunRule(IntEnum):
    """What is done with a run; numbers as in `write_executions`."""

    INSERT = 1
    UPDATE = 2
    REPLACE = 3


@dataclass(frozen=True, slots=True)
class CurrentChange:
    """What is wanted of the current run, and what it becomes.

    Attributes:
        becomes: run, state and last_write_version; None where the row stays.
    """

    rule: CurrentRule
    expected: UUID | None
    archetype_id: int
    expected_version: int = 0
    becomes: tuple[UUID, ExecutionState, int] | None = None


@dataclass(frozen=True, slots=True)
class ExecutionWrite:
    """One request as rows see it."""

    keys: NamespaceKeys
    shard_id: int
    range_id: int
    workflow: bytes
    current: CurrentChange | None
    runs: Sequence[tuple[RunRule, WorkflowMutation | WorkflowSnapshot]]
    appends: Sequence[HistoryAppend]
    visibility: Sequence[VisibilityRow]
    size: int

    @property
    def key(self) -> tuple[UUID, bytes]:
        """The workflow: two requests of one are never in flight together."""
        return self.keys.namespace_id, self.workflow


class ExecutionColumns:
    """Fills the columns, request by request."""

    def __init__(self) -> None:
        self._sealing = ColumnSealer()
        self._requests: list[tuple[object, ...]] = []
        self._currents: list[tuple[object, ...]] = []
        self._current_data: list[bytes | None] = []
        self._runs: list[tuple[object, ...]] = []
        self._run_data: list[bytes | None] = []
        self._maps: list[tuple[object, ...]] = []
        self._map_data: list[bytes | None] = []
        self._tasks: list[tuple[object, ...]] = []
        self._task_data: list[bytes | None] = []
        self._history = HistoryColumns()
        self._visibility: list[tuple[object, ...]] = []

    def add(self, number: int, write: ExecutionWrite) -> None:
        """Add a request; `number` counts from 1."""
        self._requests.append((write.shard_id, write.range_id, write.keys.namespace_id, write.workflow))
        if write.current is not None:
            self._add_current(number, write, write.current)
        for rule, run in write.runs:
            self._add_run(number, write, rule, run)
        for append in write.appends:
            self._history.add(self._sealing, write.keys, number, append)
        for row in write.visibility:
            self._visibility.append(
                (number, row.id, row.version, row.k, row.b1, row.b2, row.token_array, row.s, *row.h)
            )

    async def parameters(self, shard_id: int, *, outbox: bool) -> tuple[object, ...]:
        """Seal, and return all parameters of the function; `outbox` is its last."""
        await self._sealing.seal()
        history = self._history
        return (
            shard_id,
            *_columns(self._requests, 4),
            *_columns(self._currents, 8),
            self._current_data,
            *_columns(self._runs, 7),
            self._run_data,
            *_columns(self._maps, 3),
            self._map_data,
            *_columns(self._tasks, 4),
            self._task_data,
            history.n_index,
            history.n_tree,
            history.n_branch,
            history.n_node,
            history.n_txn,
            history.n_prev_txn,
            history.n_data,
            history.t_index,
            history.t_tree,
            history.t_branch,
            history.t_data,
            *_columns(self._visibility, 8 + len(HASHED_COLUMNS)),
            outbox,
        )

    def _add_current(self, number: int, write: ExecutionWrite, change: CurrentChange) -> None:
        rule, archetype_id = int(change.rule), change.archetype_id
        if change.becomes is None:
            row = (number, rule, archetype_id, change.expected, change.expected_version, None, None, None)
            self._currents.append(row)
            self._current_data.append(None)
            return
        run_id, state, version = change.becomes
        code = int(state.state)
        self._currents.append(
            (number, rule, archetype_id, change.expected, change.expected_version, run_id, code, version)
        )
        key = (write.shard_id, write.workflow, archetype_id, run_id.bytes, code, version)
        self._sealing.add(self._current_data, write.keys, CURRENT_EXECUTION, key, pack_current(state))

    def _add_run(
        self, number: int, write: ExecutionWrite, rule: RunRule, run: WorkflowMutation | WorkflowSnapshot
    ) -> None:
        shard_id, keys, run_bytes = write.shard_id, write.keys, run.run_id.bytes
        next_event_id, version, record_version = run.next_event_id, run.last_write_version, run.db_record_version
        self._runs.append((number, int(rule), run.run_id, run.condition, next_event_id, version, record_version))
        key = (shard_id, write.workflow, run_bytes, next_event_id, version, record_version)
        packed = pack_execution(run.execution_info, run.execution_state.blob)
        self._sealing.add(self._run_data, keys, EXECUTION, key, packed)
        number_of_run = len(self._run_data)
        entries = mutation_entries(keys, run) if isinstance(run, WorkflowMutation) else snapshot_entries(keys, run)
        for kind, item, plaintext in entries:
            self._maps.append((number_of_run, kind, item))
            if plaintext is None or item is None:
                self._map_data.append(None)
            else:
                map_key = (shard_id, write.workflow, run_bytes, kind, item.rjust(16, b"\x00"))
                self._sealing.add(self._map_data, keys, EXECUTION_MAP, map_key, plaintext)
        for category, tasks in run.tasks.items():
            category_id = category.category_id
            for (fire_time, task_id), blob, _ in tasks:
                self._tasks.append((number, category_id, fire_time, task_id))
                task_key = (shard_id, category_id, fire_time, task_id)
                self._sealing.add(self._task_data, keys, HISTORY_TASK, task_key, blob.pack())


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> Iterable[tuple[object, ...]]:
    return zip(*rows, strict=True) if rows else ((),) * width
