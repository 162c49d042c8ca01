"""Doubles compare at four decimals of their shortest spelling, exactly, in every layout of the index.

The judge is exact arithmetic of fractions, which shares no code with the package.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import floor, nextafter
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.visibility import AttributeType, VisibilityRecord, matches, parse_filter
from strongroom.visibility.filter.tree import Order
from strongroom.visibility.index.document import seal_documents
from strongroom.visibility.index.doubles import scaled
from strongroom.visibility.index.layout import Layout, new_layout
from strongroom.visibility.index.tokens import equality
from strongroom.visibility.search.compiler import compile_query
from strongroom.visibility.search.ordering import ranking
from tests.support.visibility.token_queries import holds

TYPES = {"Price": AttributeType.DOUBLE, "Pieces": AttributeType.INT}
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
LIMIT = 922_337_203_685_477.5
"""The largest Double that the index holds by itself. Larger ones share their tokens."""

CENTS = st.integers(-10_000_000, 10_000_000).map(lambda cents: cents / 100)
DECIMALS = st.decimals(-(10**6), 10**6, places=6, allow_nan=False).map(float)
HALVES = st.integers(-(10**9), 10**9).map(lambda number: float(Decimal(number * 10 + 5).scaleb(-5)))
LARGE = st.sampled_from([1.0, -1.0]).flatmap(lambda sign: st.floats(9e14, 1.7e308).map(lambda size: sign * size))
NEAR_LIMIT = st.integers(-40, 40).map(lambda steps: stepped(LIMIT, steps)) | st.integers(-40, 40).map(
    lambda steps: -stepped(LIMIT, steps)
)
ANY = st.floats(allow_nan=False, allow_infinity=False)
DOUBLES = st.one_of(CENTS, CENTS, DECIMALS, HALVES, LARGE, NEAR_LIMIT, ANY)


def stepped(value, steps):
    """Return the double that is some doubles away."""
    for _ in range(abs(steps)):
        value = nextafter(value, float("inf") if steps > 0 else 0.0)
    return value


def exact(value):
    """Return the ten thousandths of a Double's shortest spelling."""
    return Fraction(repr(float(value))) * 10_000


def stored(value):
    """Return the ten thousandths of a stored Double, rounded half up."""
    return floor(exact(value) + Fraction(1, 2))


def compared(operator, value, wanted):
    """Return what a comparison answers."""
    if operator in ("=", "!="):
        return (stored(value) == stored(wanted)) is (operator == "=")
    held, bound = stored(value), exact(wanted)
    return {"<": held < bound, "<=": held <= bound, ">": held > bound, ">=": held >= bound}[operator]


def record(price, number=1):
    return VisibilityRecord(
        "order", str(UUID(int=number)), "ship", "Running", "queue", 1, 1, search_attributes={"Price": price}
    )


@pytest.fixture(scope="module", params=[Layout(), Layout(version=3), new_layout("strict")], ids=str)
def keys(request):
    """Keys of a namespace, by layout."""
    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: DataKey(Secret(bytes(32)), version=1, suite=Suite.XAES_256_GCM)},
        index={1: Secret(bytes([1] * 32))},
        identity={1: Secret(bytes([9] * 32))},
        active={KeyClass.INDEX: 1, KeyClass.DATA: 1, KeyClass.IDENTITY: 1},
        layouts={1: str(request.param)},
    )


@given(value=DOUBLES)
@example(92.82)
@example(-0.0)
@example(5e-324)
@example(-5e-324)
@example(1.00005)
@example(-1.00005)
@example(2.0**53)
@example(803295312224062.2)
@example(1.7976931348623157e308)
def test_stored_number_is_the_exact_decimal_rounded_half_up(value):
    """No product of doubles decides it."""
    assert scaled(value) == stored(value)


