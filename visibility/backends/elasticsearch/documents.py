"""A row of `visibility_records` as a document of the index, and a hit as such a row."""

from __future__ import annotations

import re
import struct
from base64 import b64encode, urlsafe_b64encode
from binascii import a2b_base64
from typing import TYPE_CHECKING, Any

from strongroom.kms import IntegrityError, UnsupportedFormat
from strongroom.kms.sealing.header import parse_header
from strongroom.storage import all_tokens
from strongroom.visibility.jobs.sealed_copies import SealedCopy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.storage import Row

_PLACE = struct.Struct(">iq")
_TOKEN = struct.Struct(">q")
_TOKEN_TEXT = 11
_NAME = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]", re.ASCII)
"""16 bytes in URL-safe base64: the last character has two bits of them, and four that are zero."""


def document_name(identifier: bytes) -> str:
    """Return `_id` for a record's id."""
    return urlsafe_b64encode(identifier)[:-2].decode()


def record_id(name: str) -> bytes:
    """Undo `document_name`.

    Raises:
        IntegrityError: a name that it did not make.
    """
    # Base64 has several spellings of the same bytes: a document under another one would be the same run twice.
    if _NAME.fullmatch(name) is None:
        raise IntegrityError
    return a2b_base64(name.replace("-", "+").replace("_", "/") + "==")


def bag_text(tokens: Sequence[int]) -> str:
    """Return tokens as the index has them: 11 characters each, with blanks between, in the order given."""
    # One call for all: with a byte of zeros behind it each is 12 characters, of which the last is the blank.
    encoded = bytearray(urlsafe_b64encode(struct.pack(f">{'qx' * len(tokens)}", *tokens)))
    encoded[_TOKEN_TEXT :: _TOKEN_TEXT + 1] = b" " * len(tokens)
    return encoded[:-1].decode()


def token_texts(tokens: Sequence[int]) -> list[str]:
    """Return each token as the index has it."""
    return bag_text(tokens).split()


def namespace_text(namespace_id: UUID) -> str:
    """Return a namespace id as the index has it."""
    return namespace_id.hex


def to_document(namespace_id: UUID, row: Row) -> dict[str, Any]:
    """Return a document for a row of `visibility_records`: all tokens in one bag, wherever they stand there."""
    return {
        "n": namespace_text(namespace_id),
        "k": row["k"],
        "b1": row["b1"],
        "b2": row["b2"],
        "d": _TOKEN.unpack_from(row["id"])[0],
        "t": bag_text(all_tokens(row)),
        "s": b64encode(_PLACE.pack(row["shard_id"], row["version"]) + row["s"]).decode(),
    }


def to_row(hit: Mapping[str, Any]) -> Row:
    """Return a hit as a row, to be opened. What the index searches and sorts by is what is authenticated with the record.

    Raises:
        IntegrityError: a hit that no document of ours can give.
    """
    try:
        fields = hit["fields"]
        stored = a2b_base64(fields["s"][0])
        shard_id, version = _PLACE.unpack_from(stored)
        b1, b2, *_ = hit["sort"]
        return {
            "shard_id": shard_id,
            "id": record_id(hit["_id"]),
            "version": version,
            "k": fields["k"][0],
            "b1": b1,
            "b2": b2,
            "s": stored[_PLACE.size :],
        }
    except (KeyError, IndexError, TypeError, ValueError, struct.error):
        raise IntegrityError from None


def sealed_copy(namespace_id: UUID, hit: Mapping[str, Any]) -> SealedCopy:
    """Return the place and the key version that a hit says, whatever it holds."""
    try:
        stored = a2b_base64(hit["fields"]["s"][0])
        shard_id, _ = _PLACE.unpack_from(stored)
        key = (shard_id, namespace_id, record_id(hit["_id"]))
    except (KeyError, IndexError, TypeError, ValueError, struct.error, IntegrityError):
        return SealedCopy(None, 0)
    try:
        return SealedCopy(key, parse_header(stored[_PLACE.size :]).key_version)
    except UnsupportedFormat:
        return SealedCopy(key, 0)
