"""A payload as a service hands it over: bytes, and how they are encoded. Both are sealed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .errors import DataLoss


class Encoding(IntEnum):
    """How a blob is encoded, by its byte in the sealed plaintext; Temporal's EncodingType."""

    UNSPECIFIED = 0
    PROTO3 = 1
    JSON = 2


@dataclass(frozen=True, slots=True)
class DataBlob:
    """A payload. It comes back exactly as it went in."""

    data: bytes
    encoding: Encoding = Encoding.PROTO3

    def pack(self) -> bytes:
        """Return the bytes to seal: the encoding, then the data."""
        return bytes((self.encoding,)) + self.data

    @classmethod
    def unpack(cls, packed: bytes) -> DataBlob:
        """Undo `pack`.

        Raises:
            DataLoss: an encoding that this version does not know.
        """
        try:
            return cls(packed[1:], Encoding(packed[0]))
        except (IndexError, ValueError):
            msg = "a stored blob has an encoding that this version does not know"
            raise DataLoss(msg) from None
