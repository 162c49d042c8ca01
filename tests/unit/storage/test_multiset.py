"""Multiset hashes are those of kms/FORMAT.md section 7.5, and behave as sums of a set of rows."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms.sealing.tokens import TokenKey
from strongroom.kms.secret import Secret
from strongroom.storage import multiset

if TYPE_CHECKING:
    import random

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "multiset.json").read_text())
KEY = TokenKey(Secret(bytes.fromhex(VECTORS["key"])))
LARGEST = 2**256 - 1
sums = st.integers(0, LARGEST)
elements = st.lists(sums, max_size=20)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_vectors(case):
    """A sum has the bytes that the specification says, computed by this module and by the standard library."""
    rows = [bytes.fromhex(row) for row in case["rows"]]
    total = multiset.add(multiset.EMPTY, [multiset.element(KEY, row) for row in rows])
    macs = [hmac.digest(bytes.fromhex(VECTORS["key"]), row, "sha256") for row in rows]
    assert multiset.pack(total).hex() == case["sum"]
    assert sum(int.from_bytes(mac) for mac in macs) % 2**256 == total == multiset.unpack(multiset.pack(total))


@given(sums, elements, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(start: int, added: list[int], shuffler: random.Random):
    """Rows that are added in another order, one by one or together, have the same sum."""
    shuffled = shuffler.sample(added, len(added))
    one_by_one = start
    for element in shuffled:
        one_by_one = multiset.add(one_by_one, [element])
    assert multiset.add(start, added) == one_by_one


@given(sums, elements)
def test_adding_and_removing_changes_nothing(start: int, rows: list[int]):
    """A row that is added and removed again leaves the sum as it was, also across the modulus."""
    assert multiset.subtract(multiset.add(start, rows), rows) == start
    assert multiset.add(multiset.subtract(start, rows), rows) == start


@given(sums, elements, elements)
def test_an_exchange_is_both(start: int, removed: list[int], added: list[int]):
    """Removing and adding in one step has the same sum as in two."""
    assert multiset.exchange(start, removed, added) == multiset.add(multiset.subtract(start, removed), added)


@given(sums, elements)
def test_a_sum_fits_its_bytes(start: int, rows: list[int]):
    """Every sum has exactly 32 bytes, and is read as it was written."""
    for total in (multiset.add(start, rows), multiset.subtract(start, rows)):
        assert len(multiset.pack(total)) == multiset.SUM_BYTES
        assert multiset.unpack(multiset.pack(total)) == total


@given(st.lists(st.binary(max_size=40), unique=True, min_size=1, max_size=8), st.data())
def test_another_set_has_another_sum(rows: list[bytes], data: st.DataObject):
    """A row that is missing, twice there or altered changes the sum."""
    whole = multiset.add(0, [multiset.element(KEY, row) for row in rows])
    row = data.draw(st.sampled_from(rows))
    hashed = multiset.element(KEY, row)
    missing = multiset.subtract(whole, [hashed])
    assert (
        len({whole, missing, multiset.add(whole, [hashed]), multiset.add(missing, [multiset.element(KEY, row + b"x")])})
        == 4
    )
