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
_NUMBER_BYTES = 8
_ID_BYTES = 16


def page_token(operation: str, scope: bytes, *position: int) -> bytes:
    """Return a token.

    Args:
        operation: name of the call.
        scope: what the call reads: ids, joined without ambiguity.
        position: signed 64-bit numbers.
    """
    return token_of_bytes(operation, scope, struct.pack(f">{len(position)}q", *position))


def page_position(token: bytes, operation: str, scope: bytes, *, numbers: int) -> tuple[int, ...]:
    """Return the position in a token.

    Raises:
        InvalidPersistenceRequest: not a token that the same call made.
    """
    packed = token_bytes(token, operation, scope)
    if len(packed) != numbers * _NUMBER_BYTES:
        raise _foreign(operation)
    return struct.unpack(f">{numbers}q", packed)


def token_of_bytes(operation: str, scope: bytes, position: bytes) -> bytes:
    """As `page_token`, for a position that is not of numbers: a name of the operator's, say."""
    return base64.urlsafe_b64encode(_binding(operation, scope) + position)


def token_bytes(token: bytes, operation: str, scope: bytes) -> bytes:
    """Return the position in a token of `token_of_bytes`.

    Raises:
        InvalidPersistenceRequest: not a token that the same call made.
    """
    try:
        decoded = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, TypeError):
        decoded = b""
    if decoded[:_SCOPE_BYTES] != _binding(operation, scope):
        raise _foreign(operation)
    return decoded[_SCOPE_BYTES:]


def token_id(token: bytes, operation: str, scope: bytes) -> bytes:
    """As `token_bytes`, of a position that is an id of 16 bytes."""
    position = token_bytes(token, operation, scope)
    if len(position) != _ID_BYTES:
        raise _foreign(operation)
    return position


def token_text(token: bytes, operation: str, scope: bytes) -> str:
    """As `token_bytes`, of a position that is text."""
    try:
        return token_bytes(token, operation, scope).decode()
    except UnicodeDecodeError:
        raise _foreign(operation) from None


def _binding(operation: str, scope: bytes) -> bytes:
    return sha256(operation.encode() + b"\x00" + scope).digest()[:_SCOPE_BYTES]


def _foreign(operation: str) -> InvalidPersistenceRequest:
    return InvalidPersistenceRequest(f"this is not a page token of this {operation}; start again without one")
