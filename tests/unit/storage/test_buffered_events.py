"""The keys of buffered events sort in the order of the writes, whatever the clocks of the shard's owners say."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID

from strongroom.storage import DataBlob
from strongroom.storage.executions.maps import mutation_entries


def item(version, range_id, clock):
    """Return the key of a batch that an owner with this clock writes."""
    blank = ("upsert_timer_infos", "upsert_signal_requested_ids", "upsert_chasm_nodes")
    names = ("activity", "child_execution", "request_cancel", "signal")
    run = SimpleNamespace(
        run_id=UUID(int=1),
        db_record_version=version,
        clear_buffered_events=False,
        new_buffered_events=DataBlob(b"events"),
        **{key: {} for key in blank},
        **dict.fromkeys(("delete_timer_infos", "delete_signal_requested_ids", "delete_chasm_nodes"), ()),
        **{f"upsert_{name}_infos": {} for name in names},
        **{f"delete_{name}_infos": () for name in names},
    )
    with patch("strongroom.storage.executions.maps.time.monotonic_ns", lambda: clock):
        ((_, found, _),) = mutation_entries(None, run, range_id=range_id)
    assert len(found) == 16
    return found


def test_the_order_of_the_owners_comes_before_their_clocks():
    """A later owner has a higher range id and any clock; versions above 0 follow, in their own order."""
    largest = 2**63 - 1
    written = [
        item(0, 1, 10**18),
        item(0, 1, 10**18 + 1),
        item(0, 2, 5),
        item(0, largest, 4),
        item(1, 1, 3),
        item(2, 1, 2),
        item(largest, 1, 1),
    ]
    assert written == sorted(written)
