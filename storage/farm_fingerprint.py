"""FarmHash's Fingerprint32, which Temporal deals workflows to shards with.

The algorithm is published in https://github.com/google/farmhash ("farmhashmk"). tests/vectors/farm_fingerprint.json has vectors of
the implementation that Temporal uses.
"""

from __future__ import annotations

from struct import unpack_from

_WORD = 2**32 - 1
_C1, _C2 = 0xCC9E2D51, 0x1B873593
_ADDED = 0xE6546B64
_BLOCK = 20
SHORTEST = 25
"""The smallest number of bytes that `fingerprint_32` takes. Shorter input has other formulas, which no shard needs."""


def fingerprint_32(data: bytes) -> int:
    """Return the fingerprint of at least 25 bytes, an unsigned number of 32 bits.

    Raises:
        ValueError: The data has fewer than 25 bytes.
    """
    size = len(data)
    if size < SHORTEST:
        msg = f"a fingerprint needs at least {SHORTEST} bytes"
        raise ValueError(msg)
    h, g = size, _C1 * size & _WORD
    f = g
    last = [_rotated(word * _C1 & _WORD, 17) * _C2 & _WORD for word in unpack_from("<5I", data, size - _BLOCK)]
    for word in (last[4], last[1]):
        h = _stirred(h, word)
    for word in (last[3], last[2]):
        g = _stirred(g, word)
    f = _rotated(f + last[0] & _WORD, 19) + 113 & _WORD
    for start in range(0, (size - 1) // _BLOCK * _BLOCK, _BLOCK):
        a, b, c, d, e = unpack_from("<5I", data, start)
        h, g, f = h + a & _WORD, g + b & _WORD, f + c & _WORD
        h = _mixed(d, h) + e & _WORD
        g = _mixed(c, g) + a & _WORD
        f = _mixed(b + e * _C1 & _WORD, f) + d & _WORD
        f = f + g & _WORD
        g = g + f & _WORD
    for value in (_finished(g), _finished(f)):
        h = _rotated(h + value & _WORD, 19)
        h = h * 5 + _ADDED & _WORD
        h = _rotated(h, 17) * _C1 & _WORD
    return h


def _rotated(word: int, bits: int) -> int:
    """Rotate a word of 32 bits to the right."""
    return (word >> bits | word << (32 - bits)) & _WORD


def _stirred(state: int, word: int) -> int:
    return _rotated(state ^ word, 19) * 5 + _ADDED & _WORD


def _mixed(word: int, state: int) -> int:
    """Combine two words, as MurmurHash3 does."""
    return _stirred(state, _rotated(word * _C1 & _WORD, 17) * _C2 & _WORD)


def _finished(word: int) -> int:
    return _rotated(_rotated(word, 11) * _C1 & _WORD, 17) * _C1 & _WORD
