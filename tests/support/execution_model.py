"""A model of mutable state: the stored state of two workflows, drawn requests, and the answers that the requests must get."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from strongroom.storage import InvalidPersistenceRequest, ShardOwnershipLost
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.modes import ConflictResolveMode, CreateMode, UpdateMode, WorkflowState
from strongroom.storage.executions.requests import ChasmNode
from strongroom.storage.executions.tasks import TRANSFER
from tests.support.execution_rules import updated_state
from tests.support.fixtures.executions import MAPS, TABLES, Workflow, accumulated, blob, tasks

NAMES = ("order 1", "order 2")
RUNS = tuple(UUID(int=number) for number in range(1, 5))
KEYS = ("a", "b", "c")
_txn_ids = itertools.count(1)


@dataclass(frozen=True)
class Draw:
    """The values that are drawn for a request.

    Attributes:
        off: The difference between the request's condition and the stored value.
        by_event: Whether the condition is on the next event id.
        owner: Whether the owner of the shard sends the request.
        changes: The change of each map key: True writes the entry, False deletes it, None does both.
        buffered: The change of buffered events: True adds buffered events, False clears them, None does both.
        new: The id and state of a new run.
        other: The id and state of the current run, in a conflict resolution.
        previous: The run that a create expects to be the current one.
        aim: A number by which runs and states are chosen so that the request succeeds; None to choose them at random.
        fits: With `aim`, whether the current run is what the mode needs. If False, only the current run is wrong.
    """

    name: str
    run_id: UUID
    of: WorkflowState
    off: int
    by_event: bool
    owner: bool
    changes: dict[str, bool | None]
    buffered: bool | None
    new: tuple[UUID, WorkflowState] | None
    other: tuple[UUID, WorkflowState] | None
    previous: str
    aim: int | None
    fits: bool


def maps_of(keys) -> dict[str, Any]:
    """Return a snapshot's maps with entries under these keys."""
    keys = list(keys)
    return {
        "activity_infos": {ord(key): blob() for key in keys},
        "timer_infos": {key: blob() for key in keys},
        "child_execution_infos": {ord(key): blob() for key in keys[:1]},
        "chasm_nodes": {key: ChasmNode(blob(), blob()) for key in keys},
        "signal_requested_ids": set(keys),
    }


def changes_of(draw) -> dict[str, Any]:
    """Return a mutation's changes."""
    written = [key for key, what in draw.changes.items() if what is not False]
    deleted = [key for key, what in draw.changes.items() if what is not True]
    return {
        "upsert_activity_infos": {ord(key): blob() for key in written},
        "delete_activity_infos": [ord(key) for key in deleted],
        "upsert_timer_infos": {key: blob() for key in written},
        "delete_timer_infos": deleted,
        "upsert_signal_requested_ids": written,
        "delete_signal_requested_ids": deleted,
        "upsert_chasm_nodes": {key: ChasmNode(blob(), blob()) for key in written},
        "delete_chasm_nodes": deleted,
        "clear_buffered_events": draw.buffered is not True,
        "new_buffered_events": None if draw.buffered is False else blob(),
    }


