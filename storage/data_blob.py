"""A payload as a service hands it over: bytes, and how they are encoded. Both are sealed."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from .errors import DataLoss

if TYPE_CHECKING:
    from collections.abc import Iterable


class Encoding(IntEnum):
    """How a blob is encoded, by its byte in the sealed plaintext; Temporal's EncodingType."""

    UNSPECIFIED = 0
    PROTO3 = 1
    JSON = 2


_new = tuple.__new__
_BY_BYTE = tuple(Encoding)
_UNKNOWN = "a stored blob has an encoding that this version does not know"
_BYTES = tuple(bytes((encoding,)) for encoding in Encoding)


class DataBlob(NamedTuple):
    """A payload. It comes back exactly as it went in.

    A tuple, as payloads are read by the thousand, and a frozen dataclass takes twice as long to make.
    """

    data: bytes
    encoding: Encoding = Encoding.PROTO3

    def pack(self) -> bytes:
        """Return the bytes to seal: the encoding, then the data."""
        return _BYTES[self[1]] + self[0]

    @classmethod
    def unpack(cls, packed: bytes) -> DataBlob:
        """Undo `pack`.

        Raises:
            DataLoss: an encoding that this version does not know.
        """
        try:
            return _new(cls, (packed[1:], _BY_BYTE[packed[0]]))
        except IndexError:
            raise DataLoss(_UNKNOWN) from None

    @classmethod
    def unpack_many(cls, packed: Iterable[bytes]) -> list[DataBlob]:
        """Undo `pack` for many: half the time of one by one, which a history of a hundred nodes shows.

        Raises:
            DataLoss: an encoding that this version does not know.
        """
        try:
            return [_new(cls, (one[1:], _BY_BYTE[one[0]])) for one in packed]
        except IndexError:
            raise DataLoss(_UNKNOWN) from None
