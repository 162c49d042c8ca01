"""A visibility record as the bytes that are sealed, and back (kms/FORMAT.md section 8).

What the rest of the record tells is left out, and ids that are UUIDs are 16 bytes: most of a record does not compress.
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

_FIRST_FORM = b"[1,"
_FORM = 2
_RUN_ID, _PARENT_RUN_ID = 1, 2
"""Flags: the id is the next 16 bytes."""
_ID_BYTES = 16
_TOLD = True
"""Stands for what other values tell; no attribute of a record is a Bool itself."""


def pack_record(record: VisibilityRecord) -> bytes:
    """Return the bytes to seal."""
    values: list[Any] = list(system_values(record))
    (
        _,
        run_id,
        _,
        _,
        _,
        start,
        execution,
        close,
        duration,
        _,
        _,
        _,
        _,
        parent_run_id,
        root_workflow_id,
        root_run_id,
    ) = values
    flags, ids = 0, b""
    for place, flag, text in ((1, _RUN_ID, run_id), (13, _PARENT_RUN_ID, parent_run_id)):
        if text is not None and (packed := _packed_id(text)):
            flags, ids, values[place] = flags | flag, ids + packed, _TOLD
    if execution == start:
        values[6] = _TOLD
    if close is not None:
        if duration == close - start:
            values[8] = _TOLD
        if INT64_MIN <= close - start <= INT64_MAX:
            values[7] = [close - start]
    if root_workflow_id == record.workflow_id:
        values[14] = _TOLD
    if root_run_id == run_id:
        values[15] = _TOLD
    values.append(dict(record.search_attributes))
    return bytes((_FORM, flags)) + ids + orjson.dumps(values) + b"\x00" + record.memo


def unpack_records(packed: Sequence[bytes]) -> list[VisibilityRecord]:
    """Undo `pack_record` for many: by the kernel if it is what opens here, and has this; but for those that it leaves to Python.

    Raises:
        DataLoss: a form that this version does not know.
    """
    read: Any = ciphers.fastest("unpack_records", None)
    if read is None:
        return [unpack_record(each) for each in packed]
    return [
        unpack_record(each) if values is None else tuple.__new__(VisibilityRecord, values)
        for each, values in zip(packed, read(packed), strict=True)
    ]


def unpack_record(packed: bytes) -> VisibilityRecord:
    """Undo `pack_record`.

    Raises:
        DataLoss: a form that this version does not know.
    """
    try:
        values, memo = _second_form(packed) if packed[0] == _FORM else _first_form(packed)
        attributes = values.pop()
        for name, value in attributes.items():
            if isinstance(value, list):
                attributes[name] = tuple(value)
        return VisibilityRecord._make((*values, MappingProxyType(attributes), memo))
    except (ValueError, TypeError, AttributeError, IndexError):
        pass
    msg = "a visibility record is not of a form that this version knows"
    raise DataLoss(msg)


def _first_form(packed: bytes) -> tuple[list[Any], bytes]:
    if not packed.startswith(_FIRST_FORM):
        raise ValueError
    _, *values, memo = orjson.loads(packed)
    return values, bytes.fromhex(memo)


def _second_form(packed: bytes) -> tuple[list[Any], bytes]:
    flags, start = packed[1], 2
    run_id = parent_run_id = None
    if flags & _RUN_ID:
        run_id, start = _id_text(packed[start : start + _ID_BYTES]), start + _ID_BYTES
    if flags & _PARENT_RUN_ID:
        parent_run_id, start = _id_text(packed[start : start + _ID_BYTES]), start + _ID_BYTES
    end = packed.index(0, start)  # JSON has no zero byte
    values: list[Any] = orjson.loads(packed[start:end])
    if run_id is not None:
        values[1] = run_id
    if parent_run_id is not None:
        values[13] = parent_run_id
    if values[6] is _TOLD:
        values[6] = values[5]
    if isinstance(values[7], list):
        values[7] = values[5] + values[7][0]
    if values[8] is _TOLD:
        values[8] = values[7] - values[5]
    if values[14] is _TOLD:
        values[14] = values[0]
    if values[15] is _TOLD:
        values[15] = values[1]
    return values, packed[end + 1 :]


def _packed_id(text: str) -> bytes:
    """Return the bytes of a UUID in its usual spelling; nothing for another text."""
    try:
        packed = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return b""
    return packed if len(packed) == _ID_BYTES and _id_text(packed) == text else b""


def _id_text(packed: bytes) -> str:
    text = packed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
