"""Keyed tokens: HMAC-SHA-256 from precomputed hash states (FORMAT.md section 7), and sums of tokens (section 7.5)."""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import TYPE_CHECKING, NoReturn

from .ciphers import implementation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.kms.secret import Secret

_BLOCK = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_SIGNED = struct.Struct(">q")
_TOKEN_BYTES = 32
_MODULUS = 1 << 8 * _TOKEN_BYTES


class TokenKey:
    """A key for tokens.

    Attributes:
        token: Returns the HMAC-SHA-256 of a message, 32 bytes. Identifiers are the first 16 bytes.
        numbers: Returns, for each message, the first 8 bytes of its token as a signed integer: an index token.
        prefixes: Returns the first bytes of the token of each message, one after the other. See `Tokens.prefixes`.
        exchange: Returns a sum of tokens after some were removed and others added. See `Tokens.exchange`.
        grouped: Returns the sums of tokens by the first byte of the messages. See `Tokens.grouped`.
    """

    __slots__ = ("exchange", "grouped", "numbers", "prefixes", "token")

    def __init__(self, key: Secret, *, cipher: str | None = None) -> None:
        tokens = implementation(cipher).Tokens(key.reveal())
        self.token: Callable[[bytes], bytes] = tokens.token
        self.numbers: Callable[[Sequence[bytes]], list[int]] = tokens.numbers
        self.prefixes: Callable[[Sequence[bytes], int], bytes] = tokens.prefixes
        self.exchange: Callable[[bytes, bytes, Sequence[bytes], Sequence[bytes]], bytes] = tokens.exchange
        self.grouped: Callable[[bytes, Sequence[bytes], Sequence[bytes]], bytes] = tokens.grouped

    def __repr__(self) -> str:
        return "TokenKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


class Tokens:
    """The Python implementation of tokens, on `hashlib`.

    The two hash states of HMAC (RFC 2104) are computed once and copied for each message. For messages as short as an
    identifier this is 2.5 times as fast as `hmac.digest`.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:  # HMAC would hash it first
            msg = f"a token key must have at most {_BLOCK} bytes"
            raise ValueError(msg)
        block = key.ljust(_BLOCK, b"\x00")
        self._inner = sha256(block.translate(_INNER_PAD))
        self._outer = sha256(block.translate(_OUTER_PAD))

    def token(self, message: bytes) -> bytes:
        """Return the token of a message."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def numbers(self, messages: Sequence[bytes]) -> list[int]:
        """Return the first 8 bytes of the token of each message."""
        return [_SIGNED.unpack_from(self.token(message))[0] for message in messages]

    def prefixes(self, messages: Sequence[bytes], length: int) -> bytes:
        """Return the first bytes of the token of each message, one after the other.

        Args:
            messages: The messages.
            length: The bytes of each token; 32 at most.
        """
        if not 0 <= length <= _TOKEN_BYTES:
            msg = f"a token has {_TOKEN_BYTES} bytes"
            raise ValueError(msg)
        return b"".join([self.token(message)[:length] for message in messages])

    def exchange(self, total: bytes, prefix: bytes, removed: Sequence[bytes], added: Sequence[bytes]) -> bytes:
        """Return a sum without the tokens of some messages and with those of others.

        Args:
            total: The sum, 32 bytes.
            prefix: The start of every message.
            removed: The rest of each message whose token is subtracted.
            added: The rest of each message whose token is added.
        """
        if len(total) != _TOKEN_BYTES:
            msg = f"a sum has {_TOKEN_BYTES} bytes"
            raise ValueError(msg)
        number, token = int.from_bytes(total), self.token
        for message in removed:
            number -= int.from_bytes(token(prefix + message))
        for message in added:
            number += int.from_bytes(token(prefix + message))
        return (number % _MODULUS).to_bytes(_TOKEN_BYTES)

    def grouped(self, prefix: bytes, removed: Sequence[bytes], added: Sequence[bytes]) -> bytes:
        """Return sums of tokens by the first byte of the messages, in ascending order: the byte, then the sum in 32 bytes.

        Args:
            prefix: The start of every message, before the byte by which they are grouped.
            removed: The rest of each message whose token is subtracted.
            added: The rest of each message whose token is added.
        """
        sums: dict[int, int] = {}
        token = self.token
        for message in added:
            sums[message[0]] = sums.get(message[0], 0) + int.from_bytes(token(prefix + message))
        for message in removed:
            sums[message[0]] = sums.get(message[0], 0) - int.from_bytes(token(prefix + message))
        return b"".join(
            [bytes((group,)) + (total % _MODULUS).to_bytes(_TOKEN_BYTES) for group, total in sorted(sums.items())]
        )

    def __repr__(self) -> str:
        return "Tokens(<redacted>)"
