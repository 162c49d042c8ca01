"""What a sealed value is, and where it stands: the part of the associated data that says so (FORMAT.md section 3).

Two different places never give the same bytes, so a sealed value that was moved, renamed, swapped between columns or
carried to another namespace or cell does not open.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KeyPart: TypeAlias = int | bytes | str
Key: TypeAlias = tuple[KeyPart, ...]

ENCODING_VERSION = b"\x01"
ID_BYTES = 16


class PartType(IntEnum):
    """Type of one part of a primary key, by its byte in the encoding (FORMAT.md section 3.2)."""

    BYTES = 1
    INT64 = 2
    TEXT = 3
    ID = 4


_FIXED = {PartType.INT64: "q", PartType.ID: f"{ID_BYTES}s"}
"""Types whose encoding has a fixed length, as `struct` writes it."""


@dataclass(frozen=True, slots=True, eq=False)  # a kind is made once; comparing it by its fields would cost each batch
class RecordKind:
    """A column that is sealed: its names, the types of its row's key, and how its plaintext is packed first.

    Attributes:
        name: of the record, as in FORMAT.md's register; not the name of an SQL table, which may change.
        column: of the sealed value within the record.
        key: types of the parts of the primary key, in order; authenticated columns that never change may follow it.
        compress: try zstd on plaintexts over 512 bytes, and keep it where it saves a tenth.
        dictionary: for zstd; empty for none. Its digest is in the associated data, so another one opens nothing.
        tables: entropy tables for the dictionary, which begin a dictionary of zstd's own format (FORMAT.md section 4); empty for none.
        padded: pad to Padmé lengths, so that a length shows only its order of magnitude.
        part_names: names of the key's parts, for FORMAT.md's register; not in the associated data.
        types: of the key's parts, a byte each.
        is_packed: whether a plaintext is changed at all before it is sealed.
    """

    name: str
    column: str
    key: tuple[PartType, ...]
    compress: bool = False
    dictionary: bytes = b""
    tables: bytes = field(default=b"", repr=False)
    padded: bool = False
    part_names: tuple[str, ...] = field(default=(), repr=False)

    types: bytes = field(init=False, repr=False)
    is_packed: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", bytes(self.key))
        object.__setattr__(self, "is_packed", self.compress or self.padded)

    def context(self, cell_id: bytes, namespace_id: bytes) -> bytes:
        """Encode all that the rows of this kind in one namespace have in common (FORMAT.md section 3.1)."""
        if len(cell_id) != ID_BYTES or len(namespace_id) != ID_BYTES:
            msg = f"a cell id and a namespace id have {ID_BYTES} bytes each"
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
def encoder(types: bytes) -> Callable[..., bytes]:
    """Return a function from key parts of these types, as positional arguments, to their encoding.

    It raises `struct.error` for other parts, or what `encode_parts` does.
    """
    if not all(part_type in _FIXED for part_type in types):
        return lambda *parts: encode_parts(types, parts)
    pack = struct.Struct(">" + "".join(_FIXED[PartType(part_type)] for part_type in types)).pack
    count = len(types)
    ids = tuple(index for index, part_type in enumerate(types) if part_type == PartType.ID)
    if not ids:
        return pack  # refuses other types, counts and ranges by itself

    def encode(*parts: KeyPart) -> bytes:
        if len(parts) == count:
            for index in ids:
                part = parts[index]
                if not isinstance(part, bytes) or len(part) != ID_BYTES:
                    raise struct.error  # `struct` would cut it or fill it up
        return pack(*parts)

    return encode


def encode_parts(types: Sequence[int], parts: Sequence[KeyPart]) -> bytes:
    """Encode the parts of a primary key; injective for given types (FORMAT.md section 3.2).

    Raises:
        InvalidRequest: another number of parts, or a part that is not of its type.
    """
    with suppress(ValueError, TypeError, struct.error):
        return b"".join([_ENCODERS[PartType(part_type)](part) for part_type, part in zip(types, parts, strict=True)])
    # Out here, as an error would carry along the one before it, and that one the text.
    expected = ", ".join(PartType(part_type).name for part_type in types)
    msg = f"the key of this record kind is ({expected})"
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
