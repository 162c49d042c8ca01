"""Elasticsearch's `scaled_float` by 10,000, in its own arithmetic.

A value is a 64-bit integer. For a document it is computed with a product of doubles, for a query with a decimal product. The
results differ by one if the product is close to a half.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

SCALE = 10_000
_MIN, _MAX = -(2**63), 2**63 - 1


def stored(value: float) -> int:
    """Return the integer that the index stores for a document's value."""
    return _rounded(float(value) * SCALE)


def asked(value: float) -> int:
    """Return the integer that a query searches for."""
    return _rounded(_product(value))


def lower(value: float, *, inclusive: bool) -> int:
    """Return the least integer that satisfies a lower bound."""
    bound = _product(value)
    return _saturated(bound if inclusive else math.nextafter(bound, math.inf), math.ceil)


def upper(value: float, *, inclusive: bool) -> int:
    """Return the greatest integer that satisfies an upper bound."""
    bound = _product(value)
    return _saturated(bound if inclusive else math.nextafter(bound, -math.inf), math.floor)


def sort_key(value: float) -> float:
    """Return the value that a sort compares."""
    return stored(value) * (1.0 / SCALE)


def _product(value):
    return float(Decimal(repr(float(value))) * SCALE)


def _rounded(value):
    return _saturated(value, lambda finite: math.floor(Fraction(finite) + Fraction(1, 2)))


def _saturated(value, whole):
    if math.isinf(value):
        return _MAX if value > 0 else _MIN
    return min(max(whole(value), _MIN), _MAX)
