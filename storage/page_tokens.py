"""Page tokens of the stores: where the next page begins, in numbers that stand in clear in the rows too.

A token is bound to the call that it continues, so that one of another operation, queue or branch is refused.
"""

from __future__ import annotations

import base64
import binascii
import struct
from hashlib import sha256

from .errors import InvalidPersistenceRequest

_SCOPE_BYTES = 8


def page_token(operation: str, scope: bytes, *position: int) -> bytes:
    """Return a token.

    Args:
        operation: name of the call.
        scope: what the call reads: ids, joined without ambiguity.
        position: signed 64-bit numbers.
    """
    numbers = struct.pack(f">{len(position)}q", *position)
    return base64.urlsafe_b64encode(_binding(operation, scope) + numbers)


def page_position(token: bytes, operation: str, scope: bytes, *, numbers: int) -> tuple[int, ...]:
    """Return the position in a token.

    Raises:
        InvalidPersistenceRequest: not a token that the same call made.
    """
    try:
        binding, packed = _split(base64.b64decode(token, altchars=b"-_", validate=True))
        position: tuple[int, ...] = struct.unpack(f">{numbers}q", packed)
    except (binascii.Error, struct.error, ValueError, TypeError):
        binding, position = b"", ()
    if binding != _binding(operation, scope):
        msg = f"this is not a page token of this {operation}; start again without one"
        raise InvalidPersistenceRequest(msg)
    return position


def _binding(operation: str, scope: bytes) -> bytes:
    return sha256(operation.encode() + b"\x00" + scope).digest()[:_SCOPE_BYTES]


def _split(decoded: bytes) -> tuple[bytes, bytes]:
    return decoded[:_SCOPE_BYTES], decoded[_SCOPE_BYTES:]
