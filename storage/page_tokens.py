"""Page tokens of the stores: the position at which the next page begins. The rows have that position in clear too.

A token is bound to the operation and to what it reads, so that a token of another operation, queue or branch is refused.
"""

from __future__ import annotations

import base64
import binascii
import struct
from hashlib import sha256

from .errors import PageTokenMismatch

_SCOPE_BYTES = 8
_NUMBER_BYTES = 8
_ID_BYTES = 16


def page_token(operation: str, scope: bytes, *position: int) -> bytes:
    """Return a token.

    Args:
        operation: The name of the operation.
        scope: The ids of what the operation reads, joined without ambiguity.
        position: The position, as signed 64-bit numbers.
    """
    return token_of_bytes(operation, scope, struct.pack(f">{len(position)}q", *position))


def page_position(token: bytes, operation: str, scope: bytes, *, numbers: int) -> tuple[int, ...]:
    """Return the position in a token of `page_token`.

    Args:
        token: The token.
        operation: The name of the operation.
        scope: The ids of what the operation reads.
        numbers: How many numbers the position has.

    Raises:
        PageTokenMismatch: The token does not belong to this operation and scope.
    """
    packed = token_bytes(token, operation, scope)
    if len(packed) != numbers * _NUMBER_BYTES:
        raise _foreign(operation)
    return struct.unpack(f">{numbers}q", packed)


def token_of_bytes(operation: str, scope: bytes, position: bytes) -> bytes:
    """Return a token for a position in bytes, for example a name."""
    return base64.urlsafe_b64encode(_binding(operation, scope) + position)


def token_bytes(token: bytes, operation: str, scope: bytes) -> bytes:
    """Return the position in a token of `token_of_bytes`.

    Raises:
        PageTokenMismatch: The token does not belong to this operation and scope.
    """
    try:
        decoded = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, TypeError):
        decoded = b""
    if decoded[:_SCOPE_BYTES] != _binding(operation, scope):
        raise _foreign(operation)
    return decoded[_SCOPE_BYTES:]


def token_id(token: bytes, operation: str, scope: bytes) -> bytes:
    """Return the position in a token of `token_of_bytes`, which must be an id of 16 bytes; raises as `token_bytes` does."""
    position = token_bytes(token, operation, scope)
    if len(position) != _ID_BYTES:
        raise _foreign(operation)
    return position


def token_of_name(operation: str, scope: bytes, name: str) -> bytes:
    """Return a token for a position that is a name of at most 255 bytes. Its length comes first, so that a cut token is noticed."""
    encoded = name.encode()
    return token_of_bytes(operation, scope, bytes([len(encoded)]) + encoded)


def token_name(token: bytes, operation: str, scope: bytes) -> str:
    """Return the name in a token of `token_of_name`; raises as `token_bytes` does."""
    position = token_bytes(token, operation, scope)
    if not position or position[0] != len(position) - 1 or b"\x00" in position[1:]:
        raise _foreign(operation)
    try:
        return position[1:].decode()
    except UnicodeDecodeError:
        raise _foreign(operation) from None


def _binding(operation: str, scope: bytes) -> bytes:
    return sha256(operation.encode() + b"\x00" + scope).digest()[:_SCOPE_BYTES]


def _foreign(operation: str) -> PageTokenMismatch:
    return PageTokenMismatch(f"the page token does not belong to this {operation}; start again without a token")
