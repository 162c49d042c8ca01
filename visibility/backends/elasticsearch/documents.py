"""Convert a row of `visibility_records` to a document of the index, and a search hit to such a row."""

from __future__ import annotations

import re
import struct
from base64 import b64encode, urlsafe_b64encode
from binascii import a2b_base64
from bisect import bisect_left
from typing import TYPE_CHECKING, Any
from uuid import UUID

from strongroom.kms import IntegrityError, UnsupportedFormat
from strongroom.kms.sealing.header import parse_header
from strongroom.storage.visibility_rows.records import all_tokens
from strongroom.visibility.backends.drift import SealedCopy
from strongroom.visibility.backends.search_index import LIST_ORDER
from strongroom.visibility.index.tokens import GROUP_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.storage import Row, RunKey
    from strongroom.visibility.backends.search_index import IndexOrder

NO_EPOCH = 0
"""The epoch of documents that are not of a run. Epochs of runs begin with 1."""
_HIGHEST_VERSION = 2**63 - 1
_SHARD_AND_VERSION = struct.Struct(">iq")
_TOKEN = struct.Struct(">q")
_TOKEN_CHARACTERS = 11
_NAME = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]", re.ASCII)
"""16 bytes in URL-safe base64. The last character holds two of their bits, and four zero bits."""


def document_name(identifier: bytes) -> str:
    """Return the `_id` of the document of a record id."""
    return urlsafe_b64encode(identifier)[:-2].decode()


def record_id(name: str) -> bytes:
    """Return the record id of a document name.

    Raises:
        IntegrityError: `document_name` can't return this name.
    """
    # Base64 has several spellings of the same bytes. A document under a second one would be the same run twice.
    if _NAME.fullmatch(name) is None:
        raise IntegrityError
    return a2b_base64(name.replace("-", "+").replace("_", "/") + "==")


def token_set_text(tokens: Sequence[int]) -> str:
    """Return tokens as the text that the index holds: 11 characters each, separated by spaces, in the given order."""
    # One call encodes all tokens: with a zero byte after it each takes 12 characters, of which the last becomes the space.
    encoded = bytearray(urlsafe_b64encode(struct.pack(f">{'qx' * len(tokens)}", *tokens)))
    encoded[_TOKEN_CHARACTERS :: _TOKEN_CHARACTERS + 1] = b" " * len(tokens)
    return encoded[:-1].decode()


def token_texts(tokens: Sequence[int]) -> list[str]:
    """Return the text of each token."""
    return token_set_text(tokens).split()


def namespace_text(namespace_id: UUID) -> str:
    """Return the text of a namespace id in the index."""
    return namespace_id.hex


def deleted_namespace_text(namespace_id: UUID) -> str:
    """Return the text of a namespace id in the marks of deleted runs. No search asks for it."""
    return f"-{namespace_text(namespace_id)}"


def deletion_mark(key: RunKey, version: int) -> dict[str, Any]:
    """Return the document that takes the place of a deleted run, so that the index refuses late writes of older versions.

    Elasticsearch itself remembers a deletion for `index.gc_deletes`, 60 s, and only until the node restarts.
    """
    shard_id, namespace_id, _ = key
    stored = _SHARD_AND_VERSION.pack(shard_id, version)
    return {"n": deleted_namespace_text(namespace_id), "k": NO_EPOCH, "s": b64encode(stored).decode()}


WRITER_TEXT = "-"
"""The namespace text of the marks of writers."""
_WRITER_PREFIX = "writer-"


def writer_name(writer: UUID) -> str:
    """Return the name of the document with a writer's mark. Its version is the value of the counter."""
    return f"{_WRITER_PREFIX}{writer.hex}"


def writer_of(name: str) -> UUID | None:
    """Return the writer of a mark; None if it is not the name of one."""
    try:
        return UUID(hex=name.removeprefix(_WRITER_PREFIX))
    except ValueError:
        return None


def mark_version(version: int) -> int:
    """Return the version of the mark of a deletion: a late write of the deleted version is older, and the next version is not."""
    return min(version + 1, _HIGHEST_VERSION)


def group_texts(tokens: Sequence[int]) -> list[str]:
    """Return the texts of the group tokens among tokens in ascending order. A few other tokens look like group tokens."""
    return [f"{token:016x}" for token in tokens[bisect_left(tokens, GROUP_TOKENS) :]]


def to_document(namespace_id: UUID, row: Row) -> dict[str, Any]:
    """Return the document of a row of `visibility_records`, with all of its tokens in one set."""
    tokens = all_tokens(row)
    return {
        "n": namespace_text(namespace_id),
        "k": row["k"],
        "b1": row["b1"],
        "b2": row["b2"],
        "d": tie_break(row["id"]),
        "t": token_set_text(tokens),
        "g": group_texts(tokens),
        "s": b64encode(_SHARD_AND_VERSION.pack(row["shard_id"], row["version"]) + row["s"]).decode(),
    }


def tie_break(identifier: bytes) -> int:
    """Return the number that orders documents with equal buckets. The order is that of the ids, as in PostgreSQL.

    So a page token of one index continues a list in the other.
    """
    return int.from_bytes(identifier[:8]) - 2**63


def to_row(hit: Mapping[str, Any], order: IndexOrder) -> Row:
    """Return the row of a hit, to be opened. The buckets come from the sort values, so opening authenticates the order too.

    Args:
        hit: The hit.
        order: The order that the hits were asked for in.

    Raises:
        IntegrityError: Strongroom can't have written the document.
    """
    try:
        fields = hit["fields"]
        stored = a2b_base64(fields["s"][0])
        shard_id, version = _SHARD_AND_VERSION.unpack_from(stored)
        first, second, *_ = hit["sort"]
        return {
            "shard_id": shard_id,
            "id": record_id(hit["_id"]),
            "version": version,
            "k": fields["k"][0],
            order.columns[0]: first,
            order.columns[1]: second,
            "s": stored[_SHARD_AND_VERSION.size :],
        }
    except (KeyError, IndexError, TypeError, ValueError, struct.error):
        raise IntegrityError from None


def unsorted_row(hit: Mapping[str, Any]) -> Row:
    """Return the row of a hit without sort values, see `to_row`.

    Raises:
        IntegrityError: Strongroom can't have written the document.
    """
    try:
        buckets = [hit["fields"][name][0] for name in LIST_ORDER.columns]
    except (KeyError, IndexError, TypeError):
        raise IntegrityError from None
    return to_row({**hit, "sort": buckets}, LIST_ORDER)


def sealed_copy(namespace_id: UUID, hit: Mapping[str, Any]) -> SealedCopy:
    """Return the record key and the data-key version of a hit. A damaged document has no key, or version 0."""
    try:
        stored = a2b_base64(hit["fields"]["s"][0])
        shard_id, _ = _SHARD_AND_VERSION.unpack_from(stored)
        key = (shard_id, namespace_id, record_id(hit["_id"]))
    except (KeyError, IndexError, TypeError, ValueError, struct.error, IntegrityError):
        return SealedCopy(None, 0)
    try:
        return SealedCopy(key, parse_header(stored[_SHARD_AND_VERSION.size :]).key_version)
    except UnsupportedFormat:
        return SealedCopy(key, 0)
