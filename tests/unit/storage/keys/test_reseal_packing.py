"""Resealing keeps how a value is packed, so it shows no more of a record than the writer of the record wanted."""

from __future__ import annotations

from uuid import UUID

import pytest

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.storage.keys.reseal_rows import renew
from strongroom.storage.keys.sealed_columns import sealed_columns
from strongroom.visibility import VisibilityRecord, new_layout
from strongroom.visibility.index.document import open_documents, seal_documents

(COLUMN,) = (column for column in sealed_columns() if column.table.name == "visibility_records")


def keys(layout, active):
    """Return keys with two data keys, of which one is active."""
    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={n: DataKey(Secret(bytes([n] * 32)), version=n, suite=Suite.XAES_256_GCM) for n in (1, 2)},
        index={1: Secret(bytes(32))},
        identity={1: Secret(bytes(32))},
        active={KeyClass.DATA: active, KeyClass.INDEX: 1, KeyClass.IDENTITY: 1},
        layouts={1: str(layout)},
    )


def rows_of(sealed):
    return [
        {
            "id": row.id,
            "shard_id": 1,
            "version": 1,
            "k": 1,
            "b1": row.close_bucket,
            "b2": row.start_bucket,
            "s": row.sealed,
        }
        | {"sealed": row.sealed, "namespace_id": UUID(int=2)}
        for row in sealed
    ]


@pytest.mark.parametrize("preset", ["compatible", "strict"])
def test_a_resealed_record_is_packed_as_before(preset):
    """The length and the flags of every value stay the same, also of short and long records that are resealed together."""
    layout = new_layout(preset)
    records = [
        VisibilityRecord("w", str(n), "t", "Running", "q", 1, 1, memo=b"memo " * 40 * n, root_workflow_id="w")
        for n in range(12)
    ]
    rows = rows_of(seal_documents(keys(layout, 1), [(1, 1, each) for each in records], {}))
    renewed, unreadable = renew(keys(layout, 2), COLUMN, [*rows, {**rows[0], "sealed": b"\x07"}])
    assert len(unreadable) == 1
    assert len(renewed) == len(rows)
    for row, new in renewed:
        assert (len(new), new[3]) == (len(row["s"]), row["s"][3])
        assert new != row["s"]
    by_id = {row["id"]: new for row, new in renewed}
    assert open_documents(keys(layout, 2), [row | {"s": by_id[row["id"]]} for row in rows]) == records
    assert {row["s"][3] for row in rows} == ({0} if preset == "strict" else {9})
