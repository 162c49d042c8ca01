"""Amounts of money and very large numbers are found by lists and counts of both search indexes, as exact arithmetic finds them.

The judge is exact arithmetic of fractions, and a plain `double` field of Elasticsearch with the same values.
"""

from __future__ import annotations

import asyncio
import random
from fractions import Fraction
from math import floor
from uuid import UUID

import pytest

from tests.support.sealed_namespace import sealed

pytestmark = pytest.mark.integration

AMOUNTS = [cents / 100 for cents in range(-9_990, 10_010, 37)] + [92.82, 1.1, 8.2, 33.33, -92.82, 0.07, -0.0, 1e3]
"""At most four decimals, and below 64 bits of ten thousandths: here a plain `double` field must agree."""
LARGE = [
    9e14,
    922_337_203_685_477.5,
    922_337_203_685_477.6,
    922_337_203_685_477.8,
    1e15,
    1e18,
    1e300,
    1.7976931348623157e308,
]
FINE = [0.00005, 1.00005, 92.82004, 92.82005, 5e-324, 1e-9]
VALUES = [*AMOUNTS, *LARGE, *(-value for value in LARGE), *FINE, *(-value for value in FINE)]
SIGNS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def number(value):
    """Return the ten thousandths of a stored value, rounded half up."""
    return floor(exact(value) + Fraction(1, 2))


def exact(value):
    """Return the exact ten thousandths of a value's shortest spelling."""
    return Fraction(repr(value)) * 10_000


def is_true(sign, value, wanted):
    """Return what exact arithmetic answers."""
    held, bound = number(value), exact(wanted)
    return {
        "=": held == number(wanted),
        "<": held < bound,
        "<=": held <= bound,
        ">": held > bound,
        ">=": held >= bound,
    }[sign]


def run_id(place):
    return str(UUID(int=place + 1))


def document(place, value):
    return {
        "WorkflowId": f"order-{place}",
        "RunId": run_id(place),
        "WorkflowType": "ship",
        "ExecutionStatus": "Running",
        "TaskQueue": "orders",
        "StartTime": 10**18 + place * 10**9,
        "ExecutionTime": 10**18 + place * 10**9,
        "Price": value,
    }


@pytest.mark.parametrize("kind", ["PostgreSQL", "Elasticsearch"])
async def test_every_amount_is_found_at_its_bounds(config_path, elasticsearch, kind):
    """`<=` finds a stored amount that equals the bound, and `>` does not; also for the largest doubles, in lists and in counts."""
    rng = random.Random(92_82)  # noqa: S311 - repeatable
    asked = [*rng.sample(AMOUNTS, 12), 92.82, *LARGE, *(-value for value in LARGE), *FINE]
    index = f"{elasticsearch.prefix}plain"
    client = elasticsearch.client
    await asyncio.to_thread(
        client.request, "PUT", f"/{index}", {"mappings": {"properties": {"price": {"type": "double"}}}}
    )
    plain = [(run_id(place), {"price": value}) for place, value in enumerate(VALUES)]
    await asyncio.to_thread(client.bulk, index, plain)

    async def plainly(condition):
        body = {"query": condition, "size": 1000, "_source": False}
        hits = await asyncio.to_thread(client.request, "POST", f"/{index}/_search", body)
        return {hit["_id"] for hit in hits["hits"]["hits"]}

    async with sealed(config_path, elasticsearch, kind) as ours:
        await ours.write([document(place, value) for place, value in enumerate(VALUES)])
        for wanted in asked:
            for sign in ("=", *SIGNS):
                text = f"Price {sign} {wanted!r}"
                expected = {run_id(place) for place, value in enumerate(VALUES) if is_true(sign, value, wanted)}
                (found,) = await ours.pages(text, 1000)
                assert set(found) == expected, text
                assert (await ours.count(text))[0] == len(expected), text
                if wanted not in FINE:
                    condition = (
                        {"term": {"price": wanted}} if sign == "=" else {"range": {"price": {SIGNS[sign]: wanted}}}
                    )
                    finer = {run_id(VALUES.index(value)) for value in (*FINE, *(-value for value in FINE))}
                    assert expected - finer == await plainly(condition) - finer, text
        (found,) = await ours.pages(f"NOT (Price <= {LARGE[2]!r})", 1000)
        assert set(found) == {run_id(VALUES.index(value)) for value in LARGE[3:]}
        (found,) = await ours.pages("ORDER BY Price DESC", 1000)
        assert [VALUES[UUID(each).int - 1] for each in found[: len(LARGE)]] == LARGE[::-1]