@dataclass
class Model:
    """The stored state.

    Attributes:
        runs: The writes of each workflow and run, from the last write that created the run or replaced its state.
        current: For each workflow, the current run's last write that changed the current row.
        wrote: The number of runs, requests and tasks that were written.
    """

    place: Workflow
    runs: dict[tuple[str, UUID], list[Any]] = field(default_factory=dict)
    current: dict[str, Any] = field(default_factory=dict)
    wrote: Counter = field(default_factory=Counter)

    def host(self, name, *, owner=True) -> Workflow:
        """Return the view of a workflow by the owner, or by the previous owner."""
        return self.place.like(workflow_id=name, range_id=self.place.range_id - (not owner))

    def aimed(self, draw, mode, allows):
        """Return a draw with runs and states that fit its `aim`. `allows` returns whether states may be combined."""
        if draw.aim is None:
            return draw
        there = [run_id for run_id in RUNS if (draw.name, run_id) in self.runs]
        beside = [run_id for run_id in there if not self.is_current(draw.name, run_id)]
        current = [run_id for run_id in there if run_id not in beside]
        absent = [run_id for run_id in RUNS if run_id not in there]
        if isinstance(mode, CreateMode):
            runs, new, others = absent if draw.fits else current, None, []
        else:
            others = current if draw.other and mode is ConflictResolveMode.UPDATE_CURRENT and beside else []
            by_name = {"UPDATE_CURRENT": beside if others else current, "BYPASS_CURRENT": beside}
            runs, new = by_name.get(mode.name, there), draw.new and absent
            if not draw.fits:
                runs = [run_id for run_id in there if run_id not in runs]
        states = [
            (of, later, other)
            for of in WorkflowState
            for later in (WorkflowState if new else [None])
            for other in (WorkflowState if others else [None])
            if allows(of, later, other)
        ]
        if not runs or not states:
            return draw
        of, later, other = states[draw.aim % len(states)]
        return replace(
            draw,
            run_id=runs[draw.aim % len(runs)],
            of=of,
            new=(new[draw.aim % len(new)], later) if new else None,
            other=(others[0], other) if others else None,
            previous="current",
        )

    def snapshot(self, draw, run=None, **changes):
        """Return a snapshot of the drawn run, or of another one and its state."""
        run_id, of = run or (draw.run_id, draw.of)
        given = {"tasks": tasks(TRANSFER)} | maps_of(draw.changes) | changes
        return self.host(draw.name).snapshot(run_id, of, **given)

    def replacing(self, draw, **changes):
        """Return a snapshot of the drawn run that replaces its state."""
        given = self.versions(draw.name, draw.run_id, draw) | {"execution_state": updated_state(draw.of)}
        return self.snapshot(draw, **(given | changes))

    def mutation(self, draw, run=None, *, off=None):
        """Return a mutation of the drawn run, or of another one and its state."""
        run_id, of = run or (draw.run_id, draw.of)
        versions, writes = self.versions(draw.name, run_id, draw, off=off), self.runs.get((draw.name, run_id))
        if writes and versions["db_record_version"] < writes[-1].db_record_version:
            draw = replace(draw, buffered=False)  # buffered events are ordered by version, and versions decrease here
        given = {"tasks": tasks(TRANSFER), "execution_state": updated_state(of)} | changes_of(draw) | versions
        return self.host(draw.name).mutation(run_id, **given)

    def versions(self, name, run_id, draw, *, off=None):
        """Return the condition of a write. The next event id always increases."""
        off = draw.off if off is None else off
        writes = self.runs.get((name, run_id))
        event, version = (writes[-1].next_event_id, writes[-1].db_record_version) if writes else (5, 5)
        given = {"next_event_id": event + 2, "last_write_version": event}
        if draw.by_event or version + 1 + off == 0:
            return given | {"db_record_version": 0, "condition": event + off}
        return given | {"db_record_version": version + 1 + off}

    def events(self, name, *writes):
        """Return an event for each run that is written."""
        place = self.host(name)
        return [
            append
            for write in writes
            if write is not None
            for append in place.events(write.run_id, txn_id=next(_txn_ids))
        ]

    def known_version(self, name) -> int:
        """Return the version of the current run that a create must name: that of the run's own row, if it has one."""
        known = self.current.get(name)
        if known is None:
            return 0
        return self.runs.get((name, known.run_id), [known])[-1].last_write_version

    def is_current(self, name, run_id) -> bool:
        """Return whether this run is the current one."""
        return name in self.current and self.current[name].run_id == run_id

    def create_fits(self, draw, mode, previous) -> bool:
        """Return whether the current run is what a create needs."""
        known = self.current.get(draw.name)
        if mode is CreateMode.BYPASS_CURRENT:
            return not self.is_current(draw.name, draw.run_id)
        if mode is CreateMode.BRAND_NEW:
            return known is None or known.run_id == previous
        closed = known is not None and known.execution_state.state is WorkflowState.COMPLETED
        return closed and known.run_id == previous and not draw.off

    def update_fits(self, draw, mode) -> bool:
        """Return whether the current run is what an update needs."""
        return mode is UpdateMode.IGNORE_CURRENT or (
            self.is_current(draw.name, draw.run_id) is (mode is UpdateMode.UPDATE_CURRENT)
        )

    def answers(self, draw, *, valid=True, fits=True, changed=(), new=None):
        """Return the errors that may be raised; empty if the write must succeed."""
        if not valid:
            return {InvalidPersistenceRequest}
        if not draw.owner:
            return {ShardOwnershipLost}
        if not fits:
            return {CurrentWorkflowConditionFailed}
        errors = {self._refusal(draw.name, write) for write in changed if write is not None}
        if new is not None and (draw.name, new.run_id) in self.runs:
            errors.add(WorkflowConditionFailed)
        return errors - {None}

    def _refusal(self, name, write):
        if (name, write.run_id) not in self.runs:
            return ConditionFailed
        last = self.runs[name, write.run_id][-1]
        if write.db_record_version:
            right = write.db_record_version == last.db_record_version + 1
        else:
            right = write.condition == last.next_event_id
        return None if right else WorkflowConditionFailed

    def wrote_request(self, name, *, replaced=(), changed=(), current=None, has_events=True):
        """Record a request that succeeded."""
        for write in replaced:
            self.runs[name, write.run_id] = [write]
        for write in changed:
            self.runs[name, write.run_id].append(write)
        if current is not None:
            self.current[name] = current
        if has_events:
            self.wrote["requests"] += 1
            self.wrote["runs"] += len(replaced) + len(changed)

    def rows(self) -> dict[str, int]:
        """Return the number of rows that each table must have. A refused write leaves no row."""
        stored = [accumulated(*writes) for writes in self.runs.values()]
        maps = (*MAPS, "signal_requested_ids", "buffered_events")
        entries = sum(len(getattr(state, name)) for state in stored for name in maps)
        written, requests = self.wrote["runs"], self.wrote["requests"]
        counts = (len(self.runs), entries, len(self.current), written, written, None, requests)
        return dict(zip(TABLES, counts, strict=True))
