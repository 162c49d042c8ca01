"""The compression oracle: guess a secret in a memo from the lengths of records in which the attacker chose another value.

The attacker may write a search attribute of a run whose memo has the secret, for example with an order number, and sees the length
of the sealed record. If the record is compressed as a whole, a value that repeats a part of the memo makes it shorter.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from strongroom.kms.sealing.packing import pack
from strongroom.kms.sealing.record_kinds import VISIBILITY_RECORD
from strongroom.visibility import VisibilityRecord
from strongroom.visibility.index.record_packing import pack_filled, pack_record

if TYPE_CHECKING:
    from collections.abc import Callable

    Length = Callable[[VisibilityRecord], int]

DIGITS = 6
FILLERS = 128
"""Number of lengths that each guess is tried with, so that one of them is next to a border of the padding."""


def together(record: VisibilityRecord) -> int:
    """Return the length of a record that is compressed as a whole: the control."""
    return len(pack(VISIBILITY_RECORD, b"".join(pack_record(record)))[1])


def compatible(record: VisibilityRecord) -> int:
    """Return the length of a record in the preset `compatible`."""
    return len(pack(VISIBILITY_RECORD, pack_record(record))[1])


def strict(record: VisibilityRecord) -> int:
    """Return the length of a record in the preset `strict`."""
    return len(pack_filled(record, 1024))


LENGTHS: dict[str, Length] = {"compressed as a whole": together, "compatible": compatible, "strict": strict}


def recovered(length: Length, secrets: int, *, seed: int = 1) -> int:
    """Return how many of several secrets of six digits the attacker finds, by guessing digit after digit."""
    rng = random.Random(seed)
    return sum(_guessed(length, rng, f"{rng.randrange(10**DIGITS):0{DIGITS}}") for _ in range(secrets))


def _guessed(length: Length, rng: random.Random, secret: str) -> bool:
    fillers = [rng.randbytes(FILLERS).hex()[:size] for size in range(FILLERS)]
    known = ""
    while len(known) < DIGITS:
        costs = {digit: _cost(length, secret, known + digit, fillers) for digit in "0123456789"}
        known += min(costs, key=lambda digit: (costs[digit], rng.random()))
    return known == secret


def _cost(length: Length, secret: str, guess: str, fillers: list[str]) -> int:
    """Return the sum of the lengths of records with the guess and fillers of several lengths."""
    return sum(length(_record(secret, f"{filler} the door code is {guess}")) for filler in fillers)


def _record(secret: str, chosen: str) -> VisibilityRecord:
    return VisibilityRecord(
        workflow_id="orders/4711",
        run_id="6c1f2f0e-5a3b-4c68-9f1e-0d2f7b8a9c10",
        workflow_type="CheckoutWorkflow",
        execution_status="Running",
        task_queue="orders",
        start_time=1_795_000_000 * 10**9,
        execution_time=1_795_000_000 * 10**9,
        search_attributes={"CustomerId": chosen},
        memo=b"leave it at the gate, the door code is " + secret.encode() + b", and ring twice",
    )
