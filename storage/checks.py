"""Checks of a request before it is sent. A message names the field, never its value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KeyNotFound, KeyWithdrawn

from .data_blob import DataBlob, Encoding
from .errors import InvalidPersistenceRequest, NamespaceNotFound, TransactionSizeLimit

if TYPE_CHECKING:
    from strongroom.kms import Keyring, NamespaceKeys

TRANSACTION_SIZE_LIMIT = 4 * 2**20
"""The maximum size of a blob, in bytes: Temporal's `system.transactionSizeLimit`."""
MAX_PAGE_SIZE = 10_000
MAX_ID_BYTES = 65_535
"""The maximum size of an identifier that a tenant chose, in bytes. A sealed value has its length in two bytes.

The service decides below it: Temporal's `limit.maxIDLength` is 1,000 by default.
"""
MAX_NAME_BYTES = 255
_INT64 = 2**63
_INT32 = 2**31


async def open_keys(keyring: Keyring, namespace_id: UUID) -> NamespaceKeys:
    """Return a namespace's keys.

    Args:
        keyring: The unwrapped keys.
        namespace_id: The namespace.

    Raises:
        InvalidPersistenceRequest: The id is not a UUID.
        NamespaceNotFound: The namespace does not exist.
        KmsError: The namespace's keys are not available.
    """
    check_uuid("namespace_id", namespace_id)
    try:
        return await keyring.open(namespace_id)
    except KeyWithdrawn:
        raise NamespaceNotFound from None
    except KeyNotFound:
        if await keyring.store.list_data_keys(namespace_id):
            raise
        raise NamespaceNotFound from None


def check_type(field: str, value: object, wanted: type) -> None:
    """Refuse a value that does not have the declared type."""
    if not isinstance(value, wanted):
        article = "an" if wanted.__name__[0] in "AEIOU" else "a"
        msg = f"{field} must be {article} {wanted.__name__}"
        raise InvalidPersistenceRequest(msg)


def check_mapping(field: str, value: object) -> None:
    """Refuse a value that is not a mapping."""
    check_type(field, value, Mapping)


def check_collection(field: str, value: object) -> None:
    """Refuse a value that is not a collection, and text or bytes, whose characters would be taken for its elements."""
    if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping):
        msg = f"{field} must be a collection"
        raise InvalidPersistenceRequest(msg)


def check_uuid(field: str, value: object) -> None:
    """Refuse a value that is not a UUID."""
    if not isinstance(value, UUID):
        msg = f"{field} must be a UUID"
        raise InvalidPersistenceRequest(msg)


def check_flag(field: str, value: object) -> None:
    """Refuse a value that is neither True nor False."""
    if not isinstance(value, bool):
        msg = f"{field} must be True or False"
        raise InvalidPersistenceRequest(msg)


def check_number(field: str, value: object, *, least: int = 0, limit: int = _INT64) -> None:
    """Refuse a value that is not a whole number from `least` to below `limit`."""
    if type(value) is not int or not least <= value < limit:
        fault = "is negative" if type(value) is int and value < 0 <= least else "is not a whole number in its range"
        msg = f"{field} {fault}"
        raise InvalidPersistenceRequest(msg)


def check_shard_id(value: object) -> None:
    """Refuse a value that is not a shard id, which is 1 or more."""
    check_number("shard_id", value, least=1, limit=_INT32)


def utf_8(value: object) -> bytes | None:
    """Return the bytes of a text; None if the value is no text, or has half of a surrogate pair, which UTF-8 can't encode.

    Python's own error quotes the text, so an error of this package must not be raised while that is handled.
    """
    try:
        return value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError:
        return None


def check_text(field: str, value: object) -> None:
    """Refuse a value that is not text of valid UTF-8 without the character NUL, which PostgreSQL does not store."""
    encoded = utf_8(value)
    if encoded is None or b"\x00" in encoded:
        msg = f"{field} must be text of valid UTF-8, without the character NUL"
        raise InvalidPersistenceRequest(msg)


def check_id(field: str, value: object, *, least: int = 1) -> bytes:
    """Refuse a value that is not a tenant's identifier: text of `least` to 65,535 bytes of UTF-8. Return its bytes."""
    encoded = utf_8(value)
    if encoded is None or not least <= len(encoded) <= MAX_ID_BYTES:
        msg = f"{field} must be text of {least} to {MAX_ID_BYTES} bytes of UTF-8"
        raise InvalidPersistenceRequest(msg)
    return encoded


def check_name(field: str, value: object) -> None:
    """Refuse a value that is not an operator's name: text of 1 to 255 bytes of UTF-8, without the character NUL."""
    encoded = utf_8(value)
    if encoded is None or not 0 < len(encoded) <= MAX_NAME_BYTES or b"\x00" in encoded:
        msg = f"{field} must be text of 1 to {MAX_NAME_BYTES} bytes of UTF-8"
        raise InvalidPersistenceRequest(msg)


def check_blob(field: str, value: object) -> int:
    """Refuse a value that is not a blob of at most 4 MiB. Return its size in bytes.

    Raises:
        InvalidPersistenceRequest: The value is not a `DataBlob` of bytes.
        TransactionSizeLimit: The blob is larger than 4 MiB.
    """
    if not isinstance(value, DataBlob) or not isinstance(value.data, bytes) or type(value.encoding) is not Encoding:
        msg = f"{field} must be a DataBlob of bytes, with an Encoding"
        raise InvalidPersistenceRequest(msg)
    size = len(value.data)
    if size > TRANSACTION_SIZE_LIMIT:
        msg = f"{field} has {size} bytes; the limit is {TRANSACTION_SIZE_LIMIT}"
        raise TransactionSizeLimit(msg)
    return size


def wanted_page_size(value: object, *, most: int = MAX_PAGE_SIZE) -> int:
    """Return the size of a page: `most` for 0, a negative number or a larger one, as in Temporal's frontend.

    A gRPC client that sets no page size sends 0.

    Raises:
        InvalidPersistenceRequest: The value is not an integer.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidPersistenceRequest("page_size must be an integer")
    return value if 0 < value <= most else most


def check_texts(field: str, values: Mapping[str, str | None], *, optional: bool = False) -> None:
    """Refuse anything but a mapping of text to text, or to None if the values are optional."""
    check_mapping(field, values)
    for name, text in values.items():
        check_text(field, name)
        if not (optional and text is None):
            check_text(field, text)