@given(value=DOUBLES, wanted=DOUBLES, other=DOUBLES, close=st.booleans())
@example(value=92.82, wanted=92.82, other=92.82, close=False)
@example(value=922_337_203_685_477.6, wanted=922_337_203_685_477.8, other=1e300, close=False)
@example(value=1e300, wanted=1e18, other=1e17, close=False)
@example(value=-1e300, wanted=-1e18, other=-1e17, close=False)
def test_comparisons_are_exact_and_the_two_sides_of_the_index_hold(keys, value, wanted, other, close):
    """A stored amount satisfies <= and >= of itself, and neither < nor >; also beyond 64 bits, and for negations."""
    if close:
        wanted = stepped(value, 1) if abs(value) < 1e308 else value
    (row,) = seal_documents(keys, [(1, 1, record(value))], TYPES)
    low, high = sorted((wanted, other))
    expected = {
        **{f"Price {sign} {wanted!r}": compared(sign, value, wanted) for sign in OPERATORS},
        f"Price BETWEEN {low!r} AND {high!r}": compared(">=", value, low) and compared("<=", value, high),
        f"Price BETWEEN {value!r} AND {value!r}": exact(value) == stored(value),
        f"Price IN ({wanted!r}, {other!r})": stored(value) in (stored(wanted), stored(other)),
    }
    for text, answer in expected.items():
        for negated in (False, True):
            asked = f"NOT ({text})" if negated else text
            where = parse_filter(asked, TYPES).where
            query = compile_query(where, keys)
            found = matches(where, {"Price": value})
            assert found is (answer is not negated), asked
            assert holds(query.sure, row) <= found <= holds(query.possible, row), asked


@given(values=st.lists(DOUBLES, min_size=2, max_size=8, unique_by=stored))
def test_order_is_the_order_of_the_numbers(values):
    """ORDER BY sorts by value, also where Elasticsearch takes all values for one."""
    records = [record(value, number) for number, value in enumerate(values)]
    for descending in (False, True):
        rank = ranking((Order(parse_filter("Price = 1", TYPES).where.items[0].attribute, descending),))
        sorted_here = [each.search_attributes["Price"] for each in sorted(records, key=rank)]
        assert sorted_here == sorted(values, key=stored, reverse=descending)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (92.82, 928_200),
        (-92.82, -928_200),
        (-0.0, 0),
        (1.00005, 10_001),
        (-1.00005, -10_000),
        (922_337_203_685_477.5, 9_223_372_036_854_775_000),
        (922_337_203_685_477.6, 2**63 - 1),
        (-1e300, -(2**63)),
    ],
)
def test_token_of_a_double_is_that_of_its_ten_thousandths(value, number):
    """The format states these bytes (kms/FORMAT.md section 7.1)."""
    assert equality(AttributeType.DOUBLE, value) == b"=" + number.to_bytes(8, "big", signed=True)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("92.820000000000000001", 92.82),
        ("9282e-2", 92.82),
        ("0.9282E+2", 92.82),
        ("92.8200", 92.82),
        ("1e3", 1000.0),
        ("1000", 1000.0),
        ("-0.0", 0.0),
        ("0", -0.0),
        ("-.5", -0.5),
        ("18446744073709551616", 2.0**64),
        ("9007199254740993", 2.0**53),
        ("1.7976931348623157e308", 1.7976931348623157e308),
    ],
)
def test_every_spelling_of_a_number_means_its_double(literal, value):
    """Long spellings, exponents and integers mean the nearest double."""
    for sign in ("=", "<=", ">="):
        assert matches(parse_filter(f"Price {sign} {literal}", TYPES).where, {"Price": value})
    assert not matches(parse_filter(f"Price > {literal}", TYPES).where, {"Price": value})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Pieces = 3.0", True),
        ("Pieces = 3.5", False),
        ("Pieces != 3.5", True),
        ("Pieces > 2.5", True),
        ("Pieces > 3.0", False),
        ("Pieces >= 3.000001", False),
        ("Pieces < 3.5", True),
        ("Pieces <= 2.9999999", False),
        ("Pieces IN (2.5, 3e0)", True),
        ("Pieces BETWEEN 2.5 AND 3.5", True),
        ("Pieces < 1e300", True),
        ("Pieces > -1e300", True),
        ("Pieces = 18446744073709551616", False),
        ("Pieces < 9223372036854775808", True),
    ],
)
def test_an_int_is_compared_with_a_fraction_as_a_number(text, answer):
    """A fraction is not rounded to an integer, and a bound beyond 64 bits is a number too."""
    assert matches(parse_filter(text, TYPES).where, {"Pieces": 3}) is answer
