"""Pack a visibility record into the bytes that are sealed, and unpack it (kms/FORMAT.md section 9).

A packed record leaves out values that follow from other values, and stores UUIDs as 16 bytes. UUIDs do not compress as text.

A record has three parts, whose contents different people choose: ids and other values of the service, search attributes, and the memo.
Each part is compressed alone, so the length of the record does not show whether a value that an attacker chose occurs in another part.
In the preset `strict` nothing is compressed, and the record is filled up to one of few lengths.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from strongroom.kms.sealing import ciphers
from strongroom.storage import DataLoss

from .ranges import INT64_MAX, INT64_MIN
from .record import VisibilityRecord, system_values

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERSION = 2
_FILLED = 3
"""First byte of a filled record: the length of the record follows, then the record and zeros."""
_LENGTH_BYTES = 4
_GROWTH = 4
"""Ratio between two lengths of filled records."""
_RUN_ID, _PARENT_RUN_ID = 1, 2
"""Flags: the id follows as 16 bytes."""
ID_BYTES = 16
"""Length of a packed id, in bytes."""
_DERIVED = True
"""Replaces a value that follows from other values. No system attribute is a Bool."""


def pack_record(record: VisibilityRecord) -> tuple[bytes, bytes, bytes]:
    """Return the parts of the bytes to seal: ids and other values of the service, search attributes, memo."""
    values: list[Any] = list(system_values(record))
    flags, ids = 0, b""
    for slot, flag, text in ((1, _RUN_ID, record.run_id), (13, _PARENT_RUN_ID, record.parent_run_id)):
        if text is not None and (packed_id := pack_id(text)):
            flags, ids, values[slot] = flags | flag, ids + packed_id, _DERIVED
    if record.execution_time == record.start_time:
        values[6] = _DERIVED
    if record.close_time is not None:
        elapsed = record.close_time - record.start_time
        if record.execution_duration == elapsed:
            values[8] = _DERIVED
        if INT64_MIN <= elapsed <= INT64_MAX:
            values[7] = [elapsed]
    if record.root_workflow_id == record.workflow_id:
        values[14] = _DERIVED
    if record.root_run_id == record.run_id:
        values[15] = _DERIVED
    head = bytes((_VERSION, flags)) + ids + orjson.dumps(values)[:-1] + b","
    return head, orjson.dumps(dict(record.search_attributes)) + b"]\x00", record.memo


def pack_filled(record: VisibilityRecord, shortest: int) -> bytes:
    """Return the bytes to seal, filled with zeros up to `shortest`, or four times as many, and so on."""
    packed = b"".join(pack_record(record))
    length = filled_length(len(packed), shortest)
    head = bytes((_FILLED,)) + len(packed).to_bytes(_LENGTH_BYTES, "big")
    return (head + packed).ljust(length, b"\x00")


def filled_length(packed: int, shortest: int) -> int:
    """Return the length of a filled record.

    Args:
        packed: The length of the record in bytes.
        shortest: The shortest length of a filled record.
    """
    length = shortest
    while length < 1 + _LENGTH_BYTES + packed:
        length *= _GROWTH
    return length


def _unfilled(packed: bytes) -> bytes:
    """Return the record in a filled record. Any other text is returned unchanged."""
    if packed[:1] != bytes((_FILLED,)):
        return packed
    start = 1 + _LENGTH_BYTES
    return packed[start : start + int.from_bytes(packed[1:start], "big")]


def unpack_records(packed: Sequence[bytes]) -> list[VisibilityRecord]:
    """Return the records of packed bytes.

    The kernel unpacks them if it is the cipher implementation in use. It leaves unusual records to `unpack_record`.

    Raises:
        DataLoss: A record is not in the format of this version.
    """
    packed = list(map(_unfilled, packed))
    unpack_in_kernel: Any = ciphers.chosen_function("unpack_records", None)
    if unpack_in_kernel is None:
        return [unpack_record(each) for each in packed]
    return [
        unpack_record(each) if values is None else tuple.__new__(VisibilityRecord, values)
        for each, values in zip(packed, unpack_in_kernel(packed), strict=True)
    ]


def unpack_record(packed: bytes) -> VisibilityRecord:
    """Return the record of packed bytes.

    Raises:
        DataLoss: The record is not in the format of this version.
    """
    try:
        values, memo = _unpack_values(packed)
        attributes = values.pop()
        for name, value in attributes.items():
            if isinstance(value, list):
                attributes[name] = tuple(value)
        return VisibilityRecord._make((*values, MappingProxyType(attributes), memo))
    except (ValueError, TypeError, AttributeError, LookupError):
        pass
    msg = "unknown format of a visibility record; a newer version of strongroom may have written it"
    raise DataLoss(msg)


def _unpack_values(packed: bytes) -> tuple[list[Any], bytes]:
    if packed[0] != _VERSION:
        raise ValueError
    flags, start = packed[1], 2
    run_id = parent_run_id = None
    if flags & _RUN_ID:
        run_id, start = id_text(packed[start : start + ID_BYTES]), start + ID_BYTES
    if flags & _PARENT_RUN_ID:
        parent_run_id, start = id_text(packed[start : start + ID_BYTES]), start + ID_BYTES
    end = packed.index(0, start)  # JSON has no zero byte
    values: list[Any] = orjson.loads(packed[start:end])
    if run_id is not None:
        values[1] = run_id
    if parent_run_id is not None:
        values[13] = parent_run_id
    _fill_derived(values)
    return values, packed[end + 1 :]


def _fill_derived(values: list[Any]) -> None:
    """Replace the markers of derived values by the values."""
    if values[6] is _DERIVED:
        values[6] = values[5]
    if isinstance(values[7], list):
        values[7] = values[5] + values[7][0]
    if values[8] is _DERIVED:
        values[8] = values[7] - values[5]
    if values[14] is _DERIVED:
        values[14] = values[0]
    if values[15] is _DERIVED:
        values[15] = values[1]


def pack_id(text: str) -> bytes:
    """Return the bytes of a UUID in its usual spelling, or nothing for any other text."""
    try:
        packed = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return b""
    return packed if len(packed) == ID_BYTES and id_text(packed) == text else b""


def id_text(packed: bytes) -> str:
    """Return a UUID of 16 bytes in its usual spelling."""
    text = packed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
