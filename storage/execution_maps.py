"""The maps of a run as entries, one row each: from a mutation or snapshot to rows, and from rows back."""

from __future__ import annotations

import itertools
import struct
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from .data_blob import DataBlob
from .errors import DataLoss
from .execution_packing import pack_chasm_node, pack_named, unpack_chasm_node, unpack_named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys

    from .execution_requests import ChasmNode, WorkflowMutation, WorkflowSnapshot

Entry: TypeAlias = tuple["ExecutionMap", bytes | None, bytes | None]
"""Map, key (None: the whole map) and plaintext (None: delete)."""


class ExecutionMap(IntEnum):
    """The maps of a run, by their number in the rows."""

    ACTIVITY = 1
    TIMER = 2
    CHILD_EXECUTION = 3
    REQUEST_CANCEL = 4
    SIGNAL = 5
    SIGNAL_REQUESTED = 6
    CHASM_NODE = 7
    BUFFERED_EVENTS = 8


BY_EVENT_ID = {
    ExecutionMap.ACTIVITY: "activity_infos",
    ExecutionMap.CHILD_EXECUTION: "child_execution_infos",
    ExecutionMap.REQUEST_CANCEL: "request_cancel_infos",
    ExecutionMap.SIGNAL: "signal_infos",
}
"""Maps whose keys are event ids: by their field in a snapshot."""

_PURPOSES = {
    ExecutionMap.TIMER: "timer id",
    ExecutionMap.SIGNAL_REQUESTED: "signal requested id",
    ExecutionMap.CHASM_NODE: "chasm path",
}
_EVENT_ID = struct.Struct(">q")
_ORDER = struct.Struct(">qq")
_ordinals = itertools.count(time.time_ns())


def mutation_entries(keys: NamespaceKeys, run: WorkflowMutation) -> Iterator[Entry]:
    """Return the entries that a mutation writes and deletes."""
    if run.clear_buffered_events:
        yield ExecutionMap.BUFFERED_EVENTS, None, None
    for kind, name in BY_EVENT_ID.items():
        for event_id, blob in getattr(run, "upsert_" + name).items():
            yield kind, _EVENT_ID.pack(event_id), blob.pack()
        for event_id in getattr(run, "delete_" + name):
            yield kind, _EVENT_ID.pack(event_id), None
    yield from _named(keys, run.run_id, run.upsert_timer_infos, run.upsert_signal_requested_ids, run.upsert_chasm_nodes)
    for kind, names in (
        (ExecutionMap.TIMER, run.delete_timer_infos),
        (ExecutionMap.SIGNAL_REQUESTED, run.delete_signal_requested_ids),
        (ExecutionMap.CHASM_NODE, run.delete_chasm_nodes),
    ):
        for name in names:
            yield kind, _token(keys, kind, run.run_id, name.encode()), None
    if run.new_buffered_events is not None:
        # Read in the order of their keys: by the version that wrote them, and where that is always 0, by time.
        item = _ORDER.pack(run.db_record_version, next(_ordinals))
        yield ExecutionMap.BUFFERED_EVENTS, item, run.new_buffered_events.pack()


def snapshot_entries(keys: NamespaceKeys, run: WorkflowSnapshot) -> Iterator[Entry]:
    """Return the entries of a snapshot."""
    for kind, name in BY_EVENT_ID.items():
        for event_id, blob in getattr(run, name).items():
            yield kind, _EVENT_ID.pack(event_id), blob.pack()
    yield from _named(keys, run.run_id, run.timer_infos, run.signal_requested_ids, run.chasm_nodes)


def read_entries(maps: Sequence[int], items: Sequence[bytes], opened: Sequence[bytes]) -> dict[str, Any]:
    """Return the fields of a `WorkflowMutableState` that hold maps, from rows in any order.

    Raises:
        DataLoss: a map that this version does not know.
    """
    fields: dict[str, Any] = {name: {} for name in BY_EVENT_ID.values()}
    timers: dict[str, DataBlob] = {}
    signals: set[str] = set()
    nodes: dict[str, ChasmNode] = {}
    buffered: list[tuple[bytes, DataBlob]] = []
    for kind, item, packed in zip(maps, items, opened, strict=True):
        name = _FIELDS.get(kind)
        if name is not None:
            fields[name][_EVENT_ID.unpack(item)[0]] = DataBlob.unpack(packed)
        elif kind == ExecutionMap.TIMER:
            timer_id, rest = unpack_named(packed)
            timers[timer_id] = DataBlob.unpack(rest)
        elif kind == ExecutionMap.SIGNAL_REQUESTED:
            signals.add(unpack_named(packed)[0])
        elif kind == ExecutionMap.CHASM_NODE:
            path, rest = unpack_named(packed)
            nodes[path] = unpack_chasm_node(rest)
        elif kind == ExecutionMap.BUFFERED_EVENTS:
            buffered.append((item, DataBlob.unpack(packed)))
        else:
            msg = f"a run has a map {kind}, which this version does not know"
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
    """Return the entries that a tenant named: their names are tokens in the key, and sealed with the value."""
    for timer_id, blob in timers.items():
        name = timer_id.encode()
        yield ExecutionMap.TIMER, _token(keys, ExecutionMap.TIMER, run_id, name), pack_named(name, blob.pack())
    for signal_id in signals:
        name = signal_id.encode()
        yield (
            ExecutionMap.SIGNAL_REQUESTED,
            _token(keys, ExecutionMap.SIGNAL_REQUESTED, run_id, name),
            pack_named(name, b""),
        )
    for path, node in nodes.items():
        name = path.encode()
        packed = pack_named(name, pack_chasm_node(node))
        yield ExecutionMap.CHASM_NODE, _token(keys, ExecutionMap.CHASM_NODE, run_id, name), packed


def _token(keys: NamespaceKeys, kind: ExecutionMap, run_id: UUID, name: bytes) -> bytes:
    """Return the key of an entry that a tenant named; in another run the same name gives another key."""
    return keys.identity(_PURPOSES[kind]).token(run_id.bytes + name)[:16]


_FIELDS: dict[int, str] = {int(kind): name for kind, name in BY_EVENT_ID.items()}
