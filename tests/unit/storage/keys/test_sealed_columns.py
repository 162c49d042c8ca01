from __future__ import annotations

import re
from uuid import UUID

import pytest

from strongroom.kms.sealing.record_kinds import PAGE_TOKEN, RECORD_KINDS, TEMPORAL_PAYLOAD
from strongroom.storage import sealed_columns
from tests.support.tree import ROOT

COLUMNS = sealed_columns()
SCHEMA_PAGE = ROOT / "docs" / "reference" / "schema.md"
NAMES = [str(column) for column in COLUMNS]


def test_every_sealed_column_has_an_entry():
    """The reference page, which a test compares with the live catalogue, classes exactly these columns as sealed."""
    sealed = re.findall(r"^\| (\w+) \| (\w+) \| sealed \|", SCHEMA_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    # Damaged rows are copies as they were found. They do not open, so they are not resealed.
    assert sorted([*NAMES, "damaged_rows.data"]) == sorted(f"{table}.{column}" for table, column in sealed)
    assert len(set(NAMES)) == len(NAMES)


def test_every_record_kind_is_that_of_one_column():
    """Each record kind belongs to exactly one column, except those of values that no table holds."""
    used = [column.kind for column in COLUMNS]
    assert len(used) == len(set(used))
    assert set(used) == set(RECORD_KINDS) - {PAGE_TOKEN, TEMPORAL_PAYLOAD}


@pytest.mark.parametrize("column", COLUMNS, ids=NAMES)
def test_a_row_gives_all_parts_of_its_key(column):
    """A value's key has as many parts as its record kind, and the table's own key columns are among them."""
    assert len(column.parts) == len(column.kind.key)
    assert column.kind.column == column.name
    if column.table.partition_column is not None:
        assert set(column.table.key_names) - {"namespace_id"} <= set(column.parts)


def test_parts_are_written_as_the_stores_write_them():
    """Flags are numbers, ids have 16 bytes, and an item of 8 bytes is padded with zeros in front."""
    by_name = dict(zip(NAMES, COLUMNS, strict=True))
    run = UUID(int=7)
    row = {"shard_id": 1, "workflow_id": b"w" * 16, "run_id": run, "map": 2, "item": b"8 bytes!"}
    assert by_name["execution_maps.data"].keys_of([row]) == [(1, b"w" * 16, run.bytes, 2, bytes(8) + b"8 bytes!")]
    flag = {"range_hash": 1, "task_queue_id": b"q" * 16, "task_type": 1, "fair": True, "range_id": 3}
    assert by_name["task_queues.data"].keys_of([flag]) == [(1, b"q" * 16, 1, 1, 3)]
    assert by_name["cluster_metadata.data"].keys_of([{"cluster_name": "west", "version": 2}]) == [("west", 2)]
