"""The maps of a run. Each entry is a row: from a mutation or snapshot to rows, and from rows back."""

from __future__ import annotations

import struct
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import DataLoss

from .packing import pack_chasm_node, pack_named, unpack_chasm_node, unpack_named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys

    from .requests import ChasmNode, WorkflowMutation, WorkflowSnapshot

Entry: TypeAlias = tuple[int, bytes | None, bytes | None]
"""The map's number, the entry's key (None: the whole map) and the plaintext (None: delete the entry)."""


ACTIVITY, TIMER, CHILD_EXECUTION, REQUEST_CANCEL, SIGNAL, SIGNAL_REQUESTED, CHASM_NODE, BUFFERED_EVENTS = range(1, 9)
"""The numbers of the maps in the rows."""

BY_EVENT_ID = {
    ACTIVITY: "activity_infos",
    CHILD_EXECUTION: "child_execution_infos",
    REQUEST_CANCEL: "request_cancel_infos",
    SIGNAL: "signal_infos",
}
"""Maps whose keys are event ids, with their field in a snapshot."""
event_id_maps = attrgetter(*BY_EVENT_ID.values())
upserts_by_event_id = attrgetter(*(f"upsert_{name}" for name in BY_EVENT_ID.values()))
deletes_by_event_id = attrgetter(*(f"delete_{name}" for name in BY_EVENT_ID.values()))

_PURPOSES = {TIMER: "timer id", SIGNAL_REQUESTED: "signal requested id", CHASM_NODE: "chasm path"}
_EVENT_ID = struct.Struct(">q")
_PADDED_EVENT_ID = struct.Struct(">8xq")
_ORDER = struct.Struct(">QQ")
_VERSIONED = 1 << 63


def mutation_entries(keys: NamespaceKeys, run: WorkflowMutation, *, range_id: int) -> Iterator[Entry]:
    """Return the entries that a mutation writes and deletes. A deletion follows the entry that it deletes.

    Args:
        keys: The namespace's keys.
        run: The mutation.
        range_id: The range id of the shard, which orders its owners.
    """
    if run.clear_buffered_events:
        yield BUFFERED_EVENTS, None, None
    for kind, infos, deleted in zip(BY_EVENT_ID, upserts_by_event_id(run), deletes_by_event_id(run), strict=True):
        for event_id, blob in infos.items():
            yield kind, _EVENT_ID.pack(event_id), blob.pack()
        for event_id in deleted:
            yield kind, _EVENT_ID.pack(event_id), None
    yield from _named(keys, run.run_id, run.upsert_timer_infos, run.upsert_signal_requested_ids, run.upsert_chasm_nodes)
    for kind, names in (
        (TIMER, run.delete_timer_infos),
        (SIGNAL_REQUESTED, run.delete_signal_requested_ids),
        (CHASM_NODE, run.delete_chasm_nodes),
    ):
        for name in names:
            yield kind, _token(keys, kind, run.run_id, name.encode()), None
    if run.new_buffered_events is not None:
        # Batches are read in the order of their keys. If all versions are 0, the order is that of the shard's owners, and of the
        # writes of each: every owner is one process, so its monotonic clock is compared with itself only.
        version = run.db_record_version
        item = _ORDER.pack(version | _VERSIONED if version else range_id, time.monotonic_ns())
        yield BUFFERED_EVENTS, item, run.new_buffered_events.pack()


def snapshot_entries(keys: NamespaceKeys, run: WorkflowSnapshot) -> Iterator[Entry]:
    """Return the entries of a snapshot."""
    for kind, infos in zip(BY_EVENT_ID, event_id_maps(run), strict=True):
        for event_id, blob in infos.items():
            yield kind, _EVENT_ID.pack(event_id), blob.pack()
    yield from _named(keys, run.run_id, run.timer_infos, run.signal_requested_ids, run.chasm_nodes)


def read_entries(maps: Sequence[int], items: Sequence[bytes], opened: Sequence[bytes]) -> dict[str, Any]:
    """Return the fields of a `WorkflowMutableState` that are maps.

    Args:
        maps: The map's number of each row, in any order.
        items: The key of each row in 16 bytes, as the row is sealed. The stored item may have fewer zero bytes before it.
        opened: The plaintext of each row.

    Raises:
        DataLoss: A map's number is unknown to this version.
    """
    fields: dict[str, Any] = {name: {} for name in BY_EVENT_ID.values()}
    timers: dict[str, DataBlob] = {}
    signals: set[str] = set()
    nodes: dict[str, ChasmNode] = {}
    buffered: list[tuple[bytes, DataBlob]] = []
    for kind, item, packed in zip(maps, items, opened, strict=True):
        name = BY_EVENT_ID.get(kind)
        if name is not None:
            fields[name][_PADDED_EVENT_ID.unpack(item)[0]] = DataBlob.unpack(packed)
        elif kind == TIMER:
            timer_id, rest = unpack_named(packed)
            timers[timer_id] = DataBlob.unpack(rest)
        elif kind == SIGNAL_REQUESTED:
            signals.add(unpack_named(packed)[0])
        elif kind == CHASM_NODE:
            path, rest = unpack_named(packed)
            nodes[path] = unpack_chasm_node(rest)
        elif kind == BUFFERED_EVENTS:
            buffered.append((item, DataBlob.unpack(packed)))
        else:
            msg = f"a run has a map {kind}, which is unknown to this version"
            raise DataLoss(msg)
    fields["timer_infos"] = timers
    fields["signal_requested_ids"] = frozenset(signals)
    fields["chasm_nodes"] = nodes
    fields["buffered_events"] = tuple(blob for _, blob in sorted(buffered, key=lambda entry: entry[0]))
    return fields


def _named(
    keys: NamespaceKeys,
    run_id: UUID,
    timers: Mapping[str, DataBlob],
    signals: Collection[str],
    nodes: Mapping[str, ChasmNode],
) -> Iterator[Entry]:
    """Return the entries whose names a tenant chose. The key has a token of the name; the name is sealed with the value."""
    for timer_id, blob in timers.items():
        name = timer_id.encode()
        yield TIMER, _token(keys, TIMER, run_id, name), pack_named(name, blob.pack())
    for signal_id in dict.fromkeys(signals):  # the caller may pass a list with duplicates
        name = signal_id.encode()
        yield (
            SIGNAL_REQUESTED,
            _token(keys, SIGNAL_REQUESTED, run_id, name),
            pack_named(name, b""),
        )
    for path, node in nodes.items():
        name = path.encode()
        packed = pack_named(name, pack_chasm_node(node))
        yield CHASM_NODE, _token(keys, CHASM_NODE, run_id, name), packed


def _token(keys: NamespaceKeys, kind: int, run_id: UUID, name: bytes) -> bytes:
    """Return the key of an entry whose name a tenant chose. The same name has another key in another run."""
    return keys.identity(_PURPOSES[kind]).token(run_id.bytes + name)[:16]
