"""Put Doubles on the scale that they are compared on: ten thousandths, as in Temporal's Elasticsearch mapping (`scaled_float`).

A Double means the decimal of its shortest spelling, which is the decimal that a person wrote. 92.82 is 928,200 ten thousandths,
although the product of the doubles is 928,199.9999999999. Numbers on the scale have no limit. Only the index limits them, to int64.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal

_DECIMALS = 4
_SCALE = 10_000
_HALF = Decimal("0.5")
_EXACT = Context(prec=40)
"""A shortest spelling has at most 17 digits. The context of the thread may have fewer."""

_SAFE = 2.0**40
_NEAR_HALF = 0.001
"""A product of doubles below `_SAFE` differs from the exact one by less than this. So it rounds alike, unless it is near a half."""

_UNEQUAL = 2**53
"""From here on, neighbouring doubles are different numbers on the scale."""


def on_scale(value: float) -> Decimal:
    """Return the exact number of ten thousandths of a Double."""
    return _EXACT.scaleb(Decimal(repr(value)), _DECIMALS)


def scaled(value: float) -> int:
    """Return the integer that a stored Double is compared by: its ten thousandths, rounded half up."""
    product = value * _SCALE
    if -_SAFE < product < _SAFE:
        floor = math.floor(product)
        beyond = product - floor - 0.5
        if abs(beyond) > _NEAR_HALF:
            return floor + (beyond > 0)
    return math.floor(_EXACT.add(on_scale(value), _HALF))


def sort_value(value: float) -> float:
    """Return what a Double is sorted by: its value at four decimals, as in Elasticsearch.

    Larger values are sorted by themselves, because they are different numbers on the scale. Elasticsearch takes some for equal.
    """
    number = scaled(value)
    return number * (1.0 / _SCALE) if -_UNEQUAL < number < _UNEQUAL else value
