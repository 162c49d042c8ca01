"""Seal a visibility record as a document: columns in clear, tokens, and the sealed record. Open it again."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kind import of_bodies
from strongroom.kms.sealing.record_kinds import VISIBILITY_RECORD
from strongroom.storage import VisibilityRow
from strongroom.storage.checks import utf_8
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import InvalidRecord
from strongroom.visibility.fields import BUILT_IN, NOT_SEARCHABLE, OF_CLOSED_RUNS, PREDEFINED_FIELDS
from strongroom.visibility.filter.tree import OPEN_STATUSES, STATUS_NAMES

from .buckets import buckets_of
from .document_tokens import tokens_of
from .ranges import INT64_MAX, INT64_MIN
from .record import check_field_types
from .record_packing import pack_filled, pack_record, unpack_records
from .tokens import Tokenizer, active_tokenizer
from .words import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import NamespaceKeys, RecordKey
    from strongroom.kms.sealing.record_kind import Plaintext
    from strongroom.storage import Row
    from strongroom.visibility.filter.tree import SearchAttributes

    from .document_tokens import DocumentTokens
    from .record import AttributeValue, VisibilityRecord

_FILLED_RECORD = of_bodies(VISIBILITY_RECORD, 0)
"""The kind of records that are filled up to a length, and neither compressed nor padded."""
MAX_NAME_BYTES = 255
"""Maximum length of the name of a custom search attribute, in bytes of UTF-8."""
MAX_TOKENS = 32_768
"""Maximum number of tokens of a record, and of elements or words of one value. Temporal's own limits (2 KiB a value, 40 KiB a record)
allow at most 20,480 words, so a Temporal server never reaches it."""
_PYTHON_TYPES: Mapping[AttributeType, tuple[type, ...]] = {
    AttributeType.KEYWORD: (str,),
    AttributeType.KEYWORD_LIST: (tuple,),
    AttributeType.TEXT: (str,),
    AttributeType.INT: (int,),
    AttributeType.DOUBLE: (float, int),
    AttributeType.BOOL: (bool,),
    AttributeType.DATETIME: (int,),
}
_PYTHON_VALUES = {
    AttributeType.KEYWORD: "a str",
    AttributeType.KEYWORD_LIST: "a tuple of str",
    AttributeType.TEXT: "a str",
    AttributeType.INT: "an int",
    AttributeType.DOUBLE: "a finite float or an int",
    AttributeType.BOOL: "a bool",
    AttributeType.DATETIME: "an int of nanoseconds since 1970",
}


def document_id(keys: NamespaceKeys, workflow_id: str, run_id: str) -> bytes:
    """Return the id of a run's document: 16 bytes, a keyed token of both ids (FORMAT.md 7).

    Raises:
        InvalidRecord: An id is not text of valid UTF-8.
    """
    return keys.identity("visibility document").token(_ids(workflow_id, run_id))[:16]


def imported_version(keys: NamespaceKeys, workflow_id: str, run_id: str, events: int) -> int:
    """Return the version of an imported run's record, which rises with its number of events and does not show it (FORMAT.md 7).

    The number is added to a keyed one of 40 bits, which is the same in each import of the run.

    Raises:
        InvalidRecord: An id is not text of valid UTF-8.
    """
    return int.from_bytes(keys.identity("visibility version").token(_ids(workflow_id, run_id))[:5]) + events


def _ids(workflow_id: str, run_id: str) -> bytes:
    workflow, run = utf_8(workflow_id), utf_8(run_id)
    if workflow is None or run is None:
        msg = "workflow_id and run_id must be text of valid UTF-8"
        raise InvalidRecord(msg)
    return struct.pack(">I", len(workflow)) + workflow + run


def seal_documents(
    keys: NamespaceKeys,
    records: Sequence[tuple[int, int, VisibilityRecord]],
    types: SearchAttributes,
) -> list[VisibilityRow]:
    """Seal records under the active data key, with tokens of the active epoch.

    Args:
        keys: The keys of the namespace.
        records: Shard id, version and record of each run.
        types: The namespace's custom search attributes. Aliases are ignored here; they are for filters.

    Raises:
        InvalidRecord: A search attribute is not registered, its value is not of its type, or the record has too many tokens.
        DataLoss: This version does not know the layout of the active epoch.
    """
    try:
        return _sealed_documents(keys, records, types)
    except (UnicodeEncodeError, TypeError):  # of Python and of orjson; the first one quotes the text
        if all(_is_utf_8(record) for _, _, record in records):
            raise
    msg = "a text of the record is not valid UTF-8: it has half of a surrogate pair"
    raise InvalidRecord(msg)


def _is_utf_8(value: object) -> bool:
    """Return whether all texts in a record are valid UTF-8."""
    if isinstance(value, Mapping):
        return all(map(_is_utf_8, [*value, *value.values()]))
    if isinstance(value, tuple | list):
        return all(map(_is_utf_8, value))
    return not isinstance(value, str) or utf_8(value) is not None


def _sealed_documents(
    keys: NamespaceKeys, records: Sequence[tuple[int, int, VisibilityRecord]], types: SearchAttributes
) -> list[VisibilityRow]:
    tokenizer = active_tokenizer(keys)
    layout, hides_start = tokenizer.layout, tokenizer.layout.hides_start
    attributes = [record.attributes() for _, _, record in records]
    rows: list[tuple[int, bytes, int, int, int, int]] = []
    sealing: list[tuple[RecordKey, Plaintext]] = []
    for (shard_id, version, record), values in zip(records, attributes, strict=True):
        _check(record, values, types)
        b1, b2 = buckets_of(record.close_time, record.start_time, layout.bucket, upper_bound=hides_start)
        identifier = document_id(keys, record.workflow_id, record.run_id)
        rows.append((shard_id, identifier, version, tokenizer.epoch, b1, b2))
        packed = pack_filled(record, layout.length) if layout.length else pack_record(record)
        sealing.append(((identifier, shard_id, version, tokenizer.epoch, b1, b2), packed))
    tokens = tokens_of(tokenizer, attributes, _attribute_types(types))
    for (token_set, _), (_, _, record) in zip(tokens, records, strict=True):
        if len(token_set) > MAX_TOKENS:
            raise _too_many_tokens(record)
    sealed = keys.seal_many(_FILLED_RECORD if layout.length else VISIBILITY_RECORD, sealing)
    return [
        VisibilityRow(*row, token_set, blob, hashes)
        for row, blob, (token_set, hashes) in zip(rows, sealed, tokens, strict=True)
    ]


def document_tokens(
    keys: NamespaceKeys, records: Sequence[tuple[int, VisibilityRecord]], types: SearchAttributes
) -> list[DocumentTokens | None]:
    """Return the tokens that documents must have.

    Args:
        keys: The keys of the namespace.
        records: Epoch and record of each run.
        types: The namespace's custom search attributes.

    Returns:
        The tokens of each record in its epoch; None for an epoch whose key is destroyed.
    """
    attribute_types = _attribute_types(types)
    tokens: list[DocumentTokens | None] = [None] * len(records)
    for epoch in keys.epochs():
        positions = [position for position, (own_epoch, _) in enumerate(records) if own_epoch == epoch]
        attributes = [records[position][1].attributes() for position in positions]
        for position, made in zip(
            positions, tokens_of(Tokenizer(keys, epoch=epoch), attributes, attribute_types), strict=True
        ):
            tokens[position] = made
    return tokens


def _attribute_types(types: SearchAttributes) -> dict[str, AttributeType]:
    custom = {name: registered for name, registered in types.items() if isinstance(registered, AttributeType)}
    return {**custom, **{name: field.type for name, field in BUILT_IN.items()}}


def open_documents(keys: NamespaceKeys, rows: Sequence[Row]) -> list[VisibilityRecord]:
    """Open sealed documents. All columns in clear are authenticated with the record; tokens are not.

    Raises:
        IntegrityError: A document was altered, or belongs to another place.
    """
    sealed: list[tuple[RecordKey, bytes]] = [
        ((row["id"], row["shard_id"], row["version"], row["k"], row["b1"], row["b2"]), row["s"]) for row in rows
    ]
    return unpack_records(keys.open_many(VISIBILITY_RECORD, sealed))


def check_record(record: VisibilityRecord, types: SearchAttributes) -> None:
    """Refuse a record that can't be indexed.

    Args:
        record: The record of a run.
        types: The namespace's custom search attributes.

    Raises:
        InvalidRecord: The status is unknown; or a closed status or a value that only closed runs have comes without a close time;
            or a search attribute is not registered; or its value is not of its type or has too many elements or words.
    """
    _check(record, record.attributes(), types)


def _check(record: VisibilityRecord, attributes: Mapping[str, AttributeValue], types: SearchAttributes) -> None:
    check_field_types(record)
    if record.execution_status not in STATUS_NAMES:
        raise InvalidRecord(f"unknown execution_status; use one of {', '.join(STATUS_NAMES)}")
    if record.close_time is None and record.execution_status not in OPEN_STATUSES:
        raise InvalidRecord(f"a run needs a close_time unless its status is {' or '.join(sorted(OPEN_STATUSES))}")
    if record.close_time is None and not OF_CLOSED_RUNS.isdisjoint(attributes):
        raise InvalidRecord(
            "a run without close_time can't have execution_duration, history_length, history_size_bytes or state_transition_count"
        )
    for name, value in record.search_attributes.items():
        _check_attribute(name, value, types)
    if not all([INT64_MIN <= value <= INT64_MAX for value in attributes.values() if isinstance(value, int)]):  # noqa: C419 - faster
        raise InvalidRecord("a number or time of a visibility record does not fit into 64 bits")


def _check_attribute(name: str, value: AttributeValue, types: SearchAttributes) -> None:
    field = PREDEFINED_FIELDS.get(name)
    attribute_type = types.get(name) if field is None else field.type
    if not isinstance(attribute_type, AttributeType):
        raise InvalidRecord("a search attribute of the record is not registered in this namespace")
    if not fits(attribute_type, value):
        wanted = _PYTHON_VALUES[attribute_type]
        msg = f"the value of a search attribute is not a {attribute_type.value}, which is {wanted} in Python"
        raise InvalidRecord.of_attribute(msg, name)
    # Checked before any token is made, because the value may be as long as the caller likes. A word takes two characters or more.
    if isinstance(value, tuple) and len(value) > MAX_TOKENS:
        raise InvalidRecord.of_attribute(
            f"a KeywordList has {len(value):,} elements, but a record can have at most {MAX_TOKENS:,} tokens; write fewer elements",
            name,
        )
    is_long = attribute_type is AttributeType.TEXT and isinstance(value, str) and len(value) > 2 * MAX_TOKENS
    if is_long and len(words := split_words(str(value))) > MAX_TOKENS:
        raise InvalidRecord.of_attribute(
            f"a Text has {len(words):,} different words, but a record can have at most {MAX_TOKENS:,} tokens; shorten it",
            name,
        )


def _too_many_tokens(record: VisibilityRecord) -> InvalidRecord:
    """Return the error for a record whose attributes have too many tokens together; it names the one with the most."""

    def parts(name: str) -> int:
        value = record.search_attributes[name]
        return len(value) if isinstance(value, tuple) else len(split_words(value)) if isinstance(value, str) else 1

    return InvalidRecord.of_attribute(
        f"the search attributes of a record have more than {MAX_TOKENS:,} tokens together; write fewer elements and words",
        max(record.search_attributes, key=parts, default=""),
    )


def fits(attribute_type: AttributeType, value: AttributeValue) -> bool:
    """Return whether a value is of an attribute's type."""
    if isinstance(value, bool):
        return attribute_type is AttributeType.BOOL
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return False
    if isinstance(value, float) and value - value != 0:
        return False  # infinity and not-a-number can't be indexed
    return isinstance(value, _PYTHON_TYPES[attribute_type])


def registrable(name: str) -> bool:
    """Return whether a namespace may register a custom search attribute of this name."""
    encoded = utf_8(name)
    if encoded is None or not 0 < len(encoded) <= MAX_NAME_BYTES:
        return False
    return name not in BUILT_IN and name not in NOT_SEARCHABLE
