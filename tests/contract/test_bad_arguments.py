"""Every text and number argument of every store operation, with values that no store can keep."""

from __future__ import annotations

import inspect
import traceback
import typing
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest

from strongroom.driver.stores import STORE_OPERATIONS
from strongroom.kms import KekRef, StrongroomError
from strongroom.storage import (
    DataBlob,
    HistoryTask,
    InvalidPersistenceRequest,
    NexusEndpoint,
    ServiceRole,
    ShardInfo,
    TaskKey,
)
from strongroom.visibility import AttributeType, InvalidRecord
from tests.support.search_cell import record

pytestmark = pytest.mark.integration

MARK = "top secret"
TEXTS = (f"{MARK}\ud800", f"\udfff{MARK}", f"{MARK}\x00", b"bytes", None, 7)
VALID = {
    "kek": KekRef.parse("local:first"),
    "types": {},
    "shard": ShardInfo(1, 1, DataBlob(b"x")),
    "endpoint": NexusEndpoint(uuid4(), 0, DataBlob(b"x")),
    "task": HistoryTask(TaskKey(0, 1), DataBlob(b"x")),
}
NUMBERS = (2**64, -(2**64), 2**63, True, float("nan"), float("inf"), -0.0, "1", None)


def sample(name, kind, namespace_id):
    """Return a valid value of an argument, by its name or its type."""
    if name in VALID:
        return VALID[name]
    if kind is UUID:
        return namespace_id
    plain = {int: 1, str: "a", bool: False, bytes: b"token", DataBlob: DataBlob(b"x"), datetime: datetime.now(UTC)}
    return plain.get(kind, {timedelta: timedelta(seconds=1), ServiceRole: ServiceRole.HISTORY}.get(kind))


def cases(cell):
    """Yield each operation's name, its method, and its parameters with their types."""
    for name in STORE_OPERATIONS:
        store, _, method = name.partition(".")
        call = getattr(getattr(cell, store), method)
        signature = inspect.signature(call)
        kinds = {}
        for parameter in signature.parameters.values():
            text = str(parameter.annotation)
            named = {"UUID": UUID, "int": int, "str": str, "bool": bool, "DataBlob": DataBlob}
            kinds[parameter.name] = named.get(text.removesuffix(" | None"), typing.Any)
        yield name, call, signature, kinds


async def refused(call, arguments):
    """Make a call; a refusal must be an error of this package that does not quote the value, nor in its causes."""
    try:
        await call(**arguments)
    except StrongroomError as error:
        seen = error
        while seen is not None:
            assert MARK not in "".join(traceback.format_exception_only(seen)), seen
            assert MARK not in repr(getattr(seen, "object", "")), seen
            seen = seen.__cause__ or seen.__context__


async def test_text_and_numbers_that_no_store_can_keep(strongroom, namespace):
    """Each is refused with an error of this package, or accepted; none reaches the database's driver."""
    namespace_id = namespace.namespace_id
    faults = []
    tried = 0
    for name, call, signature, kinds in cases(strongroom):
        if name.startswith(("metadata.delete", "namespaces.delete")):
            continue
        valid = {
            parameter.name: sample(parameter.name, kinds[parameter.name], namespace_id)
            for parameter in signature.parameters.values()
            if parameter.default is inspect.Parameter.empty
        }
        for argument, kind in kinds.items():
            for bad in {str: TEXTS, int: NUMBERS}.get(kind, ()):
                tried += 1
                try:
                    await refused(call, {**valid, argument: bad})
                except Exception as error:  # noqa: BLE001 - what is wrong is collected
                    faults.append(f"{name}({argument}={bad!a}): {type(error).__name__}: {error!a}"[:200])
    assert tried > 300
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "time",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
    ],
)
async def test_a_time_outside_of_the_years_of_utc_is_refused(strongroom, time):
    """Such a time has no value in UTC, and Python's own error is no error of a store."""
    with pytest.raises(InvalidPersistenceRequest, match="session_start"):
        await strongroom.cluster_metadata.upsert_cluster_membership(
            host_id=uuid4(),
            role=ServiceRole.HISTORY,
            rpc_address="10.0.0.1",
            rpc_port=7234,
            session_start=time,
            record_expiry=timedelta(minutes=1),
        )


async def test_a_dead_letter_that_could_not_be_deleted_is_refused(strongroom, namespace):
    """The upper bound of a range is exclusive, so the largest number of 64 bits is no task id; the one before it is deleted."""
    store = strongroom.history_tasks

    def letter(task_id):
        return HistoryTask(TaskKey(0, task_id), DataBlob(b"x"))

    with pytest.raises(InvalidPersistenceRequest, match="task_id"):
        await store.put_replication_task_to_dlq(
            namespace.namespace_id, letter(2**63 - 1), shard_id=1, source_cluster_name="east"
        )
    await store.put_replication_task_to_dlq(
        namespace.namespace_id, letter(2**63 - 2), shard_id=1, source_cluster_name="east"
    )
    await store.range_delete_replication_tasks_from_dlq("east", shard_id=1, min_task_id=0, max_task_id=2**63 - 1)
    assert await store.is_replication_dlq_empty("east", shard_id=1, min_task_id=0)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1, True, 2**64, "1"])
async def test_a_rate_is_a_number(strongroom, namespace, rate):
    """The rate of resealing is refused with an error of this package."""
    with pytest.raises(InvalidPersistenceRequest, match="rate"):
        await strongroom.reseal(wait=0).run(namespace.namespace_id, rate=rate)


async def test_half_of_a_surrogate_pair_in_a_record_is_refused(strongroom, namespace):
    """Each text of a visibility record is checked, and the error has no part of it."""
    types = {"Customer": AttributeType.KEYWORD}
    good = record(1)
    bad = f"{MARK}\ud800"
    fields = [{name: bad} for name in ("workflow_id", "run_id", "workflow_type", "task_queue")]
    for change in [*fields, {"search_attributes": {"Customer": bad}}]:
        rows = [(1, 1, good._replace(**change))]
        with pytest.raises(InvalidRecord) as found:
            await strongroom.visibility.record_workflow_executions(namespace.namespace_id, rows, types)
        assert MARK not in f"{found.value} {found.value.__context__!r}"
