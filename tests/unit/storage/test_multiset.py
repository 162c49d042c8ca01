"""Multiset hashes are those of kms/FORMAT.md section 7.5, and behave as sums of a set of rows, in Python and in the kernel."""

from __future__ import annotations

import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms.sealing.tokens import TokenKey
from strongroom.kms.secret import Secret
from strongroom.storage import multiset

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "multiset.json").read_text())
EMPTY = bytes(32)
pytestmark = pytest.mark.usefixtures("cipher")
sums = st.binary(min_size=32, max_size=32) | st.sampled_from([EMPTY, b"\xff" * 32])
messages = st.lists(st.binary(min_size=1, max_size=90), max_size=8)


def key():
    """Return the key of the vectors, in the chosen implementation."""
    return TokenKey(Secret(bytes.fromhex(VECTORS["key"])))


def element(message):
    """Return the hash of a row, computed by the standard library."""
    return int.from_bytes(hmac.digest(bytes.fromhex(VECTORS["key"]), message, "sha256"))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_vectors(case):
    """A sum has the bytes that the specification says, computed by a token key and by the standard library."""
    rows = [bytes.fromhex(row) for row in case["rows"]]
    assert key().exchange(EMPTY, b"", [], rows).hex() == case["sum"]
    assert (sum(map(element, rows)) % 2**256).to_bytes(32).hex() == case["sum"]
    assert multiset.pack(multiset.unpack(bytes.fromhex(case["sum"]))).hex() == case["sum"]


@given(sums, st.binary(max_size=70), messages, messages)
def test_an_exchange_is_a_sum_of_hashes(start: bytes, prefix: bytes, removed: list[bytes], added: list[bytes]):
    """Hashes are subtracted and added modulo 2^256, in any order, and each message begins with the prefix."""
    expected = multiset.unpack(start)
    expected -= sum(element(prefix + row) for row in removed)
    expected += sum(element(prefix + row) for row in added)
    made = key().exchange(start, prefix, removed, tuple(added))
    assert made == multiset.pack(expected % 2**256) == key().exchange(start, prefix, removed[::-1], added[::-1])
    assert key().exchange(made, prefix, added, removed) == start


@given(st.binary(max_size=70), messages, messages)
def test_grouped_sums_are_those_of_each_first_byte(prefix: bytes, removed: list[bytes], added: list[bytes]):
    """Every group that has a message is there, in ascending order, also if its sum is that of no rows."""
    groups = sorted({row[0] for row in removed + added})
    expected = [
        bytes([group])
        + key().exchange(
            EMPTY, prefix, [row for row in removed if row[0] == group], [row for row in added if row[0] == group]
        )
        for group in groups
    ]
    assert key().grouped(prefix, removed, added) == b"".join(expected)


@given(messages)
def test_prefixes_are_those_of_tokens(rows: list[bytes]):
    """The beginnings of all tokens follow each other, in the order of the messages."""
    for length in (0, 1, 16, 32):
        assert key().prefixes(rows, length) == b"".join([key().token(row)[:length] for row in rows])


def test_what_is_no_sum_or_message_is_refused():
    """A sum of another length, an empty message without a group, a longer prefix and other objects raise an error."""
    calls = [
        lambda: key().exchange(bytes(31), b"", [], []),
        lambda: key().exchange(bytes(33), b"", [], []),
        lambda: key().exchange(EMPTY, b"", ["text"], []),
        lambda: key().exchange(EMPTY, b"", [], [None]),
        lambda: key().grouped(b"", [], [b""]),
        lambda: key().grouped(b"", [b""], []),
        lambda: key().prefixes([b""], 33),
        lambda: key().prefixes([b""], -1),
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeError, IndexError, OverflowError)):
            call()


@given(sums, st.lists(sums, max_size=20))
def test_sums_of_sets_are_added(start: bytes, others: list[bytes]):
    """The sum of several sets fits 32 bytes."""
    total = multiset.add(multiset.unpack(start), map(multiset.unpack, others))
    assert total == sum(map(multiset.unpack, [start, *others])) % 2**256
    assert len(multiset.pack(total)) == multiset.SUM_BYTES


@given(st.lists(st.binary(max_size=40), unique=True, min_size=1, max_size=8), st.data())
def test_another_set_has_another_sum(rows: list[bytes], data: st.DataObject):
    """A row that is missing, twice there or altered changes the sum."""
    row = data.draw(st.sampled_from(rows))
    others = [each for each in rows if each != row]
    assert (
        len({key().exchange(EMPTY, b"", [], each) for each in (rows, others, [*rows, row], [*others, row + b"x"])}) == 4
    )
