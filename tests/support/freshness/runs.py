"""Attacks on mutable state and on current runs."""

from __future__ import annotations

from strongroom.kms import IntegrityError
from strongroom.storage import DataLoss, NotFound
from strongroom.storage.executions.modes import CreateMode
from strongroom.storage.executions.requests import ChasmNode
from tests.support.fixtures.executions import COMPLETED, blob
from tests.support.processes import new_process

from .attacks import AttackList, Found, Refused

STATE, CURRENT = AttackList("state"), AttackList("current run")
ATTACKS = (STATE, CURRENT)
RUNS, CURRENTS = Found("executions"), Found("current_executions")
READ = Refused(lambda scene: scene.read_run(), (IntegrityError, DataLoss))
READ_CURRENT = Refused(lambda scene: scene.workflow.current(), IntegrityError)
_RUN = "run_id = $1"
_FENCES = "tests/contract/test_fences.py::"

ENTRIES = {
    "an activity": (1, {"upsert_activity_infos": {5: blob()}}, {"delete_activity_infos": (5,)}),
    "a timer": (2, {"upsert_timer_infos": {"timer": blob()}}, {"delete_timer_infos": ("timer",)}),
    "a child": (3, {"upsert_child_execution_infos": {5: blob()}}, {"delete_child_execution_infos": (5,)}),
    "a cancel request": (4, {"upsert_request_cancel_infos": {5: blob()}}, {"delete_request_cancel_infos": (5,)}),
    "a signal": (5, {"upsert_signal_infos": {5: blob()}}, {"delete_signal_infos": (5,)}),
    "a requested signal": (6, {"upsert_signal_requested_ids": ("id",)}, {"delete_signal_requested_ids": ("id",)}),
    "a CHASM node": (7, {"upsert_chasm_nodes": {"": ChasmNode(blob(), blob())}}, {"delete_chasm_nodes": ("",)}),
    "buffered events": (8, {"new_buffered_events": blob()}, {"clear_buffered_events": True}),
}
"""The number of each map, the changes of an update that add an entry, and those that delete it."""


def _attacks_on_an_entry(name, number, added, deleted):
    @STATE.attack(f"delete {name}", READ)
    async def _(scene):
        run = await scene.start()
        await scene.write(run, **added)
        yield
        await scene.admin.delete("execution_maps", "run_id = $1 AND map = $2", run.run_id, number)
        yield
        await scene.write(run)

    @STATE.attack(f"put back {name} that was deleted", READ)
    async def _(scene):
        run = await scene.start()
        await scene.write(run, **added)
        await scene.keep("entry", "execution_maps", "run_id = $1 AND map = $2", run.run_id, number)
        await scene.write(run, **deleted)
        yield
        await scene.admin.put_back("execution_maps", scene.kept["entry"])
        yield
        await scene.write(run)


for _name, _parts in ENTRIES.items():
    _attacks_on_an_entry(_name, *_parts)


@STATE.attack("delete all entries of the maps", READ)
async def _(scene):
    run = await scene.start()
    await scene.write(run, upsert_activity_infos={5: blob(), 6: blob()}, upsert_timer_infos={"timer": blob()})
    yield
    await scene.admin.delete("execution_maps", _RUN, run.run_id)
    yield
    await scene.write(run)


@STATE.attack("put an older activity back", READ)
async def _(scene):
    run = await scene.start()
    await scene.write(run, upsert_activity_infos={5: blob()})
    await scene.keep("older", "execution_maps", _RUN, run.run_id)
    await scene.write(run, upsert_activity_infos={5: blob()})
    yield
    await scene.admin.put_back("execution_maps", scene.kept["older"])
    yield
    await scene.write(run)


@STATE.attack("put the run's row back without its maps", READ, RUNS)
async def _(scene):
    run = await scene.start()
    await scene.write(run, upsert_activity_infos={5: blob()})
    await scene.keep("older", "executions", _RUN, run.run_id)
    await scene.write(run, upsert_activity_infos={5: blob()})
    yield
    await scene.admin.put_back("executions", scene.kept["older"])
    yield


OLDER_RUN = Refused(lambda scene: scene.read_run(), DataLoss)


@STATE.attack(
    "put the run's row back alone, with the maps and the history of now",
    RUNS,
    OLDER_RUN,
    Refused(lambda scene: scene.write(scene.run), DataLoss, writes=True),
)
async def _(scene):
    run = await scene.start()
    await scene.keep("older", "executions", _RUN, run.run_id)
    older = run.version
    await scene.write(run, has_events=False)
    yield
    await scene.admin.put_back("executions", scene.kept["older"])
    run.version = older  # as an owner would that has loaded the older state
    yield
    await scene.on(new_process(scene.cell)).write(run)


