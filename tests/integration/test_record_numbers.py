"""Numbers and times of visibility records at the borders of 31 to 64 bits: read back unchanged and found, in both search indexes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.visibility import InvalidRecord, VisibilityRecord
from tests.support.sealed_namespace import sealed

pytestmark = pytest.mark.integration

INT64 = 2**63 - 1
NUMBERS = sorted(
    {sign * (2**bits + offset) for bits in (31, 32, 53) for sign in (1, -1) for offset in (-1, 0, 1)}
    | {0, 1, -1, INT64, INT64 - 1, -INT64, -INT64 - 1}
)
FIELDS = {
    "ExecutionDuration": "execution_duration",
    "HistoryLength": "history_length",
    "HistorySizeBytes": "history_size_bytes",
    "StateTransitionCount": "state_transition_count",
}
TIMES = {"StartTime": "start_time", "ExecutionTime": "execution_time", "CloseTime": "close_time"}
CUSTOM = {"Amount": "Int", "Due": "Datetime"}


def record_of(number):
    """Return a record in which every number and time is the same."""
    return VisibilityRecord(
        workflow_id=f"order {number}",
        run_id=f"run {number}",
        workflow_type="ship",
        execution_status="Completed",
        task_queue="orders",
        **dict.fromkeys((*FIELDS.values(), *TIMES.values()), number),
        search_attributes=dict.fromkeys(CUSTOM, number),
    )


def spelled(name, number):
    """Return the literal of a filter: RFC 3339 with nanoseconds for a time, digits for a number."""
    if name not in TIMES and CUSTOM.get(name) != "Datetime":
        return str(number)
    seconds, nanoseconds = divmod(number, 10**9)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"'{at:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z'"


@pytest.mark.parametrize("kind", ["PostgreSQL", "Elasticsearch"])
async def test_numbers_come_back_and_are_found(config_path, elasticsearch, kind):
    """Lists return each record as it was written. `=` finds one record, and `>=` those that are not smaller."""
    async with sealed(config_path, elasticsearch, kind, attributes=CUSTOM) as ours:
        visibility, where = ours.strongroom.visibility, ours.namespace_id
        for number in NUMBERS:
            record = record_of(number)
            shard_id = await ours.strongroom.shards.shard_of(where, record.workflow_id)
            await visibility.record_workflow_executions(where, [(shard_id, abs(number) % INT64, record)], ours.types)
        await ours.write([])
        page = await visibility.list_workflow_executions(where, "", ours.types, page_size=1000)
        listed = {record.workflow_id: record for record in page.executions}
        assert listed == {f"order {number}": record_of(number) for number in NUMBERS}
        for name in (*FIELDS, *TIMES, *CUSTOM):
            counts = await asyncio.gather(
                *(ours.count(f"{name} {sign} {spelled(name, number)}") for number in NUMBERS for sign in ("=", ">="))
            )
            expected = [count for place in range(len(NUMBERS)) for count in (1, len(NUMBERS) - place)]
            assert [count for count, _ in counts] == expected, name
        for beyond in (INT64 + 1, -INT64 - 2, 2**64, -(2**64)):
            for field in (*FIELDS.values(), *TIMES.values()):
                record = record_of(7)._replace(**{field: beyond})
                with pytest.raises(InvalidRecord):
                    await visibility.record_workflow_executions(where, [(1, 1, record)], ours.types)
            for name in CUSTOM:
                record = record_of(7)._replace(search_attributes={name: beyond})
                with pytest.raises(InvalidRecord):
                    await visibility.record_workflow_executions(where, [(1, 1, record)], ours.types)
