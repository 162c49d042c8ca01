"""Compress and pad a plaintext before it is sealed, and undo both (FORMAT.md section 4).

Each record is compressed alone, and so is each part of a record that is given in parts. A dictionary contains no tenant's data.
Compression makes the length of a value depend on its content. Padding hides the length except for its order of magnitude
(DESIGN.md, "Lengths").
"""

from __future__ import annotations

import struct
from functools import lru_cache
from threading import local
from typing import TYPE_CHECKING

import zstandard

from strongroom.kms.errors import IntegrityError, SealingLimitExceeded

from .header import COMPRESSION_MASK, PADDED, ZSTD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .record_kind import Plaintext, RecordKind

MAX_PLAINTEXT_BYTES = 64 * 2**20
COMPRESS_OVER_BYTES = 512
ZSTD_LEVEL = 1
_LENGTH = struct.Struct(">I")
_DESCRIPTOR, _NAMES_DICTIONARY = 4, 0b11
"""Offset of a zstd frame's descriptor byte, and the bits in it that are set if the frame names a dictionary (RFC 8878, 3.1.1.1.1)."""
_per_thread = local()  # two threads must not use one zstd context at once


def pack(kind: RecordKind, plaintext: Plaintext) -> tuple[int, bytes]:
    """Return the header flags and the bytes to encrypt for one plaintext.

    Raises:
        SealingLimitExceeded: The plaintext is longer than 64 MiB.
    """
    parts = plaintext if isinstance(plaintext, tuple) else (plaintext,)
    length = sum(map(len, parts))
    check_length(length)
    flags, body = 0, b"".join(parts) if len(parts) > 1 else parts[0]
    # With a dictionary even a short text compresses. Without one, it has too little earlier text to refer back to.
    if kind.compress and (kind.dictionary or length > COMPRESS_OVER_BYTES):
        compressed = b"".join([_frame(kind, part) for part in parts if part])
        if (len(compressed) + _LENGTH.size) * 10 <= length * 9:
            flags, body = ZSTD, _LENGTH.pack(length) + compressed
    if kind.padded:
        flags |= PADDED
        body = _LENGTH.pack(len(body)) + body
        body += bytes(padme(len(body)) - len(body))
    return flags, body


def _frame(kind: RecordKind, part: bytes) -> bytes:
    """Return a part as a zstd frame. zstd compresses a longer text better with tables of its own."""
    tables = kind.tables if len(part) <= COMPRESS_OVER_BYTES else b""
    return _compressor(kind.dictionary, tables).compress(part)


class Unpacker:
    """Undo `pack` for the values of one record kind. `strongroom_kernel` has the same class.

    Args:
        dictionary: The dictionary of the `RecordKind`.
        tables: The entropy tables of the `RecordKind`.
    """

    __slots__ = ("_dictionary", "_tables")

    def __init__(self, dictionary: bytes, tables: bytes) -> None:
        self._dictionary = dictionary
        self._tables = tables

    def unpack(self, flags: bytes, bodies: Sequence[bytes]) -> list[bytes]:
        """Return the plaintexts of decrypted bodies.

        Args:
            flags: The header flags of each value, one byte each.
            bodies: The decrypted bodies.

        Raises:
            IntegrityError: `pack` can't have produced a body. Only a holder of the key can have written it.
        """
        alone = _decompressor(self._dictionary, b"")
        tabled = _decompressor(self._dictionary, self._tables)
        try:
            return [_unpacked(alone, tabled, *each) for each in zip(flags, bodies, strict=True)]
        except zstandard.ZstdError:
            raise IntegrityError from None


def _unpacked(alone: zstandard.ZstdDecompressor, tabled: zstandard.ZstdDecompressor, flags: int, body: bytes) -> bytes:
    start, end = 0, len(body)
    if flags & PADDED:
        start = _LENGTH.size
        end = start + _declared_length(body, 0, end)
        if len(body) != padme(end) or body.count(0, end) != len(body) - end:
            raise IntegrityError
    if flags & COMPRESSION_MASK != ZSTD:
        return body[start:end]
    length = _declared_length(body, start, end)
    frames = body[start + _LENGTH.size : end]
    # zstandard allocates what a frame declares, so this stops a decompression bomb.
    if not 0 < length <= MAX_PLAINTEXT_BYTES:
        raise IntegrityError
    plaintext = b""
    while len(plaintext) < length:
        # A frame of 0 bytes is refused too, because `pack` never compresses an empty part.
        if not 0 < zstandard.frame_content_size(frames) <= length - len(plaintext):
            raise IntegrityError
        # A frame that names no dictionary was made without tables. zstd refuses a frame that names another dictionary.
        one = (tabled if frames[_DESCRIPTOR] & _NAMES_DICTIONARY else alone).decompressobj()
        plaintext += one.decompress(frames)
        if not one.eof:
            raise IntegrityError
        frames = one.unused_data
    if frames or len(plaintext) != length:
        raise IntegrityError
    return plaintext


def check_length(length: int) -> None:
    """Raise an error if a plaintext is longer than the format allows.

    Raises:
        SealingLimitExceeded: It is longer than 64 MiB.
    """
    if length > MAX_PLAINTEXT_BYTES:
        msg = f"the plaintext has {length} bytes; the format's limit is {MAX_PLAINTEXT_BYTES}"
        raise SealingLimitExceeded(msg)


@lru_cache(maxsize=4096)
def padme(length: int) -> int:
    """Return the Padmé length for a length. It is at most 12 % longer and reveals O(log log n) bits of the length.

    Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs" (PETS 2019),
    algorithm 1.
    """
    if length < 2:  # noqa: PLR2004 - the exponent below must be at least 1
        return length
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << max(low_bits, 0)) - 1
    return (length + mask) & ~mask


def _declared_length(body: bytes, start: int, end: int) -> int:
    if end - start < _LENGTH.size:
        raise IntegrityError
    return int.from_bytes(body[start : start + _LENGTH.size], "big")


@lru_cache(maxsize=16)
def _dictionary(content: bytes, tables: bytes) -> zstandard.ZstdCompressionDict | None:
    if not content:
        return None
    kind = zstandard.DICT_TYPE_FULLDICT if tables else zstandard.DICT_TYPE_RAWCONTENT
    return zstandard.ZstdCompressionDict(tables + content, dict_type=kind)


def _compressor(dictionary: bytes, tables: bytes) -> zstandard.ZstdCompressor:
    contexts = _per_thread.__dict__.setdefault("compressors", {})
    if (dictionary, tables) not in contexts:
        contexts[dictionary, tables] = zstandard.ZstdCompressor(
            level=ZSTD_LEVEL, dict_data=_dictionary(dictionary, tables), write_checksum=False
        )
    compressor: zstandard.ZstdCompressor = contexts[dictionary, tables]
    return compressor


def _decompressor(dictionary: bytes, tables: bytes) -> zstandard.ZstdDecompressor:
    contexts = _per_thread.__dict__.setdefault("decompressors", {})
    if (dictionary, tables) not in contexts:
        contexts[dictionary, tables] = zstandard.ZstdDecompressor(dict_data=_dictionary(dictionary, tables))
    decompressor: zstandard.ZstdDecompressor = contexts[dictionary, tables]
    return decompressor
