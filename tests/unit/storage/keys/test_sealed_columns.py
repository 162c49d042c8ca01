from __future__ import annotations

import re
from uuid import UUID

import pytest

from strongroom.kms.sealing.record_kinds import PAGE_TOKEN, RECORD_KINDS, TEMPORAL_PAYLOAD
from strongroom.storage import sealed_columns
from strongroom.storage.namespaces.purge import PURGED_TABLES
from strongroom.storage.schema.citus import DISTRIBUTED_TABLES
from strongroom.visibility import VISIBILITY_RECORD
from tests.support.tree import ROOT

COLUMNS = sealed_columns(VISIBILITY_RECORD)
DESIGN = ROOT / "storage" / "DESIGN.md"
NAMES = [f"{column.table}.{column.column}" for column in COLUMNS]


def test_every_sealed_column_has_an_entry():
    """DESIGN.md, which a test holds against the live catalogue, calls just these sealed: a new one without an entry fails here."""
    sealed = re.findall(r"^\| (\w+) \| (\w+) \| sealed \|", DESIGN.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(NAMES) == sorted(f"{table}.{column}" for table, column in sealed)
    assert len(set(NAMES)) == len(NAMES)


def test_every_record_kind_is_that_of_one_column():
    """Each record kind belongs to one column, except those of values that no table holds."""
    used = [column.kind for column in COLUMNS]
    assert len(used) == len(set(used))
    assert set(used) == set(RECORD_KINDS) - {PAGE_TOKEN, TEMPORAL_PAYLOAD}


@pytest.mark.parametrize("column", COLUMNS, ids=NAMES)
def test_a_row_gives_all_parts_of_its_key(column):
    """As many as the kind has, each of a column that is fetched."""
    assert len(column.parts) == len(column.kind.key)
    assert column.kind.column == column.column
    assert column.lead == (PURGED_TABLES.get(column.table) if "namespace_id" in column.key_names[1:] else None)
    assert column.namespaced == (column.table in PURGED_TABLES or column.table == "namespaces")
    if column.table in DISTRIBUTED_TABLES:
        assert column.key_names[0] == DISTRIBUTED_TABLES[column.table]


def test_parts_are_written_as_the_stores_write_them():
    """Flags as numbers, ids as 16 bytes, an item of 8 bytes with zeros before it."""
    by_name = dict(zip(NAMES, COLUMNS, strict=True))
    run = UUID(int=7)
    row = {"shard_id": 1, "workflow_id": b"w" * 16, "run_id": run, "map": 2, "item": b"8 bytes!"}
    assert by_name["execution_maps.data"].keys_of([row]) == [(1, b"w" * 16, run.bytes, 2, bytes(8) + b"8 bytes!")]
    flag = {"range_hash": 1, "task_queue_id": b"q" * 16, "task_type": 1, "fair": True, "range_id": 3}
    assert by_name["task_queues.data"].keys_of([flag]) == [(1, b"q" * 16, 1, 1, 3)]
    assert by_name["cluster_metadata.data"].keys_of([{"cluster_name": "west", "version": 2}]) == [("west", 2)]
