"""Values as MessagePack: a decoder for each type, and one encoder. temporal/PROTOCOL.md has the table of types."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from strongroom.kms import StrongroomError

from .errors import unreadable_map


def decoder_of(wanted: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of a type."""
    return msgspec.msgpack.Decoder(wanted)


def _plain(value: object) -> object:
    """Return a value of a type that MessagePack has."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return list(value)
    if isinstance(value, StrongroomError):
        return unreadable_map(value)
    msg = f"a {type(value).__name__} can't be encoded"
    raise NotImplementedError(msg)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain, uuid_format="bytes")
encode = _ENCODER.encode
encode_into = _ENCODER.encode_into
