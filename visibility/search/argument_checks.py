"""Checks of the arguments that searches and writes of records share. A message names the argument, never its value."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.checks import (
    check_collection,
    check_mapping,
    check_number,
    check_shard_id,
    check_text,
    check_type,
)
from strongroom.storage.errors import InvalidPersistenceRequest
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.filter.tree import Attribute
from strongroom.visibility.index.record import VisibilityRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import Keyring, NamespaceKeys


async def namespace_keys(keyring: Keyring, namespace_id: object) -> NamespaceKeys:
    """Return a namespace's keys.

    Raises:
        InvalidPersistenceRequest: The id is not a UUID.
        KmsError: The keys are not available.
    """
    if not isinstance(namespace_id, UUID):
        raise InvalidPersistenceRequest("namespace_id must be a UUID")
    return await keyring.open(namespace_id)


def check_search_attributes(types: Mapping[str, object]) -> None:
    """Refuse anything but a mapping of names to types, or to the attributes that aliases mean.

    Raises:
        InvalidPersistenceRequest: It is something else.
    """
    check_mapping("types", types)
    for name, kind in types.items():
        check_text("a name in types", name)
        if not isinstance(kind, AttributeType | Attribute):
            msg = "types must have an AttributeType or an Attribute for each name"
            raise InvalidPersistenceRequest(msg)


def check_records(records: Sequence[object], types: Mapping[str, object]) -> None:
    """Refuse records or types of another form. The fields of a record are checked when it is sealed.

    Raises:
        InvalidPersistenceRequest: It is something else, or a number is not in its range.
    """
    check_search_attributes(types)
    check_collection("records", records)
    for each in records:
        if not isinstance(each, tuple) or len(each) != 3:  # noqa: PLR2004 - as the annotation says
            msg = "each of the records must be a tuple of shard id, version and record"
            raise InvalidPersistenceRequest(msg)
        shard_id, version, record = each
        check_shard_id(shard_id)
        check_number("version", version)
        check_type("record", record, VisibilityRecord)
        check_mapping("search_attributes", record.search_attributes)
