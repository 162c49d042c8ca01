from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from strongroom.storage import DataBlob, NotFound, ShardInfo, StorageError
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed
from strongroom.storage.executions.modes import ConflictResolveMode, CreateMode, UpdateMode
from tests.support.counts import examples
from tests.support.execution_model import KEYS, NAMES, RUNS, Draw, Model
from tests.support.execution_rules import create_is_allowed, resolve_is_allowed, update_is_allowed
from tests.support.fixtures.contract import new_namespace, new_shard, open_cell
from tests.support.fixtures.executions import COMPLETED, RUNNING, WRITABLE, Workflow, accumulated

pytestmark = pytest.mark.integration

MOSTLY = st.sampled_from([True] * 7 + [False])
RUN = st.sampled_from(RUNS)
STATE = st.sampled_from(WRITABLE)
MODES = [*CreateMode, *UpdateMode, *ConflictResolveMode, *UpdateMode, *ConflictResolveMode, None]
DRAWS = st.builds(
    Draw,
    name=st.sampled_from(NAMES),
    run_id=RUN,
    of=STATE,
    off=st.sampled_from([0] * 7 + [-1, 1]),
    by_event=st.booleans(),
    owner=MOSTLY,
    changes=st.dictionaries(st.sampled_from(KEYS), st.none() | st.booleans(), max_size=3),
    buffered=st.none() | st.booleans(),
    new=st.none() | st.tuples(RUN, STATE),
    other=st.none() | st.tuples(RUN, STATE),
    previous=st.sampled_from(["current", "none", "another"]),
    aim=st.integers(0, 1000) | st.integers(0, 1000) | st.none(),
    fits=MOSTLY,
)


