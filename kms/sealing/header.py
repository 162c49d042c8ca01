"""The header of a sealed value: its first eight bytes (FORMAT.md section 2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from strongroom.kms.errors import UnsupportedFormat

MAGIC = 0x07
FORMAT_VERSION = 1
HEADER_BYTES = 8
FLAGS_AT = 3
"""Place of the flags in the header."""
HEAD_BYTES = 20
"""Length of the header and the nonce prefix of suite 2. All values of one batch have the same head."""

COMPRESSION_MASK = 0b0000_0111
ZSTD = 1
PADDED = 0b0000_1000
_KNOWN_FLAGS = frozenset(compression | padded for compression in (0, ZSTD) for padded in (0, PADDED))

_LAYOUT = struct.Struct(">BBBBI")


class Suite(IntEnum):
    """The cipher of a value, by its byte in the header. A number never gets a second meaning."""

    AES_256_GCM = 1
    XAES_256_GCM = 2


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header."""

    suite: Suite
    flags: int
    key_version: int


def encode_header(suite: Suite, flags: int, key_version: int) -> bytes:
    """Return the eight bytes of a header."""
    return _LAYOUT.pack(MAGIC, FORMAT_VERSION, suite, flags, key_version)


def parse_header(sealed: bytes) -> Header:
    """Return the header of a sealed value. The rest of the value is not checked.

    Raises:
        UnsupportedFormat: There are fewer than eight bytes, or a byte has a value that this version does not know.
    """
    if len(sealed) < HEADER_BYTES:
        raise UnsupportedFormat
    magic, version, suite, flags, key_version = _LAYOUT.unpack_from(sealed)
    if magic != MAGIC or version != FORMAT_VERSION or flags not in _KNOWN_FLAGS or key_version == 0:
        raise UnsupportedFormat
    try:
        return Header(Suite(suite), flags, key_version)
    except ValueError:
        raise UnsupportedFormat from None