@STATE.attack("put a whole run back as it was", RUNS, OLDER_RUN)
async def _(scene):
    run = await scene.start()
    await scene.write(run, upsert_activity_infos={5: blob()})
    for table in ("executions", "execution_maps", "current_executions", "history_node"):
        await scene.keep(table, table, "tree_id = $1" if table == "history_node" else _RUN, run.run_id)
    older = run.version
    await scene.write(run, upsert_activity_infos={5: blob()})
    yield
    await scene.admin.delete("history_node", "tree_id = $1", run.run_id)
    for table in ("executions", "execution_maps", "current_executions", "history_node"):
        await scene.admin.put_back(table, scene.kept[table])
    yield
    run.version = older  # as an owner would that has loaded the older state
    await scene.on(new_process(scene.cell)).write(run, has_events=False)


@STATE.attack("exchange the data of two runs", READ)
async def _(scene):
    first = await scene.start()
    other = await scene.workflow.create_zombie()
    yield
    foreign = "data = (SELECT o.data FROM executions o WHERE o.run_id = $2)"
    await scene.admin.edit("executions", foreign, _RUN, first.run_id, other.run_id)
    yield


@STATE.attack("delete a run", Refused(lambda scene: scene.read_run(), NotFound), RUNS)
async def _(scene):
    run = await scene.start()
    yield
    await scene.admin.delete("executions", _RUN, run.run_id)
    yield


@STATE.attack("bring a deleted run back", RUNS)
async def _(scene):
    run = await scene.start()
    await scene.write(run, upsert_activity_infos={5: blob()})
    for table in ("executions", "execution_maps"):
        await scene.keep(table, table, _RUN, run.run_id)
    delete = scene.cell.executions.delete_workflow_execution
    await delete(scene.namespace_id, scene.workflow.workflow_id, run.run_id, shard_id=scene.shard_id)
    yield
    for table in ("executions", "execution_maps"):
        await scene.admin.put_back(table, scene.kept[table])
    yield
    await delete(scene.namespace_id, scene.workflow.workflow_id, run.run_id, shard_id=scene.shard_id)


def _edited_column(table, column, verdict, attacks):
    @attacks.attack(f"edit {column}, and read", verdict)
    async def _(scene):
        run = await scene.start()
        yield
        await scene.admin.edit(table, f"{column} = {column} + 1", _RUN, run.run_id)
        yield


for _column in ("next_event_id", "last_write_version", "db_record_version"):
    _edited_column("executions", _column, READ, STATE)
for _column in ("state", "last_write_version"):
    _edited_column("current_executions", _column, READ_CURRENT, CURRENT)

STATE.tested(
    "edit db_record_version, and write what fits",
    _FENCES + "test_a_stale_write_is_refused_after_an_edit_of_the_version",
)
STATE.tested(
    "edit next_event_id, and write what fits",
    _FENCES + "test_a_stale_write_is_refused_after_an_edit_of_next_event_id",
)
STATE.tested(
    "edit last_write_version, and start the next run", _FENCES + "test_no_run_starts_at_an_edited_write_version"
)
STATE.tested(
    "put the run's row back, and write as the owner in memory",
    _FENCES + "test_an_older_row_that_is_put_back_is_refused_by_the_owner",
)


@CURRENT.attack("delete the current run, so that a second one starts", CURRENTS)
async def _(scene):
    run = await scene.start()
    yield
    await scene.admin.delete("current_executions", _RUN, run.run_id)
    yield
    await scene.workflow.create()


@CURRENT.attack("put an older current run back", CURRENTS)
async def _(scene):
    first = await scene.start()
    await scene.keep("older", "current_executions", _RUN, first.run_id)
    await scene.write(first, COMPLETED)
    await scene.workflow.create(
        None, CreateMode.UPDATE_CURRENT, previous_run_id=first.run_id, previous_last_write_version=10
    )
    yield
    await scene.admin.put_back("current_executions", scene.kept["older"])
    yield


@CURRENT.attack("bring a deleted current run back", CURRENTS)
async def _(scene):
    run = await scene.start()
    await scene.keep("row", "current_executions", _RUN, run.run_id)
    delete = scene.cell.executions.delete_current_workflow_execution
    await delete(scene.namespace_id, scene.workflow.workflow_id, run.run_id, shard_id=scene.shard_id)
    yield
    await scene.admin.put_back("current_executions", scene.kept["row"])
    yield
    await delete(scene.namespace_id, scene.workflow.workflow_id, run.run_id, shard_id=scene.shard_id)


@CURRENT.attack("name another run as the current one", READ_CURRENT)
async def _(scene):
    run = await scene.start()
    other = await scene.workflow.create_zombie()
    yield
    await scene.admin.edit("current_executions", "run_id = $2", _RUN, run.run_id, other.run_id)
    yield


CURRENT.tested(
    "edit the state, and start another run", _FENCES + "test_no_second_run_starts_after_an_edit_of_the_state"
)
CURRENT.tested("name another run, and write it", _FENCES + "test_another_run_does_not_become_current_by_an_edit")