class ExecutionMachine(RuleBasedStateMachine):
    """Mutable state of two workflows in a shard that changes hands, against a model.

    Each request also has a visibility record, and each run that it writes an event and a task.
    """

    def __init__(self, cell, runner):
        super().__init__()
        self.runner = runner
        self.model = Model(Workflow(cell, runner.run(new_namespace(cell)), runner.run(new_shard(cell))))

    @initialize(name=st.sampled_from(NAMES), of=st.sampled_from([RUNNING, COMPLETED]))
    def begin(self, name, of):
        """Have a current run in one of the workflows."""
        new = self.model.host(name).snapshot(RUNS[0], of)
        self.runner.run(self.model.host(name).create(new))
        self.model.wrote_request(name, replaced=[new], current=new, has_events=False)

    @rule(draw=DRAWS, mode=st.sampled_from(MODES))
    def write(self, draw, mode):
        """Send a request; one rule for all, as Hypothesis leaves whole rules out of a run."""
        by_mode = {CreateMode: self.create, UpdateMode: self.update, ConflictResolveMode: self.resolve}
        by_mode.get(type(mode), self.set)(draw, mode)

    def create(self, draw, mode):
        """Create a run."""
        model = self.model
        draw = model.aimed(draw, mode, lambda of, _new, _other: create_is_allowed(mode, of))
        new, known = model.snapshot(draw), model.current.get(draw.name)
        previous_run = {"current": known and known.run_id, "none": None, "another": RUNS[-1]}[draw.previous]
        errors = model.answers(
            draw,
            valid=create_is_allowed(mode, draw.of),
            fits=model.create_fits(draw, mode, previous_run),
            new=new,
        )
        given = {
            "previous_run_id": previous_run,
            "previous_last_write_version": model.known_version(draw.name) + draw.off,
            "new_workflow_new_events": model.events(draw.name, new),
        }
        if not self.succeeds(draw, "create", errors, new, mode, **given):
            return
        model.wrote_request(draw.name, replaced=[new], current=None if mode is CreateMode.BYPASS_CURRENT else new)

    def update(self, draw, mode):
        """Update a run, and continue it with another one."""
        model = self.model
        draw = model.aimed(draw, mode, lambda of, new, _other: update_is_allowed(mode, of, new))
        write = model.mutation(draw)
        new = draw.new and model.snapshot(draw, draw.new)
        names_one_twice = new is not None and new.run_id == draw.run_id
        errors = model.answers(
            draw,
            valid=update_is_allowed(mode, draw.of, draw.new and draw.new[1]) and not names_one_twice,
            fits=model.update_fits(draw, mode),
            changed=[write],
            new=new,
        )
        events = model.events(draw.name, write, new)
        if not self.succeeds(draw, "update", errors, write, mode, new, update_workflow_new_events=events):
            return
        current = (new or write) if mode is UpdateMode.UPDATE_CURRENT else None
        model.wrote_request(draw.name, replaced=[new] if new else [], changed=[write], current=current)

    def resolve(self, draw, mode):
        """Reset a run, change the current one, and continue with another one."""
        model = self.model
        draw = model.aimed(draw, mode, lambda of, new, other: resolve_is_allowed(mode, of, new, other))
        reset = model.replacing(draw)
        new, other = (
            draw.new and model.snapshot(draw, draw.new),
            draw.other and model.mutation(draw, draw.other, off=0),
        )
        named = [write.run_id for write in (reset, new, other) if write]
        allowed = resolve_is_allowed(mode, draw.of, draw.new and draw.new[1], draw.other and draw.other[1])
        updates = mode is ConflictResolveMode.UPDATE_CURRENT
        errors = model.answers(
            draw,
            valid=allowed and len(set(named)) == len(named),
            fits=model.is_current(draw.name, (other or reset).run_id) is updates,
            changed=[reset, other],
            new=new,
        )
        given = {
            "new": new,
            "current": other,
            "reset_workflow_events_new_events": model.events(draw.name, reset, new, other),
        }
        if not self.succeeds(draw, "resolve", errors, reset, mode, **given):
            return
        model.wrote_request(
            draw.name,
            replaced=[reset, new] if new else [reset],
            changed=[other] if other else [],
            current=(new or reset) if updates else None,
        )

    def set(self, draw, _mode):
        """Replace a run's state."""
        draw = self.model.aimed(draw, UpdateMode.IGNORE_CURRENT, lambda _of, new, _other: new is None)
        write = self.model.replacing(draw, tasks={})
        errors = self.model.answers(draw, changed=[write])
        if self.succeeds(draw, "set", errors, write, has_record=False):
            self.model.wrote_request(draw.name, replaced=[write], has_events=False)

    @precondition(lambda self: self.model.runs)
    @rule(name=st.sampled_from(NAMES), run_id=RUN)
    def delete(self, name, run_id):
        """Delete a run, or none."""
        place = self.model.place
        deletion = place.cell.executions.delete_workflow_execution
        self.runner.run(deletion(place.namespace_id, name, run_id, shard_id=place.shard_id))
        self.model.runs.pop((name, run_id), None)

    @precondition(lambda self: self.model.runs)
    @rule(name=st.sampled_from(NAMES), run_id=RUN)
    def delete_current(self, name, run_id):
        """Forget the current run, or not."""
        place = self.model.place
        deletion = place.cell.executions.delete_current_workflow_execution
        self.runner.run(deletion(place.namespace_id, name, run_id, shard_id=place.shard_id))
        if self.model.is_current(name, run_id):
            del self.model.current[name]

    @rule()
    def move_shard(self):
        """Give the shard to another owner."""
        place = self.model.place
        moved = ShardInfo(place.shard_id, place.range_id + 1, DataBlob(b"moved"))
        self.runner.run(place.cell.shards.update_shard(moved, previous_range_id=place.range_id))
        place.range_id += 1

    def succeeds(self, draw, call, errors, *arguments, has_record=True, **given):
        """Send a request; its answer must be one of these errors, or none where there are none."""
        place = self.model.host(draw.name, owner=draw.owner)
        given |= {"visibility": [place.record()]} if has_record else {}
        outcome = None
        try:
            self.runner.run(getattr(place, call)(*arguments, **given))
        except StorageError as error:
            outcome = error
        assert type(outcome) in (errors or {type(None)})
        if outcome is not None:
            assert outcome.may_have_been_committed is False
        if isinstance(outcome, CurrentWorkflowConditionFailed):
            known = self.model.current.get(draw.name)
            assert outcome.run_id == (known and known.run_id)
            assert outcome.execution_state == (known and known.execution_state.blob)
        return outcome is None

    @invariant()
    def all_is_as_the_model_says(self):
        """Each run and current run is read as it was written; and no row is there that no successful write left."""
        self.runner.run(self.compare())

    async def compare(self):
        """Compare what is stored with the model."""
        for name in NAMES:
            place = self.model.host(name)
            found = await asyncio.gather(*(place.get(run_id) for run_id in RUNS), return_exceptions=True)
            for run_id, stored in zip(RUNS, found, strict=True):
                writes = self.model.runs.get((name, run_id))
                if writes is None:
                    assert isinstance(stored, NotFound)
                else:
                    assert stored == accumulated(*writes)
            (current,) = await asyncio.gather(place.current(), return_exceptions=True)
            known = self.model.current.get(name)
            if known is None:
                assert isinstance(current, NotFound)
            else:
                assert current.run_id == known.run_id
                assert current.execution_state == known.execution_state
                assert current.last_write_version == known.last_write_version
        if self.model.place.shard_id % 2:
            assert await self.model.place.cell.journal.fold(self.model.place.shard_id) == []
        verified = await self.model.place.cell.journal.verify(self.model.place.shard_id)
        assert verified.ok, verified
        footprint = await self.model.place.footprint()
        for table, number in self.model.rows().items():
            assert number is None or len(footprint[table]) == number, table


def test_mutable_state_is_what_the_model_says(contract_databases, tmp_path):
    """Any sequence of requests, right and wrong, is answered and stored as Temporal's rules say."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        stack = AsyncExitStack()
        cell = runner.run(
            stack.enter_async_context(open_cell(runner.run(contract_databases.create_prepared()), tmp_path))
        )
        try:
            run_state_machine_as_test(
                lambda: ExecutionMachine(cell, runner),
                settings=settings(
                    max_examples=examples(20),
                    stateful_step_count=40,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.reuse, Phase.generate],  # to shrink on a real server takes minutes
                ),
            )
        finally:
            runner.run(stack.aclose())
