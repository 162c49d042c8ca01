"""Making entries: what is given a number is settled, whatever happens."""

from __future__ import annotations

import pytest

from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import EXECUTIONS
from strongroom.storage.journal.writer import Journal, Settled
from tests.support.one_keyring import OneKeyring

IMAGE = bytes([EXECUTIONS]) + bytes(64)


async def test_a_failure_while_entries_are_made_leaves_nothing_in_flight():
    """Numbers that were given before the failure are refused, so that later entries are folded."""
    journal = Journal(OneKeyring())
    with pytest.raises(TypeError):
        await journal.record([Changes(1, [IMAGE]), Changes(1, [None])])
    journal.settle(await journal.record([Changes(1, [IMAGE])]), Settled.COMMITTED)
    outcomes = journal.outcomes(1)
    assert (outcomes.settled, list(outcomes.refused)) == (4, [1, 2])


async def test_more_refusals_than_two_bytes_can_count():
    """An entry names all of them, however long nothing was folded."""
    journal = Journal(OneKeyring())
    ticket = await journal.record([Changes(1, [IMAGE])])
    for number in range(2, 70_000):
        journal._settle(1, number, Settled.REFUSED)
    journal.settle(ticket, Settled.COMMITTED)
    assert len(journal.outcomes(1).pack()) > 8 * 69_000
