"""A visibility record as a sealed document, and back: what stands in clear, in tokens, and in the blob."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.kms import KeyClass
from strongroom.kms.sealing.record_kinds import VISIBILITY_RECORD
from strongroom.storage import VisibilityRow
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidRecord
from strongroom.visibility.fields import BUILT_IN, NOT_SEARCHABLE, OF_CLOSED_RUNS, PREDEFINED_FIELDS
from strongroom.visibility.filter.tree import OPEN_STATUSES, STATUS_NAMES
from strongroom.visibility.search.compiler import OPEN_RUN

from .document_tokens import tokens_of
from .ranges import INT64_MAX, INT64_MIN, NANOSECONDS
from .record_packing import pack_record, unpack_records
from .tokens import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import Key, NamespaceKeys
    from strongroom.storage import Row
    from strongroom.visibility.filter.tree import SearchAttributes

    from .document_tokens import DocumentTokens
    from .record import AttributeValue, VisibilityRecord

_PYTHON_TYPES: Mapping[AttributeType, tuple[type, ...]] = {
    AttributeType.KEYWORD: (str,),
    AttributeType.KEYWORD_LIST: (tuple,),
    AttributeType.TEXT: (str,),
    AttributeType.INT: (int,),
    AttributeType.DOUBLE: (float, int),
    AttributeType.BOOL: (bool,),
    AttributeType.DATETIME: (int,),
}


def document_id(keys: NamespaceKeys, workflow_id: str, run_id: str) -> bytes:
    """Return the id of a run's document: 16 bytes, a keyed token of both ids."""
    workflow, run = workflow_id.encode(), run_id.encode()
    message = struct.pack(">I", len(workflow)) + workflow + run
    return keys.identity("visibility document").token(message)[:16]


def seal_documents(
    keys: NamespaceKeys,
    records: Sequence[tuple[int, int, VisibilityRecord]],
    types: SearchAttributes,
) -> list[VisibilityRow]:
    """Seal records under the active data key, with tokens of the active epoch.

    Args:
        keys: of the namespace.
        records: for each its shard, its version, and the record.
        types: the namespace's custom search attributes; an alias is for filters alone.

    Raises:
        InvalidRecord: an attribute that is not registered, or a value that is not of its type.
    """
    tokenizer = Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))
    attributes = [record.attributes() for _, _, record in records]
    rows, sealing = [], []
    for (shard_id, version, record), values in zip(records, attributes, strict=True):
        _check(record, values, types)
        b1 = OPEN_RUN if record.close_time is None else record.close_time // NANOSECONDS
        b2 = record.start_time // NANOSECONDS
        identifier = document_id(keys, record.workflow_id, record.run_id)
        rows.append((shard_id, identifier, version, tokenizer.epoch, b1, b2))
        sealing.append(((identifier, shard_id, version, tokenizer.epoch, b1, b2), pack_record(record)))
    tokens = tokens_of(tokenizer, attributes, _known(types))
    sealed = keys.seal_many(VISIBILITY_RECORD, sealing)
    return [
        VisibilityRow(*row, bag, blob, columns) for row, blob, (bag, columns) in zip(rows, sealed, tokens, strict=True)
    ]


def document_tokens(
    keys: NamespaceKeys, records: Sequence[tuple[int, VisibilityRecord]], types: SearchAttributes
) -> list[DocumentTokens | None]:
    """Return the tokens that each record has in an epoch; None in an epoch whose key is destroyed."""
    known = _known(types)
    found: list[DocumentTokens | None] = [None] * len(records)
    for epoch in keys.epochs():
        places = [place for place, (own, _) in enumerate(records) if own == epoch]
        made = tokens_of(Tokenizer(keys, epoch=epoch), [records[place][1].attributes() for place in places], known)
        for place, tokens in zip(places, made, strict=True):
            found[place] = tokens
    return found


def _known(types: SearchAttributes) -> dict[str, AttributeType]:
    custom = {name: kind for name, kind in types.items() if isinstance(kind, AttributeType)}
    return {**custom, **{name: field.type for name, field in BUILT_IN.items()}}


def open_documents(keys: NamespaceKeys, rows: Sequence[Row]) -> list[VisibilityRecord]:
    """Open sealed documents. What stands in clear beside a blob is authenticated with it, but for the tokens."""
    sealed: list[tuple[Key, bytes]] = [
        ((row["id"], row["shard_id"], row["version"], row["k"], row["b1"], row["b2"]), row["s"]) for row in rows
    ]
    return unpack_records(keys.open_many(VISIBILITY_RECORD, sealed))


def check_record(record: VisibilityRecord, types: SearchAttributes) -> None:
    """Refuse a record whose search attributes are not those that the namespace has registered.

    Raises:
        InvalidRecord: an unknown status, what closed runs alone have without a close time, an attribute that is not registered, or a
            value that is not of its type.
    """
    _check(record, record.attributes(), types)


def _check(record: VisibilityRecord, attributes: Mapping[str, AttributeValue], types: SearchAttributes) -> None:
    if record.execution_status not in STATUS_NAMES:
        raise InvalidRecord(f"execution_status is none of {', '.join(STATUS_NAMES)}")
    if record.close_time is None and record.execution_status not in OPEN_STATUSES:
        raise InvalidRecord(f"a run that is none of {', '.join(sorted(OPEN_STATUSES))} needs a close_time")
    if record.close_time is None and not OF_CLOSED_RUNS.isdisjoint(attributes):
        raise InvalidRecord(
            "a run without close_time has no execution_duration, history_length, history_size_bytes or state_transition_count"
        )
    for name, value in record.search_attributes.items():
        field = PREDEFINED_FIELDS.get(name)
        attribute_type = types.get(name) if field is None else field.type
        if not isinstance(attribute_type, AttributeType):
            raise InvalidRecord("a search attribute is not registered in this namespace")
        if not fits(attribute_type, value):
            raise InvalidRecord(f"the value of a search attribute is not a {attribute_type.value}")
    if not all([INT64_MIN <= value <= INT64_MAX for value in attributes.values() if isinstance(value, int)]):  # noqa: C419 - faster
        raise InvalidRecord("a number or time of a visibility record is beyond 64 bits")


def fits(attribute_type: AttributeType, value: AttributeValue) -> bool:
    """Whether a value is of an attribute's type."""
    if isinstance(value, bool):
        return attribute_type is AttributeType.BOOL
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return False
    if isinstance(value, float) and value - value != 0:
        return False  # neither infinite nor not-a-number has a place in the index
    return isinstance(value, _PYTHON_TYPES[attribute_type])


def registrable(name: str) -> bool:
    """Whether a namespace may register a custom search attribute of this name."""
    return bool(name) and len(name.encode()) <= 255 and name not in BUILT_IN and name not in NOT_SEARCHABLE  # noqa: PLR2004
