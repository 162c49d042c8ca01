"""Record kinds and the encoding of a row's key: the associated data of a sealed value (FORMAT.md section 3).

Different rows and columns never have the same associated data. A sealed value that was moved to another row, column,
namespace or cell therefore does not open.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KeyPart: TypeAlias = int | bytes | str
RecordKey: TypeAlias = tuple[KeyPart, ...]
Plaintext: TypeAlias = bytes | tuple[bytes, ...]
"""A plaintext, or its parts. Each part is compressed alone, so the length of a sealed value does not show whether one part occurs in
another one. Opening returns the joined parts."""

ENCODING_VERSION = b"\x01"
ID_BYTES = 16


class PartType(IntEnum):
    """Type of one part of a primary key, by its byte in the encoding (FORMAT.md section 3.2)."""

    BYTES = 1
    INT64 = 2
    TEXT = 3
    ID = 4


_FIXED = {PartType.INT64: "q", PartType.ID: f"{ID_BYTES}s"}
"""Types whose encoding has a fixed length, with their `struct` format."""


@dataclass(
    frozen=True, slots=True, eq=False
)  # compared by identity, because each kind exists once and a comparison of fields would slow down each batch
class RecordKind:
    """A sealed column: its names, the types of its row's key, and the packing of its plaintext.

    Attributes:
        name: Name of the record in FORMAT.md's register. It is independent of the SQL table's name, which may change.
        column: Name of the sealed value within the record.
        key: Types of the key's parts, in order: the primary key, then other authenticated columns.
        compress: Whether zstd is tried on plaintexts over 512 bytes. The result is kept if it saves a tenth.
        dictionary: The dictionary for zstd, or empty. Its digest is in the associated data, so no other dictionary opens a value.
        tables: Entropy tables for the dictionary, in zstd's own format (FORMAT.md section 4), or empty.
        padded: Whether plaintexts are padded to Padmé lengths, so that a length reveals only its order of magnitude.
        part_names: Names of the key's parts in FORMAT.md's register. They are not in the associated data.
        body_flags: Header flags of values that are packed already, see `of_bodies`; None for plaintexts.
        types: Types of the key's parts, one byte each.
        is_packed: Whether a plaintext is compressed or padded.
    """

    name: str
    column: str
    key: tuple[PartType, ...]
    compress: bool = False
    dictionary: bytes = b""
    tables: bytes = field(default=b"", repr=False)
    padded: bool = False
    part_names: tuple[str, ...] = field(default=(), repr=False)
    body_flags: int | None = field(default=None, repr=False)

    types: bytes = field(init=False, repr=False)
    is_packed: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", bytes(self.key))
        object.__setattr__(self, "is_packed", self.compress or self.padded)

    def context(self, cell_id: bytes, namespace_id: bytes) -> bytes:
        """Return the associated data that all rows of this kind in one namespace share (FORMAT.md section 3.1)."""
        if len(cell_id) != ID_BYTES or len(namespace_id) != ID_BYTES:
            msg = f"a cell id and a namespace id must have {ID_BYTES} bytes each"
            raise InvalidRequest(msg)
        return b"".join(
            (
                ENCODING_VERSION,
                cell_id,
                namespace_id,
                _text(self.name),
                _text(self.column),
                _bytes(sha256(self.dictionary).digest() if self.dictionary else b""),
                bytes((len(self.types),)) + self.types,
            )
        )


@cache
def of_bodies(kind: RecordKind, flags: int) -> RecordKind:
    """Return a record kind whose values are packed already. Sealing does not pack them, and opening does not unpack them.

    Args:
        kind: The kind of the values.
        flags: The header flags of the packed values. With 0, a value is neither compressed nor padded.
    """
    return replace(kind, body_flags=flags)


@cache
def encoder(types: bytes) -> Callable[..., bytes]:
    """Return a function that encodes key parts of these types, which are its positional arguments.

    The function raises `struct.error` or the errors of `encode_parts` for parts of other types.
    """
    if not all(part_type in _FIXED for part_type in types):
        return lambda *parts: encode_parts(types, parts)
    pack = struct.Struct(">" + "".join(_FIXED[PartType(part_type)] for part_type in types)).pack
    count = len(types)
    ids = tuple(index for index, part_type in enumerate(types) if part_type == PartType.ID)
    if not ids:
        return pack  # `struct` refuses other types, counts and ranges

    def encode(*parts: KeyPart) -> bytes:
        if len(parts) == count:
            for index in ids:
                part = parts[index]
                if not isinstance(part, bytes) or len(part) != ID_BYTES:
                    raise struct.error  # `struct` would truncate or pad the part
        return pack(*parts)

    return encode


def encode_parts(types: Sequence[int], parts: Sequence[KeyPart]) -> bytes:
    """Return the encoding of a key's parts. It is injective for given types (FORMAT.md section 3.2).

    Raises:
        InvalidRequest: The number of parts is wrong, or a part does not have its type.
    """
    with suppress(ValueError, TypeError, struct.error):
        return b"".join([_ENCODERS[PartType(part_type)](part) for part_type, part in zip(types, parts, strict=True)])
    # Raised outside the block, because an error raised inside it would keep the first error, which contains the value.
    expected = ", ".join(PartType(part_type).name for part_type in types)
    msg = f"the key of this record kind must be ({expected})"
    raise InvalidRequest(msg)


def _bytes(part: KeyPart) -> bytes:
    if not isinstance(part, bytes):
        raise TypeError
    return struct.pack(">H", len(part)) + part


def _int64(part: KeyPart) -> bytes:
    return struct.pack(">q", part)


def _text(part: KeyPart) -> bytes:
    if not isinstance(part, str):
        raise TypeError
    return _bytes(part.encode())


def _id(part: KeyPart) -> bytes:
    if not isinstance(part, bytes) or len(part) != ID_BYTES:
        raise TypeError
    return part


_ENCODERS: dict[PartType, Callable[[KeyPart], bytes]] = {
    PartType.BYTES: _bytes,
    PartType.INT64: _int64,
    PartType.TEXT: _text,
    PartType.ID: _id,
}
