"""The lengths of records do not show a secret of the memo to an attacker who chooses a search attribute."""

from __future__ import annotations

from benchmarks.leakage.oracle import compatible, recovered, strict, together


def test_the_oracle_finds_secrets_in_records_that_are_compressed_as_a_whole():
    """The control: without parts, the attack works."""
    assert recovered(together, 4) == 4


def test_the_oracle_finds_nothing_in_either_preset():
    """In `compatible` the parts are compressed apart, and in `strict` nothing is compressed."""
    assert recovered(compatible, 4) == 0
    assert recovered(strict, 4) == 0
